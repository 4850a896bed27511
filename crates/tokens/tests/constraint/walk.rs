//! A text, taken through a grammar token by token.

use ballast_backend::TokenId;
use ballast_testkit::tiny_tokenizer;
use ballast_tokens::{Constraint, Grammar, GrammarCompiler, GrammarMatcher, ShowSpecial, Tokenizer};
use std::sync::{Arc, LazyLock};

/// A tokenizer, and a compiler for it that all tests share.
static HOUSE: LazyLock<(Arc<Tokenizer>, GrammarCompiler)> = LazyLock::new(|| {
    let tokenizer = tiny_tokenizer();
    (Arc::clone(&tokenizer), GrammarCompiler::new(tokenizer))
});

pub(crate) fn tokenizer() -> &'static Tokenizer {
    &HOUSE.0
}

pub(crate) fn compiler() -> &'static GrammarCompiler {
    &HOUSE.1
}

pub(crate) fn grammar(constraint: &Constraint) -> Grammar {
    compiler().compile(constraint).unwrap()
}

/// What a grammar says of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is complete, and may end here.
    Complete,
    /// It may go on, and may not end.
    Partial,
    /// The first byte that may not come.
    Wrong(usize),
}

/// Takes `text` as far as it goes, always with the longest token that is allowed. Special tokens go by their names.
pub(crate) fn walk(matcher: &mut GrammarMatcher, text: &str) -> Verdict {
    let tokenizer = tokenizer();
    let mut at = 0;
    while at < text.len() {
        let mask = matcher.mask().unwrap();
        let fits = |id: &TokenId| {
            let bytes = tokenizer.token_bytes(*id, ShowSpecial::Yes);
            !bytes.is_empty() && mask.is_allowed(*id) && text.as_bytes()[at..].starts_with(bytes)
        };
        let ids = (0..u32::try_from(tokenizer.vocab_size()).unwrap()).map(TokenId).filter(fits);
        let Some(id) = ids.max_by_key(|id| tokenizer.token_bytes(*id, ShowSpecial::Yes).len()) else {
            return Verdict::Wrong(at);
        };
        matcher.advance(id).unwrap();
        at += tokenizer.token_bytes(id, ShowSpecial::Yes).len();
    }
    let may_end = matcher.is_done() || matcher.mask().unwrap().is_allowed(tokenizer.eos().unwrap());
    if may_end { Verdict::Complete } else { Verdict::Partial }
}

/// What the grammar of a constraint says of a text.
pub(crate) fn verdict(constraint: &Constraint, text: &str) -> Verdict {
    walk(&mut grammar(constraint).matcher(tokenizer().vocab_size()), text)
}
