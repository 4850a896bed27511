//! The whole tokenizer over small vocabularies.

use super::{EncodeOptions, ShowSpecial, Tokenizer, TokenizerError, TokenizerOptions, TokenizerSource, byte_level};
use crate::diagnostics::{Finding, TokenizerDiagnostics, TokenizerMode};
use crate::pretokenizer::PreTokenizer;
use ballast_backend::{ReasonCode, TokenId};
use proptest::prelude::*;

const MERGES: &[&str] = &["a b", "ab c", "Ġ ab", "1 2"];
const SPECIAL: &[(&str, i32)] = &[("<s>", 3), ("<|im_end|>", 3), ("<tool>", 4), ("<unk>", 2)];
const BOS: u32 = 260;
const IM_END: u32 = 261;
const TOOL: u32 = 262;

/// 256 bytes (id = byte), four merges, four special tokens.
struct File {
    tokens: Vec<String>,
    types: Vec<i32>,
}

impl File {
    fn new() -> File {
        let bytes = (0..=u8::MAX).map(|byte| byte_level::char_of_byte(byte).to_string());
        let merged = MERGES.iter().map(|rule| rule.replace(' ', ""));
        let special = SPECIAL.iter().map(|(text, _)| (*text).to_owned());
        let tokens: Vec<String> = bytes.chain(merged).chain(special).collect();
        let mut types = vec![1; tokens.len() - SPECIAL.len()];
        types.extend(SPECIAL.iter().map(|(_, number)| number));
        File { tokens, types }
    }

    fn source(&self) -> TokenizerSource<'_> {
        TokenizerSource {
            model: Some("gpt2"),
            pre_tokenizer: Some("gpt-2"),
            tokens: self.tokens.iter().map(String::as_str).collect(),
            token_types: Some(self.types.clone()),
            merges: Some(MERGES.to_vec()),
            special_ids: vec![("tokenizer.ggml.bos_token_id", BOS), ("tokenizer.ggml.eos_token_id", BOS)],
            ..TokenizerSource::default()
        }
    }
}

fn build(change: impl FnOnce(&mut TokenizerSource<'_>)) -> Result<(Tokenizer, TokenizerDiagnostics), TokenizerError> {
    build_with(TokenizerOptions::default(), change)
}

fn build_with(
    options: TokenizerOptions,
    change: impl FnOnce(&mut TokenizerSource<'_>),
) -> Result<(Tokenizer, TokenizerDiagnostics), TokenizerError> {
    let file = File::new();
    let mut source = file.source();
    change(&mut source);
    Tokenizer::new(&source, &options)
}

fn encode(tokenizer: &Tokenizer, text: &str, add_special: bool, parse_special: bool) -> Vec<u32> {
    tokenizer.encode(text, EncodeOptions { add_special, parse_special }).iter().map(|id| id.0).collect()
}

#[test]
fn a_complete_file_has_no_findings() {
    let (tokenizer, diagnostics) = build(|_| {}).unwrap();
    assert_eq!(diagnostics.findings, []);
    assert_eq!((diagnostics.mode, diagnostics.n_merges), (TokenizerMode::GgufBpe, 4));
    assert_eq!(diagnostics.pre_tokenizer, Some(PreTokenizer::Gpt2));
    assert_eq!((tokenizer.vocab_size(), diagnostics.vocab_size), (264, 264));
}

#[test]
fn text_becomes_the_tokens_of_its_merges() {
    let (tokenizer, _) = build(|_| {}).unwrap();
    assert_eq!(encode(&tokenizer, "abc ab 12", false, false), [257, 258, 32, 259]);
    assert_eq!(encode(&tokenizer, "", true, true), [] as [u32; 0]);
}

#[test]
fn control_tokens_are_read_only_when_asked_for_and_user_defined_ones_always() {
    let (tokenizer, _) = build(|_| {}).unwrap();
    assert_eq!(encode(&tokenizer, "<s>ab<tool>", false, true), [BOS, 256, TOOL]);
    let plain = encode(&tokenizer, "<s>ab<tool>", false, false);
    assert_eq!(plain, [u32::from(b'<'), u32::from(b's'), u32::from(b'>'), 256, TOOL]);
}

#[test]
fn begin_and_end_tokens_follow_the_file_then_the_pre_tokenizer() {
    struct Case {
        pre: &'static str,
        add_bos: Option<bool>,
        add_eos: Option<bool>,
        expected: &'static [u32],
    }
    let cases = [
        Case { pre: "gpt-2", add_bos: None, add_eos: None, expected: &[256] },
        Case { pre: "gpt-2", add_bos: Some(true), add_eos: Some(true), expected: &[BOS, 256, BOS] },
        Case { pre: "llama-bpe", add_bos: None, add_eos: None, expected: &[BOS, 256] },
        Case { pre: "llama-bpe", add_bos: Some(false), add_eos: None, expected: &[256] },
    ];
    for Case { pre, add_bos, add_eos, expected } in cases {
        let (tokenizer, _) = build(|source| {
            source.pre_tokenizer = Some(pre);
            source.add_bos = add_bos;
            source.add_eos = add_eos;
        })
        .unwrap();
        assert_eq!(encode(&tokenizer, "ab", true, false), expected, "{pre} {add_bos:?} {add_eos:?}");
        assert_eq!(encode(&tokenizer, "ab", false, false), [256]);
    }
}

#[test]
fn whole_pieces_are_taken_where_the_rule_says_so() {
    let merges = |source: &mut TokenizerSource<'_>| source.merges = Some(vec!["1 2"]);
    let (llama, _) = build(|source| (merges(source), source.pre_tokenizer = Some("llama-bpe")).0).unwrap();
    assert_eq!(encode(&llama, "abc", false, false), [257]);
    let (qwen, _) = build(|source| (merges(source), source.pre_tokenizer = Some("qwen2")).0).unwrap();
    assert_eq!(encode(&qwen, "abc", false, false), [97, 98, 99]);
}

#[test]
fn special_tokens_decode_to_nothing_unless_shown() {
    let (tokenizer, _) = build(|_| {}).unwrap();
    let ids = [TokenId(BOS), TokenId(258), TokenId(TOOL), TokenId(u32::MAX)];
    assert_eq!(tokenizer.decode_lossy(&ids, ShowSpecial::No), " ab<tool>");
    assert_eq!(tokenizer.decode_lossy(&ids, ShowSpecial::Yes), "<s> ab<tool>");
    assert!(tokenizer.is_special(TokenId(BOS)) && !tokenizer.is_special(TokenId(TOOL)));
    assert_eq!((tokenizer.token_text(TokenId(258)), tokenizer.id_of("Ġab")), ("Ġab", Some(TokenId(258))));
}

#[test]
fn generation_ends_with_the_ids_given_and_the_names_known() {
    let (tokenizer, _) = build(|_| {}).unwrap();
    assert_eq!(tokenizer.end_of_generation_ids(), [TokenId(BOS), TokenId(IM_END)]);
    assert!(tokenizer.is_end_of_generation(TokenId(IM_END)) && !tokenizer.is_end_of_generation(TokenId(97)));
}

#[test]
fn a_known_end_is_a_control_token_whatever_the_file_says() {
    let (tokenizer, _) = build(|source| source.token_types = Some(vec![1; 264])).unwrap();
    assert!(tokenizer.is_special(TokenId(IM_END)));
    assert_eq!(encode(&tokenizer, "<|im_end|>", false, true), [IM_END]);
}

#[test]
fn harmony_files_do_not_end_with_a_message() {
    let names = ["<|return|>", "<|call|>", "<|end|>"];
    let (tokenizer, _) = build(|source| source.tokens.extend(names)).unwrap();
    let ends = names.map(|name| tokenizer.is_end_of_generation(tokenizer.id_of(name).unwrap()));
    assert_eq!(ends, [true, true, false]);
}

#[test]
fn what_is_missing_is_refused_or_reported() {
    type Change = fn(&mut TokenizerSource<'_>);
    let cases: [(&str, Change, Finding); 6] = [
        ("types", |s| s.token_types = Some(vec![1; 5]), Finding::TokenTypesShort { n_types: 5, n_tokens: 264 }),
        ("scores", |s| s.n_scores = Some(7), Finding::ScoresShort { n_scores: 7, n_tokens: 264 }),
        (
            "size",
            |s| s.model_vocab_size = Some(300),
            Finding::VocabularySmallerThanModel { n_tokens: 264, model_vocab_size: 300 },
        ),
        ("byte", |s| s.tokens[5] = "x x", Finding::BytesWithoutToken { n_bytes: 1 }),
        ("merge", |s| s.merges.as_mut().unwrap().push("q q"), Finding::MergesOutsideVocabulary { n_merges: 1 }),
        (
            "id",
            |s| s.special_ids.push(("tokenizer.ggml.eot_token_id", 999)),
            Finding::SpecialTokenOutOfRange { key: "tokenizer.ggml.eot_token_id", id: 999 },
        ),
    ];
    for (name, change, expected) in cases {
        let (_, diagnostics) = build(change).unwrap();
        assert_eq!(diagnostics.findings, [expected], "{name}");
        assert!(diagnostics.has(ReasonCode::TokenizerVocabPartial), "{name}");
    }
}

#[test]
fn without_merges_the_token_table_is_matched_and_reported() {
    let (tokenizer, diagnostics) = build(|source| source.merges = None).unwrap();
    assert_eq!(diagnostics.mode, TokenizerMode::GgufTokenTable);
    assert!(diagnostics.has(ReasonCode::TokenizerMergesMissing));
    assert!(diagnostics.has(ReasonCode::TokenizerFallbackTokenTableOnly));
    assert_eq!(encode(&tokenizer, "abc abx", false, false), [257, 258, 120]);
}

#[test]
fn without_tokens_bytes_are_used_only_if_allowed() {
    let refused = build(|source| source.tokens.clear()).unwrap_err();
    assert_eq!(refused.reason(), Some(ReasonCode::TokenizerGgufMetadataMissing));
    let allowed = TokenizerOptions { allow_fallback: true, ..TokenizerOptions::default() };
    let (tokenizer, diagnostics) = build_with(allowed, |source| source.tokens.clear()).unwrap();
    assert_eq!((diagnostics.mode, diagnostics.pre_tokenizer), (TokenizerMode::Bytes, None));
    assert!(diagnostics.has(ReasonCode::TokenizerGgufMetadataMissing));
    assert!(diagnostics.has(ReasonCode::TokenizerFallbackByteBpe));
    assert_eq!(encode(&tokenizer, "é!", true, true), [0xc3, 0xa9, 0x21]);
}

#[test]
fn an_unknown_pre_tokenizer_is_refused_unless_allowed_and_then_reported() {
    for name in [Some("tekken"), Some("default"), None] {
        let refused = build(|source| source.pre_tokenizer = name).unwrap_err();
        assert_eq!(refused.reason(), Some(ReasonCode::TokenizerPreTokenizerUnknown));
        let allowed = TokenizerOptions { allow_unknown_pretokenizer: true, ..TokenizerOptions::default() };
        let (_, diagnostics) = build_with(allowed, |source| source.pre_tokenizer = name).unwrap();
        let name = name.unwrap_or_default().to_owned();
        assert_eq!(diagnostics.findings, [Finding::PreTokenizerUnknown { name }]);
    }
}

#[test]
fn files_of_another_kind_or_that_contradict_themselves_are_refused() {
    let model = build(|source| source.model = Some("llama")).unwrap_err();
    assert!(model.to_string().contains("gpt2"), "{model}");
    assert!(matches!(build(|source| source.model = None), Err(TokenizerError::MetadataMissing { .. })));
    let twice = build(|source| source.tokens[3] = "a").unwrap_err();
    assert!(matches!(twice, TokenizerError::DuplicateToken { first: TokenId(3), second: TokenId(97) }), "{twice}");
    let bos = build(|source| (source.special_ids.clear(), source.add_bos = Some(true)).0).unwrap_err();
    assert!(matches!(bos, TokenizerError::SpecialTokenMissing { .. }), "{bos}");
}

#[test]
fn phi3_special_tokens_take_the_white_space_after_them() {
    let (tokenizer, _) = build(|source| source.model_name = Some("Phi-3 mini")).unwrap();
    assert_eq!(encode(&tokenizer, "<|im_end|> \n ab<s> 12", false, true), [IM_END, 256, BOS, 32, 259]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn decoding_undoes_encoding(text in "(\\PC|[ab12 \n\r\t'<s>]|<tool>){0,300}", table: bool) {
        let (tokenizer, _) = build(|source| if table { source.merges = None }).unwrap();
        let ids = tokenizer.encode(&text, EncodeOptions::default());
        prop_assert_eq!(tokenizer.decode_lossy(&ids, ShowSpecial::No), text);
    }

    #[test]
    fn the_cache_changes_nothing(words in prop::collection::vec("[abc12 ]{1,6}", 1..200)) {
        let (tokenizer, _) = build(|_| {}).unwrap();
        let text = words.concat();
        let whole = tokenizer.encode(&text, EncodeOptions::default());
        let by_piece: Vec<TokenId> = crate::pretokenizer::pieces(PreTokenizer::Gpt2, &tokenizer.classes, &text)
            .flat_map(|piece| tokenizer.encode(piece, EncodeOptions::default()))
            .collect();
        prop_assert_eq!(whole, by_piece);
    }
}
