//! `ballast bench constraint`: what it costs to keep an answer to a schema. The mask of every token of real answers is
//! made again and timed; the same model's speed with the schema and without it is told beside it, which shows how much
//! of the masks' time is hidden behind the engine's.

use super::figure::significant;
use super::statistics::Spread;
use super::table::Table;
use super::{Format, print};
use crate::failure::Failure;
use crate::options::{LoadArgs, ModelArg};
use crate::verbs::tokenize;
use ballast::tokens::{Constraint, GrammarCompiler, SamplingParams, Tokenizer};
use ballast::{Answer, Engine, Generate, SystemClock};
use ballast_backend::{Clock, TokenId};
use clap::Args as ClapArgs;
use serde_json::{Value, json};
use std::sync::Arc;

/// Prompts and schemas as programs send them: flat, nested, of one of several kinds, recursive, and any JSON.
const CASES: [(&str, &str, &str); 5] = [
    (
        "flat object",
        "Describe the city of Lyon.",
        r#"{"type":"object","properties":{"name":{"type":"string","maxLength":60},"country":{"type":"string","maxLength":60},"inhabitants":{"type":"integer","minimum":0},"river":{"type":["string","null"],"maxLength":60}},"required":["name","country","inhabitants","river"],"additionalProperties":false}"#,
    ),
    (
        "nested lists",
        "Write a shopping list of a family for a week.",
        r#"{"type":"object","properties":{"days":{"type":"array","minItems":3,"maxItems":7,"items":{"type":"object","properties":{"day":{"enum":["Monday","Tuesday","Wednesday","Thursday","Friday","Saturday","Sunday"]},"items":{"type":"array","minItems":1,"maxItems":5,"items":{"type":"object","properties":{"what":{"type":"string","maxLength":30},"pieces":{"type":"integer","minimum":1,"maximum":99}},"required":["what","pieces"],"additionalProperties":false}}},"required":["day","items"],"additionalProperties":false}}},"required":["days"],"additionalProperties":false}"#,
    ),
    (
        "one of three",
        "Draw something with a shape.",
        r#"{"oneOf":[{"type":"object","properties":{"kind":{"const":"circle"},"radius":{"type":"number","minimum":0}},"required":["kind","radius"],"additionalProperties":false},{"type":"object","properties":{"kind":{"const":"square"},"side":{"type":"number","minimum":0}},"required":["kind","side"],"additionalProperties":false},{"type":"object","properties":{"kind":{"const":"text"},"text":{"type":"string","maxLength":80}},"required":["kind","text"],"additionalProperties":false}]}"#,
    ),
    (
        "tree",
        "Write a table of contents.",
        r##"{"$ref":"#/$defs/part","$defs":{"part":{"type":"object","properties":{"title":{"type":"string","maxLength":40},"parts":{"type":"array","maxItems":3,"items":{"$ref":"#/$defs/part"}}},"required":["title","parts"],"additionalProperties":false}}}"##,
    ),
    ("any object", "Write an example of a JSON object.", r#"{"type":"object"}"#),
];

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// Answers of each kind.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Most tokens of an answer.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 128)]
    generate: usize,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print one JSON object; the same as --format json.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
}

/// What was measured of one schema, a sample for each round.
#[derive(Debug, Default)]
struct Samples {
    /// Seconds for a mask, the mean over an answer's tokens.
    mask: Vec<f64>,
    /// Seconds for the mask of an answer that took longest.
    slowest: Vec<f64>,
    /// Tokens a second under the schema.
    kept: Vec<f64>,
    /// Tokens a second without it.
    free: Vec<f64>,
}

impl Args {
    pub(super) fn run(self) -> Result<(), Failure> {
        let tokenizer = Arc::new(tokenize::open(&self.model.model, &self.load)?);
        let engine = self.load.load(&self.model.model)?;
        let house = House { compiler: GrammarCompiler::new(Arc::clone(&tokenizer)), tokenizer, engine };
        let mut told = Vec::new();
        for (name, prompt, schema) in CASES {
            let schema = serde_json::from_str(schema).expect("the schemas here are JSON");
            told.push((name, house.samples(prompt, &Constraint::JsonSchema(schema), &self)?));
        }
        let name = &house.engine.report().model_name;
        let caption = format!("{name}, medians of {} answers of at most {} tokens", self.rounds, self.generate);
        let json =
            json!({ "model": name, "rounds": self.rounds, "schemas": told.iter().map(to_json).collect::<Vec<_>>() });
        print(self.format.or_json(self.json), &json, &caption, &table(&told))
    }
}

struct House {
    compiler: GrammarCompiler,
    tokenizer: Arc<Tokenizer>,
    engine: Engine,
}

impl House {
    fn samples(&self, prompt: &str, constraint: &Constraint, args: &Args) -> Result<Samples, Failure> {
        let mut samples = Samples::default();
        for round in 0..args.rounds {
            let sampling = SamplingParams { seed: Some(round.into()), ..Generate::default().sampling };
            let ask = Generate { sampling, max_tokens: Some(args.generate), ..Generate::chat(prompt) };
            let kept = Generate { constraint: Some(constraint.clone()), ..ask.clone() };
            let kept = self.engine.generate(&kept)?;
            // As many tokens, so that both stand as deep in their context.
            let free = Generate { max_tokens: Some(kept.tokens.len()), ignore_eos: true, ..ask };
            let free = self.engine.generate(&free)?;
            let rate = |answer: &Answer| answer.timings.decode_tokens_per_second(answer.usage);
            samples.kept.extend(rate(&kept));
            samples.free.extend(rate(&free));
            let tokens: Vec<TokenId> = kept.tokens.iter().map(|token| token.id).collect();
            let times = self.masks(constraint, &tokens)?;
            samples.mask.push(times.iter().sum::<f64>() / times.len().max(1) as f64);
            samples.slowest.push(times.iter().copied().fold(0.0, f64::max));
        }
        Ok(samples)
    }

    /// Seconds for the mask of each token of an answer.
    fn masks(&self, constraint: &Constraint, tokens: &[TokenId]) -> Result<Vec<f64>, Failure> {
        let clock = SystemClock::start();
        let grammar = self.compiler.compile(constraint).map_err(|error| Failure::failed(error.to_string()))?;
        let mut matcher = grammar.matcher(self.tokenizer.vocab_size());
        let mut times = Vec::with_capacity(tokens.len());
        for token in tokens {
            let begin = clock.now();
            let made = matcher.prepare();
            times.push((clock.now() - begin).as_secs_f64());
            made.and_then(|()| matcher.advance(*token)).map_err(|error| Failure::failed(error.to_string()))?;
        }
        Ok(times)
    }
}

fn table(told: &[(&str, Samples)]) -> Table {
    let mut table =
        Table::new(&["schema", "mask, µs a token", "slowest mask, µs", "decode, tokens/s", "without, tokens/s"]);
    let cell = |samples: &[f64], scale: f64| {
        Spread::of(samples).map_or("not measured".to_owned(), |spread| significant(spread.median * scale))
    };
    for (name, samples) in told {
        table.rows.push(vec![
            (*name).to_owned(),
            cell(&samples.mask, 1e6),
            cell(&samples.slowest, 1e6),
            cell(&samples.kept, 1.0),
            cell(&samples.free, 1.0),
        ]);
    }
    table
}

fn to_json((name, samples): &(&str, Samples)) -> Value {
    json!({
        "schema": name,
        "mask_seconds": samples.mask,
        "slowest_mask_seconds": samples.slowest,
        "decode_tokens_per_second": samples.kept,
        "decode_tokens_per_second_without": samples.free,
    })
}

#[cfg(test)]
mod tests {
    use super::{CASES, Samples, table};
    use serde_json::Value;

    #[test]
    fn what_was_not_measured_is_called_so() {
        let samples = Samples { mask: vec![3e-6, 1e-6, 2e-6], slowest: vec![1e-3], kept: vec![50.0], free: vec![] };
        let row = &table(&[("a", samples)]).rows[0];
        assert_eq!(row[1..], ["2.00", "1000", "50.0", "not measured"]);
    }

    #[test]
    fn the_schemas_are_json() {
        assert!(CASES.iter().all(|(_, _, schema)| serde_json::from_str::<Value>(schema).is_ok()));
    }
}
