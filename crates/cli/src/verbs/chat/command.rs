//! What a line that begins with a slash does in a chat.

use ballast::ChatSession;
use std::str::FromStr;

const HELP: &str = "\
/help                  this list
/clear                 forget every turn, keep the system message
/system TEXT           set the system message; without TEXT, remove it
/history               show the turns so far
/save FILE             write the turns to FILE as JSON
/temperature T         0 takes the most likely token
/max-tokens N          bound the answers; 0 for no bound
/seed N                the same seed gives the same answer
/stats                 show or hide timings
/quit                  end the chat";

/// A line with a slash, split at the first space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    name: String,
    rest: String,
}

/// What came of a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Said(String),
    Quit,
}

impl Command {
    /// A command, or `None` for a message. Two slashes begin a message that starts with one.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let line = line.trim().strip_prefix('/').filter(|rest| !rest.starts_with('/'))?;
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        Some(Self { name: name.to_owned(), rest: rest.trim().to_owned() })
    }

    pub(super) fn run(&self, session: &mut ChatSession, show_stats: &mut bool) -> Outcome {
        let said = match self.name.as_str() {
            "quit" | "exit" | "bye" => return Outcome::Quit,
            "help" | "?" => Ok(HELP.to_owned()),
            "clear" => {
                session.clear();
                Ok("forgotten".to_owned())
            }
            "system" => {
                session.set_system(&self.rest);
                Ok(if self.rest.is_empty() { "system message removed" } else { "system message set" }.to_owned())
            }
            "history" => Ok(history(session)),
            "save" => save(session, &self.rest),
            "temperature" => self.number().map(|t: f32| session.settings_mut().sampling.temperature = t).map(done),
            "max-tokens" => {
                self.number().map(|n: usize| session.settings_mut().max_tokens = (n > 0).then_some(n)).map(done)
            }
            "seed" => self.number().map(|seed| session.settings_mut().sampling.seed = Some(seed)).map(done),
            "stats" => {
                *show_stats = !*show_stats;
                Ok(format!("timings are {}", if *show_stats { "shown" } else { "hidden" }))
            }
            other => Err(format!("no command /{other}; /help lists them")),
        };
        Outcome::Said(said.unwrap_or_else(|error| error))
    }

    fn number<T: FromStr>(&self) -> Result<T, String> {
        self.rest.parse().map_err(|_| format!("/{}: expected a number, got {:?}", self.name, self.rest))
    }
}

fn done(_: ()) -> String {
    "set".to_owned()
}

fn history(session: &ChatSession) -> String {
    let turns: Vec<_> = session.history().iter().map(|turn| format!("{}: {}", turn.role, turn.content)).collect();
    if turns.is_empty() { "nothing said yet".to_owned() } else { turns.join("\n") }
}

fn save(session: &ChatSession, file: &str) -> Result<String, String> {
    if file.is_empty() {
        return Err("/save: expected a file name".to_owned());
    }
    let turns: serde_json::Value = session
        .history()
        .iter()
        .map(|turn| serde_json::json!({ "role": turn.role, "content": turn.content }))
        .collect();
    std::fs::write(file, format!("{turns:#}\n")).map_err(|error| format!("/save: {file}: {error}"))?;
    Ok(format!("{} turns written to {file}", session.history().len()))
}

#[cfg(test)]
mod tests {
    use super::Command;

    #[test]
    fn a_slash_makes_a_command_and_two_make_a_message() {
        let command = |name: &str, rest: &str| Some(Command { name: name.into(), rest: rest.into() });
        assert_eq!(Command::parse("/clear"), command("clear", ""));
        assert_eq!(Command::parse(" /system  be brief "), command("system", "be brief"));
        assert_eq!(Command::parse("hello /clear"), None);
        assert_eq!(Command::parse("//etc"), None);
    }
}
