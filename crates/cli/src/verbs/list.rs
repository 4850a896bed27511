//! `ballast list`: the models on this machine.

use crate::failure::Failure;
use crate::{environment, output};
use ballast_store::Entry;
use clap::Args as ClapArgs;
use serde_json::{Value, json};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let entries = environment::store(true).list();
        if self.json {
            return output::json(&entries.iter().map(to_json).collect());
        }
        for Entry { name, model } in &entries {
            let megabytes = model.bytes().div_ceil(1_000_000);
            output::line(&format!("{name}\t{megabytes} MB\t{}", model.source.as_str()))?;
        }
        if entries.is_empty() {
            output::note("no models yet; try: ballast pull default");
        }
        Ok(())
    }
}

fn to_json(entry: &Entry) -> Value {
    let model = &entry.model;
    json!({
        "name": entry.name,
        "bytes": model.bytes(),
        "source": model.source.as_str(),
        "path": model.path(),
        "digest": model.digest().map(|digest| digest.to_string()),
    })
}
