//! Takes guards out of the runtime and the server, one at a time, and sees whether a test notices: `cargo xtask mutants`.
//!
//! The table names for every guard the text that is it and what stands there instead. It works on a copy of the
//! repository in the system's folder for temporary files, so that nothing here changes; the simulation lives a few
//! seeds of each mutant, then come the unit tests of the runtime and those over real threads. Engines for tensor
//! models, which live by their threads, are judged by their own tests; the server by its unit tests and those over real
//! sockets.

mod houses;
mod server;
mod supervised;
mod table;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

/// A guard and what is there without it.
struct Mutant {
    name: &'static str,
    /// Path from `crates/runtime/src`, or from the root where it begins with `crates`.
    file: &'static str,
    old: &'static str,
    new: &'static str,
}

impl Mutant {
    fn judge(&self) -> &'static Judge {
        let is_in = |places: [&str; 2]| places.iter().any(|place| self.file.starts_with(place));
        if self.file.starts_with(SERVER) {
            &OF_THE_SERVER
        } else if is_in(["supervised.rs", "supervised/"]) {
            &OF_SUPERVISED
        } else if is_in(["lifecycle", "instance_pool"]) {
            &OF_HOUSES
        } else {
            &OF_THE_RUNTIME
        }
    }

    fn path(&self) -> PathBuf {
        if self.file.starts_with(SERVER) { PathBuf::from(self.file) } else { Path::new(SOURCES).join(self.file) }
    }
}

/// Every guard.
fn table() -> impl Iterator<Item = &'static Mutant> {
    [table::TABLE, houses::TABLE, supervised::TABLE, server::TABLE].into_iter().flatten()
}

/// Where the guards of the runtime are.
const SOURCES: &str = "crates/runtime/src";
/// What the paths of the server's begin with.
const SERVER: &str = "crates/server/";
/// Simulated requests by which a mutant is judged.
const REQUESTS: &str = "16000";
/// Mutants are built for one run: that they are built soon counts for more than that they run fast.
const QUICK: &str = "profile.dev.package.ballast-runtime.opt-level=0";
/// Looks at a test run before it counts as hanging, and the time between them.
const LOOKS_MAX: u32 = 1200;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The tests by which a mutant is judged, in the order in which they are run: one that fails spares the rest.
struct Judge {
    package: &'static str,
    trials: &'static [Trial],
}

/// Tests that are built into one program.
struct Trial {
    /// What cargo is told to build.
    target: &'static [&'static str],
    /// What cargo says before the path of what it built.
    built: &'static str,
    /// What the program is told to run, one after the other.
    parts: &'static [&'static [&'static str]],
}

/// The simulation sees most, the unit tests what is rare in it, and the tests over real threads the rest.
static OF_THE_RUNTIME: Judge = Judge {
    package: "ballast-runtime",
    trials: &[
        Trial {
            target: &["--lib"],
            built: "Executable unittests src/lib.rs (",
            parts: &[&["simulation"], &["--skip", "simulation"]],
        },
        Trial { target: &["--test", "life"], built: "Executable tests/life.rs (", parts: &[&[]] },
    ],
};
/// The simulated house and the tests of its parts.
static OF_HOUSES: Judge = Judge {
    package: "ballast-runtime",
    trials: &[
        Trial {
            target: &["--lib"],
            built: "Executable unittests src/lib.rs (",
            parts: &[&["lifecycle::", "instance_pool::", "simulation::house"]],
        },
        Trial { target: &["--test", "pools"], built: "Executable tests/pools.rs (", parts: &[&[]] },
        Trial { target: &["--test", "lifecycle"], built: "Executable tests/lifecycle.rs (", parts: &[&[]] },
    ],
};
static OF_SUPERVISED: Judge = Judge {
    package: "ballast-runtime",
    trials: &[Trial { target: &["--test", "supervised"], built: "Executable tests/supervised.rs (", parts: &[&[]] }],
};
/// Unit tests, and those over real sockets that are about guards.
static OF_THE_SERVER: Judge = Judge {
    package: "ballast-server",
    trials: &[
        Trial { target: &["--lib"], built: "Executable unittests src/lib.rs (", parts: &[&[]] },
        Trial {
            target: &["--test", "server"],
            built: "Executable tests/server.rs (",
            parts: &[&[
                "connections::",
                "departures::",
                "guards::",
                "keys::",
                "limits::",
                "logins::",
                "on_demand::",
                "routes::",
                "tls::",
            ]],
        },
    ],
};
/// Killers that are named.
const KILLERS_SHOWN: usize = 3;

/// Checks that every guard of the table is in the sources exactly once: a line for each that is not.
///
/// # Errors
/// If a source cannot be read.
pub(crate) fn check(root: &Path) -> io::Result<Vec<String>> {
    let mut findings = Vec::new();
    for mutant in table() {
        let text = fs::read_to_string(root.join(mutant.path()))?;
        let n_found = text.matches(mutant.old).count();
        if n_found != 1 {
            findings.push(format!("{}: found {n_found} times in {}, expected once", mutant.name, mutant.file));
        }
        if table().filter(|other| other.name == mutant.name).count() > 1 {
            findings.push(format!("{}: the name is taken", mutant.name));
        }
    }
    Ok(findings)
}

/// Number of guards in the table.
pub(crate) fn n_mutants() -> usize {
    table().count()
}

/// Which mutants are lived.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    All,
    /// Those whose names contain this.
    Named(&'a str),
    /// Those after the one of this name: to go on where a run ended.
    After(&'a str),
}

impl Which<'_> {
    fn of(self) -> Vec<&'static Mutant> {
        match self {
            Self::All => table().collect(),
            Self::Named(part) => table().filter(|mutant| mutant.name.contains(part)).collect(),
            Self::After(name) => table().skip_while(|mutant| mutant.name != name).skip(1).collect(),
        }
    }
}

/// Lives mutants, and tells `say` of each. Whether all were killed.
///
/// # Errors
/// If the copy cannot be made, or cargo not be started.
pub(crate) fn run(root: &Path, which: Which<'_>, mut say: impl FnMut(&str)) -> io::Result<bool> {
    let copy = Copy::of(root)?;
    let mutants = which.of();
    for judge in [&OF_THE_RUNTIME, &OF_HOUSES, &OF_SUPERVISED, &OF_THE_SERVER] {
        let is_asked = mutants.iter().any(|mutant| std::ptr::eq(mutant.judge(), judge));
        let whole = if is_asked { copy.test(judge)? } else { Verdict::Survived };
        if whole != Verdict::Survived {
            say(&format!("the tests fail without any mutation: {}", whole.words()));
            return Ok(false);
        }
    }
    let mut all_killed = true;
    for mutant in mutants {
        let verdict = copy.with(mutant)?;
        all_killed &= matches!(verdict, Verdict::Killed(_) | Verdict::Hung);
        say(&format!("| {} | {} | {} |", mutant.name, mutant.file, verdict.words()));
    }
    Ok(all_killed)
}

/// What became of a mutant.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// By these tests.
    Killed(Vec<String>),
    /// The tests did not end.
    Hung,
    Survived,
    NotCompiled,
    NotFound,
}

impl Verdict {
    fn words(&self) -> String {
        match self {
            Self::Killed(by) if by.len() > KILLERS_SHOWN => {
                format!("killed by {} and {} more", by[..KILLERS_SHOWN].join(", "), by.len() - KILLERS_SHOWN)
            }
            Self::Killed(by) => format!("killed by {}", by.join(", ")),
            Self::Hung => "killed: the tests do not end".to_owned(),
            Self::Survived => "SURVIVED".to_owned(),
            Self::NotCompiled => "DOES NOT COMPILE".to_owned(),
            Self::NotFound => "NOT FOUND".to_owned(),
        }
    }
}

/// A copy of the repository.
struct Copy(PathBuf);

impl Copy {
    fn of(root: &Path) -> io::Result<Self> {
        let copy = std::env::temp_dir().join("ballast-mutants");
        let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output()?;
        for path in listed.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
            let path = Path::new(std::str::from_utf8(path).map_err(io::Error::other)?);
            let to = copy.join(path);
            fs::create_dir_all(to.parent().unwrap_or(&copy))?;
            // What is the same keeps its time, so that cargo does not build it again.
            let (text, before) = (fs::read(root.join(path))?, fs::read(&to).ok());
            if before.as_ref() != Some(&text) {
                fs::write(&to, text)?;
            }
        }
        Ok(Self(copy))
    }

    fn with(&self, mutant: &Mutant) -> io::Result<Verdict> {
        let path = self.0.join(mutant.path());
        let text = fs::read_to_string(&path)?;
        if text.matches(mutant.old).count() != 1 {
            return Ok(Verdict::NotFound);
        }
        fs::write(&path, text.replace(mutant.old, mutant.new))?;
        let verdict = self.test(mutant.judge());
        fs::write(&path, text)?;
        verdict
    }

    fn test(&self, judge: &Judge) -> io::Result<Verdict> {
        for trial in judge.trials {
            let verdict = self.stand(judge.package, trial)?;
            if verdict != Verdict::Survived {
                return Ok(verdict);
            }
        }
        Ok(Verdict::Survived)
    }

    fn stand(&self, package: &str, trial: &Trial) -> io::Result<Verdict> {
        let log = self.0.join("mutants.log");
        let build = ["test", "--package", package, "--no-run", "--config", QUICK];
        let built = self.run(Command::new("cargo").args(build).args(trial.target), &log, u32::MAX)?;
        if !built.is_some_and(|status| status.success()) {
            return Ok(Verdict::NotCompiled);
        }
        let said = fs::read_to_string(&log)?;
        let binary = said.lines().find_map(|line| line.trim().strip_prefix(trial.built)?.strip_suffix(')'));
        let binary = binary.ok_or_else(|| io::Error::other("cargo did not say what it built"))?;
        let binary = self.0.join(binary);
        for part in trial.parts {
            let tests =
                self.run(Command::new(&binary).args(*part).env("BALLAST_REQUESTS", REQUESTS), &log, LOOKS_MAX)?;
            let said = fs::read_to_string(&log)?;
            let failed = said.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
            match tests {
                None => return Ok(Verdict::Hung),
                Some(status) if status.success() => {}
                Some(_) => return Ok(Verdict::Killed(failed.map(str::to_owned).collect())),
            }
        }
        Ok(Verdict::Survived)
    }

    /// Runs a command, with what it says in `log`; `None`: it did not end.
    fn run(&self, command: &mut Command, log: &Path, looks_max: u32) -> io::Result<Option<ExitStatus>> {
        let log = File::create(log)?;
        command.current_dir(&self.0).env("RUST_BACKTRACE", "0").stdin(Stdio::null());
        let mut running = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        for _ in 0..looks_max {
            if let Some(status) = running.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(LOOK_EVERY);
        }
        running.kill()?;
        running.wait()?;
        Ok(None)
    }
}
