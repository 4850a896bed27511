//! What a tensor of the field's libraries is called in a GGUF file.

/// A tensor's name in the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) text: String,
    /// Whether its rows are looked up and added: such tensors stay F32.
    pub(super) is_table: bool,
}

const OF_MODEL: &[(&str, &str)] = &[
    ("embeddings.word_embeddings", "token_embd"),
    ("embeddings.position_embeddings", "position_embd"),
    ("embeddings.token_type_embeddings", "token_types"),
    ("embeddings.LayerNorm", "token_embd_norm"),
];

const OF_LAYER: &[(&str, &str)] = &[
    ("attention.self.query", "attn_q"),
    ("attention.self.key", "attn_k"),
    ("attention.self.value", "attn_v"),
    ("attention.output.dense", "attn_output"),
    ("attention.output.LayerNorm", "attn_output_norm"),
    ("intermediate.dense", "ffn_up"),
    ("output.dense", "ffn_down"),
    ("output.LayerNorm", "layer_output_norm"),
];

/// Layers are numbered with a few digits.
const LAYER_DIGITS_MAX: usize = 4;

impl Name {
    /// The name of a tensor in the file; `Some(None)`: nothing needs it; `None`: it is not known.
    ///
    /// What BERT calls its pooler is part of the classifier, where there is one, and of no use without.
    pub(super) fn of(name: &str, has_classifier: bool) -> Option<Option<Self>> {
        let name = name.strip_prefix("bert.").unwrap_or(name);
        if name == "embeddings.position_ids"
            || name.starts_with("cls.predictions.")
            || name.starts_with("cls.seq_relationship.")
        {
            return Some(None);
        }
        let (stem, kind) = name.rsplit_once('.')?;
        let kind = match kind {
            "weight" | "gamma" => "weight",
            "bias" | "beta" => "bias",
            _ => return None,
        };
        let classifier = |to: &str| has_classifier.then(|| to.to_owned());
        let to = match stem {
            "pooler.dense" => classifier("cls"),
            "classifier" => classifier("cls.output"),
            _ => Some(of_model(stem).or_else(|| of_layer(stem))?),
        };
        let is_table = |to: &str| ["position_embd", "token_types"].contains(&to);
        Some(to.map(|to| Self { is_table: is_table(&to), text: format!("{to}.{kind}") }))
    }
}

fn of_model(stem: &str) -> Option<String> {
    OF_MODEL.iter().find(|(from, _)| *from == stem).map(|(_, to)| (*to).to_owned())
}

fn of_layer(stem: &str) -> Option<String> {
    let (number, rest) = stem.strip_prefix("encoder.layer.")?.split_once('.')?;
    let is_number = (1..=LAYER_DIGITS_MAX).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let (_, to) = OF_LAYER.iter().find(|(from, _)| *from == rest && is_number)?;
    Some(format!("blk.{}.{to}", number.parse::<u32>().ok()?))
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn names_of_the_library_become_names_of_the_format() {
        let cases = [
            ("embeddings.word_embeddings.weight", Some(Some("token_embd.weight"))),
            ("bert.embeddings.LayerNorm.gamma", Some(Some("token_embd_norm.weight"))),
            ("bert.embeddings.LayerNorm.beta", Some(Some("token_embd_norm.bias"))),
            ("encoder.layer.11.attention.self.query.bias", Some(Some("blk.11.attn_q.bias"))),
            ("encoder.layer.0.output.LayerNorm.weight", Some(Some("blk.0.layer_output_norm.weight"))),
            ("embeddings.position_ids", Some(None)),
            ("cls.predictions.bias", Some(None)),
            ("pooler.dense.weight", Some(None)),
            ("encoder.layer.x.output.dense.weight", None),
            ("encoder.layer.99999.output.dense.weight", None),
            ("encoder.layer.1.output.dense.scale", None),
            ("lora.weight", None),
            ("weight", None),
        ];
        for (name, expected) in cases {
            let got = Name::of(name, false);
            assert_eq!(got.map(|to| to.map(|to| to.text)), expected.map(|to| to.map(str::to_owned)), "{name}");
        }
        assert_eq!(Name::of("bert.pooler.dense.bias", true).unwrap().unwrap().text, "cls.bias");
        assert_eq!(Name::of("classifier.weight", true).unwrap().unwrap().text, "cls.output.weight");
        assert!(Name::of("embeddings.position_embeddings.weight", true).unwrap().unwrap().is_table);
    }
}
