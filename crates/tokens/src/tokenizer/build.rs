//! From a file's tokenizer part to a checked [`Tokenizer`], with a report of everything found on the way.

use super::error::SUPPORTED_MODELS;
use super::merges::Merges;
use super::prefixes::PrefixIndex;
use super::roles::Roles;
use super::source::{TokenizerSource, keys};
use super::special::{SpecialTokens, Strip};
use super::vocabulary::{TokenKind, TokenTexts, Vocabulary};
use super::whole::WholePieces;
use super::{Algorithm, Tokenizer, TokenizerError, TokenizerOptions, byte_level};
use crate::diagnostics::{Finding, TokenizerDiagnostics, TokenizerMode};
use crate::pretokenizer::{CharClasses, PreTokenizer, PreTokenizerRule};
use ballast_backend::TokenId;
use ballast_gguf::Metadata;

/// The token-table fallback looks no further ahead than this.
const TABLE_TOKEN_BYTES_MAX: usize = 256;

/// A tokenizer always comes with its report.
type Built = (Tokenizer, TokenizerDiagnostics);

impl Tokenizer {
    /// Builds the tokenizer of a GGUF file.
    ///
    /// # Errors
    /// When a value has the wrong type, and as [`Tokenizer::new`].
    pub fn from_gguf(metadata: &Metadata, options: &TokenizerOptions) -> Result<Built, TokenizerError> {
        Tokenizer::new(&TokenizerSource::from_metadata(metadata)?, options)
    }

    /// Builds the tokenizer that `source` describes.
    ///
    /// # Errors
    /// When the file has no tokenizer, one of another kind, an unknown pre-tokenizer, or contradicts itself.
    pub fn new(source: &TokenizerSource<'_>, options: &TokenizerOptions) -> Result<Built, TokenizerError> {
        if source.tokens.is_empty() {
            return if options.allow_fallback {
                bytes_only()
            } else {
                Err(TokenizerError::MetadataMissing { key: keys::TOKENS })
            };
        }
        let model = source.model.ok_or(TokenizerError::MetadataMissing { key: keys::MODEL })?;
        if !SUPPORTED_MODELS.contains(&model) {
            return Err(TokenizerError::ModelUnsupported { model: model.to_owned() });
        }
        let mut findings = Vec::new();
        let rule = pre_tokenizer_rule(source, options, &mut findings)?;
        build(source, rule, findings)
    }
}

fn pre_tokenizer_rule(
    source: &TokenizerSource<'_>,
    options: &TokenizerOptions,
    findings: &mut Vec<Finding>,
) -> Result<PreTokenizerRule, TokenizerError> {
    let name = source.pre_tokenizer.unwrap_or_default();
    if let Some(rule) = PreTokenizerRule::from_name(name) {
        return Ok(rule);
    }
    if !options.allow_unknown_pretokenizer {
        return Err(TokenizerError::PreTokenizerUnknown { name: name.to_owned() });
    }
    findings.push(Finding::PreTokenizerUnknown { name: name.to_owned() });
    Ok(PreTokenizerRule::from_name(PreTokenizer::Gpt2.name()).expect("the main names are known"))
}

fn build(
    source: &TokenizerSource<'_>,
    rule: PreTokenizerRule,
    mut findings: Vec<Finding>,
) -> Result<Built, TokenizerError> {
    let texts = TokenTexts::new(&source.tokens)?;
    compare_lengths(source, &mut findings);
    let mut kinds = kinds(source);
    let roles = Roles::assign(&texts, &mut kinds, &source.special_ids, &mut findings);
    let add_bos = source.add_bos.unwrap_or(rule.add_bos);
    let add_eos = source.add_eos.unwrap_or(false);
    check_named(add_bos, roles.bos, keys::ADD_BOS, keys::BOS)?;
    check_named(add_eos, roles.eos, keys::ADD_EOS, keys::EOS)?;

    let (merges, n_outside) = Merges::new(&texts, source.merges.as_deref().unwrap_or_default());
    let n_merges = merges.n_merges();
    let n_bytes = utf8_bytes().filter(|byte| merges.byte_token(*byte).is_none()).count();
    if n_bytes > 0 {
        findings.push(Finding::BytesWithoutToken { n_bytes });
    }
    if n_outside > 0 {
        findings.push(Finding::MergesOutsideVocabulary { n_merges: n_outside });
    }
    let strips = strips(source, &texts, &kinds);
    let vocabulary = Vocabulary::new(texts, kinds);
    let (mode, algorithm) = if source.merges.is_some() {
        (TokenizerMode::GgufBpe, Algorithm::Merges(Box::new(merges)))
    } else {
        findings.extend([Finding::MergesMissing, Finding::FellBackToTokenTable]);
        (TokenizerMode::GgufTokenTable, Algorithm::Table(Box::new(table(&vocabulary))))
    };
    let diagnostics = TokenizerDiagnostics {
        mode,
        pre_tokenizer: Some(rule.pre_tokenizer),
        pre_tokenizer_name: source.pre_tokenizer.map(str::to_owned),
        vocab_size: vocabulary.len(),
        n_merges,
        findings,
    };
    let tokenizer = Tokenizer {
        special: SpecialTokens::new(&vocabulary, strips),
        whole: WholePieces::new(&vocabulary),
        vocabulary,
        algorithm,
        rule,
        classes: CharClasses::new(),
        roles,
        add_bos,
        add_eos,
    };
    Ok((tokenizer, diagnostics))
}

/// The fallback for a file without tokens: a vocabulary of the 256 bytes.
fn bytes_only() -> Result<Built, TokenizerError> {
    let spelling: Vec<String> = (0..=u8::MAX).map(|byte| byte_level::char_of_byte(byte).to_string()).collect();
    let source = TokenizerSource {
        tokens: spelling.iter().map(String::as_str).collect(),
        merges: Some(Vec::new()),
        ..TokenizerSource::default()
    };
    let rule = PreTokenizerRule { pre_tokenizer: PreTokenizer::Gpt2, ignore_merges: false, add_bos: false };
    let (tokenizer, mut diagnostics) = build(&source, rule, vec![Finding::TokensMissing, Finding::FellBackToBytes])?;
    diagnostics.mode = TokenizerMode::Bytes;
    diagnostics.pre_tokenizer = None;
    Ok((tokenizer, diagnostics))
}

fn compare_lengths(source: &TokenizerSource<'_>, findings: &mut Vec<Finding>) {
    let n_tokens = source.tokens.len();
    let shorter = |n: Option<usize>| n.filter(|n| *n < n_tokens);
    if let Some(n_types) = shorter(source.token_types.as_ref().map(Vec::len)) {
        findings.push(Finding::TokenTypesShort { n_types, n_tokens });
    }
    if let Some(n_scores) = shorter(source.n_scores) {
        findings.push(Finding::ScoresShort { n_scores, n_tokens });
    }
    if let Some(model_vocab_size) = source.model_vocab_size.filter(|size| *size > n_tokens) {
        findings.push(Finding::VocabularySmallerThanModel { n_tokens, model_vocab_size });
    }
}

fn kinds(source: &TokenizerSource<'_>) -> Vec<TokenKind> {
    let given = source.token_types.iter().flatten().map(|number| TokenKind::from_gguf(*number));
    given.chain(std::iter::repeat(TokenKind::Normal)).take(source.tokens.len()).collect()
}

fn check_named(add: bool, id: Option<TokenId>, flag: &'static str, key: &'static str) -> Result<(), TokenizerError> {
    if add && id.is_none() {
        return Err(TokenizerError::SpecialTokenMissing { flag, key });
    }
    Ok(())
}

/// The bytes that can occur in UTF-8 text.
fn utf8_bytes() -> impl Iterator<Item = u8> {
    (0..=0xf4).filter(|byte| !matches!(byte, 0xc0 | 0xc1))
}

fn table(vocabulary: &Vocabulary) -> PrefixIndex {
    let is_text = |id: &TokenId| matches!(vocabulary.kind(*id), TokenKind::Normal | TokenKind::Byte);
    PrefixIndex::new(vocabulary, vocabulary.ids().filter(is_text), TABLE_TOKEN_BYTES_MAX)
}

/// White space that tokens take with them. GGUF has no field for it; models are known by their names.
fn strips(source: &TokenizerSource<'_>, texts: &TokenTexts, kinds: &[TokenKind]) -> Vec<(TokenId, Strip)> {
    let name = source.model_name.unwrap_or_default().to_lowercase();
    let pre_tokenizer = source.pre_tokenizer.unwrap_or_default();
    let left = |text| texts.id_of(text).map(|id| (id, Strip { left: true, right: false })).into_iter().collect();
    if ["jina-v2-de", "jina-v2-es"].contains(&pre_tokenizer) {
        return left("<mask>");
    }
    if name.contains("modern-bert") {
        return left("[MASK]");
    }
    if !name.contains("phi-3") && !name.contains("phi3") {
        return Vec::new();
    }
    let keeps = ["<unk>", "<s>", "<|endoftext|>"];
    (0..)
        .map(TokenId)
        .zip(kinds)
        .filter(|(_, kind)| kind.is_special() || **kind == TokenKind::UserDefined)
        .filter(|(id, _)| !keeps.contains(&texts.text(*id)))
        .map(|(id, _)| (id, Strip { left: false, right: true }))
        .collect()
}
