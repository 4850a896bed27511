//! One round of ONNX Runtime on an ONNX model: see `round.rs`. `--library PATH` is the library. Prints its line of JSON.

#[path = "round.rs"]
mod round;

use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorElementType};
use round::{Arguments, Ask, Given, Start};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse()?;
    let library = arguments.library.as_ref().ok_or("--library PATH: the library of ONNX Runtime")?;
    let start = Start::now();
    let environment = ort::init_from(library)?.with_telemetry(false).build()?;
    let builder = Session::builder(&environment)?.with_intra_threads(arguments.n_threads)?;
    let mut session = builder.with_inter_threads(1)?.commit_from_file(&arguments.model)?;
    let mut inputs = Vec::new();
    for (idx, port) in session.inputs().iter().enumerate() {
        let given = arguments.input(idx, port.name())?;
        let kind = port.dtype().tensor_type().ok_or("an input that is no tensor")?;
        inputs.push(tensor(kind, given)?);
    }
    start.measure(&arguments, |ask| {
        let given: Vec<SessionInputValue<'_>> = inputs.iter().map(SessionInputValue::from).collect();
        let outputs = session.run(&given[..])?;
        match ask {
            Ask::Nothing => Ok(Vec::new()),
            Ask::Outputs => outputs.values().map(|output| bytes(&output)).collect(),
        }
    })
}

macro_rules! of_bytes {
    ($number:ty, $given:expr) => {{
        let Given { shape, bytes } = $given;
        let values = bytes.as_chunks().0.iter().map(|bytes| <$number>::from_le_bytes(*bytes)).collect::<Vec<_>>();
        Ok(Tensor::from_array((shape, values))?.into_dyn())
    }};
}

fn tensor(kind: TensorElementType, given: Given) -> Result<DynValue, Box<dyn Error>> {
    match kind {
        TensorElementType::Float32 => of_bytes!(f32, given),
        TensorElementType::Int64 => of_bytes!(i64, given),
        TensorElementType::Int32 => of_bytes!(i32, given),
        other => Err(format!("no inputs of {other}").into()),
    }
}

fn bytes(output: &DynValue) -> Result<Vec<u8>, Box<dyn Error>> {
    if let Ok((_, values)) = output.try_extract_tensor::<f32>() {
        return Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect());
    }
    let (_, values) = output.try_extract_tensor::<i64>()?;
    Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
}
