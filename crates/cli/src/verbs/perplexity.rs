//! `ballast perplexity`: how well a model predicts a text.

use crate::failure::Failure;
use crate::options::{LoadArgs, ModelArg, open_gguf, read_text};
use crate::{output, progress};
use ballast::tokens::{PromptFormat, Tokenizer};
use ballast::{score, wiring};
use clap::Args as ClapArgs;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// The text.
    #[arg(short = 'f', long, value_name = "FILE")]
    file: PathBuf,
    /// Tokens in a window; the second half of each is scored.
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    context: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let text = read_text(&self.file)?;
        let located = self.model.locate()?;
        let gguf = Arc::new(open_gguf(located.path())?);
        let (tokenizer, _) =
            Tokenizer::from_gguf(gguf.metadata(), &self.load.tokenizer_options()).map_err(ballast::Error::from)?;
        let mut options = self.load.options()?;
        options.context_len = Some(self.context);
        let mut engine = wiring::open_engine(located.path(), &gguf, &options)?;
        let context_len = engine.shape().context_len;
        if context_len < self.context {
            let what = format!("--context: expected at most {context_len}, got {}", self.context);
            return Err(Failure::usage(what));
        }
        let bos = if tokenizer.adds_bos() { tokenizer.bos() } else { None };
        let tokens = PromptFormat::new(Arc::new(tokenizer), None).text(&text);
        let bar = progress::steps("perplexity", tokens.len() / context_len);
        let show = |done: usize, _| bar.set_position(done as u64);
        let result = score::perplexity(engine.as_mut(), &tokens, context_len, bos, show)?;
        bar.finish_and_clear();
        if self.json {
            return output::json(&json!({
                "perplexity": result.perplexity,
                "error": result.error,
                "n_scored": result.n_scored,
                "n_windows": result.n_windows,
                "context": context_len,
            }));
        }
        output::line(&format!("{:.4} +/- {:.4} ({} tokens)", result.perplexity, result.error, result.n_scored))
    }
}
