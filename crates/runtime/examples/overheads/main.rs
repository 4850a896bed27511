//! What the runtime costs beside the work itself, measured on this machine.
//!
//!     cargo run --release -p ballast-runtime --example overheads [-- --json]
//!
//! Each part of the runtime has a module with `measure`, which adds rows to the table; a new part is a line in `PARTS`.
//! Times are of single calls, the clock read twice included; the first row says what that is.

mod buffers;
mod confine;
mod decisions;
mod table;

use ballast_backend::Clock;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use table::Table;

/// Measures one part of the runtime.
type Part = fn(&mut Table, &SystemClock);

/// Everything that is measured, in the order of the table.
const PARTS: &[Part] = &[table::measure, confine::measure, decisions::measure, buffers::measure];

/// Time since the program began.
#[derive(Clone, Copy)]
struct SystemClock(Instant);

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

fn main() -> ExitCode {
    let is_json = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--json" => true,
        other => {
            let told = writeln!(std::io::stderr(), "overheads: expected nothing or --json, got {other:?}");
            return if told.is_ok() { ExitCode::from(2) } else { ExitCode::FAILURE };
        }
    };
    #[expect(clippy::disallowed_methods, reason = "a measurement begins with the time")]
    let clock = SystemClock(Instant::now());
    let mut table = Table::default();
    for measure in PARTS {
        measure(&mut table, &clock);
    }
    let text = if is_json { table.json() } else { table.text() };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
