//! `ballast run`: one prompt, one answer.

mod constraint;

use crate::failure::Failure;
use crate::options::{LoadArgs, ModelArg, SamplingArgs};
use crate::{output, signals};
use ballast::tokens::ChatMessage;
use ballast::{Answer, Engine, FinishReason, Generate, Phase, Prompt, ReasonCode, TokenId, TokenLogprob};
use clap::Args as ClapArgs;
use constraint::ConstraintArgs;
use serde_json::{Value, json};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// The prompt [default: standard input].
    prompt: Option<String>,
    /// Continue the prompt as it is, without the model's chat template.
    #[arg(long)]
    raw: bool,
    /// A system message before the prompt.
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    system: Option<String>,
    /// Print one JSON object when the answer has ended, instead of the text as it comes.
    #[arg(long)]
    json: bool,
    /// Print timings after the answer, to standard error.
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    constraint: ConstraintArgs,
    #[command(flatten)]
    load: LoadArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let text = match &self.prompt {
            Some(prompt) => prompt.clone(),
            None if self.constraint.reads_stdin() => {
                return Err(Failure::usage("standard input is the schema's").try_this("give the prompt as an argument"));
            }
            None => output::read_stdin()?,
        };
        let constraint = self.constraint.read()?;
        let engine = self.load.load(&self.model.model)?;
        let prompt = engine.prompt_tokens(&self.prompt(text))?;
        let generate = Generate { prompt: Prompt::Tokens(prompt.clone()), constraint, ..self.sampling.generate() };
        let answer = self.answer(&engine, &generate)?;
        if self.json {
            output::json(&to_json(&engine, &prompt, &answer))?;
        } else {
            output::line("")?;
        }
        if self.stats {
            output::note(&stats(&answer));
        }
        check(&answer)
    }

    fn prompt(&self, text: String) -> Prompt {
        if self.raw {
            return Prompt::Text(text);
        }
        let message = |role: &str, content| ChatMessage::text(role, content);
        let system = self.system.iter().map(|text| message("system", text.clone()));
        Prompt::Chat(system.chain([message("user", text)]).collect())
    }

    fn answer(&self, engine: &Engine, generate: &Generate) -> Result<Answer, Failure> {
        let stream = engine.stream(generate)?;
        let canceller = stream.canceller();
        let _watch = signals::watch(canceller.clone());
        let mut written = Ok(());
        let answer = Answer::collect(stream, |text| {
            if !self.json && written.is_ok() {
                written = output::write(text);
                if written.is_err() {
                    canceller.cancel();
                }
            }
        });
        written.map(|()| answer)
    }
}

/// A run that did not end by itself is a failure.
fn check(answer: &Answer) -> Result<(), Failure> {
    let mut failure = match answer.finish_reason {
        FinishReason::Stop | FinishReason::Length => return Ok(()),
        FinishReason::Cancelled => Failure::failed("the answer was cancelled"),
        FinishReason::Error if answer.reason == Some(ReasonCode::ConstraintTooComplex) => {
            Failure::failed("to keep to what the answer must look like takes too much work")
                .try_this("a simpler schema or grammar")
        }
        FinishReason::Error if answer.reason == Some(ReasonCode::ConstraintFailed) => {
            Failure::failed("what the answer must look like left no token that may come next")
                .try_this("another schema or grammar")
        }
        FinishReason::Error => Failure::failed("the engine failed").try_this("--log debug"),
    };
    failure.reason = answer.reason;
    Err(failure)
}

fn to_json(engine: &Engine, prompt: &[TokenId], answer: &Answer) -> Value {
    let mut object = json!({
        "model": engine.report().model_name,
        "text": answer.text,
        "token_ids": answer.tokens.iter().map(|token| token.id.0).collect::<Vec<_>>(),
        "prompt_token_ids": prompt.iter().map(|token| token.0).collect::<Vec<_>>(),
        "finish_reason": answer.finish_reason.as_str(),
        "reason": answer.reason.map(ReasonCode::as_str),
        "overdue": answer.overdue.map(Phase::as_str),
        "degraded": answer.degraded.iter().map(|reason| reason.as_str()).collect::<Vec<_>>(),
        "engine": answer.engine,
        "usage": usage(answer),
        "timings": timings(answer, engine),
    });
    let logprobs: Vec<_> = answer.tokens.iter().filter_map(|token| token.logprob.as_ref().map(logprob)).collect();
    if !logprobs.is_empty() {
        object["logprobs"] = logprobs.into();
    }
    object
}

fn usage(answer: &Answer) -> Value {
    let usage = answer.usage;
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}

fn timings(answer: &Answer, engine: &Engine) -> Value {
    let timings = answer.timings;
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    json!({
        "load_ms": ms(engine.report().load_time),
        "queue_ms": ms(timings.queue),
        "time_to_first_token_ms": timings.time_to_first_token.map(ms),
        "total_ms": ms(timings.total),
        "prefill_tokens_per_second": timings.prefill_tokens_per_second(answer.usage),
        "decode_tokens_per_second": timings.decode_tokens_per_second(answer.usage),
    })
}

fn logprob(logprob: &TokenLogprob) -> Value {
    let top: Vec<_> = logprob.top.iter().map(|(id, logprob)| json!({ "id": id.0, "logprob": logprob })).collect();
    json!({ "logprob": logprob.chosen, "top": top })
}

/// One line for a person.
pub(crate) fn stats(answer: &Answer) -> String {
    let rate = |rate: Option<f64>| rate.map_or("not measured".to_owned(), |rate| format!("{rate:.1} tokens/s"));
    let (usage, timings) = (answer.usage, answer.timings);
    let first = timings.time_to_first_token.map_or("none".to_owned(), |t| format!("{:.0} ms", t.as_secs_f64() * 1e3));
    format!(
        "{} prompt tokens ({}), first token after {first}, {} generated ({}), finish: {}",
        usage.prompt_tokens,
        rate(timings.prefill_tokens_per_second(usage)),
        usage.completion_tokens,
        rate(timings.decode_tokens_per_second(usage)),
        answer.finish_reason.as_str(),
    )
}

#[cfg(test)]
mod tests {
    use super::Args;
    use ballast::Generate;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_command_line_and_the_library_have_the_same_defaults() {
        let line = Line::parse_from(["ballast", "model"]);
        assert_eq!(line.args.sampling.generate().sampling, Generate::default().sampling);
    }
}
