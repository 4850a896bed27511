//! What there is to say about a model file without loading it.

use crate::failure::Failure;
use ballast::gguf::Gguf;
use ballast::tokens::{Tokenizer, TokenizerOptions};
use ballast::{LoadOptions, wiring};
use serde_json::{Map, Value, json};

/// A model's facts, each a name and a value: for `show` and `info`.
pub(crate) fn model_facts(gguf: &Gguf, options: &LoadOptions) -> Result<Map<String, Value>, Failure> {
    let metadata = gguf.metadata();
    let text = |key: &str| metadata.string(key).ok().flatten();
    let mut facts = Map::new();
    facts.insert("name".into(), json!(text("general.name")));
    facts.insert("architecture".into(), json!(text("general.architecture")));
    facts.insert("license".into(), json!(text("general.license")));
    let types = wiring::tensor_types(gguf);
    facts.insert("parameters".into(), json!(types.values().sum::<u64>()));
    facts.insert("tensor_types".into(), json!(types));
    facts.insert("file_bytes".into(), json!(gguf.file_bytes()));
    facts.insert("chat_template".into(), json!(text("tokenizer.chat_template").is_some()));
    facts.insert("tokenizer".into(), tokenizer_facts(gguf, &options.tokenizer));
    facts.insert("runs".into(), json!(true));
    match wiring::model_plan(gguf, options) {
        Ok((shape, plan)) => {
            let context = json!({ "trained": wiring::trained_context_len(gguf)?, "planned": shape.context_len });
            facts.insert("context".into(), context);
            facts.insert("vocab_size".into(), json!(shape.vocab_size));
            let memory = json!({
                "weights_bytes": plan.weights_bytes,
                "mapped_bytes": plan.mapped_bytes,
                "kv_bytes": plan.kv_bytes,
                "scratch_bytes": plan.scratch_bytes,
                "total_bytes": plan.total_bytes(),
            });
            facts.insert("memory".into(), memory);
        }
        Err(error) => {
            facts.insert("runs".into(), json!(false));
            facts.insert("why_not".into(), json!(error.to_string()));
        }
    }
    Ok(facts)
}

fn tokenizer_facts(gguf: &Gguf, options: &TokenizerOptions) -> Value {
    match Tokenizer::from_gguf(gguf.metadata(), options) {
        Ok((_, found)) => json!({
            "mode": found.mode.as_str(),
            "pre_tokenizer": found.pre_tokenizer_name,
            "n_tokens": found.vocab_size,
            "n_merges": found.n_merges,
            "findings": found.findings.iter()
                .map(|finding| json!({ "code": finding.code().as_str(), "detail": finding.to_string() }))
                .collect::<Vec<_>>(),
        }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// Facts as indented lines for a person.
pub(crate) fn to_text(facts: &Map<String, Value>, indent: usize) -> String {
    let mut text = String::new();
    for (name, value) in facts {
        let name = name.replace('_', " ");
        match value {
            Value::Null => {}
            Value::Object(inner) => {
                text += &format!("{:indent$}{name}:\n{}", "", to_text(inner, indent + 2));
            }
            Value::String(value) => text += &format!("{:indent$}{name}: {value}\n", ""),
            Value::Array(values) if values.is_empty() => {}
            Value::Number(_) if name.ends_with("bytes") => {
                let megabytes = value.as_f64().unwrap_or_default() / 1e6;
                let name = name.trim_end_matches(" bytes");
                text += &format!("{:indent$}{name}: {megabytes:.1} MB\n", "");
            }
            Value::Array(_) | Value::Bool(_) | Value::Number(_) => text += &format!("{:indent$}{name}: {value}\n", ""),
        }
    }
    text
}
