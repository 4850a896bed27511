//! Counts sequences of words in texts or numbers. (ONNX `TfIdfVectorizer`)

use crate::array::{Array, Data};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, one, wrong_type};
use crate::ops::view::extent;
use crate::run::Context;
use std::collections::HashMap;

/// Most columns: a number in the model says how many there are, and each is counted in every row.
const COLUMNS_MAX: usize = 1 << 24;

/// What a count becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weighting {
    /// The count.
    Tf,
    /// The weight, if there is any.
    Idf,
    /// The count times the weight.
    TfIdf,
}

pub(super) fn tf_idf_vectorizer(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let weighting = match spec.text("mode")? {
        Some("TF") => Weighting::Tf,
        Some("IDF") => Weighting::Idf,
        Some("TFIDF") => Weighting::TfIdf,
        other => return Err(NodeSpec::wrong("mode", "TF, IDF or TFIDF", format!("{other:?}"))),
    };
    let number = |name| {
        let value = NodeSpec::needed(spec.int(name)?, name, "an integer")?;
        usize::try_from(value).map_err(|_| NodeSpec::wrong(name, "0 or more", value))
    };
    let (len_min, len_max) = (number("min_gram_length")?, number("max_gram_length")?);
    let n_skipped_max = number("max_skip_count")?;
    if len_min == 0 || len_max < len_min {
        return Err(NodeSpec::wrong("min_gram_length", "at least 1 and at most max_gram_length", len_min));
    }
    let numbers = NodeSpec::needed(spec.ints("ngram_indexes")?, "ngram_indexes", "integers")?;
    let columns = numbers.iter().map(|&column| extent(column, 0)).collect::<Result<Vec<_>, _>>()?;
    let starts = NodeSpec::needed(spec.ints("ngram_counts")?, "ngram_counts", "integers")?;
    let starts = starts.iter().map(|&start| extent(start, 0)).collect::<Result<Vec<_>, _>>()?;
    let lens = GramLens { min: len_min, max: len_max };
    let grams = match (spec.texts("pool_strings")?, spec.ints("pool_int64s")?) {
        (Some(pool), None) => Grams::Texts(grams(pool, &starts, (&columns, lens))?),
        (None, Some(pool)) => Grams::Numbers(grams(pool, &starts, (&columns, lens))?),
        _ => return Err(NodeSpec::wrong("pool_strings", "either texts or pool_int64s", "none or both")),
    };
    let n_columns = columns.iter().max().map_or(0, |max| max.saturating_add(1));
    if n_columns > COLUMNS_MAX {
        return Err(NodeSpec::wrong("ngram_indexes", format!("columns below {COLUMNS_MAX}"), n_columns - 1));
    }
    let weights = spec.floats("weights")?.map(<[f32]>::to_vec);
    if weights.as_ref().is_some_and(|weights| weights.len() != columns.len()) {
        return Err(NodeSpec::wrong("weights", columns.len().to_string(), weights.map_or(0, |weights| weights.len())));
    }
    let mut by_column = vec![1.0; n_columns];
    for (idx, (&column, &weight)) in columns.iter().zip(weights.iter().flatten()).enumerate() {
        by_column[column] = weight;
        // The standard's text gives weights to sequences, its reference gives them to columns.
        let of_column = weights.as_ref().and_then(|weights| weights.get(column));
        if of_column != Some(&weight) {
            return Err(OpError::unsupported(format!("a weight of sequence {idx} that is not that of its column")));
        }
    }
    Ok(Box::new(TfIdfVectorizer { weighting, lens, n_skipped_max, grams, weights: by_column }))
}

/// Least and most words of a sequence.
#[derive(Clone, Copy, Debug)]
struct GramLens {
    min: usize,
    max: usize,
}

/// Columns of what is counted by sequence of words.
type Columns<T> = HashMap<Vec<T>, usize>;

#[derive(Debug)]
enum Grams {
    Texts(Columns<String>),
    Numbers(Columns<i64>),
}

/// The sequences of a pool: those of one word begin at the first start, those of two at the second.
fn grams<T: Clone + Eq + std::hash::Hash>(
    pool: &[T],
    starts: &[usize],
    (columns, lens): (&[usize], GramLens),
) -> Result<Columns<T>, OpError> {
    let (mut grams, mut n_before) = (Columns::new(), 0);
    for (idx, &start) in starts.iter().enumerate() {
        let (len, end) = (idx + 1, starts.get(idx + 1).copied().unwrap_or(pool.len()));
        let wrong = || NodeSpec::wrong("ngram_counts", "starts within the pool", format!("{starts:?}"));
        let part = pool.get(start..end).filter(|part| part.len().is_multiple_of(len)).ok_or_else(wrong)?;
        for gram in part.chunks(len) {
            let column = *columns
                .get(n_before)
                .ok_or_else(|| NodeSpec::wrong("ngram_indexes", "one for each sequence", n_before))?;
            n_before += 1;
            if (lens.min..=lens.max).contains(&len) {
                grams.insert(gram.to_vec(), column);
            }
        }
    }
    Ok(grams)
}

/// How often sequences of words are in rows of texts or numbers, weighted.
#[derive(Debug)]
struct TfIdfVectorizer {
    weighting: Weighting,
    lens: GramLens,
    n_skipped_max: usize,
    grams: Grams,
    /// By column.
    weights: Vec<f32>,
}

impl Operator for TfIdfVectorizer {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let array = inputs.get(0)?;
        let n_columns = self.weights.len();
        let (shape, row_len) = match *array.shape() {
            [] => (vec![n_columns], 1),
            [len] => (vec![n_columns], len),
            [n_rows, len] => (vec![n_rows, n_columns], len),
            _ => return Err(OpError::shape("a row, or rows", array.shape())),
        };
        let mut counts: Vec<f32> = context.zeros(&shape)?;
        match (&self.grams, array.data()) {
            (Grams::Texts(grams), Data::Str(texts)) => self.count(grams, (texts, row_len), &mut counts),
            (Grams::Numbers(grams), Data::I64(numbers)) => self.count(grams, (numbers, row_len), &mut counts),
            (Grams::Numbers(grams), Data::I32(numbers)) => {
                let numbers: Vec<i64> = numbers.iter().map(|&number| number.into()).collect();
                self.count(grams, (&numbers, row_len), &mut counts);
            }
            _ => return Err(wrong_type(0, "elements as those of the pool", array.dtype())),
        }
        for row in counts.chunks_mut(n_columns.max(1)) {
            row.iter_mut()
                .zip(&self.weights)
                .for_each(|(count, &weight)| *count = self.weighting.weigh(*count, weight));
        }
        one(Array::new(&shape, counts))
    }
}

impl TfIdfVectorizer {
    fn count<T: Clone + Eq + std::hash::Hash>(
        &self,
        grams: &Columns<T>,
        (values, row_len): (&[T], usize),
        counts: &mut [f32],
    ) {
        let rows = values.chunks(row_len.max(1)).zip(counts.chunks_mut(self.weights.len().max(1)));
        for (row, counts) in rows {
            for len in self.lens.min..=self.lens.max.min(row_len) {
                // What is between the words does not matter where there is one only.
                let distances = if len == 1 { 1 } else { self.n_skipped_max.saturating_add(1).min(row_len) };
                for distance in 1..=distances {
                    let reach = (len - 1) * distance;
                    for start in 0..row.len().saturating_sub(reach) {
                        let gram: Vec<T> = row[start..=start + reach].iter().step_by(distance).cloned().collect();
                        if let Some(&column) = grams.get(&gram) {
                            counts[column] += 1.0;
                        }
                    }
                }
            }
        }
    }
}

impl Weighting {
    fn weigh(self, count: f32, weight: f32) -> f32 {
        match self {
            Self::Tf => count,
            Self::Idf => {
                if count > 0.0 {
                    weight
                } else {
                    0.0
                }
            }
            Self::TfIdf => count * weight,
        }
    }
}
