//! The operators, by what they do. Each table lists those that a file has.

mod attention;
mod broadcast;
mod cast;
mod compare;
pub(crate) mod control;
mod conv;
mod einsum;
mod elementwise;
pub(crate) mod fused;
mod gather;
mod generate;
mod loss;
mod matmul;
mod mil;
mod norm;
mod number;
mod pad;
mod pool;
mod quant;
mod real;
mod recurrent;
mod reduce;
mod resize;
mod select;
mod sequence;
mod shape;
mod signal;
mod softmax;
mod text;
#[cfg(test)]
mod trial;
mod unary;
mod view;
mod vision;
mod widen;
mod window;

use crate::operator::Build;

/// Every operator of every table, by domain and name.
const TABLES: &[(&str, &[(&str, Build)])] = &[
    ("", attention::OPS),
    ("", cast::OPS),
    (fused::DOMAIN, conv::FUSED),
    (fused::DOMAIN, fused::OPS),
    (fused::DOMAIN, matmul::FUSED),
    ("", compare::OPS),
    ("", conv::OPS),
    ("", einsum::OPS),
    ("", elementwise::OPS),
    ("", gather::OPS),
    ("", generate::OPS),
    ("", loss::OPS),
    ("", matmul::OPS),
    ("mil", mil::OPS),
    ("", norm::OPS),
    ("", pad::OPS),
    ("", pool::OPS),
    ("", quant::OPS),
    ("", recurrent::OPS),
    ("", reduce::OPS),
    ("", resize::OPS),
    ("", select::OPS),
    ("", sequence::OPS),
    ("", shape::OPS),
    ("", signal::OPS),
    ("", softmax::OPS),
    ("", text::OPS),
    ("", unary::OPS),
    ("", vision::OPS),
];

/// How an operator is made; `None`: the engine does not have it.
pub(crate) fn find(domain: &str, op: &str) -> Option<Build> {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    let tables = TABLES.iter().filter(|(of, _)| *of == domain).flat_map(|(_, table)| *table);
    tables.into_iter().find(|(name, _)| *name == op).map(|(_, build)| *build)
}
