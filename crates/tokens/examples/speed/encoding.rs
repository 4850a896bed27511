//! Text to tokens, ours and the `tokenizers` crate's, over the same vocabulary; the tokens must be the same.

use crate::Text;
use crate::table::{Table, rounds};
use ballast_tokens::{EncodeOptions, Tokenizer, TokenizerSource};
use std::error::Error;
use std::hint::black_box;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;

/// Length of a prompt as people write them.
const PROMPT_BYTES: usize = 600;
/// What of a text is encoded: long enough to tell the speed, short enough for a round without disturbance.
const TEXT_BYTES_MAX: usize = 1 << 18;

/// The reference is measured where it is known to cut as the model wants: for the smollm pre-tokenizer.
pub(crate) fn measure(
    table: &mut Table,
    tokenizer: &Tokenizer,
    source: &TokenizerSource<'_>,
    texts: &[Text],
) -> Result<(), Box<dyn Error>> {
    let reference = (source.pre_tokenizer == Some("smollm")).then(|| reference(source)).transpose()?;
    for Text { name, text } in texts {
        let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
        let encode = |text| drop(black_box(tokenizer.encode(black_box(text), EncodeOptions::default())));
        let seconds = rounds(|| (), |()| encode(text));
        table.add_rate(&format!("encode {name}, {} KB", text.len() / 1000), text.len(), &seconds);
        let prompts = prompts(text);
        let seconds = rounds(|| (), |()| prompts.iter().for_each(|prompt| encode(prompt)));
        let n_bytes = prompts.iter().map(|prompt| prompt.len()).sum();
        table.add_rate(&format!("encode {name}, prompts of {PROMPT_BYTES} bytes"), n_bytes, &seconds);
        let Some(reference) = &reference else { continue };
        let expected = reference.encode_fast(text, false).map_err(|error| error.to_string())?;
        let got: Vec<u32> = tokenizer.encode(text, EncodeOptions::default()).iter().map(|id| id.0).collect();
        if got != expected.get_ids() {
            return Err(format!("{name}: the tokens are not those of the tokenizers crate").into());
        }
        let seconds = rounds(|| (), |()| drop(black_box(reference.encode_fast(black_box(text), false))));
        table.add_rate(&format!("tokenizers crate: encode {name}"), text.len(), &seconds);
    }
    Ok(())
}

fn prompts(text: &str) -> Vec<&str> {
    let mut prompts = Vec::new();
    let mut rest = text;
    while rest.len() > PROMPT_BYTES && prompts.len() < 512 {
        let (prompt, after) = rest.split_at(rest.floor_char_boundary(PROMPT_BYTES));
        prompts.push(prompt);
        rest = after;
    }
    prompts
}

fn reference(source: &TokenizerSource<'_>) -> Result<tokenizers::Tokenizer, Box<dyn Error>> {
    let pair = |rule: &&str| rule.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned()));
    let vocab: Vocab = source.tokens.iter().map(|token| (*token).to_owned()).zip(0..).collect();
    let merges = source.merges.iter().flatten().filter_map(pair).collect();
    let bpe = BPE::builder().vocab_and_merges(vocab, merges).build().map_err(|error| error.to_string())?;
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    let cuts = Sequence::new(vec![Digits::new(true).into(), ByteLevel::new(false, false, true).into()]);
    tokenizer.with_pre_tokenizer(Some(cuts));
    Ok(tokenizer)
}
