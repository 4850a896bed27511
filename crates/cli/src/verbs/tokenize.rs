//! `ballast tokenize`: text to tokens. Needs a file's vocabulary only.

use crate::failure::Failure;
use crate::options::{LoadArgs, ModelArg, locate, open_gguf};
use crate::output;
use ballast::ReasonCode;
use ballast::TokenId;
use ballast::tokens::{EncodeOptions, Tokenizer, WordPiece};
use clap::Args as ClapArgs;
use serde_json::Value;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// The text [default: standard input].
    text: Option<String>,
    /// Add the tokens that the model wants around a prompt.
    #[arg(long)]
    add_special: bool,
    /// Read the names of control tokens in the text as those tokens.
    #[arg(long)]
    parse_special: bool,
    /// Print the ids as a JSON array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let gguf = open_gguf(locate(&self.model.model)?.path())?;
        let text = match &self.text {
            Some(text) => text.clone(),
            None => output::read_stdin()?,
        };
        if WordPiece::is_in(gguf.metadata()) {
            let vocabulary = WordPiece::from_gguf(gguf.metadata()).map_err(ballast::Error::from)?;
            let tokens = if self.add_special { vocabulary.single(&text).tokens } else { vocabulary.encode(&text) };
            return self.show(&tokens, |token| vocabulary.token_text(token));
        }
        let tokenizer = open(&self.model.model, &self.load)?;
        let options = EncodeOptions { add_special: self.add_special, parse_special: self.parse_special };
        let tokens = tokenizer.encode(&text, options);
        self.show(&tokens, |token| tokenizer.token_text(token))
    }

    fn show<'a>(&self, tokens: &[TokenId], text: impl Fn(TokenId) -> &'a str) -> Result<(), Failure> {
        if self.json {
            return output::json(&tokens.iter().map(|token| Value::from(token.0)).collect());
        }
        let lines: String = tokens.iter().map(|&token| format!("{token}\t{:?}\n", text(token))).collect();
        output::write(&lines)
    }
}

/// A model's tokenizer alone, with what was found about it told.
pub(crate) fn open(model: &str, load: &LoadArgs) -> Result<Tokenizer, Failure> {
    let gguf = open_gguf(locate(model)?.path())?;
    let (tokenizer, diagnostics) =
        Tokenizer::from_gguf(gguf.metadata(), &load.tokenizer_options()).map_err(ballast::Error::from)?;
    for finding in diagnostics.findings.iter().filter(|f| f.code() != ReasonCode::TokenizerVocabPartial) {
        output::note(&format!("note: {}: {finding}", finding.code()));
    }
    Ok(tokenizer)
}
