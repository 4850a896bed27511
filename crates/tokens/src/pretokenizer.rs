//! Pre-tokenizers: how text is cut into pieces before byte pairs are merged. No merge crosses a cut.
//!
//! A pre-tokenizer is published as a regular expression; here each is a scanner that cuts at the same places in one
//! pass. The expressions stand in the tests as the oracle.

mod classes;

pub(crate) use classes::{CharClass, CharClasses};

/// The cutting rules that are implemented. Many names in files stand for the same rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PreTokenizer {
    /// GPT-2: words, numbers and punctuation, each with one space before it.
    Gpt2,
    /// As GPT-2, but every digit is a piece of its own.
    SmolLm,
    /// Llama 3: numbers in groups of up to three, line ends kept with punctuation.
    Llama3,
    /// Qwen2: as Llama 3, but every digit is a piece of its own.
    Qwen2,
}

/// What a pre-tokenizer name in a file implies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PreTokenizerRule {
    pub(crate) pre_tokenizer: PreTokenizer,
    /// A piece that is a token as it stands is taken without merging.
    pub(crate) ignore_merges: bool,
    /// BOS is added where the file does not say.
    pub(crate) add_bos: bool,
}

/// Names with the Llama 3 rule, which also take whole pieces and add BOS.
const LLAMA3: &[&str] =
    &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"];
/// Names with the Llama 3 cuts that take whole pieces.
const LLAMA3_WHOLE_PIECES: &[&str] = &["glm4", "glm5"];
/// Names with the Llama 3 cuts only.
const LLAMA3_CUTS: &[&str] = &["dbrx", "smaug-bpe", "chatglm-bpe"];
const QWEN2: &[&str] =
    &["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"];
const SMOLLM: &[&str] = &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"];
const GPT2: &[&str] = &[
    "gpt-2",
    "phi-2",
    "jina-es",
    "jina-de",
    "jina-v2-es",
    "jina-v2-de",
    "gigachat",
    "a.x-4.0",
    "mellum",
    "modern-bert",
    "exaone4",
    "mpt",
    "olmo",
    "jais",
    "trillion",
    "granite-docling",
];

impl PreTokenizer {
    /// The main name of each rule, for messages.
    pub const NAMES: &'static [&'static str] = &["gpt-2", "smollm", "llama-bpe", "qwen2"];

    /// The rule's main name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            PreTokenizer::Gpt2 => "gpt-2",
            PreTokenizer::SmolLm => "smollm",
            PreTokenizer::Llama3 => "llama-bpe",
            PreTokenizer::Qwen2 => "qwen2",
        }
    }

    /// The rule that `tokenizer.ggml.pre` names, if it is implemented.
    #[must_use]
    pub fn from_name(name: &str) -> Option<PreTokenizer> {
        PreTokenizerRule::from_name(name).map(|rule| rule.pre_tokenizer)
    }

    /// Whether a digit never shares a piece with anything, and ends the text for what stands before it.
    fn isolates_digits(self) -> bool {
        self == PreTokenizer::SmolLm
    }
}

impl PreTokenizerRule {
    pub(crate) fn from_name(name: &str) -> Option<PreTokenizerRule> {
        let rule = |pre_tokenizer| PreTokenizerRule { pre_tokenizer, ignore_merges: false, add_bos: false };
        let whole = PreTokenizerRule { ignore_merges: true, ..rule(PreTokenizer::Llama3) };
        match () {
            () if LLAMA3.contains(&name) => Some(PreTokenizerRule { add_bos: true, ..whole }),
            () if LLAMA3_WHOLE_PIECES.contains(&name) => Some(whole),
            () if LLAMA3_CUTS.contains(&name) => Some(rule(PreTokenizer::Llama3)),
            () if QWEN2.contains(&name) => Some(rule(PreTokenizer::Qwen2)),
            () if SMOLLM.contains(&name) => Some(rule(PreTokenizer::SmolLm)),
            () if GPT2.contains(&name) => Some(rule(PreTokenizer::Gpt2)),
            () => None,
        }
    }
}

/// Cuts `text` into pieces, in order and without gaps. The work is linear in the text: a run of characters is walked
/// at most twice.
pub(crate) fn pieces<'a>(
    pre_tokenizer: PreTokenizer,
    classes: &'a CharClasses,
    text: &'a str,
) -> impl Iterator<Item = &'a str> + 'a {
    let scan = Scan { pre_tokenizer, classes, text };
    let mut pos = 0;
    std::iter::from_fn(move || {
        if pos == text.len() {
            return None;
        }
        let start = pos;
        pos = scan.piece_end(start);
        Some(&text[start..pos])
    })
}

struct Scan<'a> {
    pre_tokenizer: PreTokenizer,
    classes: &'a CharClasses,
    text: &'a str,
}

impl Scan<'_> {
    fn piece_end(&self, pos: usize) -> usize {
        match self.pre_tokenizer {
            PreTokenizer::Gpt2 | PreTokenizer::SmolLm => self.gpt2_end(pos),
            PreTokenizer::Llama3 => self.llama3_end(pos, 3),
            PreTokenizer::Qwen2 => self.llama3_end(pos, 1),
        }
    }

    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    fn gpt2_end(&self, pos: usize) -> usize {
        if let Some(end) = self.contraction_end(pos, |letter| letter) {
            return end;
        }
        let body = self.after_space(pos);
        match self.class_at(body) {
            None | Some((CharClass::Space, _)) => self.space_end(pos),
            Some((CharClass::Number, len)) if self.pre_tokenizer.isolates_digits() => {
                if body == pos {
                    pos + len
                } else {
                    self.space_end(pos)
                }
            }
            Some((class, len)) => self.run_end(class, body + len),
        }
    }

    /// `(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,n}|
    ///  ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    fn llama3_end(&self, pos: usize, digits_max: usize) -> usize {
        if let Some(end) = self.contraction_end(pos, |letter| letter.to_ascii_lowercase()) {
            return end;
        }
        let Some((class, len)) = self.class_at(pos) else { return pos };
        match class {
            CharClass::Letter => return self.run_end(CharClass::Letter, pos + len),
            CharClass::Number => return self.digits_end(pos, digits_max),
            CharClass::Space | CharClass::Other if self.is_line_end(pos) => {}
            CharClass::Space | CharClass::Other => {
                if let Some((CharClass::Letter, _)) = self.class_at(pos + len) {
                    return self.run_end(CharClass::Letter, pos + len);
                }
            }
        }
        let body = self.after_space(pos);
        if let Some((CharClass::Other, len)) = self.class_at(body) {
            return self.line_ends_end(self.run_end(CharClass::Other, body + len));
        }
        let end = self.run_end(CharClass::Space, pos);
        match self.text.as_bytes()[pos..end].iter().rposition(|b| is_line_end(*b)) {
            Some(last) => pos + last + 1,
            None => self.space_end(pos),
        }
    }

    /// `\s+(?!\S)|\s+`: a run of white space without its last character, which may open the next piece; all of it
    /// where the text ends or there is no more than one.
    fn space_end(&self, pos: usize) -> usize {
        let (mut end, mut last) = (pos, pos);
        while let Some((CharClass::Space, len)) = self.class_at(end) {
            last = end;
            end += len;
        }
        let at_text_end = match self.class_at(end) {
            None => true,
            Some((class, _)) => class == CharClass::Number && self.pre_tokenizer.isolates_digits(),
        };
        if at_text_end || last == pos { end } else { last }
    }

    fn contraction_end(&self, pos: usize, fold: impl Fn(u8) -> u8) -> Option<usize> {
        let bytes = &self.text.as_bytes()[pos..];
        if bytes.first() != Some(&b'\'') {
            return None;
        }
        let letter = |at: usize| bytes.get(at).map_or(0, |b| fold(*b));
        match (letter(1), letter(2)) {
            (b's' | b't' | b'm' | b'd', _) => Some(pos + 2),
            (b'r' | b'v', b'e') | (b'l', b'l') => Some(pos + 3),
            _ => None,
        }
    }

    fn digits_end(&self, pos: usize, digits_max: usize) -> usize {
        let mut end = pos;
        for _ in 0..digits_max {
            match self.class_at(end) {
                Some((CharClass::Number, len)) => end += len,
                _ => break,
            }
        }
        end
    }

    fn run_end(&self, class: CharClass, mut pos: usize) -> usize {
        loop {
            let rest = &self.text.as_bytes()[pos..];
            pos += rest.iter().take_while(|byte| self.classes.of_ascii(**byte) == Some(class)).count();
            match self.class_at(pos) {
                Some((found, len)) if found == class => pos += len,
                Some(_) | None => return pos,
            }
        }
    }

    fn line_ends_end(&self, pos: usize) -> usize {
        pos + self.text.as_bytes()[pos..].iter().take_while(|b| is_line_end(**b)).count()
    }

    fn is_line_end(&self, pos: usize) -> bool {
        is_line_end(self.text.as_bytes()[pos])
    }

    fn after_space(&self, pos: usize) -> usize {
        pos + usize::from(self.text.as_bytes()[pos] == b' ')
    }

    /// The class and the length in bytes of the character at `pos`, which is a character boundary.
    fn class_at(&self, pos: usize) -> Option<(CharClass, usize)> {
        let byte = *self.text.as_bytes().get(pos)?;
        if let Some(class) = self.classes.of_ascii(byte) {
            return Some((class, 1));
        }
        let c = self.text[pos..].chars().next()?;
        Some((self.classes.of(c), c.len_utf8()))
    }
}

fn is_line_end(byte: u8) -> bool {
    byte == b'\r' || byte == b'\n'
}

#[cfg(test)]
mod tests;
