//! `ballast logits`: what the model computes for given tokens.

use crate::failure::Failure;
use crate::options::{LoadArgs, ModelArg, open_gguf};
use crate::output;
use ballast::{TokenId, score, wiring};
use clap::Args as ClapArgs;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// Token ids, separated by commas.
    #[arg(long, value_delimiter = ',', required = true, value_name = "IDS")]
    ids: Vec<u32>,
    /// Logits after every token, not the last only.
    #[arg(long)]
    all: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let located = self.model.locate()?;
        let gguf = Arc::new(open_gguf(located.path())?);
        let mut engine = wiring::open_engine(located.path(), &gguf, &self.load.options()?)?;
        check(&self.ids, engine.shape().vocab_size, engine.shape().context_len)?;
        let ids: Vec<_> = self.ids.iter().copied().map(TokenId).collect();
        let last = ids.len() - 1;
        let mut rows: Vec<Vec<f32>> = Vec::new();
        let wants = |position| self.all || position == last;
        score::for_each_logits(engine.as_mut(), &ids, wants, |_, row| rows.push(row.to_vec()))?;
        if self.json {
            let rows: Vec<Value> = rows.into_iter().map(Value::from).collect();
            return output::json(&json!({ "ids": self.ids, "logits": rows }));
        }
        for row in rows {
            output::line(&top(&row))?;
        }
        Ok(())
    }
}

fn check(ids: &[u32], vocab_size: usize, context_len: usize) -> Result<(), Failure> {
    if ids.len() > context_len {
        let what = format!("--ids: expected at most {context_len} tokens, the context length, got {}", ids.len());
        return Err(Failure::usage(what).try_this("a larger --ctx-size"));
    }
    match ids.iter().find(|&&id| id as usize >= vocab_size) {
        Some(id) => Err(Failure::usage(format!("--ids: expected tokens below {vocab_size}, got {id}"))),
        None => Ok(()),
    }
}

/// The ten highest, for a person.
fn top(row: &[f32]) -> String {
    let mut ids: Vec<usize> = (0..row.len()).collect();
    ids.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
    ids.iter().take(10).map(|&id| format!("{id}:{:.4}", row[id])).collect::<Vec<_>>().join(" ")
}
