//! The vocabulary of a folder: `tokenizer.json`, or else `vocab.txt`; and its words in the spelling of the format.

use super::ConvertError;
use super::folder::Folder;
use ballast_gguf::{StringArray, Value};
use serde::Deserialize;
use std::collections::BTreeMap;

const TOKENIZER: &str = "tokenizer.json";
const VOCAB: &str = "vocab.txt";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// What BERT's vocabularies put in front of a piece that goes on, and the format in front of one that begins a word.
const GOES_ON: &str = "##";
const BEGINS: char = '\u{2581}';
/// The format's numbers for kinds of tokens.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const UNUSED: i32 = 5;

/// The tokens with a part to play, and the keys that name them.
const ROLES: [(&str, &[&str]); 5] = [
    ("[PAD]", &["tokenizer.ggml.padding_token_id"]),
    ("[UNK]", &["tokenizer.ggml.unknown_token_id"]),
    ("[CLS]", &["tokenizer.ggml.cls_token_id", "tokenizer.ggml.bos_token_id"]),
    ("[SEP]", &["tokenizer.ggml.seperator_token_id"]),
    ("[MASK]", &["tokenizer.ggml.mask_token_id"]),
];

#[derive(Debug, Deserialize)]
struct RawTokenizer {
    model: RawModel,
    normalizer: Option<RawNormalizer>,
    #[serde(default)]
    added_tokens: Vec<RawAdded>,
}

#[derive(Debug, Deserialize)]
struct RawModel {
    #[serde(rename = "type")]
    kind: Option<String>,
    continuing_subword_prefix: Option<String>,
    vocab: BTreeMap<String, u32>,
}

#[derive(Debug, Deserialize)]
struct RawNormalizer {
    #[serde(rename = "type")]
    kind: String,
    lowercase: Option<bool>,
    strip_accents: Option<bool>,
    clean_text: Option<bool>,
    handle_chinese_chars: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct RawAdded {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawTokenizerConfig {
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
}

/// Tokens in the folder's spelling, by id.
#[derive(Debug)]
pub(super) struct Vocabulary {
    tokens: Vec<String>,
    is_control: Vec<bool>,
    /// Rows of the embedding; those behind the last token have no name.
    vocab_size: usize,
    lowercase: bool,
    strip_accents: bool,
}

impl Vocabulary {
    /// Reads the vocabulary of a model with so many rows in its embedding.
    pub(super) fn read(folder: &Folder, vocab_size: usize) -> Result<Self, ConvertError> {
        let mut vocabulary = if folder.has(TOKENIZER) {
            Self::of_tokenizer(folder.json(TOKENIZER)?, vocab_size)?
        } else {
            Self::of_lines(&folder.text(VOCAB)?, &folder.optional_json(TOKENIZER_CONFIG)?.unwrap_or_default())
        };
        let n_tokens = vocabulary.tokens.len();
        if n_tokens > vocab_size {
            let got = format!("{n_tokens} for {vocab_size} rows");
            return Err(ConvertError::Vocabulary { expected: "no more tokens than rows of the embedding", got });
        }
        vocabulary.vocab_size = vocab_size;
        Ok(vocabulary)
    }

    /// Reads a vocabulary without a model.
    pub(super) fn of_file(folder: &Folder, name: &str) -> Result<Self, ConvertError> {
        let mut vocabulary = Self::of_tokenizer(folder.json(name)?, usize::MAX)?;
        vocabulary.vocab_size = vocabulary.tokens.len();
        Ok(vocabulary)
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    fn of_tokenizer(raw: RawTokenizer, vocab_size: usize) -> Result<Self, ConvertError> {
        let unsupported = |key, expected, got: &str| ConvertError::Unsupported {
            part: TOKENIZER,
            key,
            expected,
            got: got.to_owned(),
        };
        let kind = raw.model.kind.as_deref().unwrap_or("WordPiece");
        if kind != "WordPiece" {
            return Err(unsupported("model.type", "WordPiece", kind));
        }
        let prefix = raw.model.continuing_subword_prefix.as_deref().unwrap_or(GOES_ON);
        if prefix != GOES_ON {
            return Err(unsupported("model.continuing_subword_prefix", GOES_ON, prefix));
        }
        let normalizer = raw.normalizer.ok_or_else(|| unsupported("normalizer", "BertNormalizer", "none"))?;
        if normalizer.kind != "BertNormalizer" {
            return Err(unsupported("normalizer.type", "BertNormalizer", &normalizer.kind));
        }
        for (key, is_wanted) in [
            ("normalizer.clean_text", normalizer.clean_text),
            ("normalizer.handle_chinese_chars", normalizer.handle_chinese_chars),
        ] {
            if is_wanted == Some(false) {
                return Err(unsupported(key, "true", "false"));
            }
        }
        let added = raw.added_tokens.iter().map(|added| (added.content.clone(), added.id));
        let all: BTreeMap<String, u32> = raw.model.vocab.into_iter().chain(added).collect();
        let outside = |id: u32| ConvertError::Vocabulary {
            expected: "every id once, from 0 on",
            got: format!("{id} among {} tokens", all.len()),
        };
        if all.len() > vocab_size {
            return Err(outside(u32::try_from(all.len()).unwrap_or(u32::MAX)));
        }
        let mut tokens = vec![None; all.len()];
        for (token, id) in &all {
            let place = tokens.get_mut(*id as usize).ok_or_else(|| outside(*id))?;
            if place.replace(token.clone()).is_some() {
                return Err(outside(*id));
            }
        }
        let tokens: Vec<String> = tokens.into_iter().flatten().collect();
        let mut is_control = vec![false; tokens.len()];
        for added in raw.added_tokens.iter().filter(|added| added.special) {
            is_control[added.id as usize] = true;
        }
        let lowercase = normalizer.lowercase.unwrap_or(true);
        let strip_accents = normalizer.strip_accents.unwrap_or(lowercase);
        Ok(Self { tokens, is_control, vocab_size, lowercase, strip_accents })
    }

    fn of_lines(text: &str, config: &RawTokenizerConfig) -> Self {
        let tokens: Vec<String> = text.lines().map(str::to_owned).collect();
        let is_control = tokens.iter().map(|token| ROLES.iter().any(|(name, _)| name == token)).collect();
        let lowercase = config.do_lower_case.unwrap_or(true);
        let strip_accents = config.strip_accents.unwrap_or(lowercase);
        Self { vocab_size: tokens.len(), tokens, is_control, lowercase, strip_accents }
    }

    /// The keys of the format.
    pub(super) fn metadata(&self) -> Vec<(String, Value)> {
        let spelled = |(token, is_control): (&String, &bool)| match token.strip_prefix(GOES_ON) {
            _ if *is_control => token.clone(),
            Some(rest) => rest.to_owned(),
            None => format!("{BEGINS}{token}"),
        };
        let nameless = self.tokens.len()..self.vocab_size;
        let tokens = self.tokens.iter().zip(&self.is_control).map(spelled);
        let tokens = tokens.chain(nameless.clone().map(|id| format!("[PAD{id}]")));
        let kinds = self.is_control.iter().map(|is_control| if *is_control { CONTROL } else { NORMAL });
        let kinds: Vec<i32> = kinds.chain(nameless.map(|_| UNUSED)).collect();
        let mut entries: Vec<(String, Value)> = vec![
            ("tokenizer.ggml.model".to_owned(), "bert".into()),
            ("tokenizer.ggml.pre".to_owned(), "default".into()),
            ("tokenizer.ggml.tokens".to_owned(), tokens.map(String::into_bytes).collect::<StringArray>().into()),
            ("tokenizer.ggml.token_type".to_owned(), kinds.into()),
            ("tokenizer.ggml.normalizer.lowercase".to_owned(), self.lowercase.into()),
            ("tokenizer.ggml.normalizer.strip_accents".to_owned(), self.strip_accents.into()),
        ];
        for (name, keys) in ROLES {
            let id = self.tokens.iter().position(|token| token == name).and_then(|id| u32::try_from(id).ok());
            entries.extend(id.into_iter().flat_map(|id| keys.iter().map(move |key| ((*key).to_owned(), id.into()))));
        }
        entries
    }
}
