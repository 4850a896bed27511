//! What a model takes, gives and keeps, as Core ML describes it.

use crate::CoreMlError;
use ballast_backend::{Dim, IoSchema, Tensor, TensorSpec};

/// Which shapes an array may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ShapeRule {
    /// The shape of the constraint, and no other.
    One,
    /// One of several.
    Enumerated(Vec<Vec<usize>>),
    /// For each dimension its least extent, and whether it may be larger.
    Ranges(Vec<(usize, bool)>),
}

/// One array of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArrayDescription {
    pub(crate) name: String,
    pub(crate) dtype: ballast_backend::DType,
    /// The shape that Core ML names; for outputs it may be empty although the array is not a scalar.
    pub(crate) shape: Vec<usize>,
    pub(crate) rule: ShapeRule,
    pub(crate) is_optional: bool,
}

impl ArrayDescription {
    fn spec(&self) -> TensorSpec {
        let dims: Vec<Dim> = match &self.rule {
            ShapeRule::One => self.shape.iter().map(|&extent| Dim::Fixed(extent)).collect(),
            ShapeRule::Enumerated(shapes) => common(&self.shape, shapes),
            ShapeRule::Ranges(ranges) => {
                ranges.iter().map(|&(least, grows)| if grows { Dim::Any } else { Dim::Fixed(least) }).collect()
            }
        };
        let batch_capable = matches!(dims.first(), Some(Dim::Any));
        TensorSpec { name: self.name.clone(), dtype: self.dtype, shape: dims, batch_capable }
    }
}

/// Dimensions in which all shapes agree are fixed.
fn common(shape: &[usize], shapes: &[Vec<usize>]) -> Vec<Dim> {
    let agrees = |idx: usize, extent: usize| shapes.iter().all(|other| other.get(idx) == Some(&extent));
    let dim = |(idx, &extent): (usize, &usize)| if agrees(idx, extent) { Dim::Fixed(extent) } else { Dim::Any };
    shape.iter().enumerate().map(dim).collect()
}

/// A model's arrays, each list in the order of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) inputs: Vec<ArrayDescription>,
    pub(crate) outputs: Vec<ArrayDescription>,
    pub(crate) states: Vec<ArrayDescription>,
}

impl Description {
    /// The schema. Optional inputs are left out: Core ML then uses the model's own values.
    pub(crate) fn schema(&self) -> IoSchema {
        let needed = self.inputs.iter().filter(|input| !input.is_optional);
        IoSchema {
            inputs: needed.map(ArrayDescription::spec).collect(),
            outputs: self.outputs.iter().map(ArrayDescription::spec).collect(),
        }
    }

    /// What the model keeps between predictions with a state.
    pub(crate) fn states(&self) -> Vec<TensorSpec> {
        self.states.iter().map(ArrayDescription::spec).collect()
    }

    /// Inputs of zeros, in the shapes that Core ML names.
    pub(crate) fn zeros(&self, schema: &IoSchema) -> Result<Vec<(String, Tensor)>, CoreMlError> {
        let zero = |spec: &TensorSpec| {
            let named = self.inputs.iter().find(|input| input.name == spec.name);
            let named = named.map(|input| input.shape.as_slice()).unwrap_or_default();
            let extent = |(idx, dim): (usize, &Dim)| match dim {
                Dim::Fixed(extent) => *extent,
                Dim::Any => named.get(idx).copied().unwrap_or(1),
            };
            let shape = spec.shape.iter().enumerate().map(extent).collect();
            Ok((spec.name.clone(), Tensor::zeros(shape, spec.dtype)?))
        };
        schema.inputs.iter().map(zero).collect()
    }
}

/// Fixes the shapes of inputs.
///
/// # Errors
/// [`CoreMlError::Shape`] for an input that is not there or does not have this shape.
pub(crate) fn fix_shapes(schema: &mut IoSchema, shapes: &[(String, Vec<usize>)]) -> Result<(), CoreMlError> {
    for (name, shape) in shapes {
        match schema.inputs.iter_mut().find(|spec| spec.name == *name) {
            Some(spec) if spec.fits(spec.dtype, shape) => {
                spec.shape = shape.iter().map(|&extent| Dim::Fixed(extent)).collect();
                spec.batch_capable = false;
            }
            Some(_) | None => return Err(CoreMlError::Shape { name: name.clone(), shape: shape.clone() }),
        }
    }
    Ok(())
}

/// Gives outputs of which Core ML names no shape, as it does for many programs, those of `known`.
pub(crate) fn name_output_shapes(schema: &mut IoSchema, known: &IoSchema) {
    for output in schema.outputs.iter_mut().filter(|output| output.shape.is_empty()) {
        if let Some(known) = known.outputs.iter().find(|known| known.name == output.name) {
            output.shape.clone_from(&known.shape);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_backend::DType;

    fn array(shape: &[usize], rule: ShapeRule) -> ArrayDescription {
        ArrayDescription { name: "x".into(), dtype: DType::F32, shape: shape.to_vec(), rule, is_optional: false }
    }

    #[test]
    fn dimensions_are_fixed_where_no_shape_differs() {
        use Dim::{Any, Fixed};
        let cases = [
            (array(&[1, 3], ShapeRule::One), vec![Fixed(1), Fixed(3)]),
            (array(&[1, 3], ShapeRule::Enumerated(vec![vec![1, 3], vec![4, 3]])), vec![Any, Fixed(3)]),
            (array(&[2, 3], ShapeRule::Ranges(vec![(1, true), (3, false)])), vec![Any, Fixed(3)]),
            (array(&[2, 3], ShapeRule::Enumerated(vec![vec![2, 3]])), vec![Fixed(2), Fixed(3)]),
        ];
        for (array, expected) in cases {
            assert_eq!(array.spec().shape, expected, "{array:?}");
        }
    }

    #[test]
    fn zeros_have_the_named_shape_and_optional_inputs_are_left_out() {
        let mut optional = array(&[9], ShapeRule::One);
        (optional.name, optional.is_optional) = ("opt".into(), true);
        let description = Description {
            inputs: vec![optional, array(&[2, 3], ShapeRule::Ranges(vec![(1, true), (3, false)]))],
            ..Description::default()
        };
        let schema = description.schema();
        let zeros = description.zeros(&schema).unwrap();
        assert_eq!(zeros.len(), 1);
        assert_eq!((zeros[0].0.as_str(), zeros[0].1.shape()), ("x", &[2, 3][..]));
    }

    #[test]
    fn only_shapes_that_the_model_has_can_be_fixed() {
        let description = Description {
            inputs: vec![array(&[2, 3], ShapeRule::Ranges(vec![(1, true), (3, false)]))],
            ..Description::default()
        };
        let fixed = |name: &str, shape: &[usize]| {
            let mut schema = description.schema();
            fix_shapes(&mut schema, &[(name.to_owned(), shape.to_vec())]).map(|()| schema.inputs[0].shape.clone())
        };
        assert_eq!(fixed("x", &[7, 3]).unwrap(), [Dim::Fixed(7), Dim::Fixed(3)]);
        for (name, shape) in [("x", &[7, 4][..]), ("x", &[7]), ("y", &[7, 3])] {
            assert!(matches!(fixed(name, shape), Err(CoreMlError::Shape { .. })), "{name} {shape:?}");
        }
    }

    #[test]
    fn outputs_without_a_shape_have_the_one_that_is_known() {
        let mut named = array(&[4], ShapeRule::One);
        named.name = "y".into();
        let mut unnamed = array(&[], ShapeRule::One);
        unnamed.name = "z".into();
        let known = Description { outputs: vec![named, unnamed], ..Description::default() };
        let mut schema = known.schema();
        let mut other = known.schema();
        (other.outputs[0].shape, other.outputs[1].shape) = (vec![Dim::Fixed(9)], vec![Dim::Any, Dim::Fixed(2)]);
        name_output_shapes(&mut schema, &other);
        assert_eq!(schema.outputs[0].shape, [Dim::Fixed(4)]);
        assert_eq!(schema.outputs[1].shape, [Dim::Any, Dim::Fixed(2)]);
    }
}
