//! An encoder together with its vocabulary: text in, and vectors of unit length out.

use super::{Encoding, TextTokens};
use ballast_backend::{EncoderShape, TokenId};
use ballast_tokens::{FramedText, WordPiece};
use std::sync::Arc;

/// What becomes of a text with more tokens than the model has positions for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlong {
    /// It is refused, with the counts.
    #[default]
    Refuse,
    /// Its end is left out, so that so many tokens are left, and no more than the model has positions for.
    Truncate {
        /// Most tokens of a text; `None`: as many as the model has positions for.
        tokens_max: Option<usize>,
    },
}

/// An encoder that reads text. Clones share it.
#[derive(Clone, Debug)]
pub struct TextEncoder {
    encoding: Encoding,
    vocabulary: Arc<WordPiece>,
}

impl TextEncoder {
    /// An encoder and the vocabulary of its model.
    #[must_use]
    pub fn new(encoding: Encoding, vocabulary: Arc<WordPiece>) -> Self {
        Self { encoding, vocabulary }
    }

    /// The queue before the engine.
    #[must_use]
    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// What the engine can do.
    #[must_use]
    pub fn shape(&self) -> &EncoderShape {
        self.encoding.shape()
    }

    /// The model's vocabulary.
    #[must_use]
    pub fn vocabulary(&self) -> &WordPiece {
        &self.vocabulary
    }

    /// The tokens of a text. One that is too long and is not truncated is refused when it is submitted.
    #[must_use]
    pub fn text(&self, text: &str, overlong: Overlong) -> TextTokens {
        self.fit(self.vocabulary.single(text), overlong)
    }

    /// The tokens of two texts that are compared.
    #[must_use]
    pub fn pair(&self, first: &str, second: &str, overlong: Overlong) -> TextTokens {
        self.fit(self.vocabulary.pair(first, second), overlong)
    }

    /// A text that the caller has cut into tokens, and framed, itself.
    #[must_use]
    pub fn tokens(&self, tokens: Vec<TokenId>, overlong: Overlong) -> TextTokens {
        self.fit(FramedText::of_tokens(tokens), overlong)
    }

    fn fit(&self, text: FramedText, overlong: Overlong) -> TextTokens {
        let context_len = self.shape().context_len;
        let FramedText { tokens, n_first } = match overlong {
            Overlong::Refuse => text,
            Overlong::Truncate { tokens_max } => {
                self.vocabulary.truncate(text, tokens_max.map_or(context_len, |max| max.min(context_len)))
            }
        };
        TextTokens { tokens, n_first }
    }
}

/// Scales a vector to unit length. One without length stays as it is.
pub fn normalize(vector: &mut [f32]) {
    let square: f64 = vector.iter().map(|x| f64::from(*x).powi(2)).sum();
    if square > 0.0 && square.is_finite() {
        let inverse = 1.0 / square.sqrt();
        #[expect(clippy::cast_possible_truncation, reason = "an entry of a vector of unit length")]
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) * inverse) as f32);
    }
}

/// The first entries of a vector, scaled to unit length again: what models that are trained for it lose little by.
pub fn shorten(vector: &mut Vec<f32>, dimensions: usize) {
    vector.truncate(dimensions);
    normalize(vector);
}

#[cfg(test)]
mod tests {
    use super::{normalize, shorten};

    #[test]
    fn vectors_have_unit_length() {
        let mut vector = vec![3.0, 4.0, 12.0];
        normalize(&mut vector);
        assert_eq!(vector, [3.0 / 13.0, 4.0 / 13.0, 12.0 / 13.0]);
        shorten(&mut vector, 2);
        assert!((vector[0] - 0.6).abs() < 1e-6 && (vector[1] - 0.8).abs() < 1e-6 && vector.len() == 2);
        shorten(&mut vector, 9);
        assert_eq!(vector.len(), 2);
        for still in [vec![0.0, 0.0], vec![f32::NAN, 1.0], vec![f32::INFINITY, 1.0]] {
            let mut vector = still.clone();
            normalize(&mut vector);
            assert_eq!(format!("{vector:?}"), format!("{still:?}"));
        }
        let mut large = vec![f32::MAX, f32::MAX];
        normalize(&mut large);
        assert!((large[0] - 0.5_f32.sqrt()).abs() < 1e-6);
    }
}
