//! What a folder says about its model, checked, and in the words of the format.

use super::ConvertError;
use super::folder::Folder;
use ballast_gguf::{StringArray, Value};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Component, Path};

const CONFIG: &str = "config.json";
const MODULES: &str = "modules.json";

/// Labels of a classifier.
const N_LABELS_MAX: usize = 1 << 16;

/// The parts of `config.json` that matter; a file has many more.
#[derive(Debug, Deserialize)]
struct RawConfig {
    model_type: Option<String>,
    architectures: Option<Vec<String>>,
    hidden_act: Option<String>,
    position_embedding_type: Option<String>,
    is_decoder: Option<bool>,
    hidden_size: u32,
    intermediate_size: u32,
    layer_norm_eps: Option<f32>,
    max_position_embeddings: u32,
    num_attention_heads: u32,
    num_hidden_layers: u32,
    type_vocab_size: Option<u32>,
    vocab_size: u32,
    id2label: Option<BTreeMap<String, String>>,
}

/// One step of a sentence encoder.
#[derive(Debug, Deserialize)]
struct RawModule {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// How a sentence encoder pools.
#[derive(Debug, Default, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the file has them so")]
#[serde(default)]
struct RawPooling {
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_lasttoken: bool,
}

/// A BERT encoder's configuration.
#[derive(Debug)]
pub(super) struct Bert {
    raw: RawConfig,
    /// As the format numbers it; `None`: the folder does not say.
    pooling_type: Option<u32>,
    pub(super) vocab_size: usize,
    /// Labels of its classifier; 0: it has none.
    pub(super) n_labels: usize,
}

impl Bert {
    pub(super) fn read(folder: &Folder) -> Result<Self, ConvertError> {
        let raw: RawConfig = folder.json(CONFIG)?;
        let unsupported =
            |key, expected, got: &str| ConvertError::Unsupported { part: CONFIG, key, expected, got: got.to_owned() };
        let model_type = raw.model_type.as_deref().unwrap_or("none");
        if model_type != "bert" {
            return Err(unsupported("model_type", "bert", model_type));
        }
        let act = raw.hidden_act.as_deref().unwrap_or("gelu");
        if act != "gelu" {
            return Err(unsupported("hidden_act", "gelu", act));
        }
        let positions = raw.position_embedding_type.as_deref().unwrap_or("absolute");
        if positions != "absolute" {
            return Err(unsupported("position_embedding_type", "absolute", positions));
        }
        if raw.is_decoder == Some(true) {
            return Err(unsupported("is_decoder", "false", "true"));
        }
        let architecture = raw.architectures.iter().flatten().next().map_or("BertModel", String::as_str);
        let n_labels = match architecture {
            "BertModel" | "BertForMaskedLM" | "BertForPreTraining" => 0,
            // Without names there are two labels.
            "BertForSequenceClassification" => raw.id2label.as_ref().map_or(2, BTreeMap::len),
            other => return Err(unsupported("architectures", "BertModel or BertForSequenceClassification", other)),
        };
        if n_labels > N_LABELS_MAX {
            return Err(unsupported("id2label", "at most 65536 labels", &n_labels.to_string()));
        }
        let pooling_type = if n_labels > 0 { Some(4) } else { pooling_type(folder)? };
        let vocab_size = raw.vocab_size as usize;
        Ok(Self { raw, pooling_type, vocab_size, n_labels })
    }

    /// The keys of the format.
    pub(super) fn metadata(&self, name: &str, file_type: u32) -> Vec<(String, Value)> {
        let raw = &self.raw;
        let mut entries: Vec<(String, Value)> = vec![
            ("general.architecture".to_owned(), "bert".into()),
            ("general.type".to_owned(), "model".into()),
            ("general.name".to_owned(), name.into()),
            ("general.file_type".to_owned(), file_type.into()),
            ("general.quantization_version".to_owned(), 2_u32.into()),
            ("bert.block_count".to_owned(), raw.num_hidden_layers.into()),
            ("bert.context_length".to_owned(), raw.max_position_embeddings.into()),
            ("bert.embedding_length".to_owned(), raw.hidden_size.into()),
            ("bert.feed_forward_length".to_owned(), raw.intermediate_size.into()),
            ("bert.attention.head_count".to_owned(), raw.num_attention_heads.into()),
            ("bert.attention.layer_norm_epsilon".to_owned(), raw.layer_norm_eps.unwrap_or(1e-12).into()),
            ("bert.attention.causal".to_owned(), false.into()),
            ("tokenizer.ggml.token_type_count".to_owned(), raw.type_vocab_size.unwrap_or(2).into()),
        ];
        if let Some(pooling_type) = self.pooling_type {
            entries.push(("bert.pooling_type".to_owned(), pooling_type.into()));
        }
        if let Some(labels) = raw.id2label.as_ref().filter(|_| self.n_labels > 0) {
            // Numbers as text are not in the order of the numbers.
            let number = |label: &(&String, &String)| label.0.parse::<u32>().unwrap_or(u32::MAX);
            let mut labels: Vec<_> = labels.iter().collect();
            labels.sort_by_key(number);
            let labels: StringArray = labels.into_iter().map(|(_, label)| label.as_bytes()).collect();
            entries.push(("bert.classifier.output_labels".to_owned(), labels.into()));
        }
        entries
    }
}

/// How the folder's sentence encoder pools, as the format numbers it.
fn pooling_type(folder: &Folder) -> Result<Option<u32>, ConvertError> {
    let Some(modules) = folder.optional_json::<Vec<RawModule>>(MODULES)? else { return Ok(None) };
    let mut pooling_type = None;
    for module in &modules {
        let kind = module.kind.rsplit('.').next().unwrap_or_default();
        match kind {
            "Transformer" | "Normalize" => {}
            "Pooling" => pooling_type = Some(read_pooling(folder, &module.path)?),
            // A module that is left out would change every vector.
            other => {
                return Err(ConvertError::Unsupported {
                    part: MODULES,
                    key: "type",
                    expected: "Transformer, Pooling or Normalize",
                    got: other.to_owned(),
                });
            }
        }
    }
    Ok(pooling_type)
}

fn read_pooling(folder: &Folder, path: &str) -> Result<u32, ConvertError> {
    let unsupported =
        |key, expected, got: &str| ConvertError::Unsupported { part: MODULES, key, expected, got: got.to_owned() };
    let is_inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !is_inside {
        return Err(unsupported("path", "a folder inside", path));
    }
    let raw: RawPooling = folder.json(&format!("{path}/{CONFIG}"))?;
    let modes = [
        (raw.pooling_mode_mean_tokens, Some(1)),
        (raw.pooling_mode_cls_token, Some(2)),
        (raw.pooling_mode_lasttoken, Some(3)),
        (raw.pooling_mode_max_tokens, None),
        (raw.pooling_mode_mean_sqrt_len_tokens, None),
    ];
    let mut wanted = modes.into_iter().filter(|(is_wanted, _)| *is_wanted);
    match (wanted.next(), wanted.next()) {
        (Some((_, Some(pooling_type))), None) => Ok(pooling_type),
        (Some(_), _) => Err(unsupported("pooling", "one of mean, cls, last token", "another, or several")),
        (None, _) => Err(unsupported("pooling", "one of mean, cls, last token", "none")),
    }
}
