//! How far two ways of running language models differ: logits of the same tokens, position by position.
//!
//! Both engines run the same sequences, each in steps of its own size, so that kernel sets, thread counts, batch sizes
//! and processes can be compared, and quantised files with the files they were made from.

use crate::SystemClock;
use ballast_artifacts::{CacheError, Until, digest_files};
use ballast_backend::{
    BlockId, DType, Dim, Generator, IoSchema, LogitRows, Logits, Pulse, SequenceStep, TensorData, TensorSpec, TokenId,
};
use ballast_gguf::Gguf;
use std::fmt;

pub use ballast_runtime::parity::{
    EngineLabel, Exceeded, InputOptions, InputsLabel, OutputParity, ParityError, ParityReport, Precision, ReportHead,
    Tolerances,
};
use ballast_runtime::parity::{ParityTally, compare_rows, seeded_inputs};

/// Most sequences of one comparison.
pub const SEQUENCES_MAX: usize = 10_000;

/// Tokens whose logits are held at a time, of both engines.
const WINDOW_LEN: usize = 64;

/// What reports call the one output of a language model.
const OUTPUT: &str = "logits";

/// One of the two ways.
pub struct ModelSide {
    /// What the report calls it.
    pub label: EngineLabel,
    /// The engine. What its KV blocks hold is lost.
    pub engine: Box<dyn Generator>,
}

impl fmt::Debug for ModelSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelSide").field("label", &self.label).finish_non_exhaustive()
    }
}

/// What both engines run.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInputs {
    /// The sequences, each from position 0.
    pub sequences: Vec<Vec<TokenId>>,
    /// Where they come from, for the report.
    pub label: InputsLabel,
}

impl ModelInputs {
    /// Tokens drawn evenly from a vocabulary: the same on every machine for the same seed.
    ///
    /// # Errors
    /// A vocabulary without tokens.
    pub fn seeded(seed: u64, vocab_size: usize, n_sequences: usize, len: usize) -> Result<Self, ParityError> {
        let int_max = i64::try_from(vocab_size).unwrap_or(i64::MAX).saturating_sub(1);
        let options = InputOptions { seed, int_min: 0, int_max, any_dim: len, ..InputOptions::default() };
        let spec =
            TensorSpec { name: "tokens".to_owned(), dtype: DType::I64, shape: vec![Dim::Any], batch_capable: false };
        let schema = IoSchema { inputs: vec![spec], outputs: Vec::new() };
        let sequences = (0..n_sequences).map(|sample| {
            let mut inputs = seeded_inputs(&schema, &options, sample as u64)?;
            let tokens = inputs.remove("tokens").map(|tensor| tensor.into_parts().1);
            let Some(TensorData::I64(values)) = tokens else { return Ok(Vec::new()) };
            Ok(values.into_iter().map(|value| TokenId(u32::try_from(value).unwrap_or(u32::MAX))).collect())
        });
        let sequences = sequences.collect::<Result<_, ParityError>>()?;
        Ok(Self { sequences, label: InputsLabel::Seeded(options) })
    }

    /// A text's tokens, in sequences of at most `len`.
    #[must_use]
    pub fn given(tokens: &[TokenId], len: usize, origin: &str) -> Self {
        let sequences = tokens.chunks(len.max(1)).map(<[TokenId]>::to_vec).collect();
        Self { sequences, label: InputsLabel::Given(origin.to_owned()) }
    }
}

/// By what to judge.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelPlan {
    /// The precision the report names.
    pub precision: Precision,
    /// What is allowed.
    pub tolerances: Tolerances,
    /// The machine, in words.
    pub machine: String,
}

/// All sequences at one position.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PositionParity {
    /// Sequences that have the position.
    pub n_samples: u64,
    /// Largest difference.
    pub l_inf: f64,
    /// Largest root mean square.
    pub rmse: f64,
    /// Smallest cosine; `None` if every row was zero on both sides.
    pub cosine: Option<f64>,
}

/// What a comparison of two engines found.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelParity {
    /// The verdict. A sample is one position of one sequence, counted through all of them.
    pub report: ParityReport,
    /// Position by position.
    pub positions: Vec<PositionParity>,
}

/// Runs both engines over every sequence and compares every row of logits.
///
/// # Errors
/// If an engine fails or cannot take the tokens, the vocabularies have not one size, or there is nothing to compare.
pub fn compare_models(
    reference: &mut ModelSide,
    candidate: &mut ModelSide,
    inputs: &ModelInputs,
    plan: &ModelPlan,
    mut on_sequence: impl FnMut(usize),
) -> Result<ModelParity, ParityError> {
    if !(1..=SEQUENCES_MAX).contains(&inputs.sequences.len()) {
        return Err(ParityError::Samples { max: SEQUENCES_MAX, got: inputs.sequences.len() });
    }
    let (mut tally, mut positions) = (ParityTally::new(plan.tolerances)?, Vec::new());
    for (idx, tokens) in inputs.sequences.iter().enumerate() {
        for start in (0..tokens.len()).step_by(WINDOW_LEN) {
            let end = tokens.len().min(start + WINDOW_LEN);
            let expected = reference.rows(tokens, start, end)?;
            let got = candidate.rows(tokens, start, end)?;
            for (position, (expected, got)) in (start..end).zip(expected.iter().zip(&got)) {
                tally.add_row(OUTPUT, expected, got)?;
                note(&mut positions, position, expected, got)?;
            }
        }
        on_sequence(idx + 1);
    }
    let report = tally.finish(ReportHead {
        reference: reference.label.clone(),
        candidate: candidate.label.clone(),
        inputs: inputs.label.clone(),
        precision: plan.precision,
        tolerances: plan.tolerances,
        machine: plan.machine.clone(),
    })?;
    Ok(ModelParity { report, positions })
}

fn note(
    positions: &mut Vec<PositionParity>,
    position: usize,
    expected: &[f32],
    got: &[f32],
) -> Result<(), ParityError> {
    let difference = compare_rows(OUTPUT, expected, got)?;
    // Positions come in order, so that at most one is new.
    if positions.len() <= position {
        positions.push(PositionParity::default());
    }
    let at = &mut positions[position];
    at.n_samples += 1;
    at.l_inf = at.l_inf.max(difference.l_inf);
    at.rmse = at.rmse.max(difference.rmse);
    at.cosine = match (at.cosine, difference.cosine) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (known, new) => known.or(new),
    };
    Ok(())
}

impl ModelSide {
    /// Rows of logits at positions `start..end`, of which those before were run.
    fn rows(&mut self, tokens: &[TokenId], start: usize, end: usize) -> Result<Vec<Vec<f32>>, ParityError> {
        let (block_len, step_len) = (self.engine.shape().block_len, self.engine.shape().max_batch_tokens);
        let n_blocks = u32::try_from(tokens.len().div_ceil(block_len)).unwrap_or(u32::MAX);
        let blocks: Vec<BlockId> = (0..n_blocks).map(BlockId).collect();
        let (mut logits, pulse) = (Logits::default(), Pulse::new());
        let mut rows = Vec::with_capacity(end - start);
        for at in (start..end).step_by(step_len.max(1)) {
            let tokens = &tokens[at..end.min(at + step_len.max(1))];
            let share = SequenceStep { tokens, start: at, blocks: &blocks, logits: LogitRows::All };
            let stepped = self.engine.step(&[share], &mut logits, &pulse);
            stepped.map_err(|source| ParityError::Engine { engine: self.label.engine.clone(), source })?;
            rows.extend((0..logits.n_rows()).map(|row| logits.row(row).to_vec()));
        }
        Ok(rows)
    }
}

/// The digest by which reports name a model: of its files, in their order.
///
/// # Errors
/// If a file cannot be read.
pub fn model_sha256(gguf: &Gguf) -> Result<String, CacheError> {
    let (clock, pulse) = (SystemClock::start(), Pulse::new());
    let until = Until { clock: &clock, deadline: None, pulse: &pulse };
    Ok(digest_files(gguf.paths(), &until)?.sha256.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_runtime::parity::Distribution;
    use ballast_testkit::Script;

    /// Says a function of the last token and of the position.
    fn side(engine: &str, max_batch_tokens: usize, vocab_size: u32) -> ModelSide {
        let mut script = Script::new(vocab_size as usize, move |tokens| {
            TokenId((tokens[tokens.len() - 1].0 + u32::try_from(tokens.len()).unwrap()) % vocab_size)
        });
        script.shape.max_batch_tokens = max_batch_tokens;
        let label = EngineLabel {
            engine: engine.to_owned(),
            version: "1".to_owned(),
            model_sha256: String::new(),
            cache_key: None,
        };
        ModelSide { label, engine: Box::new(script.engine().0) }
    }

    fn plan() -> ModelPlan {
        let precision = Precision::F32;
        ModelPlan { precision, tolerances: precision.tolerances(), machine: "a test".to_owned() }
    }

    #[test]
    fn steps_of_any_size_over_every_window_give_the_same_positions() {
        let inputs = ModelInputs::seeded(3, 40, 3, 150).unwrap();
        let (mut a, mut b) = (side("a", 64, 40), side("b", 7, 40));
        let mut n_done = 0;
        let found = compare_models(&mut a, &mut b, &inputs, &plan(), |done| n_done = done).unwrap();
        assert!(found.report.is_within(), "{:?}", found.report);
        assert_eq!((found.report.n_samples, found.positions.len(), n_done), (450, 150, 3));
        assert!(found.positions.iter().all(|at| at.n_samples == 3 && at.cosine == Some(1.0)));
    }

    #[test]
    fn a_difference_is_found_at_its_position() {
        let tokens: Vec<TokenId> = (0..70).map(TokenId).collect();
        let inputs = ModelInputs::given(&tokens, 70, "a test");
        let (mut a, mut b) = (side("a", 64, 100), side("b", 64, 100));
        let odd = Script::new(100, |tokens| {
            let wrong = u32::from(tokens.len() == 66);
            TokenId((tokens[tokens.len() - 1].0 + u32::try_from(tokens.len()).unwrap() + wrong) % 100)
        });
        b.engine = Box::new(odd.engine().0);
        let found = compare_models(&mut a, &mut b, &inputs, &plan(), |_| ()).unwrap();
        assert!(!found.report.is_within());
        assert_eq!(found.report.worst.map(|worst| worst.sample), Some(65));
        let differ: Vec<_> = (0..70).filter(|&at| found.positions[at].l_inf > 0.0).collect();
        assert_eq!(differ, [65]);
        assert_eq!(found.positions[65].cosine, Some(0.0));
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        let (mut a, mut b) = (side("a", 64, 40), side("b", 64, 41));
        let inputs = ModelInputs::seeded(0, 40, 1, 4).unwrap();
        let error = compare_models(&mut a, &mut b, &inputs, &plan(), |_| ()).unwrap_err();
        assert!(matches!(error, ParityError::ShapeMismatch { .. }), "{error}");
        let nothing = ModelInputs::given(&[], 4, "nothing");
        let error = compare_models(&mut a, &mut b, &nothing, &plan(), |_| ()).unwrap_err();
        assert!(matches!(error, ParityError::Samples { got: 0, .. }), "{error}");
    }

    #[test]
    fn seeded_tokens_are_the_same_for_the_same_seed() {
        let tokens = |seed| ModelInputs::seeded(seed, 40, 2, 16).unwrap();
        assert_eq!(tokens(1), tokens(1));
        assert_ne!(tokens(1).sequences, tokens(2).sequences);
        assert!(tokens(1).sequences.iter().flatten().all(|token| token.0 < 40));
        let label = InputsLabel::Seeded(InputOptions {
            seed: 1,
            floats: Distribution::Uniform { min: -1.0, max: 1.0 },
            int_min: 0,
            int_max: 39,
            any_dim: 16,
            ..InputOptions::default()
        });
        assert_eq!(tokens(1).label, label);
    }
}
