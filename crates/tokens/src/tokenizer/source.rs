//! What a tokenizer is made from, as a file gives it: borrowed, unchecked, in no other form.

use super::TokenizerError;
use ballast_gguf::{Metadata, StringArray, Value};

/// The tokenizer part of a model file.
#[derive(Clone, Debug, Default)]
pub struct TokenizerSource<'a> {
    /// `tokenizer.ggml.model`
    pub model: Option<&'a str>,
    /// `tokenizer.ggml.pre`
    pub pre_tokenizer: Option<&'a str>,
    /// `general.name`: some models' tokens strip white space, and only the name tells.
    pub model_name: Option<&'a str>,
    /// `tokenizer.ggml.tokens`, by id.
    pub tokens: Vec<&'a str>,
    /// `tokenizer.ggml.token_type`, by id.
    pub token_types: Option<Vec<i32>>,
    /// The length of `tokenizer.ggml.scores`, which BPE does not use.
    pub n_scores: Option<usize>,
    /// `tokenizer.ggml.merges`, in rank order, each two token texts with a space between.
    pub merges: Option<Vec<&'a str>>,
    /// `{arch}.vocab_size`
    pub model_vocab_size: Option<usize>,
    /// `tokenizer.ggml.add_bos_token`
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.*_token_id`: the ids given, each with its key.
    pub special_ids: Vec<(&'static str, u32)>,
}

impl<'a> TokenizerSource<'a> {
    /// The tokenizer part of a GGUF file's metadata.
    ///
    /// # Errors
    /// When a value has the wrong type or a token is not text.
    pub fn from_metadata(metadata: &'a Metadata) -> Result<TokenizerSource<'a>, TokenizerError> {
        let mut special_ids = Vec::new();
        for key in keys::IDS {
            special_ids.extend(metadata.u32(key)?.map(|id| (*key, id)));
        }
        let n_scores = match metadata.get(keys::SCORES) {
            Some(Value::Array(scores)) => Some(scores.len()),
            _ => None,
        };
        Ok(TokenizerSource {
            model: metadata.string(keys::MODEL)?,
            pre_tokenizer: metadata.string(keys::PRE)?,
            model_name: metadata.string("general.name")?,
            tokens: texts(metadata, keys::TOKENS)?.unwrap_or_default(),
            token_types: metadata.i32s(keys::TOKEN_TYPES)?.map(<[i32]>::to_vec),
            n_scores,
            merges: texts(metadata, keys::MERGES)?,
            model_vocab_size: model_vocab_size(metadata)?,
            add_bos: metadata.bool(keys::ADD_BOS)?,
            add_eos: metadata.bool(keys::ADD_EOS)?,
            special_ids,
        })
    }
}

fn texts<'a>(metadata: &'a Metadata, key: &'static str) -> Result<Option<Vec<&'a str>>, TokenizerError> {
    let Some(strings) = metadata.strings(key)? else { return Ok(None) };
    let text = |(idx, text): (usize, Result<&'a str, _>)| text.map_err(|_| TokenizerError::TextNotUtf8 { key, idx });
    StringArray::strs(strings).enumerate().map(text).collect::<Result<_, _>>().map(Some)
}

fn model_vocab_size(metadata: &Metadata) -> Result<Option<usize>, TokenizerError> {
    let Some(arch) = metadata.string("general.architecture")? else { return Ok(None) };
    let size = metadata.u32(&format!("{arch}.vocab_size"))?;
    Ok(size.map(|size| size as usize))
}

/// The metadata keys that BPE tokenizers use.
pub(crate) mod keys {
    pub(crate) const MODEL: &str = "tokenizer.ggml.model";
    pub(crate) const TOKENS: &str = "tokenizer.ggml.tokens";
    pub(crate) const PRE: &str = "tokenizer.ggml.pre";
    pub(crate) const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
    pub(crate) const SCORES: &str = "tokenizer.ggml.scores";
    pub(crate) const MERGES: &str = "tokenizer.ggml.merges";
    pub(crate) const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
    pub(crate) const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
    pub(crate) const BOS: &str = "tokenizer.ggml.bos_token_id";
    pub(crate) const EOS: &str = "tokenizer.ggml.eos_token_id";
    pub(crate) const EOT: &str = "tokenizer.ggml.eot_token_id";
    pub(crate) const EOM: &str = "tokenizer.ggml.eom_token_id";
    pub(crate) const FIM_PRE: &str = "tokenizer.ggml.fim_pre_token_id";
    pub(crate) const FIM_SUF: &str = "tokenizer.ggml.fim_suf_token_id";
    pub(crate) const FIM_MID: &str = "tokenizer.ggml.fim_mid_token_id";
    pub(crate) const FIM_PAD: &str = "tokenizer.ggml.fim_pad_token_id";
    pub(crate) const FIM_REP: &str = "tokenizer.ggml.fim_rep_token_id";
    pub(crate) const FIM_SEP: &str = "tokenizer.ggml.fim_sep_token_id";

    pub(crate) const IDS: &[&str] = &[BOS, EOS, EOT, EOM, FIM_PRE, FIM_SUF, FIM_MID, FIM_PAD, FIM_REP, FIM_SEP];
}

#[cfg(test)]
mod tests {
    use super::{TokenizerError, TokenizerSource, keys};
    use ballast_gguf::{GgufError, Metadata, StringArray, Value};

    fn strings(texts: &[&[u8]]) -> Value {
        texts.iter().collect::<StringArray>().into()
    }

    fn metadata(entries: Vec<(&str, Value)>) -> Metadata {
        Metadata::new(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()).unwrap()
    }

    #[test]
    fn every_key_is_read() {
        let metadata = metadata(vec![
            (keys::MODEL, "gpt2".into()),
            (keys::PRE, "smollm".into()),
            (keys::TOKENS, strings(&[b"a", "\u{120}b".as_bytes()])),
            (keys::TOKEN_TYPES, vec![1_i32, 3].into()),
            (keys::SCORES, vec![0.0_f32; 7].into()),
            (keys::MERGES, strings(&[b"a b"])),
            (keys::ADD_BOS, true.into()),
            (keys::ADD_EOS, false.into()),
            (keys::EOS, 1_u32.into()),
            ("general.architecture", "llama".into()),
            ("general.name", "Tiny".into()),
            ("llama.vocab_size", 2_u32.into()),
        ]);
        let source = TokenizerSource::from_metadata(&metadata).unwrap();
        assert_eq!(
            (source.model, source.pre_tokenizer, source.model_name),
            (Some("gpt2"), Some("smollm"), Some("Tiny"))
        );
        assert_eq!((source.tokens, source.merges), (vec!["a", "Ġb"], Some(vec!["a b"])));
        assert_eq!((source.token_types, source.n_scores), (Some(vec![1, 3]), Some(7)));
        assert_eq!((source.add_bos, source.add_eos), (Some(true), Some(false)));
        assert_eq!((source.special_ids, source.model_vocab_size), (vec![(keys::EOS, 1)], Some(2)));
    }

    #[test]
    fn an_empty_file_has_an_empty_tokenizer_part() {
        let metadata = Metadata::default();
        let source = TokenizerSource::from_metadata(&metadata).unwrap();
        assert!(source.tokens.is_empty() && source.merges.is_none() && source.special_ids.is_empty());
    }

    #[test]
    fn values_of_another_type_and_bytes_that_are_not_text_are_refused() {
        for key in [keys::MODEL, keys::TOKENS, keys::TOKEN_TYPES, keys::MERGES, keys::ADD_BOS, keys::BOS] {
            let wrong = metadata(vec![(key, 1.5_f32.into())]);
            let error = TokenizerSource::from_metadata(&wrong).unwrap_err();
            assert!(matches!(error, TokenizerError::Metadata(GgufError::WrongType { .. })), "{key}: {error}");
        }
        let bytes = metadata(vec![(keys::TOKENS, strings(&[b"a", b"\xff"]))]);
        let error = TokenizerSource::from_metadata(&bytes).unwrap_err();
        assert!(matches!(error, TokenizerError::TextNotUtf8 { idx: 1, .. }), "{error}");
    }
}
