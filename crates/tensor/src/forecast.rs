//! Rules for what Apple's neural engine runs: predictions, made on any system, and no measurements.
//!
//! The rules are what others found by trying (<https://ane-guide.readthedocs.io>), not what Apple says; only a compute
//! plan on the device says where an operation runs. Programs of packages are looked at in `package/lint.rs`, graphs in
//! `forecast/graph.rs`.

mod graph;

use std::collections::BTreeMap;

pub(crate) use graph::forecast_graph;

/// Most elements of an image's side.
pub(crate) const SIDE_MAX: usize = 16_384;
/// Most channels.
pub(crate) const CHANNELS_MAX: usize = 65_536;
/// Most dimensions.
pub(crate) const DIMS_MAX: usize = 5;
/// Widest kernel of a convolution.
pub(crate) const KERNEL_WIDTH_MAX: usize = 13;
/// Most elements that the place of an extreme is searched among.
pub(crate) const ARG_REDUCE_MAX: usize = 2048;
/// Most bytes of an operand that stays near the compute units.
pub(crate) const OPERAND_BYTES_MAX: usize = 2 << 20;

/// Most operations that a finding names.
pub const EXAMPLES_MAX: usize = 8;

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $keeps_off:literal, $text:literal;)+) => {
        /// A rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum PredictionRule {
            $($(#[$doc])* $variant,)+
        }

        impl PredictionRule {
            /// Why it speaks against the neural engine, in words.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// Whether an operation that breaks it is expected to run elsewhere.
            #[must_use]
            pub fn keeps_off(self) -> bool {
                match self {
                    $(Self::$variant => $keeps_off,)+
                }
            }
        }
    };
}

rules! {
    /// Only f16 is computed with.
    NotF16 = true, "not f16, which is all that the neural engine computes with";
    /// Extents must be known before.
    OpenExtents = true, "extents that are left open, where the neural engine wants fixed ones";
    /// Tensors of up to five dimensions.
    TooManyDims = true, "tensors of more than 5 dimensions";
    /// Sides of images up to 16,384, channels up to 65,536.
    ExtentTooLarge = true, "sides beyond 16384 or channels beyond 65536";
    /// Kernels of convolutions up to a width of 13.
    KernelTooWide = true, "a kernel wider than 13";
    /// The place of an extreme among 2,048 elements at most.
    ArgReduceTooLong = true, "the place of an extreme among more than 2048 elements";
    /// Operations without a path: scattering, products of all elements, recurrent layers.
    NoPath = true, "an operation that the neural engine does not have";
    /// Operands of more than 2 MiB come from main memory piece by piece: slower, but computed.
    OperandTooLarge = false, "operands above 2 MiB, which are read piece by piece: slower, but computed";
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// Which rule.
    pub rule: PredictionRule,
    /// How many operations it concerns.
    pub n_operations: usize,
    /// The first of them, at most [`EXAMPLES_MAX`]: each its kind and its name.
    pub examples: Vec<String>,
}

/// What the rules say of a whole model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Operations, constants aside.
    pub n_operations: usize,
    /// Those of them that no rule keeps off the neural engine.
    pub n_predicted: usize,
    /// What the rules found, by rule.
    pub predictions: Vec<Prediction>,
}

impl Forecast {
    /// Share of operations that are predicted to run on the neural engine, in percent; `None`: there is no operation.
    #[must_use]
    pub fn share_pct(&self) -> Option<f64> {
        (self.n_operations > 0).then(|| self.n_predicted as f64 * 100.0 / self.n_operations as f64)
    }
}

/// A forecast that is being made, operation by operation.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    n_operations: usize,
    n_predicted: usize,
    found: BTreeMap<PredictionRule, (usize, Vec<String>)>,
}

impl Findings {
    /// Takes up an operation, its kind and its name, and the rules that it breaks.
    pub(crate) fn note(&mut self, kind: &str, name: &str, broken: impl IntoIterator<Item = PredictionRule>) {
        let mut is_kept_off = false;
        for rule in broken {
            is_kept_off |= rule.keeps_off();
            let (n_operations, examples) = self.found.entry(rule).or_default();
            *n_operations += 1;
            if examples.len() < EXAMPLES_MAX {
                examples.push(format!("{kind} ({name})"));
            }
        }
        self.n_operations += 1;
        self.n_predicted += usize::from(!is_kept_off);
    }

    pub(crate) fn finish(self) -> Forecast {
        let predictions = self.found.into_iter();
        let predictions =
            predictions.map(|(rule, (n_operations, examples))| Prediction { rule, n_operations, examples });
        Forecast { n_operations: self.n_operations, n_predicted: self.n_predicted, predictions: predictions.collect() }
    }
}

/// Which of these rules are broken.
pub(crate) fn broken(rules: &[(PredictionRule, bool)]) -> impl Iterator<Item = PredictionRule> {
    rules.iter().filter(|(_, is_broken)| *is_broken).map(|(rule, _)| *rule)
}

/// Whether a tensor of these extents is beyond what the neural engine takes; `None`: not told.
pub(crate) fn is_too_large(dims: &[Option<usize>]) -> bool {
    let [.., Some(height), Some(width)] = dims else { return false };
    let channels = if dims.len() > 3 { dims[1].unwrap_or_default() } else { 0 };
    *height > SIDE_MAX || *width > SIDE_MAX || channels > CHANNELS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_is_only_slower_counts_as_run() {
        let mut findings = Findings::default();
        findings.note("conv", "a", [PredictionRule::OperandTooLarge]);
        findings.note("lstm", "b", [PredictionRule::NotF16, PredictionRule::NoPath]);
        findings.note("relu", "c", []);
        let forecast = findings.finish();
        assert_eq!((forecast.n_operations, forecast.n_predicted), (3, 2));
        assert!(forecast.share_pct().is_some_and(|share| (share - 200.0 / 3.0).abs() < 1e-9));
        let rules: Vec<PredictionRule> = forecast.predictions.iter().map(|found| found.rule).collect();
        assert_eq!(rules, [PredictionRule::NotF16, PredictionRule::NoPath, PredictionRule::OperandTooLarge]);
        assert_eq!(forecast.predictions[0].examples, ["lstm (b)"]);
        assert_eq!(Forecast::default().share_pct(), None);
    }

    #[test]
    fn findings_name_so_many_operations_and_count_all() {
        let mut findings = Findings::default();
        (0..100).for_each(|n| findings.note("lstm", &n.to_string(), [PredictionRule::NoPath]));
        let found = &findings.finish().predictions[0];
        assert_eq!((found.n_operations, found.examples.len()), (100, EXAMPLES_MAX));
    }

    #[test]
    fn extents_are_bounded_where_they_are_told() {
        for (dims, expected) in [
            (vec![Some(1), Some(3), Some(SIDE_MAX), Some(8)], false),
            (vec![Some(1), Some(3), Some(SIDE_MAX + 1), Some(8)], true),
            (vec![Some(1), Some(3), Some(8), Some(SIDE_MAX + 1)], true),
            (vec![Some(1), Some(CHANNELS_MAX + 1), Some(8), Some(8)], true),
            (vec![Some(CHANNELS_MAX + 1), Some(8), Some(8)], false),
            (vec![Some(1), None, Some(8), Some(8)], false),
            (vec![Some(SIDE_MAX + 1)], false),
            (vec![None, Some(SIDE_MAX + 1)], false),
        ] {
            assert_eq!(is_too_large(&dims), expected, "{dims:?}");
        }
    }
}
