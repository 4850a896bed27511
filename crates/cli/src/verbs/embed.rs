//! `ballast embed`: texts to vectors.

use crate::failure::Failure;
use crate::options::{ModelArg, positive};
use crate::output;
use ballast::encoding::{EncodeRequest, Overlong, normalize};
use ballast::{Encoder, EncoderLoadOptions, Pooling};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args as ClapArgs, ValueEnum};
use std::io::{self, Write};

/// Texts that are sent to the engine at a time; as many as are read at once from standard input, too.
const TEXTS_EACH: usize = 256;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// The texts; `-`: one for each line of standard input.
    #[arg(required = true)]
    texts: Vec<String>,
    /// What to print.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// How token vectors become one [default: as the model's file says].
    #[arg(long, value_parser = pooling())]
    pooling: Option<Pooling>,
    /// Print vectors as the model gives them, not scaled to unit length.
    #[arg(long)]
    no_normalize: bool,
    /// Cut texts that are too long instead of refusing them.
    #[arg(long)]
    truncate: bool,
    /// Compute threads [default: the CPUs this process may use].
    #[arg(short = 't', long, value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    /// Kernel set [default: the best this CPU has; `ballast info` lists them].
    #[arg(long, value_name = "NAME")]
    kernels: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A line of JSON for each text: an array of numbers.
    Json,
    /// Little-endian 32-bit floats, one vector after another.
    Raw,
}

fn pooling() -> impl TypedValueParser<Value = Pooling> {
    // Scores of a classifier are no embedding.
    let names = [Pooling::None, Pooling::Mean, Pooling::Cls, Pooling::Last].map(Pooling::as_str);
    PossibleValuesParser::new(names).try_map(|name| Pooling::from_name(&name).ok_or("expected one of the poolings"))
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let path = self.model.locate()?;
        let options = EncoderLoadOptions {
            pooling: self.pooling,
            n_threads: self.threads,
            kernels: self.kernels.clone(),
            ..EncoderLoadOptions::default()
        };
        let encoder = Encoder::open(path.path(), &options)?;
        let texts = match self.texts.as_slice() {
            [dash] if dash == "-" => output::read_stdin()?.lines().map(str::to_owned).collect(),
            texts => texts.to_vec(),
        };
        texts.chunks(TEXTS_EACH).try_for_each(|texts| self.embed(&encoder, texts))
    }

    fn embed(&self, encoder: &Encoder, texts: &[String]) -> Result<(), Failure> {
        let overlong = if self.truncate { Overlong::Truncate { tokens_max: None } } else { Overlong::Refuse };
        let texts = texts.iter().map(|text| encoder.texts().text(text, overlong)).collect();
        for mut embedding in encoder.embed_raw(EncodeRequest { texts, ..EncodeRequest::default() })? {
            let dim = encoder.report().embed_dim;
            if !self.no_normalize {
                embedding.vector.chunks_exact_mut(dim).for_each(normalize);
            }
            let vector = &embedding.vector;
            match self.format {
                Format::Raw => write_raw(vector)?,
                // A vector for each token.
                Format::Json if encoder.report().shape.pooling == Pooling::None => {
                    output::line(&serde_json::to_string(&vector.chunks_exact(dim).collect::<Vec<_>>())?)?;
                }
                Format::Json => output::line(&serde_json::to_string(vector)?)?,
            }
        }
        Ok(())
    }
}

fn write_raw(vector: &[f32]) -> Result<(), Failure> {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    Ok(io::stdout().lock().write_all(&bytes)?)
}
