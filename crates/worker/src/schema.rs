//! What a worker says it can do, checked: its words are believed only within bounds.

use crate::WorkerError;
use crate::wire::{Schema, Shape, Spec};
use ballast_backend::{Dim, GeneratorShape, IoSchema, RANK_MAX, TensorSpec};
use std::collections::BTreeSet;

/// Bounds of a shape, far above any model, so that what is allocated by it stays bounded.
const VOCAB_SIZE_MAX: usize = 1 << 24;
const CONTEXT_LEN_MAX: usize = 1 << 28;
const BLOCK_LEN_MAX: usize = 1 << 16;
const N_BLOCKS_MAX: usize = 1 << 24;
const BATCH_TOKENS_MAX: usize = 1 << 20;
const BATCH_SEQUENCES_MAX: usize = 1 << 16;

/// Bounds of a schema.
const N_TENSORS_MAX: usize = 512;
const NAME_BYTES_MAX: usize = 256;

fn broken(expected: &'static str, got: usize) -> WorkerError {
    WorkerError::Protocol { expected, got: got.to_string() }
}

impl From<&GeneratorShape> for Shape {
    fn from(shape: &GeneratorShape) -> Self {
        Self {
            vocab_size: shape.vocab_size,
            context_len: shape.context_len,
            block_len: shape.block_len,
            n_blocks: shape.n_blocks,
            max_batch_tokens: shape.max_batch_tokens,
            max_batch_sequences: shape.max_batch_sequences,
        }
    }
}

impl TryFrom<Shape> for GeneratorShape {
    type Error = WorkerError;

    fn try_from(shape: Shape) -> Result<Self, WorkerError> {
        let bounds = [
            (shape.vocab_size, VOCAB_SIZE_MAX, "a vocabulary of at most 2^24 tokens"),
            (shape.context_len, CONTEXT_LEN_MAX, "a context of at most 2^28 tokens"),
            (shape.block_len, BLOCK_LEN_MAX, "blocks of at most 2^16 positions"),
            (shape.n_blocks, N_BLOCKS_MAX, "at most 2^24 blocks"),
            (shape.max_batch_tokens, BATCH_TOKENS_MAX, "steps of at most 2^20 tokens"),
            (shape.max_batch_sequences, BATCH_SEQUENCES_MAX, "steps of at most 2^16 sequences"),
        ];
        match bounds.into_iter().find(|(got, max, _)| !(1..=*max).contains(got)) {
            Some((got, _, expected)) => Err(broken(expected, got)),
            None => Ok(Self {
                vocab_size: shape.vocab_size,
                context_len: shape.context_len,
                block_len: shape.block_len,
                n_blocks: shape.n_blocks,
                max_batch_tokens: shape.max_batch_tokens,
                max_batch_sequences: shape.max_batch_sequences,
            }),
        }
    }
}

impl From<&IoSchema> for Schema {
    fn from(schema: &IoSchema) -> Self {
        let dim = |dim: &Dim| match dim {
            Dim::Fixed(extent) => Some(*extent),
            Dim::Any => None,
        };
        let spec = |spec: &TensorSpec| Spec {
            name: spec.name.clone(),
            dtype: spec.dtype.into(),
            dims: spec.shape.iter().map(dim).collect(),
            batch_capable: spec.batch_capable,
        };
        Self { inputs: schema.inputs.iter().map(spec).collect(), outputs: schema.outputs.iter().map(spec).collect() }
    }
}

impl TryFrom<Schema> for IoSchema {
    type Error = WorkerError;

    fn try_from(schema: Schema) -> Result<Self, WorkerError> {
        Ok(Self { inputs: checked(schema.inputs)?, outputs: checked(schema.outputs)? })
    }
}

fn checked(specs: Vec<Spec>) -> Result<Vec<TensorSpec>, WorkerError> {
    if specs.len() > N_TENSORS_MAX {
        return Err(broken("at most 512 tensors", specs.len()));
    }
    let names: BTreeSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    if names.len() != specs.len() {
        return Err(broken("tensors of distinct names", specs.len()));
    }
    let checked = |spec: Spec| {
        if spec.name.len() > NAME_BYTES_MAX {
            return Err(broken("names of at most 256 bytes", spec.name.len()));
        }
        if spec.dims.len() > RANK_MAX {
            return Err(broken("at most 8 dimensions", spec.dims.len()));
        }
        let shape = spec.dims.into_iter().map(|dim| dim.map_or(Dim::Any, Dim::Fixed)).collect();
        Ok(TensorSpec { name: spec.name, dtype: spec.dtype.into(), shape, batch_capable: spec.batch_capable })
    };
    specs.into_iter().map(checked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Element;

    fn shape() -> Shape {
        Shape {
            vocab_size: VOCAB_SIZE_MAX,
            context_len: CONTEXT_LEN_MAX,
            block_len: BLOCK_LEN_MAX,
            n_blocks: N_BLOCKS_MAX,
            max_batch_tokens: BATCH_TOKENS_MAX,
            max_batch_sequences: BATCH_SEQUENCES_MAX,
        }
    }

    #[test]
    fn a_shape_is_believed_within_bounds_only() {
        let kept = GeneratorShape::try_from(shape()).unwrap();
        assert_eq!(Shape::from(&kept).n_blocks, N_BLOCKS_MAX);
        let fields: [fn(&mut Shape) -> &mut usize; 6] = [
            |s| &mut s.vocab_size,
            |s| &mut s.context_len,
            |s| &mut s.block_len,
            |s| &mut s.n_blocks,
            |s| &mut s.max_batch_tokens,
            |s| &mut s.max_batch_sequences,
        ];
        for (idx, field) in fields.into_iter().enumerate() {
            let (mut zero, mut over) = (shape(), shape());
            *field(&mut zero) = 0;
            *field(&mut over) += 1;
            for bad in [zero, over] {
                assert!(matches!(GeneratorShape::try_from(bad), Err(WorkerError::Protocol { .. })), "field {idx}");
            }
        }
    }

    #[test]
    fn a_schema_is_believed_within_bounds_only() {
        let spec = |name: &str| Spec {
            name: name.to_owned(),
            dtype: Element::I8,
            dims: vec![Some(usize::MAX), None],
            batch_capable: true,
        };
        let numbered = |n: usize| (0..n).map(|idx| spec(&idx.to_string())).collect::<Vec<_>>();
        let open = |outputs| IoSchema::try_from(Schema { inputs: Vec::new(), outputs });
        let kept = open(numbered(N_TENSORS_MAX)).unwrap();
        assert_eq!(IoSchema::try_from(Schema::from(&kept)).unwrap(), kept);
        let deep = Spec { dims: vec![None; RANK_MAX + 1], ..spec("x") };
        let long = spec(&"x".repeat(NAME_BYTES_MAX + 1));
        for bad in [numbered(N_TENSORS_MAX + 1), vec![spec("x"), spec("x")], vec![deep], vec![long]] {
            assert!(matches!(open(bad), Err(WorkerError::Protocol { .. })));
        }
    }
}
