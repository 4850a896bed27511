//! `ballast detokenize`: tokens to text.

use super::tokenize;
use crate::failure::Failure;
use crate::options::{LoadArgs, ModelArg};
use crate::output;
use ballast::TokenId;
use ballast::tokens::ShowSpecial;
use clap::Args as ClapArgs;
use serde_json::json;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// Token ids, separated by commas.
    #[arg(long, value_delimiter = ',', required = true, value_name = "IDS")]
    ids: Vec<u32>,
    /// Show control tokens by name.
    #[arg(long)]
    show_special: bool,
    /// Print the text as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let tokenizer = tokenize::open(&self.model.model, &self.load)?;
        if let Some(id) = self.ids.iter().find(|&&id| id as usize >= tokenizer.vocab_size()) {
            let n = tokenizer.vocab_size();
            return Err(Failure::usage(format!("--ids: expected tokens below {n}, got {id}")));
        }
        let ids: Vec<_> = self.ids.iter().copied().map(TokenId).collect();
        let show_special = if self.show_special { ShowSpecial::Yes } else { ShowSpecial::No };
        let text = tokenizer.decode_lossy(&ids, show_special);
        if self.json { output::json(&json!({ "text": text })) } else { output::line(&text) }
    }
}
