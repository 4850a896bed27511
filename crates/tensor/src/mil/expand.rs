//! Compressed weights: the `constexpr_` operations, computed while a program is lowered.
//!
//! Scales, palettes and offsets may be given per block: along each dimension the block's extent is that of the data
//! divided by theirs. (Core ML Tools, operations of iOS 16 and iOS 18)

use super::decode::{floats, unpacked, widened};
use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::operator::{axis, strides};
use ballast_backend::{DType, element_count};
use smallvec::SmallVec;

/// Constants that an operation takes, by name.
pub(crate) trait Constants {
    /// One that must be there.
    fn needed(&mut self, name: &'static str) -> Result<Array, OpError>;

    /// One that may be there.
    fn find(&mut self, name: &'static str) -> Result<Option<Array>, OpError>;

    /// Counts elements that are about to be allocated.
    fn spend(&mut self, shape: &[usize], dtype: DType) -> Result<usize, OpError>;
}

/// Expands one of these operations; `None` if it is none.
pub(crate) fn expand(kind: &str, constants: &mut dyn Constants) -> Result<Option<Vec<Array>>, OpError> {
    let expanded = match kind {
        "constexpr_affine_dequantize" => affine(constants)?,
        "constexpr_blockwise_shift_scale" => shift_scale(constants)?,
        "constexpr_cast" => cast(constants)?,
        "constexpr_lut_to_dense" => palette(constants)?,
        "constexpr_sparse_to_dense" => sparse(constants)?,
        "constexpr_lut_to_sparse" => return sparse_palette(constants).map(Some),
        "constexpr_sparse_blockwise_shift_scale" => return sparse_shift_scale(constants).map(Some),
        _ => return Ok(None),
    };
    Ok(Some(vec![expanded]))
}

fn numbers(array: &Array) -> Result<Vec<f32>, OpError> {
    floats(array).ok_or_else(|| OpError::unsupported(format!("compressed weights of {}", array.dtype())))
}

/// Which block each element is in, by its place among the blocks.
struct Blocks {
    /// Extents of the data.
    shape: Shape,
    /// Extents of a block.
    block: Shape,
    /// Steps between neighbouring blocks.
    steps: Shape,
}

impl Blocks {
    /// Blocks of data of `shape` where `of` is how many there are along each dimension.
    fn new(shape: &[usize], of: &[usize]) -> Result<Self, OpError> {
        let fits = |(extent, n): (&usize, &usize)| *n > 0 && extent.is_multiple_of(*n);
        if shape.len() != of.len() || !shape.iter().zip(of).all(fits) {
            return Err(OpError::shape(format!("blocks that divide the shape {shape:?}"), of));
        }
        let block = shape.iter().zip(of).map(|(extent, n)| (extent / n).max(1)).collect();
        Ok(Self { shape: Shape::from_slice(shape), block, steps: strides(of) })
    }

    /// Calls `visit` with each element's block, in the order of the elements.
    fn each(&self, mut visit: impl FnMut(usize)) {
        let len: usize = self.shape.iter().product();
        let mut at: SmallVec<[usize; 6]> = SmallVec::from_elem(0, self.shape.len());
        let mut done = 0;
        while done < len {
            // Along the last dimension the block changes by one step at a time.
            let (last, outer) = match at.len() {
                0 => (1, 0),
                rank => {
                    let block = |dim: usize| at[dim] / self.block[dim] * self.steps[dim];
                    (self.shape[rank - 1], (0..rank - 1).map(block).sum())
                }
            };
            let width = self.block.last().copied().unwrap_or(1);
            for idx in 0..last {
                visit(outer + idx / width);
            }
            done += last;
            let rank = at.len();
            for dim in (0..rank.saturating_sub(1)).rev() {
                at[dim] += 1;
                if at[dim] < self.shape[dim] {
                    break;
                }
                at[dim] = 0;
            }
        }
    }
}

/// `scale * (data - offset)`, scale and offset per block.
fn scaled(data: &Array, scale: (&[usize], &[f32]), offset: Option<&[f32]>) -> Result<Vec<f32>, OpError> {
    let blocks = Blocks::new(data.shape(), scale.0)?;
    let n_blocks: usize = scale.0.iter().product();
    if offset.is_some_and(|offset| offset.len() != n_blocks) {
        return Err(OpError::shape(format!("{n_blocks} offsets"), &[offset.map_or(0, <[f32]>::len)]));
    }
    let mut values = numbers(data)?;
    let mut idx = 0;
    blocks.each(|block| {
        let shift = offset.map_or(0.0, |offset| offset[block]);
        values[idx] = scale.1[block] * (values[idx] - shift);
        idx += 1;
    });
    Ok(values)
}

/// `constexpr_affine_dequantize` of iOS 16.
fn affine(constants: &mut dyn Constants) -> Result<Array, OpError> {
    let data = constants.needed("quantized_data")?;
    let (zero, scale) = (constants.needed("zero_point")?, constants.needed("scale")?);
    let along = one_int(&constants.needed("axis")?)?;
    constants.spend(data.shape(), DType::F32)?;
    let along = axis(along, data.rank())?;
    let n = scale.len().max(zero.len());
    let mut of = vec![1; data.rank()];
    of[along] = n;
    let spread = |array: &Array| -> Result<Vec<f32>, OpError> {
        let values = numbers(array)?;
        match values.len() {
            1 => Ok(vec![values[0]; n]),
            len if len == n => Ok(values),
            len => Err(OpError::shape(format!("one or {n} values"), &[len])),
        }
    };
    let values = scaled(&data, (&of, &spread(&scale)?), Some(&spread(&zero)?))?;
    Ok(Array::new(data.shape(), values))
}

/// `constexpr_blockwise_shift_scale` of iOS 18.
fn shift_scale(constants: &mut dyn Constants) -> Result<Array, OpError> {
    let (data, scale) = (constants.needed("data")?, constants.needed("scale")?);
    let offset = constants.find("offset")?.as_ref().map(numbers).transpose()?;
    constants.spend(data.shape(), DType::F32)?;
    let values = scaled(&data, (scale.shape(), &numbers(&scale)?), offset.as_deref())?;
    Ok(Array::new(data.shape(), values))
}

/// `constexpr_cast`: everything that has fractions is held in f32 already.
fn cast(constants: &mut dyn Constants) -> Result<Array, OpError> {
    let (source, to) = (constants.needed("source_val")?, constants.needed("output_dtype")?);
    match to.values::<String>() {
        Some([to]) if matches!(to.as_str(), "fp32" | "fp16") => Ok(source),
        _ => Err(OpError::unsupported("a cast of constants to this type")),
    }
}

/// `constexpr_lut_to_dense`.
fn palette(constants: &mut dyn Constants) -> Result<Array, OpError> {
    let (indices, palette) = (constants.needed("indices")?, constants.needed("lut")?);
    match constants.find("shape")? {
        Some(shape) => packed_palette(constants, &indices, &palette, &extents(&shape)?),
        None => blocked_palette(constants, &indices, &palette),
    }
}

/// As iOS 16 has it: one palette, and indices that share bytes.
fn packed_palette(
    constants: &mut dyn Constants,
    indices: &Array,
    palette: &Array,
    shape: &[usize],
) -> Result<Array, OpError> {
    let bits = match palette.len() {
        n @ (2 | 4 | 8 | 16 | 64 | 256) => n.trailing_zeros() as usize,
        n => return Err(OpError::shape("a palette of 2, 4, 8, 16, 64 or 256 values", &[n])),
    };
    let len = constants.spend(shape, palette.dtype())?;
    let bytes = indices.values::<u8>().ok_or_else(|| OpError::unsupported("indices that are not bytes"))?;
    if bytes.len() != (len * bits).div_ceil(8) {
        return Err(OpError::shape(format!("{len} indices of {bits} bits"), indices.shape()));
    }
    Ok(taken(palette, shape, unpacked(bytes, bits, len).into_iter().map(usize::from)))
}

/// Elements of `from` at these places, of which each is there.
fn taken(from: &Array, shape: &[usize], places: impl Iterator<Item = usize>) -> Array {
    if let Some(values) = from.values::<i8>() {
        return Array::new(shape, places.map(|at| values[at]).collect::<Vec<_>>());
    }
    if let Some(values) = from.values::<u8>() {
        return Array::new(shape, places.map(|at| values[at]).collect::<Vec<_>>());
    }
    let values = floats(from).unwrap_or_default();
    Array::new(shape, places.map(|at| values.get(at).copied().unwrap_or_default()).collect::<Vec<_>>())
}

/// As iOS 18 has it: a palette for each block, of numbers or of vectors.
fn blocked_palette(constants: &mut dyn Constants, indices: &Array, palette: &Array) -> Result<Array, OpError> {
    let rank = indices.rank();
    let (blocks, [n_values, width]) = palette_blocks(indices.shape(), palette)?;
    let along = match constants.find("vector_axis")? {
        Some(along) => axis(one_int(&along)?, rank)?,
        None if width == 1 => rank.saturating_sub(1),
        None => return Err(OpError::unsupported("a palette of vectors without an axis")),
    };
    let mut shape = indices.shape().to_vec();
    shape[along] = shape[along].saturating_mul(width);
    let len = constants.spend(&shape, palette.dtype())?;
    let indices = bytes_below(indices, n_values)?;
    // An element of the result lies, per index, at a place in the outer dimensions, in the vector, and in the inner ones.
    let inner: usize = shape[along + 1..].iter().product();
    let mut places = vec![0; len];
    let mut idx = 0;
    blocks.each(|block| {
        let (outer, within) = (idx / inner.max(1), idx % inner.max(1));
        for part in 0..width {
            places[(outer * width + part) * inner + within] = (block * n_values + indices[idx]) * width + part;
        }
        idx += 1;
    });
    Ok(taken(palette, &shape, places.into_iter()))
}

/// The blocks that a palette of iOS 18 has values for; how many values each has; of how many numbers a value is.
fn palette_blocks(shape: &[usize], palette: &Array) -> Result<(Blocks, [usize; 2]), OpError> {
    let wrong = || OpError::shape("a palette of two more dimensions than its indices", palette.shape());
    let (of, sizes) = palette.shape().split_last_chunk::<2>().ok_or_else(wrong)?;
    if of.len() != shape.len() || of.is_empty() || sizes.contains(&0) {
        return Err(wrong());
    }
    Ok((Blocks::new(shape, of)?, *sizes))
}

fn bytes_below(indices: &Array, n: usize) -> Result<Vec<usize>, OpError> {
    let bytes = indices.values::<u8>().ok_or_else(|| OpError::unsupported("indices that are not bytes"))?;
    if bytes.iter().any(|&idx| usize::from(idx) >= n) {
        return Err(OpError::unsupported("an index outside of its palette"));
    }
    Ok(bytes.iter().map(|&idx| usize::from(idx)).collect())
}

/// `constexpr_sparse_to_dense`.
fn sparse(constants: &mut dyn Constants) -> Result<Array, OpError> {
    let (data, mask) = (constants.needed("nonzero_data")?, constants.needed("mask")?);
    let (shape, mask) = match constants.find("shape")? {
        Some(shape) => {
            let shape = extents(&shape)?;
            let len = constants.spend(&shape, DType::U8)?;
            let bytes = mask.values::<u8>().ok_or_else(|| OpError::unsupported("a mask that is not bytes"))?;
            if bytes.len() != len.div_ceil(8) {
                return Err(OpError::shape(format!("a mask of {len} bits"), mask.shape()));
            }
            (shape, unpacked(bytes, 1, len))
        }
        None => (mask.shape().to_vec(), mask_bits(&mask)?.to_vec()),
    };
    constants.spend(&shape, data.dtype())?;
    check_set(&mask, &data)?;
    let mut next = 0;
    let places = mask.iter().map(|&bit| {
        next += usize::from(bit != 0);
        (bit != 0).then_some(next)
    });
    // The first element stands for those that are not set.
    let shape_with_zero = [data.len() + 1];
    let with_zero = if let Some(values) = data.values::<i8>() {
        Array::new(&shape_with_zero, [&[0][..], values].concat())
    } else if let Some(values) = data.values::<u8>() {
        Array::new(&shape_with_zero, [&[0][..], values].concat())
    } else {
        Array::new(&shape_with_zero, [&[0.0][..], &numbers(&data)?].concat())
    };
    Ok(taken(&with_zero, &shape, places.map(Option::unwrap_or_default)))
}

fn mask_bits(mask: &Array) -> Result<&[u8], OpError> {
    mask.values::<u8>().ok_or_else(|| OpError::unsupported("a mask that is not of bits"))
}

/// Checks that there is an element for each bit that is set.
fn check_set(mask: &[u8], data: &Array) -> Result<(), OpError> {
    let n_set = mask.iter().filter(|&&bit| bit != 0).count();
    if n_set == data.len() {
        Ok(())
    } else {
        Err(OpError::shape(format!("{n_set} elements that are not 0"), data.shape()))
    }
}

/// `constexpr_lut_to_sparse`, whose palette has a value for each element that is not 0.
fn sparse_palette(constants: &mut dyn Constants) -> Result<Vec<Array>, OpError> {
    let (mask, indices) = (constants.needed("indices_mask")?, constants.needed("indices_nonzero_data")?);
    let palette = constants.needed("lut")?;
    let (blocks, [n_values, width]) = palette_blocks(mask.shape(), &palette)?;
    if width != 1 {
        return Err(OpError::unsupported("a palette of vectors for sparse weights"));
    }
    constants.find("vector_axis")?;
    check_set(mask_bits(&mask)?, &indices)?;
    constants.spend(indices.shape(), palette.dtype())?;
    let (bits, indices) = (mask_bits(&mask)?, bytes_below(&indices, n_values)?);
    let places = set_blocks(&blocks, bits).into_iter().zip(&indices).map(|(block, idx)| block * n_values + idx);
    let values = taken(&palette, &[indices.len()], places);
    Ok(vec![mask, values])
}

/// `constexpr_sparse_blockwise_shift_scale`.
fn sparse_shift_scale(constants: &mut dyn Constants) -> Result<Vec<Array>, OpError> {
    let (mask, data) = (constants.needed("data_mask")?, constants.needed("nonzero_data")?);
    let scale = constants.needed("scale")?;
    let offset = constants.find("offset")?.as_ref().map(numbers).transpose()?;
    let blocks = Blocks::new(mask.shape(), scale.shape())?;
    if offset.as_ref().is_some_and(|offset| offset.len() != scale.len()) {
        return Err(OpError::shape("as many offsets as scales", scale.shape()));
    }
    check_set(mask_bits(&mask)?, &data)?;
    constants.spend(data.shape(), DType::F32)?;
    let (mut values, scales) = (numbers(&data)?, numbers(&scale)?);
    for (value, block) in values.iter_mut().zip(set_blocks(&blocks, mask_bits(&mask)?)) {
        *value = scales[block] * (*value - offset.as_ref().map_or(0.0, |offset| offset[block]));
    }
    let values = Array::new(&[values.len()], values);
    Ok(vec![mask, values])
}

/// The blocks of the elements whose bits are set.
fn set_blocks(blocks: &Blocks, bits: &[u8]) -> Vec<usize> {
    let (mut set, mut idx) = (Vec::new(), 0);
    blocks.each(|block| {
        if bits[idx] != 0 {
            set.push(block);
        }
        idx += 1;
    });
    set
}

fn one_int(array: &Array) -> Result<i64, OpError> {
    match extents_signed(array).as_deref() {
        Some([one]) => Ok(*one),
        _ => Err(OpError::shape("one integer", array.shape())),
    }
}

fn extents(array: &Array) -> Result<Vec<usize>, OpError> {
    let extents = extents_signed(array).and_then(|dims| dims.iter().map(|&dim| usize::try_from(dim).ok()).collect());
    let extents: Option<Vec<usize>> = extents;
    extents
        .filter(|shape| element_count(shape).is_some() && shape.len() <= ballast_backend::RANK_MAX)
        .ok_or_else(|| OpError::unsupported("a shape of other numbers"))
}

fn extents_signed(array: &Array) -> Option<Vec<i64>> {
    let wide = widened(array.clone()).ok()?;
    wide.values::<i32>().map(|values| values.iter().map(|&value| i64::from(value)).collect())
}
