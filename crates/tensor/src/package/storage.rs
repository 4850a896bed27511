//! How a program's weights are stored: as plain elements, or compressed in one of the ways of the `constexpr_` operations.

use crate::mil::{Binding, Content, ElementType, Literal, Operation, TensorType};
use ballast_backend::element_count;
use std::collections::BTreeMap;

/// Weights that are stored in one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightsSurvey {
    /// How many tensors.
    pub n_tensors: usize,
    /// How many elements they have together.
    pub n_elements: u64,
    /// Of how many bytes together, with scales, palettes and masks.
    pub bytes: u64,
}

/// One tensor, or a part of one that is compressed.
#[derive(Clone, Debug)]
struct Stored {
    /// Such as `fp16` or `lut4`.
    way: String,
    of: TensorType,
    bytes: u64,
    /// Whether it is a weight by itself: what lies in the program's text is a parameter of an operation.
    is_filed: bool,
}

/// The tensors of a function by name, as its operations are looked through.
#[derive(Debug, Default)]
pub(super) struct Storage {
    parts: BTreeMap<String, Stored>,
}

impl Storage {
    /// Takes up a constant, or an operation that expands some.
    pub(super) fn note(&mut self, operation: &Operation) {
        if operation.kind == "const" {
            let literal = operation.attributes.get("val").zip(operation.outputs.first());
            if let Some((stored, output)) = literal.and_then(|(literal, output)| Some((of_literal(literal)?, output))) {
                self.parts.insert(output.name.clone(), stored);
            }
            return;
        }
        if !operation.kind.starts_with("constexpr_") {
            let literals = operation.inputs.values().flatten().filter_map(|binding| match binding {
                Binding::Literal(literal) => of_literal(literal),
                Binding::Name(_) => None,
            });
            for (idx, stored) in literals.filter(|stored| stored.is_filed).enumerate() {
                self.parts.insert(format!("{}/{idx}", operation.label()), stored);
            }
            return;
        }
        let Some((of, output)) =
            operation.outputs.last().and_then(|output| Some((output.of.tensor()?.clone(), output)))
        else {
            return;
        };
        let way = self.way(operation);
        // What it is made of is no weight of its own any more. A mask goes with the elements that it stands by.
        let names = operation.inputs.values().flatten().filter_map(|binding| match binding {
            Binding::Name(name) => Some(name),
            Binding::Literal(_) => None,
        });
        let mut bytes: u64 = names.filter_map(|name| self.parts.remove(name)).map(|part| part.bytes).sum();
        let here = operation.inputs.values().flatten().filter_map(|binding| match binding {
            Binding::Literal(literal) => of_literal(literal),
            Binding::Name(_) => None,
        });
        let attributes = operation.attributes.iter().filter(|(name, _)| name.as_str() != "name");
        bytes +=
            here.chain(attributes.filter_map(|(_, literal)| of_literal(literal))).map(|part| part.bytes).sum::<u64>();
        self.parts.insert(output.name.clone(), Stored { way, of, bytes, is_filed: true });
    }

    /// How the tensors are stored that are weights by themselves.
    pub(super) fn finish(self) -> BTreeMap<String, WeightsSurvey> {
        let mut ways: BTreeMap<String, WeightsSurvey> = BTreeMap::new();
        for stored in self.parts.into_values().filter(|stored| stored.is_filed) {
            let weights = ways.entry(stored.way).or_default();
            weights.n_tensors += 1;
            weights.n_elements = weights.n_elements.saturating_add(n_elements(&stored.of));
            weights.bytes = weights.bytes.saturating_add(stored.bytes);
        }
        ways
    }

    /// What an operation is given by this name: a part that is known, a literal, or an attribute as iOS 16 has it.
    fn part(&self, operation: &Operation, name: &str) -> Option<Stored> {
        match operation.inputs.get(name).and_then(|bindings| bindings.first()) {
            Some(Binding::Name(name)) => self.parts.get(name).cloned(),
            Some(Binding::Literal(literal)) => of_literal(literal),
            None => operation.attributes.get(name).and_then(of_literal),
        }
    }

    /// How what an operation expands is stored, in words.
    fn way(&self, operation: &Operation) -> String {
        let part = |name: &str| self.part(operation, name);
        let told = |stored: Option<Stored>| stored.map_or_else(|| "not told".to_owned(), |stored| stored.way);
        match operation.kind.as_str() {
            "constexpr_affine_dequantize" => {
                let scales = part("scale").map_or(1, |scale| n_elements(&scale.of));
                let spread = if scales > 1 { "per channel" } else { "per tensor" };
                format!("{} affine {spread}", told(part("quantized_data")))
            }
            "constexpr_blockwise_shift_scale" => {
                let spread = part("scale").map_or("", |scale| spread(&scale.of));
                format!("{} affine {spread}", told(part("data")))
            }
            "constexpr_sparse_blockwise_shift_scale" => {
                let spread = part("scale").map_or("", |scale| spread(&scale.of));
                format!("{} affine {spread}", told(part("nonzero_data")))
            }
            "constexpr_lut_to_dense" => palette(part("indices"), part("lut")),
            "constexpr_lut_to_sparse" => palette(part("indices_nonzero_data"), part("lut")),
            "constexpr_sparse_to_dense" => format!("sparse {}", told(part("nonzero_data"))),
            "constexpr_cast" => format!("{} cast", told(part("source_val"))),
            other => other.to_owned(),
        }
    }
}

fn n_elements(of: &TensorType) -> u64 {
    of.shape().and_then(|shape| element_count(&shape)).unwrap_or_default() as u64
}

fn of_literal(literal: &Literal) -> Option<Stored> {
    let of = literal.of.tensor().filter(|of| of.element != ElementType::Text)?;
    let bytes = n_elements(of).saturating_mul(of.element.bits() as u64).div_ceil(8);
    let is_filed = matches!(literal.content, Content::File { .. });
    Some(Stored { way: of.element.as_str().to_owned(), of: of.clone(), bytes, is_filed })
}

/// Over what a scale reaches, by the dimensions along which there are several.
fn spread(scales: &TensorType) -> &'static str {
    match scales.dims.iter().filter(|dim| **dim != Some(1)).count() {
        0 => "per tensor",
        1 => "per channel",
        _ => "per block",
    }
}

/// The bits of an index; several palettes are told, and palettes of vectors.
fn palette(indices: Option<Stored>, lut: Option<Stored>) -> String {
    let Some(lut) = lut else { return "lut".to_owned() };
    // As iOS 18 has it, the last two dimensions are the values and the numbers of each.
    let own = indices.as_ref().map_or(0, |indices| indices.of.element.bits());
    let (n_values, n_palettes, width) = match lut.of.shape().as_deref() {
        Some([palettes @ .., values, width]) => (*values, palettes.iter().product(), *width),
        Some([values]) => (*values, 1, 1),
        Some([]) | None => (0, 1, 1),
    };
    let bits = if own > 0 && own < 8 { own } else { n_values.max(1).ilog2() as usize };
    let grouped = if n_palettes > 1 { " grouped" } else { "" };
    let vectors = if width > 1 { " of vectors" } else { "" };
    let compressed = if lut.way.contains(' ') { format!(" of {}", lut.way) } else { String::new() };
    format!("lut{bits}{grouped}{vectors}{compressed}")
}
