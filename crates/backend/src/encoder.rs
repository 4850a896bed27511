//! Text encoders as tensor models: what an engine that turns texts into vectors takes and gives.
//!
//! One call runs several texts, their tokens one after another. Every text's vectors depend on that text alone.

use crate::{DType, Dim, IoSchema, Tensor, TensorData, TensorError, TensorMap, TensorSpec, TokenId};

/// How a text's token vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// They do not: every token keeps its own.
    None,
    /// Their mean.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
    /// The first token's, through a classifier: scores instead of an embedding.
    Rank,
}

impl Pooling {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::None, Self::Mean, Self::Cls, Self::Last, Self::Rank];

    /// Lower-case name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
            Self::Rank => "rank",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pooling| pooling.as_str() == name)
    }
}

/// What an encoder can do; fixed when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderShape {
    /// Tokens there are.
    pub vocab_size: usize,
    /// Most tokens of one text.
    pub context_len: usize,
    /// How token vectors become one.
    pub pooling: Pooling,
    /// Entries of a vector: the embedding's, or the classifier's labels.
    pub width: usize,
    /// Most tokens of one call, all texts together.
    pub max_batch_tokens: usize,
    /// Most texts of one call.
    pub max_batch_texts: usize,
}

/// One text of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderText<'a> {
    /// Its tokens, at least one.
    pub tokens: &'a [TokenId],
    /// How many of them have the first token type; the others have the second.
    pub n_first: usize,
}

/// Tokens of all texts, one after another.
const TOKENS: &str = "tokens";
/// For each text, how many tokens it has.
const LENGTHS: &str = "lengths";
/// For each text, how many of its tokens have the first type.
const N_FIRST: &str = "n_first";
/// A vector for each text, or for each token.
const VECTORS: &str = "vectors";

impl EncoderShape {
    /// The shape in the words of tensor models.
    #[must_use]
    pub fn io_schema(&self) -> IoSchema {
        let ints = |name: &str| TensorSpec {
            name: name.to_owned(),
            dtype: DType::I32,
            shape: vec![Dim::Any],
            batch_capable: false,
        };
        let vectors = TensorSpec {
            name: VECTORS.to_owned(),
            dtype: DType::F32,
            shape: vec![Dim::Any, Dim::Fixed(self.width)],
            batch_capable: false,
        };
        IoSchema { inputs: vec![ints(TOKENS), ints(LENGTHS), ints(N_FIRST)], outputs: vec![vectors] }
    }

    /// Vectors that a text of so many tokens gets.
    #[must_use]
    pub fn n_vectors(&self, n_tokens: usize) -> usize {
        match self.pooling {
            Pooling::None => n_tokens,
            Pooling::Mean | Pooling::Cls | Pooling::Last | Pooling::Rank => 1,
        }
    }
}

/// The tensors of a call.
///
/// # Errors
/// If there are more tokens than can be counted in 31 bits.
pub fn encoder_inputs(texts: &[EncoderText<'_>]) -> Result<TensorMap, TensorError> {
    let count =
        |n: usize| i32::try_from(n).map_err(|_| TensorError::Elements { expected: None, got: n, shape: vec![n] });
    let token = |id: &TokenId| count(id.index());
    let tokens = texts.iter().flat_map(|text| text.tokens).map(token).collect::<Result<Vec<_>, _>>()?;
    let lengths = texts.iter().map(|text| count(text.tokens.len())).collect::<Result<Vec<_>, _>>()?;
    let n_first = texts.iter().map(|text| count(text.n_first)).collect::<Result<Vec<_>, _>>()?;
    let tensor =
        |name: &str, values: Vec<i32>| Ok((name.to_owned(), Tensor::new(vec![values.len()], TensorData::I32(values))?));
    [tensor(TOKENS, tokens), tensor(LENGTHS, lengths), tensor(N_FIRST, n_first)].into_iter().collect()
}

/// The texts of a call's tensors: for each its tokens and how many are of the first type; `None` if the tensors do not
/// agree with each other.
#[must_use]
pub fn encoder_texts(inputs: &TensorMap) -> Option<Vec<(&[i32], usize)>> {
    let ints = |name: &str| {
        if let TensorData::I32(values) = inputs.get(name)?.data() { Some(values.as_slice()) } else { None }
    };
    let (mut rest, lengths, n_first) = (ints(TOKENS)?, ints(LENGTHS)?, ints(N_FIRST)?);
    if lengths.len() != n_first.len() {
        return None;
    }
    let mut texts = Vec::with_capacity(lengths.len());
    for (len, n_first) in lengths.iter().zip(n_first) {
        let (own, others) = rest.split_at_checked(usize::try_from(*len).ok()?)?;
        let n_first = usize::try_from(*n_first).ok().filter(|n| *n <= own.len())?;
        texts.push((own, n_first));
        rest = others;
    }
    rest.is_empty().then_some(texts)
}

/// Where a call's vectors go: `[n_vectors, width]`.
///
/// # Errors
/// If there are more entries than can be counted.
pub fn encoder_output(outputs: &mut TensorMap, n_vectors: usize, width: usize) -> Result<&mut Vec<f32>, TensorError> {
    outputs.insert(VECTORS.to_owned(), Tensor::zeros(vec![n_vectors, width], DType::F32)?);
    match outputs.get_mut(VECTORS).map(Tensor::data_mut) {
        Some(TensorData::F32(values)) => Ok(values),
        _ => unreachable!("it was put there above"),
    }
}

/// The name of the output that has the vectors.
#[must_use]
pub fn encoder_output_name() -> &'static str {
    VECTORS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u32]) -> Vec<TokenId> {
        ids.iter().copied().map(TokenId).collect()
    }

    #[test]
    fn texts_travel_as_tensors() {
        let (a, b) = (ids(&[1, 2, 3]), ids(&[4]));
        let batch = [EncoderText { tokens: &a, n_first: 2 }, EncoderText { tokens: &b, n_first: 1 }];
        let inputs = encoder_inputs(&batch).unwrap();
        assert_eq!(encoder_texts(&inputs).unwrap(), [(&[1, 2, 3][..], 2), (&[4][..], 1)]);
        let shape = EncoderShape {
            vocab_size: 9,
            context_len: 9,
            pooling: Pooling::Mean,
            width: 2,
            max_batch_tokens: 9,
            max_batch_texts: 9,
        };
        assert_eq!(shape.io_schema().check_inputs(&inputs), Ok(()));
    }

    #[test]
    fn tensors_that_contradict_each_other_are_no_texts() {
        let cases: [(&[i32], &[i32], &[i32]); 6] = [
            (&[1, 2], &[3], &[0]),
            (&[1, 2], &[1], &[1]),
            (&[1, 2], &[-1, 3], &[0, 0]),
            (&[1, 2], &[2], &[3]),
            (&[1, 2], &[2], &[-1]),
            (&[1, 2], &[2], &[1, 1]),
        ];
        for (tokens, lengths, n_first) in cases {
            let tensor = |values: &[i32]| Tensor::new(vec![values.len()], TensorData::I32(values.to_vec())).unwrap();
            let inputs: TensorMap = [(TOKENS, tokens), (LENGTHS, lengths), (N_FIRST, n_first)]
                .into_iter()
                .map(|(name, values)| (name.to_owned(), tensor(values)))
                .collect();
            assert_eq!(encoder_texts(&inputs), None, "{tokens:?} {lengths:?} {n_first:?}");
        }
    }

    #[test]
    fn poolings_have_names() {
        for pooling in Pooling::ALL {
            assert_eq!(Pooling::from_name(pooling.as_str()), Some(pooling));
        }
        assert_eq!(Pooling::from_name("max"), None);
    }
}
