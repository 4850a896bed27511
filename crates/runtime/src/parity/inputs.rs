//! Inputs from a seed: the same on every machine.

use super::error::ParityError;
use ballast_backend::{DType, Dim, IoSchema, Tensor, TensorData, TensorMap, TensorSpec, element_count};
use half::{bf16, f16};
use serde::Serialize;

/// How floats are spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Evenly from `min` up to `max`.
    Uniform {
        /// Smallest value.
        min: f64,
        /// Bound of the values.
        max: f64,
    },
    /// About normal: the sum of twelve even values (Irwin and Hall), which needs no function that machines round
    /// differently. No value is further from the mean than six deviations.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        deviation: f64,
    },
}

/// Which inputs to make.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct InputOptions {
    /// Same seed and schema, same inputs.
    pub seed: u64,
    /// Floats.
    pub floats: Distribution,
    /// Smallest integer.
    pub int_min: i64,
    /// Largest integer.
    pub int_max: i64,
    /// Extent of dimensions that the model leaves open.
    pub any_dim: usize,
    /// Most elements of all inputs together.
    pub elements_max: usize,
}

impl Default for InputOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            floats: Distribution::Uniform { min: -1.0, max: 1.0 },
            int_min: 0,
            int_max: 100,
            any_dim: 1,
            elements_max: 1 << 24,
        }
    }
}

/// Inputs number `sample` for a model: every input in the order of its name, so that the schema's order does not matter.
///
/// # Errors
/// If the inputs would have too many elements, or the ranges have no value of an input's type.
pub fn seeded_inputs(schema: &IoSchema, options: &InputOptions, sample: u64) -> Result<TensorMap, ParityError> {
    let mut specs: Vec<&TensorSpec> = schema.inputs.iter().collect();
    specs.sort_by(|a, b| a.name.cmp(&b.name));
    // Mixed once before the sample is added, so that neighbouring seeds do not share samples.
    let mut random = SplitMix(SplitMix(options.seed).next().wrapping_add(sample));
    random = SplitMix(random.next());
    let (mut inputs, mut n_left) = (TensorMap::new(), options.elements_max);
    for spec in specs {
        let shape: Vec<usize> = spec.shape.iter().map(|dim| extent(*dim, options.any_dim)).collect();
        let fits = element_count(&shape).and_then(|len| Some((len, n_left.checked_sub(len)?)));
        let Some((len, rest)) = fits else {
            return Err(ParityError::InputTooLarge { name: spec.name.clone(), max: options.elements_max });
        };
        n_left = rest;
        let data = values(spec, len, options, &mut random)?;
        inputs.insert(spec.name.clone(), Tensor::new(shape, data)?);
    }
    Ok(inputs)
}

fn extent(dim: Dim, any_dim: usize) -> usize {
    match dim {
        Dim::Fixed(extent) => extent,
        Dim::Any => any_dim,
    }
}

fn values(
    spec: &TensorSpec,
    len: usize,
    options: &InputOptions,
    random: &mut SplitMix,
) -> Result<TensorData, ParityError> {
    let outside = |expected| ParityError::InputRange { name: spec.name.clone(), expected };
    let (is_range, expected) = match options.floats {
        Distribution::Uniform { min, max } => (min <= max && (max - min).is_finite(), "a finite range of floats"),
        Distribution::Normal { mean, deviation } => {
            (mean.is_finite() && deviation.is_finite() && deviation >= 0.0, "a finite mean and deviation")
        }
    };
    if !is_range {
        return Err(outside(expected));
    }
    if options.int_min > options.int_max {
        return Err(outside("a smallest integer below the largest"));
    }
    let (floats, ints) = ("a range of floats within the input's type", "a range of integers within the input's type");
    Ok(match spec.dtype {
        DType::F32 => {
            let values: Vec<f32> = (0..len).map(|_| f64_to_f32(random.float(options.floats))).collect();
            let is_finite = values.iter().all(|value| value.is_finite());
            TensorData::F32(is_finite.then_some(values).ok_or_else(|| outside(floats))?)
        }
        DType::F16 => {
            let values: Vec<f16> = (0..len).map(|_| f16::from_f64(random.float(options.floats))).collect();
            let is_finite = values.iter().all(|value| value.is_finite());
            let values = is_finite.then_some(values).ok_or_else(|| outside(floats))?;
            TensorData::F16(values.into_iter().map(f16::to_bits).collect())
        }
        DType::F64 => TensorData::F64((0..len).map(|_| random.float(options.floats)).collect()),
        DType::Bf16 => {
            let values: Vec<bf16> = (0..len).map(|_| bf16::from_f64(random.float(options.floats))).collect();
            let is_finite = values.iter().all(|value| value.is_finite());
            let values = is_finite.then_some(values).ok_or_else(|| outside(floats))?;
            TensorData::Bf16(values.into_iter().map(bf16::to_bits).collect())
        }
        DType::I64 => TensorData::I64(random.ints(len, options).ok_or_else(|| outside(ints))?),
        DType::I32 => TensorData::I32(random.ints(len, options).ok_or_else(|| outside(ints))?),
        DType::I16 => TensorData::I16(random.ints(len, options).ok_or_else(|| outside(ints))?),
        DType::U64 => TensorData::U64(random.ints(len, options).ok_or_else(|| outside(ints))?),
        DType::U32 => TensorData::U32(random.ints(len, options).ok_or_else(|| outside(ints))?),
        DType::U16 => TensorData::U16(random.ints(len, options).ok_or_else(|| outside(ints))?),
        DType::I8 => TensorData::I8(random.ints(len, options).ok_or_else(|| outside(ints))?),
        DType::U8 => TensorData::U8(random.ints(len, options).ok_or_else(|| outside(ints))?),
        DType::Bool => TensorData::Bool((0..len).map(|_| random.next() & 1 == 1).collect()),
        DType::Str => TensorData::Str((0..len).map(|_| format!("{:x}", random.next())).collect()),
    })
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest is what is wanted")]
fn f64_to_f32(value: f64) -> f32 {
    value as f32
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
pub(super) struct SplitMix(pub(super) u64);

impl SplitMix {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to 1, in steps of 2^-53.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn float(&mut self, distribution: Distribution) -> f64 {
        match distribution {
            Distribution::Uniform { min, max } => min + (max - min) * self.unit(),
            Distribution::Normal { mean, deviation } => {
                let sum: f64 = (0..12).map(|_| self.unit()).sum();
                mean + deviation * (sum - 6.0)
            }
        }
    }

    /// `None` if the range has values that `T` has not.
    fn ints<T: TryFrom<i64>>(&mut self, len: usize, options: &InputOptions) -> Option<Vec<T>> {
        let (min, max) = (options.int_min, options.int_max);
        T::try_from(max).ok()?;
        T::try_from(min).ok()?;
        let n_values = u128::from(max.abs_diff(min)) + 1;
        let int = |random: &mut Self| {
            // The high half of a product spreads 64 bits over the range as evenly as they can be.
            let offset = (u128::from(random.next()) * n_values) >> 64;
            let value = i128::from(min) + i128::try_from(offset).ok()?;
            T::try_from(i64::try_from(value).ok()?).ok()
        };
        (0..len).map(|_| int(self)).collect()
    }
}
