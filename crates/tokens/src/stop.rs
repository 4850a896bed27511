//! Stop strings: text goes out as soon as it can no longer become part of one.
//!
//! One Knuth-Morris-Pratt automaton per stop string runs over the bytes, so a stop string is found wherever tokens
//! split it. The first stop string to be completed ends the text; of several completed by the same byte the longest.
//! Both depend on the text only, not on how it was cut into tokens.

use ballast_backend::ErrorKind;

/// Most stop strings of one request.
pub const STOP_STRINGS_MAX: usize = 16;
/// Longest stop string, in bytes of UTF-8. It bounds the text that can be held back.
pub const STOP_STRING_BYTES_MAX: usize = 1024;

/// What is wrong with a list of stop strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// There are too many.
    #[error("stop: expected at most {max} strings, got {got}", max = STOP_STRINGS_MAX)]
    TooMany {
        /// How many were given.
        got: usize,
    },
    /// One is too long.
    #[error("stop: expected at most {max} bytes, got {got} in string {idx}", max = STOP_STRING_BYTES_MAX)]
    TooLong {
        /// Which one.
        idx: usize,
        /// Its length in bytes.
        got: usize,
    },
    /// One is empty: it would stop before the first token.
    #[error("stop: expected no empty string, got one as string {idx}")]
    Empty {
        /// Which one.
        idx: usize,
    },
}

impl StopError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// What came of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopOutcome<'a> {
    /// Text to release now; may be empty.
    pub text: &'a str,
    /// Index of the stop string that ended the text. It and all after it are never released.
    pub matched: Option<usize>,
}

/// Watches the text of one sequence for its stop strings.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    automata: Vec<Automaton>,
    /// Text released by the last call, then text held back.
    buffer: String,
    n_released_bytes: usize,
    matched: Option<usize>,
}

impl StopMatcher {
    /// A matcher for these stop strings; with none all text passes at once.
    ///
    /// # Errors
    /// More than [`STOP_STRINGS_MAX`], one over [`STOP_STRING_BYTES_MAX`], an empty one.
    pub fn new(stops: &[String]) -> Result<Self, StopError> {
        Self::check(stops)?;
        let automata = stops.iter().map(|stop| Automaton::new(stop.as_bytes())).collect();
        Ok(Self { automata, buffer: String::new(), n_released_bytes: 0, matched: None })
    }

    /// Whether there can be a matcher for them.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn check(stops: &[String]) -> Result<(), StopError> {
        if stops.len() > STOP_STRINGS_MAX {
            return Err(StopError::TooMany { got: stops.len() });
        }
        for (idx, stop) in stops.iter().enumerate() {
            if stop.is_empty() {
                return Err(StopError::Empty { idx });
            }
            if stop.len() > STOP_STRING_BYTES_MAX {
                return Err(StopError::TooLong { idx, got: stop.len() });
            }
        }
        Ok(())
    }

    /// Takes the next text of the sequence and says what can go out. After a match all text is dropped.
    pub fn push(&mut self, text: &str) -> StopOutcome<'_> {
        self.buffer.drain(..self.n_released_bytes);
        self.n_released_bytes = 0;
        if self.matched.is_none() {
            let n_held_bytes = self.buffer.len();
            self.buffer.push_str(text);
            self.n_released_bytes = match self.find(n_held_bytes) {
                Some((idx, start)) => {
                    self.matched = Some(idx);
                    self.buffer.truncate(start);
                    start
                }
                None => self.buffer.len() - self.automata.iter().map(|a| a.n_matched).max().unwrap_or(0),
            };
        }
        StopOutcome { text: &self.buffer[..self.n_released_bytes], matched: self.matched }
    }

    /// Ends the text: what was held back did not become a stop string and is returned.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.buffer.drain(..self.n_released_bytes);
        self.buffer
    }

    /// Runs the bytes from `from` on; the index of the stop string that ends the text and where it starts.
    fn find(&mut self, from: usize) -> Option<(usize, usize)> {
        for (end, &byte) in (1..).zip(self.buffer.as_bytes()).skip(from) {
            let mut longest: Option<(usize, usize)> = None;
            for (idx, automaton) in self.automata.iter_mut().enumerate() {
                if automaton.step(byte) && longest.is_none_or(|(_, len)| automaton.stop.len() > len) {
                    longest = Some((idx, automaton.stop.len()));
                }
            }
            if let Some((idx, len)) = longest {
                return Some((idx, end - len));
            }
        }
        None
    }
}

/// Knuth, Morris and Pratt, "Fast pattern matching in strings", SIAM J. Comput. 6(2), 1977.
#[derive(Clone, Debug)]
struct Automaton {
    stop: Vec<u8>,
    /// `borders[i]`: length of the longest proper prefix of `stop[..=i]` that is also its suffix.
    borders: Vec<usize>,
    /// Length of the longest prefix of `stop` that the text now ends with.
    n_matched: usize,
}

impl Automaton {
    fn new(stop: &[u8]) -> Self {
        let mut borders = vec![0; stop.len()];
        for idx in 1..stop.len() {
            borders[idx] = advance(stop, &borders, borders[idx - 1], stop[idx]);
        }
        Self { stop: stop.to_vec(), borders, n_matched: 0 }
    }

    /// Takes a byte; whether it completes the stop string. Not called again after that.
    fn step(&mut self, byte: u8) -> bool {
        self.n_matched = advance(&self.stop, &self.borders, self.n_matched, byte);
        self.n_matched == self.stop.len()
    }
}

/// Length of the prefix matched after `byte`, given `n_matched < stop.len()` before it.
fn advance(stop: &[u8], borders: &[usize], mut n_matched: usize, byte: u8) -> usize {
    while n_matched > 0 && stop[n_matched] != byte {
        n_matched = borders[n_matched - 1];
    }
    n_matched + usize::from(stop[n_matched] == byte)
}

#[cfg(test)]
mod tests;
