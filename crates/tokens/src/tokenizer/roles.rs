//! Which tokens have a part to play: begin and end of text, end of generation, and names that override the kind a
//! file gives. Files are often wrong about these; the names below are the ones llama.cpp goes by, so that generation
//! ends where users of the same file expect it.

use super::source::keys;
use super::vocabulary::{TokenKind, TokenTexts};
use crate::diagnostics::Finding;
use ballast_backend::TokenId;

/// Tokens that end generation wherever they are in a vocabulary. They are control tokens whatever the file says.
const END_OF_GENERATION: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// A token of fill-in-the-middle prompts: named by a key or found by text, and then a control token.
struct FillRole {
    key: &'static str,
    ends_generation: bool,
    names: &'static [&'static str],
}

const FILL_ROLES: &[FillRole] = &[
    FillRole {
        key: keys::FIM_PRE,
        ends_generation: false,
        names: &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ],
    },
    FillRole {
        key: keys::FIM_SUF,
        ends_generation: false,
        names: &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
    },
    FillRole {
        key: keys::FIM_MID,
        ends_generation: false,
        names: &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
    },
    FillRole {
        key: keys::FIM_PAD,
        ends_generation: true,
        names: &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
    },
    FillRole {
        key: keys::FIM_REP,
        ends_generation: true,
        names: &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"],
    },
    FillRole { key: keys::FIM_SEP, ends_generation: true, names: &["<|file_sep|>"] },
];

/// Channel markup that is always shown and always parsed.
const ALWAYS_TEXT: &[&str] = &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// The tokens that part a text whose middle is to be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FillTokens {
    /// Before the text that precedes the gap.
    pub prefix: TokenId,
    /// Before the text that follows it.
    pub suffix: TokenId,
    /// Where the model begins to fill it.
    pub middle: TokenId,
    /// Before the name of a repository, where the vocabulary has one.
    pub repository: Option<TokenId>,
    /// Before another file, where the vocabulary has one.
    pub file: Option<TokenId>,
}

/// The tokens with a part to play.
#[derive(Debug, Default)]
pub(crate) struct Roles {
    pub(crate) bos: Option<TokenId>,
    pub(crate) eos: Option<TokenId>,
    /// Sorted.
    pub(crate) end_of_generation: Vec<TokenId>,
    /// `None`: the vocabulary lacks one of the three that are needed.
    pub(crate) fill: Option<FillTokens>,
}

impl Roles {
    /// Reads the roles off ids and names, and corrects `kinds` by them.
    pub(crate) fn assign(
        texts: &TokenTexts,
        kinds: &mut [TokenKind],
        special_ids: &[(&'static str, u32)],
        findings: &mut Vec<Finding>,
    ) -> Roles {
        let ids = checked_ids(texts, special_ids, findings);
        let given = |key| ids.iter().find(|(known, _)| *known == key).map(|(_, id)| *id);
        let mut ends: Vec<TokenId> = [keys::EOS, keys::EOT, keys::EOM].into_iter().filter_map(given).collect();
        let mut filling: Vec<(&str, TokenId)> = Vec::new();
        for role in FILL_ROLES {
            let by_name = || {
                let id = role.names.iter().filter_map(|name| texts.id_of(name)).min()?;
                kinds[id.index()] = TokenKind::Control;
                Some(id)
            };
            let id = given(role.key).or_else(by_name);
            filling.extend(id.map(|id| (role.key, id)));
            ends.extend(id.filter(|_| role.ends_generation));
        }
        for id in END_OF_GENERATION.iter().filter_map(|name| texts.id_of(name)) {
            kinds[id.index()] = TokenKind::Control;
            ends.push(id);
        }
        for id in ALWAYS_TEXT.iter().filter_map(|name| texts.id_of(name)) {
            kinds[id.index()] = TokenKind::UserDefined;
        }
        drop_false_ends(texts, kinds, &mut ends);
        ends.sort_unstable();
        ends.dedup();
        Roles { bos: given(keys::BOS), eos: given(keys::EOS), end_of_generation: ends, fill: fill_tokens(&filling) }
    }
}

fn fill_tokens(filling: &[(&str, TokenId)]) -> Option<FillTokens> {
    let of = |key| filling.iter().find(|(known, _)| *known == key).map(|(_, id)| *id);
    Some(FillTokens {
        prefix: of(keys::FIM_PRE)?,
        suffix: of(keys::FIM_SUF)?,
        middle: of(keys::FIM_MID)?,
        repository: of(keys::FIM_REP),
        file: of(keys::FIM_SEP),
    })
}

/// The ids that are tokens; the others are reported and taken as not given.
fn checked_ids(
    texts: &TokenTexts,
    special_ids: &[(&'static str, u32)],
    findings: &mut Vec<Finding>,
) -> Vec<(&'static str, TokenId)> {
    let mut ids = Vec::new();
    for (key, id) in special_ids {
        if TokenId(*id).index() < texts.len() {
            ids.push((*key, TokenId(*id)));
        } else {
            findings.push(Finding::SpecialTokenOutOfRange { key, id: *id });
        }
    }
    ids
}

/// Two names mean an end in some vocabularies and not in others; the company they keep tells which.
fn drop_false_ends(texts: &TokenTexts, kinds: &mut [TokenKind], ends: &mut Vec<TokenId>) {
    let ending = |name: &str| texts.id_of(name).filter(|id| ends.contains(id));
    let has_call = ending("<|call|>").or(ending("<|calls|>")).is_some();
    let has_return = ending("<|return|>").is_some() || ending("<|flush|>").is_some();
    let end = ending("<|end|>").filter(|_| has_call && has_return);
    let is_plain_s = ending("<|tool_response>").or(ending("<|plamo:eos|>")).is_some();
    let s = ending("</s>").filter(|_| is_plain_s);
    if let Some(id) = end {
        kinds[id.index()] = TokenKind::UserDefined;
    }
    if let Some(id) = s {
        kinds[id.index()] = TokenKind::Normal;
    }
    ends.retain(|id| Some(*id) != end && Some(*id) != s);
}
