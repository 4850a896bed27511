//! `ballast ps`: the servers of this user on this machine, and the models that each has loaded.

mod ask;

use crate::failure::Failure;
use crate::output;
use crate::running;
use clap::Args as ClapArgs;
use serde_json::{Value, json};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Ask the server at this place instead: http://HOST:PORT, or unix:PATH.
    #[arg(long, value_name = "PLACE")]
    at: Option<String>,
    /// A key that may read, for servers that ask for one.
    #[arg(long, env = "BALLAST_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

/// A server, and what it said.
struct Told {
    /// `None`: it is known by its place alone.
    pid: Option<u32>,
    place: String,
    models: Result<Vec<Value>, String>,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let ask = |pid, place: String| {
            let models = ask::models(&place, self.api_key.as_deref());
            Told { pid, place, models }
        };
        if let Some(place) = self.at.clone() {
            let told = ask(None, place);
            if let Err(why) = &told.models {
                return Err(Failure::failed(format!("{} does not tell its models", told.place)).because(why.clone()));
            }
            return self.print(&[told]);
        }
        let servers = running::servers()?;
        let told: Vec<Told> = servers.into_iter().map(|server| ask(Some(server.pid), server.place)).collect();
        self.print(&told)
    }

    fn print(&self, servers: &[Told]) -> Result<(), Failure> {
        if self.json {
            return output::json(&servers.iter().map(Told::json).collect());
        }
        servers.iter().flat_map(Told::lines).try_for_each(|line| output::line(&line))
    }
}

impl Told {
    fn json(&self) -> Value {
        json!({
            "pid": self.pid,
            "place": self.place,
            "models": self.models.as_ref().ok(),
            "error": self.models.as_ref().err(),
        })
    }

    /// A line for each model: process, place, name, bytes, and until when it stays.
    fn lines(&self) -> Vec<String> {
        let pid = self.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let line = |rest: &str| format!("{pid}\t{}\t{rest}", self.place);
        match &self.models {
            Err(why) => vec![line(&format!("({why})"))],
            Ok(models) if models.is_empty() => vec![line("(no model is loaded)")],
            Ok(models) => models
                .iter()
                .map(|model| {
                    let text = |name: &str| model[name].as_str().unwrap_or_default().to_owned();
                    line(&format!("{}\t{}\t{}", text("name"), model["size"], text("expires_at")))
                })
                .collect(),
        }
    }
}
