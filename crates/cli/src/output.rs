//! Standard output: the answer and nothing else.

use crate::failure::Failure;
use std::io::{self, IsTerminal, Read, Write};

/// Most bytes read from standard input as a prompt or text.
const STDIN_BYTES_MAX: u64 = 64 << 20;

/// Writes text and shows it at once.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Writes a line.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    write(&format!("{text}\n"))
}

/// Writes a JSON value on a line of its own.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    line(&value.to_string())
}

/// Writes a note for the person at the terminal, to standard error. A closed standard error is no failure.
pub(crate) fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Reads standard input as text.
pub(crate) fn read_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    if io::stdin().is_terminal() {
        note("type the text, then Ctrl-D");
    }
    io::stdin()
        .lock()
        .take(STDIN_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::failed("standard input cannot be read as text").because(error.to_string()))?;
    if text.len() as u64 > STDIN_BYTES_MAX {
        return Err(Failure::failed(format!("standard input: expected at most {STDIN_BYTES_MAX} bytes, got more")));
    }
    Ok(text)
}
