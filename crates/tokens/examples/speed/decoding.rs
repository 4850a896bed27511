//! Tokens to text, one at a time as an answer streams, with and without stop strings.

use crate::Text;
use crate::table::{Table, rounds};
use ballast_tokens::{Detokenizer, EncodeOptions, ShowSpecial, StopMatcher, Tokenizer};
use std::hint::black_box;
use std::sync::Arc;

const N_TOKENS_MAX: usize = 200_000;
const STOPS: [&str; 4] = ["<|im_end|>\u{1}", "\n\nUser:\u{1}", "###\u{1}", "</answer>\u{1}"];

pub(crate) fn measure(table: &mut Table, tokenizer: &Arc<Tokenizer>, texts: &[Text]) {
    let stops: Vec<String> = STOPS.iter().map(|stop| (*stop).to_owned()).collect();
    for Text { name, text } in texts {
        let mut ids = tokenizer.encode(text, EncodeOptions::default());
        ids.truncate(N_TOKENS_MAX);
        let seconds = rounds(
            || Detokenizer::new(Arc::clone(tokenizer), ShowSpecial::No),
            |detokenizer| {
                for id in &ids {
                    black_box(detokenizer.push(*id).len());
                }
            },
        );
        table.add_ns(&format!("decode {name}"), ids.len(), &seconds);
        let matcher = StopMatcher::new(&stops).ok();
        let seconds = rounds(
            || (Detokenizer::new(Arc::clone(tokenizer), ShowSpecial::No), matcher.clone()),
            |(detokenizer, matcher)| {
                for id in &ids {
                    let text = detokenizer.push(*id);
                    black_box(matcher.as_mut().map(|matcher| matcher.push(text).text.len()));
                }
            },
        );
        table.add_ns(&format!("decode {name}, {} stop strings", STOPS.len()), ids.len(), &seconds);
    }
}
