//! From the start of a server's process until it says that it is ready, and until its first token.

use super::figure::{Figure, RoundTold};
use super::peer::{Program, Question};
use super::process;
use super::server::{MODEL, PATIENCE, Scratch, Server, ServerCommand, ServerPlan};
use serde_json::{Value, json};
use std::io::{BufRead, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Positions of the server's one sequence.
const CONTEXT_LEN: usize = 2048;

/// Twenty words or so.
const PROMPT: &str = "The lighthouse keeper wrote down every ship that passed the cape that winter, and the last one \
    in his book was called";

/// The figures of a start, besides [`Figure::FirstReady`].
const FIGURES: [Figure; 3] = [Figure::Ready, Figure::FirstToken, Figure::ServerMemory];

/// Starts the program's server as often as needed and tells its figures. Programs without a server tell nothing.
pub(super) fn round(program: &Program, question: &Question<'_>) -> RoundTold {
    let mut told = RoundTold::default();
    match program {
        Program::Ballast(path) => {
            let home = Scratch::new();
            let start = || Server::start(ServerCommand::ballast(path, &plan(question), home.path()));
            let first = start().map(|server| server.ready.as_secs_f64());
            told.samples.push((Figure::FirstReady, first));
            // A server that is killed once it is ready has not kept its packed weights yet.
            told.samples.extend(figures(keep_packed(path, question, home.path()).and_then(|()| start())));
        }
        Program::Llama(bench) => {
            let path = bench.with_file_name("llama-server");
            if path.exists() {
                told.samples.extend(figures(Server::start(ServerCommand::llama(&path, &plan(question)))));
                // It keeps nothing between starts: every one is a first one.
                let ready = told.samples.iter().find(|(figure, _)| *figure == Figure::Ready).map(|(_, s)| s.clone());
                told.samples.extend(ready.map(|sample| (Figure::FirstReady, sample)));
            }
        }
        Program::Candle(_) => {}
    }
    told
}

fn figures(server: Result<Server, String>) -> Vec<(Figure, Result<f64, String>)> {
    match server.and_then(|server| Ok((server.ready, first_token(&server)?, server.peak_bytes()))) {
        Err(why) => RoundTold::failed(&FIGURES, &why).samples,
        Ok((ready, first_token, peak_bytes)) => {
            let times = [(Figure::Ready, ready), (Figure::FirstToken, first_token)];
            let times = times.map(|(figure, time)| (figure, Ok(time.as_secs_f64())));
            let memory = peak_bytes.map(|bytes| (Figure::ServerMemory, Ok(bytes as f64)));
            times.into_iter().chain(memory).collect()
        }
    }
}

/// A server for one sequence.
fn plan<'a>(question: &Question<'a>) -> ServerPlan<'a> {
    ServerPlan {
        model: question.model,
        n_threads: question.n_threads,
        n_parallel: 1,
        context_len: CONTEXT_LEN,
        key: None,
        kernels: question.kernels,
        more: question.load,
    }
}

/// Fills the compile cache, so that the next start is a warm one.
fn keep_packed(path: &Path, question: &Question<'_>, home: &Path) -> Result<(), String> {
    let mut command = Command::new(path);
    command.arg("compile").arg(question.model).env("BALLAST_HOME", home);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} ended with {status}", process::program_name(&command))),
        Err(error) => Err(format!("{} cannot be run: {error}", process::program_name(&command))),
    }
}

/// Time from the server's start until the first token of a short prompt is here.
fn first_token(server: &Server) -> Result<Duration, String> {
    let messages = json!([{ "role": "user", "content": PROMPT }]);
    let body = json!({ "model": MODEL, "messages": messages, "max_tokens": 4, "temperature": 0, "stream": true });
    let body = body.to_string();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
        content-type: application/json\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let mut answer = server.send(&request, PATIENCE).map_err(|error| error.to_string())?;
    match first_text(&mut answer).map_err(|error| error.to_string())? {
        true => Ok(server.now()),
        false => Err("the server's answer had no text".to_owned()),
    }
}

/// Reads a streamed answer until its first text; false if it ends without. The lines between events are chunk lengths.
fn first_text(answer: &mut impl BufRead) -> std::io::Result<bool> {
    for line in answer.take(1 << 20).lines() {
        let line = line?;
        let event: Option<Value> = line.strip_prefix("data: ").and_then(|data| serde_json::from_str(data).ok());
        let text = event.as_ref().and_then(|event| event["choices"][0]["delta"]["content"].as_str());
        if text.is_some_and(|text| !text.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::first_text;

    #[test]
    fn the_first_text_is_found_behind_empty_events() {
        let answer = "HTTP/1.1 200 OK\r\n\r\n2c\r\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\r\n\
            30\r\ndata: {\"choices\":[{\"delta\":{\"content\":\" a\"}}]}\n\n";
        assert!(first_text(&mut answer.as_bytes()).unwrap());
        let without = "HTTP/1.1 200 OK\r\n\r\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\ndata: [DONE]\n\n";
        assert!(!first_text(&mut without.as_bytes()).unwrap());
    }
}
