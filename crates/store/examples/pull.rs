//! Brings a model here and says where it is: `cargo run -p ballast-store --example pull -- DIR NAME`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to the terminal")]
#![expect(clippy::disallowed_methods, reason = "an example is a main program: it reads the clock")]
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime};

use ballast_store::{Clock, Located, ModelName, Places, Progress, Store, StoreError};

/// A line per piece of work, and one per 16 MiB.
struct Lines {
    shown: u64,
}

impl Progress for Lines {
    fn start(&mut self, label: &str, total: Option<u64>) {
        self.shown = 0;
        eprintln!("{label}: {}", total.map_or("size not known".into(), |bytes| format!("{bytes} bytes")));
    }

    fn advance_to(&mut self, done: u64) {
        if done >> 24 != self.shown >> 24 {
            self.shown = done;
            eprintln!("  {done} bytes");
        }
    }

    fn finish(&mut self) {
        eprintln!("  done");
    }
}

fn pull(dir: &str, name: &str) -> Result<Located, StoreError> {
    let clock = Clock { now: Box::new(SystemTime::now), sleep: Box::new(std::thread::sleep) };
    let store = Store::new(Places::new(dir), clock);
    store.pull(&ModelName::parse(name)?, &mut Lines { shown: 0 }, &AtomicBool::new(false))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, name] = &args[..] else {
        eprintln!("usage: pull DIR NAME");
        return ExitCode::from(2);
    };
    let begun = Instant::now();
    match pull(dir, name) {
        Ok(located) => {
            let digest = located.digest().map_or_else(|| "not known".into(), |digest| digest.to_string());
            println!("{} ({}, sha256 {digest})", located.path().display(), located.source.as_str());
            eprintln!("{:.1} s", begun.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}\n{}\n{}", error.why(), error.next_step());
            ExitCode::FAILURE
        }
    }
}
