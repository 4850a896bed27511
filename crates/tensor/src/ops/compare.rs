//! Comparisons, and the logic of truth values and of bits.

use super::broadcast::{map_over, zip, zip_over};
use super::elementwise::{Alignment, alike};
use super::number::by_type;
use super::widen::widened;
use crate::array::{Array, Element};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, one, wrong_type};
use crate::run::Context;

pub(super) const OPS: &[(&str, Build)] = &[
    ("Equal", |spec| Pairwise::build(spec, Relation::Equal)),
    ("Greater", |spec| Pairwise::build(spec, Relation::Greater)),
    ("GreaterOrEqual", |spec| Pairwise::build(spec, Relation::GreaterOrEqual)),
    ("Less", |spec| Pairwise::build(spec, Relation::Less)),
    ("LessOrEqual", |spec| Pairwise::build(spec, Relation::LessOrEqual)),
    ("And", |spec| Pairwise::build(spec, Relation::And)),
    ("Or", |spec| Pairwise::build(spec, Relation::Or)),
    ("Xor", |spec| Pairwise::build(spec, Relation::Xor)),
    ("BitwiseAnd", |spec| Pairwise::build(spec, Relation::BitwiseAnd)),
    ("BitwiseOr", |spec| Pairwise::build(spec, Relation::BitwiseOr)),
    ("BitwiseXor", |spec| Pairwise::build(spec, Relation::BitwiseXor)),
    ("BitwiseNot", |_| Ok(Box::new(BitwiseNot))),
];

/// What two elements become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    And,
    Or,
    Xor,
    BitwiseAnd,
    BitwiseOr,
    BitwiseXor,
}

/// A relation of two arrays. (the ONNX operators of the relations' names)
#[derive(Debug)]
struct Pairwise {
    relation: Relation,
    alignment: Alignment,
}

impl Pairwise {
    fn build(spec: &NodeSpec<'_>, relation: Relation) -> Result<Box<dyn Operator>, OpError> {
        Ok(Box::new(Self { relation, alignment: Alignment::new(spec)? }))
    }
}

impl Operator for Pairwise {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (a, b) = alike(self.alignment, &mut inputs)?;
        let dtype = a.dtype();
        one(match self.relation {
            Relation::Equal => by_type!(dtype, T in all => zip::<T, T, bool>(&a, &b, context, |a, b| a == b))?,
            Relation::Greater | Relation::GreaterOrEqual | Relation::Less | Relation::LessOrEqual => {
                let (a, b) = (widened(a, context)?, widened(b, context)?);
                by_type!(a.dtype(), T in numbers => self.relation.order::<T>(&a, &b, context),
                    else => Err(wrong_type(0, "numbers", dtype)))?
            }
            Relation::And => zip_over::<bool>(a, b, context, |a, b| a & b)?,
            Relation::Or => zip_over::<bool>(a, b, context, |a, b| a | b)?,
            Relation::Xor => zip_over::<bool>(a, b, context, |a, b| a ^ b)?,
            Relation::BitwiseAnd => by_type!(dtype, T in integers => zip::<T, T, T>(&a, &b, context, |a, b| a & b),
                else => Err(wrong_type(0, "integers", dtype)))?,
            Relation::BitwiseOr => by_type!(dtype, T in integers => zip::<T, T, T>(&a, &b, context, |a, b| a | b),
                else => Err(wrong_type(0, "integers", dtype)))?,
            Relation::BitwiseXor => by_type!(dtype, T in integers => zip::<T, T, T>(&a, &b, context, |a, b| a ^ b),
                else => Err(wrong_type(0, "integers", dtype)))?,
        })
    }
}

impl Relation {
    fn order<T: Element + PartialOrd>(self, a: &Array, b: &Array, context: &mut Context<'_>) -> Result<Array, OpError> {
        match self {
            Self::Greater => zip::<T, T, bool>(a, b, context, |a, b| a > b),
            Self::GreaterOrEqual => zip::<T, T, bool>(a, b, context, |a, b| a >= b),
            Self::Less => zip::<T, T, bool>(a, b, context, |a, b| a < b),
            Self::LessOrEqual
            | Self::Equal
            | Self::And
            | Self::Or
            | Self::Xor
            | Self::BitwiseAnd
            | Self::BitwiseOr
            | Self::BitwiseXor => zip::<T, T, bool>(a, b, context, |a, b| a <= b),
        }
    }
}

/// All bits the other way. (ONNX `BitwiseNot`)
#[derive(Debug)]
struct BitwiseNot;

impl Operator for BitwiseNot {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.take(0)?;
        let dtype = x.dtype();
        one(by_type!(dtype, T in integers => map_over::<T>(x, context, |x| !x),
            else => Err(wrong_type(0, "integers", dtype)))?)
    }
}

#[cfg(test)]
mod tests;
