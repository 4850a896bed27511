//! `ballast info`: the machine, what would be used of it, and a model's memory plan on it.

use super::facts::{model_facts, to_text};
use crate::failure::Failure;
use crate::options::{LoadArgs, locate, open_gguf};
use crate::{environment, output};
use ballast::machine::Machine;
use ballast::wiring;
use clap::Args as ClapArgs;
use serde_json::{Map, Value, json};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// A model to plan for.
    model: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let options = self.load.options()?;
        let mut facts = machine_facts();
        if let Some(model) = &self.model {
            let gguf = open_gguf(locate(model)?.path())?;
            facts.insert("model".into(), Value::Object(model_facts(&gguf, &options)?));
        }
        if self.json { output::json(&Value::Object(facts)) } else { output::write(&to_text(&facts, 0)) }
    }
}

fn machine_facts() -> Map<String, Value> {
    let machine = Machine::read();
    let mut facts = Map::new();
    facts.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
    facts.insert("target".into(), json!(format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)));
    facts.insert("cpu".into(), json!(machine.cpu_model));
    facts.insert("usable_cpus".into(), json!(machine.usable_cpus));
    facts.insert("kernels_in_use".into(), json!(machine.kernel_sets.first()));
    facts.insert("kernels_available".into(), json!(machine.kernel_sets));
    facts.insert("accelerators".into(), json!(wiring::accelerators()));
    facts.insert("memory_available_bytes".into(), json!(machine.memory_available_bytes));
    facts.insert("memory_limit_bytes".into(), json!(machine.memory_limit_bytes));
    facts.insert("data_directory".into(), json!(environment::data_dir()));
    facts.insert("compile_cache_directory".into(), json!(environment::compile_cache_dir()));
    facts
}
