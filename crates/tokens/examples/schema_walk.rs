//! Answers that grammars let through, drawn at random without a model: `oracles/schema_walk.py` checks them.
//!
//! Reads one JSON schema for each line of standard input. Writes a line for each: `{"refused": [pointer, message]}`, or
//! `{"texts": [..], "n_cut": n}` with the texts that ended and the number of those that did not within their bound.
//! The number of texts for a schema and the seed are the first two arguments.
#![expect(clippy::unwrap_used, reason = "an example that fails may say where it stands")]

use ballast_backend::TokenId;
use ballast_testkit::tiny_tokenizer;
use ballast_tokens::{Constraint, Grammar, GrammarCompiler, MatchError, ShowSpecial, Tokenizer};
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::sync::Arc;

/// Tokens after which only those are drawn that lead to an end, and after which a text is cut.
const FREE_TOKENS: usize = 60;
const TOKENS_MAX: usize = 4000;
/// What ends a part of JSON, or a short one.
const CLOSERS: &[&str] = &["}", "]", "\"", "0", "1", ":", "e", "l", "null", "true", "{", "["];

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>().unwrap());
    let n_texts = arguments.next().unwrap_or(10);
    let mut random = Random(arguments.next().unwrap_or(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let tokenizer = tiny_tokenizer();
    let compiler = GrammarCompiler::new(Arc::clone(&tokenizer));
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let schema: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let answer = match compiler.compile(&Constraint::JsonSchema(schema)) {
            Err(error) => json!({ "refused": [error.pointer(), error.to_string()] }),
            Ok(grammar) => {
                let drawn: Vec<Option<String>> =
                    (0..n_texts).map(|_| walk(&grammar, &tokenizer, &mut random)).collect();
                let n_cut = drawn.iter().filter(|text| text.is_none()).count();
                json!({ "texts": drawn.into_iter().flatten().collect::<Vec<_>>(), "n_cut": n_cut })
            }
        };
        writeln!(out, "{answer}").unwrap();
    }
}

/// A text that the grammar lets through to its end; none if it goes on too long.
fn walk(grammar: &Grammar, tokenizer: &Tokenizer, random: &mut Random) -> Option<String> {
    let mut matcher = grammar.matcher(tokenizer.vocab_size());
    let mut bytes = Vec::new();
    let ends = tokenizer.end_of_generation_ids();
    for n_tokens in 0..TOKENS_MAX {
        if matcher.is_done() {
            return Some(String::from_utf8(bytes).unwrap());
        }
        let mask = match matcher.mask() {
            Ok(mask) => mask,
            Err(MatchError::TooComplex { .. }) => return None,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&bytes)),
        };
        let ids = 0..u32::try_from(tokenizer.vocab_size()).unwrap();
        let allowed: Vec<TokenId> = ids.map(TokenId).filter(|id| mask.is_allowed(*id)).collect();
        let may_end = allowed.iter().any(|id| ends.contains(id));
        if may_end && (n_tokens > FREE_TOKENS || random.below(4) == 0) {
            return Some(String::from_utf8(bytes).unwrap());
        }
        let text = |id: &TokenId| tokenizer.token_bytes(*id, ShowSpecial::No);
        let closers: Vec<TokenId> =
            allowed.iter().copied().filter(|id| CLOSERS.iter().any(|closer| closer.as_bytes() == text(id))).collect();
        let is_closing = n_tokens > FREE_TOKENS || random.below(2) == 0;
        // Some token that closes nothing now and then, where there is no way out but through one.
        let from = if is_closing && !closers.is_empty() && random.below(8) > 0 { &closers } else { &allowed };
        let from: Vec<TokenId> = from.iter().copied().filter(|id| !ends.contains(id)).collect();
        let Some(id) = from.get(random.below(from.len().max(1))).copied() else {
            return Some(String::from_utf8(bytes).unwrap());
        };
        bytes.extend_from_slice(text(&id));
        matcher.advance(id).unwrap();
    }
    None
}

/// A generator of numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap() % n
    }
}
