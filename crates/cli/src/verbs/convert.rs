//! `ballast convert`: an encoder's folder, as the field's libraries keep it, to a GGUF file.

use crate::failure::Failure;
use crate::output;
use ballast::convert::{ConvertType, Converted, convert};
use clap::Args as ClapArgs;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// A folder with model.safetensors, config.json and tokenizer.json or vocab.txt; or the safetensors file in it.
    source: PathBuf,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// How matrices are stored.
    #[arg(long = "type", value_name = "TYPE", default_value = ConvertType::default().as_str(), value_parser = weight_type())]
    weight_type: ConvertType,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn weight_type() -> impl TypedValueParser<Value = ConvertType> {
    let named = |name: String| ConvertType::ALL.into_iter().find(|known| known.as_str() == name);
    PossibleValuesParser::new(ConvertType::ALL.map(ConvertType::as_str))
        .try_map(move |name| named(name).ok_or("expected one of the types"))
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let converted = convert(&self.source, &self.output, self.weight_type).map_err(ballast::Error::from)?;
        let Converted { n_tensors, n_left_out, n_tokens, n_bytes, config } = converted;
        if self.json {
            return output::json(&json!({
                "path": self.output, "bytes": n_bytes, "tensors": n_tensors, "left_out": n_left_out, "tokens": n_tokens,
                "pooling": config.pooling.as_str(), "embedding_length": config.embed_dim,
            }));
        }
        output::line(&format!(
            "{}\t{n_bytes} bytes\t{n_tensors} tensors\t{n_tokens} tokens\tpooling {}",
            self.output.display(),
            config.pooling.as_str()
        ))
    }
}
