//! Keeps what a gate measured: how far a model is from its reference, in the manifest beside it.

use super::{GateOptions, GateReport};
use crate::Error;
use crate::tensor_model::manifest::{DeclaredQuantization, manifest_path};
use crate::tensor_model::{Manifest, TensorIoError, WeightFacts, survey};
use std::path::{Path, PathBuf};

/// Writes the differences from the reference that a report of gate B has into the model's manifest, with what they are
/// differences from and how the weights are stored; everything else in it stays. Returns the manifest's path; `None`:
/// nothing was compared with a reference.
///
/// # Errors
/// A manifest that is none, or that cannot be written.
pub fn record(model: &Path, options: &GateOptions, report: &GateReport) -> Result<Option<PathBuf>, Error> {
    let Some((reference, delta)) = options.reference.as_ref().zip(report.delta()) else { return Ok(None) };
    let path = options.load.manifest.clone().unwrap_or_else(|| manifest_path(model));
    let mut manifest = if path.exists() { Manifest::read(&path)? } else { Manifest::default() };
    if manifest.quantization.is_none() {
        manifest.quantization = quantization(&survey(model)?.weights);
    }
    manifest.accuracy_delta_of = Some(reference.file_name().unwrap_or_default().to_string_lossy().into_owned());
    manifest.accuracy_delta_l_inf = Some(delta.l_inf);
    manifest.accuracy_delta_rmse = Some(delta.rmse);
    let text = serde_json::to_vec_pretty(&manifest).map_err(|source| fault(&path, source.into()))?;
    // Beside it first: whoever reads it meanwhile finds the old one or the new one.
    let unfinished = path.with_extension("json.new");
    std::fs::write(&unfinished, text).map_err(|source| fault(&unfinished, source))?;
    std::fs::rename(&unfinished, &path).map_err(|source| fault(&path, source))?;
    Ok(Some(path))
}

fn fault(path: &Path, source: std::io::Error) -> Error {
    TensorIoError::Write { path: path.to_owned(), source }.into()
}

/// The word for how most of the weights are stored; `None`: there is none for it.
fn quantization(weights: &[WeightFacts]) -> Option<DeclaredQuantization> {
    let most = weights.iter().max_by_key(|weights| weights.n_elements)?;
    match most.storage.as_str() {
        "fp32" | "f32" => Some(DeclaredQuantization::Fp32),
        "fp16" | "f16" => Some(DeclaredQuantization::Fp16),
        storage if storage.starts_with("lut") => Some(DeclaredQuantization::Palettized),
        storage if storage.starts_with("int8") || storage.starts_with("uint8") => Some(DeclaredQuantization::Int8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_weights_say_how_a_model_is_quantised() {
        let of = |ways: &[(&str, u64)]| {
            let facts = |(storage, n): &(&str, u64)| WeightFacts {
                storage: (*storage).to_owned(),
                n_tensors: 1,
                n_elements: *n,
                bytes: 0,
            };
            quantization(&ways.iter().map(facts).collect::<Vec<_>>())
        };
        for (ways, expected) in [
            (&[("fp32", 9), ("int8 affine per channel", 10)][..], Some(DeclaredQuantization::Int8)),
            (&[("fp32", 11), ("int8 affine per channel", 10)], Some(DeclaredQuantization::Fp32)),
            (&[("f16", 1)], Some(DeclaredQuantization::Fp16)),
            (&[("lut4 grouped", 1)], Some(DeclaredQuantization::Palettized)),
            (&[("int4 affine per block", 1)], None),
            (&[("sparse lut4", 1)], None),
            (&[], None),
        ] {
            assert_eq!(of(ways), expected, "{ways:?}");
        }
    }
}
