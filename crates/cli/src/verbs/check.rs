//! `ballast check`: whether this machine is ready, as an exit code.

use crate::failure::Failure;
use crate::{environment, output};
use ballast::machine::Machine;
use clap::Args as ClapArgs;
use serde_json::{Value, json};
use std::path::Path;

/// Free memory below which even the default model is a squeeze.
const MEMORY_BYTES_MIN: u64 = 512 << 20;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// A model that must be on this machine and must be one that runs here.
    model: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
struct Finding {
    name: &'static str,
    is_ok: bool,
    detail: String,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut findings = vec![kernels(), memory(), data_dir(&environment::data_dir())];
        findings.extend(self.model.as_deref().map(model));
        let n_failed = findings.iter().filter(|finding| !finding.is_ok).count();
        if self.json {
            let list: Vec<Value> =
                findings.iter().map(|f| json!({ "name": f.name, "ok": f.is_ok, "detail": f.detail })).collect();
            output::json(&json!({ "ok": n_failed == 0, "checks": list }))?;
        } else {
            for Finding { name, is_ok, detail } in &findings {
                output::line(&format!("{}  {name}: {detail}", if *is_ok { "ok  " } else { "FAIL" }))?;
            }
        }
        match n_failed {
            0 => Ok(()),
            n => Err(Failure::failed(format!("{n} of {} checks failed", findings.len()))),
        }
    }
}

fn kernels() -> Finding {
    let machine = Machine::read();
    let detail = format!("{} on {} CPUs", machine.kernel_sets.first().unwrap_or(&"none"), machine.usable_cpus);
    Finding { name: "kernels", is_ok: !machine.kernel_sets.is_empty(), detail }
}

fn memory() -> Finding {
    let bytes = Machine::read().memory_bytes();
    let detail = bytes.map_or("cannot be read here".to_owned(), |bytes| format!("{} MB can be used", bytes >> 20));
    Finding { name: "memory", is_ok: bytes.is_none_or(|bytes| bytes >= MEMORY_BYTES_MIN), detail }
}

/// Whether models can be stored: a file is written and removed.
fn data_dir(dir: &Path) -> Finding {
    let probe = dir.join(format!(".check-{}", std::process::id()));
    let outcome = std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&probe, b"check"))
        .and_then(|()| std::fs::remove_file(&probe));
    let detail = match &outcome {
        Ok(()) => format!("{} can be written", dir.display()),
        Err(error) => format!("{}: {error}", dir.display()),
    };
    Finding { name: "data directory", is_ok: outcome.is_ok(), detail }
}

fn model(name: &str) -> Finding {
    let plan = || -> Result<String, Failure> {
        let located = crate::options::locate(name)?;
        let gguf = crate::options::open_gguf(located.path())?;
        let (_, plan) = ballast::wiring::model_plan(&gguf, &ballast::LoadOptions::default())?;
        Ok(format!("{} takes {} MB", located.path().display(), plan.total_bytes() >> 20))
    };
    match plan() {
        Ok(detail) => Finding { name: "model", is_ok: true, detail },
        Err(failure) => Finding { name: "model", is_ok: false, detail: failure.what },
    }
}
