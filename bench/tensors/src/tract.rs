//! One round of tract on an ONNX model: see `round.rs`. Prints its line of JSON.

#[path = "round.rs"]
mod round;

use round::{Arguments, Ask, Given, Start};
use std::error::Error;
use tract_linalg::multithread::{Executor, multithread_tract_scope};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse()?;
    let executor = match arguments.n_threads {
        1 => Executor::SingleThread,
        n => Executor::multithread(n),
    };
    multithread_tract_scope(executor, || round(&arguments))
}

fn round(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let start = Start::now();
    // What a file claims of shapes inside may be an exporter's guess, or leave open what the inputs fix: tract works all of
    // them out from the inputs.
    let reader = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let mut model = reader.model_for_path(&arguments.model)?;
    let mut inputs: TVec<TValue> = TVec::new();
    for (idx, outlet) in model.input_outlets()?.to_vec().into_iter().enumerate() {
        let given = arguments.input(idx, &model.node(outlet.node).name.clone())?;
        let datum = model.input_fact(idx)?.datum_type.concretize().ok_or("an input without a type")?;
        model.set_input_fact(idx, InferenceFact::dt_shape(datum, given.shape.clone()))?;
        inputs.push(tensor(datum, &given)?.into());
    }
    let model = model.into_optimized()?.into_runnable()?;
    start.measure(arguments, |ask| {
        let outputs = model.run(inputs.clone())?;
        Ok(if ask == Ask::Outputs {
            outputs.iter().map(|output| output.as_bytes().to_vec()).collect()
        } else {
            Vec::new()
        })
    })
}

fn tensor(datum: DatumType, given: &Given) -> Result<Tensor, Box<dyn Error>> {
    let mut tensor = Tensor::zero_dt(datum, &given.shape)?;
    let bytes = tensor.as_bytes_mut();
    if bytes.len() != given.bytes.len() {
        return Err(format!("expected {} bytes of an input, got {}", bytes.len(), given.bytes.len()).into());
    }
    bytes.copy_from_slice(&given.bytes);
    Ok(tensor)
}
