//! `ballast show`: what a model is.

use super::facts::{model_facts, to_text};
use crate::failure::Failure;
use crate::options::{LoadArgs, ModelArg, open_gguf};
use crate::output;
use clap::Args as ClapArgs;
use serde_json::{Value, json};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// Print the chat template instead.
    #[arg(long, conflicts_with = "json")]
    template: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let located = self.model.locate()?;
        let gguf = open_gguf(located.path())?;
        if self.template {
            let template = gguf.metadata().string("tokenizer.chat_template").map_err(ballast::Error::from)?;
            return output::line(template.ok_or_else(|| Failure::failed("the model has no chat template"))?);
        }
        let mut facts = model_facts(&gguf, &self.load.options()?)?;
        facts.insert("path".into(), json!(located.path()));
        facts.insert("source".into(), json!(located.source.as_str()));
        facts.insert("digest".into(), json!(located.digest().map(|digest| digest.to_string())));
        if self.json { output::json(&Value::Object(facts)) } else { output::write(&to_text(&facts, 0)) }
    }
}
