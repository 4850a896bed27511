//! Operators of Core ML's programs that ONNX has no words for: slices at places that are computed, and slices written.

use crate::array::{Array, Element, Shape, for_data};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, one, strides};
use crate::run::Context;

pub(super) const OPS: &[(&str, Build)] =
    &[("SliceByIndex", by_index), ("SliceBySize", by_size), ("SliceUpdate", update)];

/// Attributes of slices, one of each for every dimension. (Core ML Tools, `slice_by_index`)
#[derive(Debug)]
struct Masks {
    begin: Vec<bool>,
    end: Vec<bool>,
    squeeze: Vec<bool>,
    strides: Vec<i64>,
}

impl Masks {
    fn new(spec: &NodeSpec<'_>) -> Result<Self, OpError> {
        let ints = |name| NodeSpec::needed(spec.ints(name)?, name, "integers");
        let flags = |name| Ok::<_, OpError>(ints(name)?.iter().map(|&flag| flag != 0).collect::<Vec<_>>());
        let strides = ints("strides")?.to_vec();
        let masks =
            Self { begin: flags("begin_mask")?, end: flags("end_mask")?, squeeze: flags("squeeze_mask")?, strides };
        let rank = masks.strides.len();
        if [&masks.begin, &masks.end, &masks.squeeze].iter().any(|flags| flags.len() != rank) {
            return Err(NodeSpec::wrong("strides", "one of each for every dimension", rank));
        }
        if masks.strides.contains(&0) {
            return Err(NodeSpec::wrong("strides", "other than 0", 0));
        }
        Ok(masks)
    }

    /// The part of `shape` from `begin` to `end`.
    fn region(&self, shape: &[usize], begin: &[i64], end: &[i64]) -> Result<Region, OpError> {
        if [begin.len(), end.len(), self.strides.len()] != [shape.len(); 3] {
            return Err(OpError::shape(format!("{} dimensions", self.strides.len()), shape));
        }
        let mut region = Region::default();
        for (dim, &extent) in shape.iter().enumerate() {
            let extent_signed = i64::try_from(extent).unwrap_or(i64::MAX);
            let from_front = |at: i64| if at < 0 { at.saturating_add(extent_signed) } else { at };
            let (at, stride) = (from_front(begin[dim]), self.strides[dim]);
            if self.squeeze[dim] {
                let at = usize::try_from(at).ok().filter(|&at| at < extent);
                let at =
                    at.ok_or_else(|| OpError::input(1, format!("a place within {extent}"), begin[dim].to_string()))?;
                region.push(at, 1, 1);
                continue;
            }
            let (first, last) = if stride > 0 {
                let first = if self.begin[dim] { 0 } else { at.clamp(0, extent_signed) };
                (first, if self.end[dim] { extent_signed } else { from_front(end[dim]).clamp(0, extent_signed) })
            } else {
                let first = if self.begin[dim] { extent_signed - 1 } else { at.clamp(-1, extent_signed - 1) };
                (first, if self.end[dim] { -1 } else { from_front(end[dim]).clamp(-1, extent_signed - 1) })
            };
            let span = if stride > 0 { last - first } else { first - last };
            let n = span.max(0).unsigned_abs().div_ceil(stride.unsigned_abs());
            let n = usize::try_from(n).unwrap_or_default();
            region.push(usize::try_from(first).unwrap_or_default(), n, stride);
        }
        Ok(region)
    }

    /// The extents that are left when single elements' dimensions are gone.
    fn squeezed(&self, extents: &[usize]) -> Shape {
        extents.iter().zip(&self.squeeze).filter(|(_, gone)| !**gone).map(|(extent, _)| *extent).collect()
    }
}

/// Elements at even steps along each dimension.
#[derive(Debug, Default)]
struct Region {
    first: Shape,
    extents: Shape,
    steps: Vec<i64>,
}

impl Region {
    fn push(&mut self, first: usize, extent: usize, step: i64) {
        self.first.push(first);
        self.extents.push(extent);
        self.steps.push(step);
    }

    /// Where its elements lie in an array of `shape`, in their order.
    fn places(&self, shape: &[usize]) -> Vec<usize> {
        let of = strides(shape);
        let mut places = vec![0_usize];
        for dim in 0..shape.len() {
            let (first, step) = (self.first[dim], self.steps[dim]);
            let along = |idx: usize| {
                let idx = i64::try_from(idx).unwrap_or(i64::MAX).saturating_mul(step);
                first.saturating_add_signed(isize::try_from(idx).unwrap_or_default()) * of[dim]
            };
            places =
                places.iter().flat_map(|&place| (0..self.extents[dim]).map(move |idx| place + along(idx))).collect();
        }
        places
    }
}

fn picked(x: &Array, places: &[usize], shape: &[usize]) -> Array {
    fn pick<T: Element>(values: &[T], places: &[usize], shape: &[usize]) -> Array {
        Array::new(shape, places.iter().map(|&at| values[at].clone()).collect())
    }
    for_data!(x.data(), values => pick(values, places, shape))
}

fn by_index(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(SliceByIndex { masks: Masks::new(spec)? }))
}

/// A slice whose ends are computed: `x`, `begin`, `end`. (MIL `slice_by_index`)
#[derive(Debug)]
struct SliceByIndex {
    masks: Masks,
}

impl Operator for SliceByIndex {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.get(0)?;
        let region = self.masks.region(x.shape(), &inputs.ints(1)?, &inputs.ints(2)?)?;
        context.len_of(&region.extents, ballast_backend::DType::I64)?;
        one(picked(x, &region.places(x.shape()), &self.masks.squeezed(&region.extents)))
    }
}

fn by_size(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(SliceBySize))
}

/// A slice of so many elements: `x`, `begin`, `size`. (MIL `slice_by_size`)
#[derive(Debug)]
struct SliceBySize;

impl Operator for SliceBySize {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (x, begin, size) = (inputs.get(0)?, inputs.ints(1)?, inputs.ints(2)?);
        if [begin.len(), size.len()] != [x.rank(); 2] {
            return Err(OpError::shape(format!("{} dimensions", begin.len()), x.shape()));
        }
        let mut region = Region::default();
        for ((&extent, &begin), &size) in x.shape().iter().zip(&begin).zip(&size) {
            let signed = i64::try_from(extent).unwrap_or(i64::MAX);
            let first = if begin < 0 { begin.saturating_add(signed) } else { begin };
            let n = if size == -1 { signed.saturating_sub(first) } else { size };
            let fits = first >= 0 && n >= 0 && first.checked_add(n).is_some_and(|end| end <= signed);
            if !fits {
                return Err(OpError::input(1, format!("a slice within {extent}"), format!("{size} from {begin} on")));
            }
            region.push(usize::try_from(first).unwrap_or_default(), usize::try_from(n).unwrap_or_default(), 1);
        }
        context.len_of(&region.extents, ballast_backend::DType::I64)?;
        one(picked(x, &region.places(x.shape()), &region.extents))
    }
}

fn update(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(SliceUpdate { masks: Masks::new(spec)? }))
}

/// A tensor with a slice of it replaced: `x`, `update`, `begin`, `end`. (MIL `slice_update`)
#[derive(Debug)]
struct SliceUpdate {
    masks: Masks,
}

impl Operator for SliceUpdate {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (begin, end) = (inputs.ints(2)?, inputs.ints(3)?);
        let (mut x, update) = (inputs.take(0)?, inputs.take(1)?);
        let region = self.masks.region(x.shape(), &begin, &end)?;
        context.len_of(&region.extents, ballast_backend::DType::I64)?;
        let places = region.places(x.shape());
        if places.len() != update.len() || x.dtype() != update.dtype() {
            let expected = format!("{} {:?}", x.dtype(), self.masks.squeezed(&region.extents));
            return Err(OpError::input(1, expected, format!("{update:?}")));
        }
        fn replace<T: Element>(x: &mut Array, places: &[usize], update: &[T]) {
            let Some(values) = x.values_mut::<T>() else { return };
            for (&at, value) in places.iter().zip(update) {
                values[at] = value.clone();
            }
        }
        for_data!(update.data(), values => replace(&mut x, &places, values));
        one(x)
    }
}
