//! Tensors of a file as f32.

use crate::LlmError;
use ballast_gguf::{Gguf, TensorInfo};
use ballast_kernels::{ShapeError, WeightType};

/// The kernels' name for a tensor's type.
///
/// # Errors
/// If there are no kernels for it.
pub fn weight_type_of(tensor: &TensorInfo) -> Result<WeightType, LlmError> {
    let name = tensor.tensor_type.name();
    WeightType::ALL
        .into_iter()
        .find(|weight_type| format!("{weight_type:?}") == name)
        .ok_or_else(|| LlmError::TensorType { name: tensor.name.to_string(), got: name.to_owned() })
}

/// Every element of a tensor, in file order.
///
/// # Errors
/// If there are no kernels for the tensor's type.
pub fn tensor_to_f32(gguf: &Gguf, tensor: &TensorInfo) -> Result<Vec<f32>, LlmError> {
    let weight_type = weight_type_of(tensor)?;
    let bytes = gguf.tensor_bytes(tensor);
    let n_blocks = bytes.len() / weight_type.block_bytes();
    if n_blocks * weight_type.block_bytes() != bytes.len() {
        let source = ShapeError { n_rows: 1, n_cols: n_blocks, weight_type, n_bytes: bytes.len() };
        return Err(LlmError::TensorBytes { name: tensor.name.to_string(), source });
    }
    let mut values = vec![0.0; n_blocks * weight_type.block_len()];
    ballast_kernels::dequantize(weight_type, bytes, &mut values);
    Ok(values)
}
