//! Inputs from a seed.

use ballast_backend::{DType, Dim, IoSchema, TensorData, TensorSpec};
use ballast_runtime::parity::{Distribution, InputOptions, ParityError, seeded_inputs};
use half::f16;

fn spec(name: &str, dtype: DType, shape: &[Dim]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec(), batch_capable: true }
}

fn schema() -> IoSchema {
    let dtypes = DType::EVERY;
    let inputs = dtypes.map(|dtype| spec(dtype.as_str(), dtype, &[Dim::Any, Dim::Fixed(50)]));
    IoSchema { inputs: inputs.to_vec(), outputs: Vec::new() }
}

fn floats(options: &InputOptions) -> Vec<f32> {
    let schema = IoSchema { inputs: vec![spec("x", DType::F32, &[Dim::Fixed(4000)])], outputs: Vec::new() };
    seeded_inputs(&schema, options, 0).unwrap()["x"].as_f32().unwrap().to_vec()
}

#[test]
fn inputs_fit_the_schema_and_depend_on_seed_and_sample_alone() {
    let options = InputOptions { any_dim: 3, ..InputOptions::default() };
    let inputs = seeded_inputs(&schema(), &options, 4).unwrap();
    schema().check_inputs(&inputs).unwrap();
    assert_eq!(inputs["i8"].shape(), [3, 50]);
    let mut turned = schema();
    turned.inputs.reverse();
    assert_eq!(seeded_inputs(&turned, &options, 4).unwrap(), inputs, "the schema's order does not matter");
    assert_ne!(seeded_inputs(&schema(), &options, 5).unwrap(), inputs);
    let other = InputOptions { seed: 1, ..options };
    assert_ne!(seeded_inputs(&schema(), &other, 4).unwrap(), inputs);
    assert_ne!(seeded_inputs(&schema(), &other, 3).unwrap(), inputs, "neighbouring seeds share no samples");
}

#[test]
fn the_same_seed_gives_the_same_numbers_for_ever() {
    let schema = IoSchema {
        inputs: vec![spec("a", DType::F32, &[Dim::Fixed(2)]), spec("b", DType::I32, &[Dim::Fixed(3)])],
        outputs: Vec::new(),
    };
    let inputs = seeded_inputs(&schema, &InputOptions { seed: 42, ..InputOptions::default() }, 0).unwrap();
    assert_eq!(inputs["a"].data(), &TensorData::F32(vec![-0.22605145, 0.84263444]));
    assert_eq!(inputs["b"].data(), &TensorData::I32(vec![8, 60, 50]));
}

#[test]
fn values_lie_in_their_ranges_and_fill_them() {
    let options = InputOptions { any_dim: 20, int_min: -3, int_max: 3, ..InputOptions::default() };
    let only = |dtype: DType| {
        let mut schema = schema();
        schema.inputs.retain(|spec| spec.dtype == dtype);
        seeded_inputs(&schema, &options, 0).unwrap().remove(dtype.as_str()).unwrap().into_parts().1
    };
    let TensorData::I64(ints) = only(DType::I64) else { panic!() };
    assert!((-3..=3).all(|value| ints.contains(&value)) && ints.iter().all(|value| (-3..=3).contains(value)));
    let TensorData::F16(halves) = only(DType::F16) else { panic!() };
    assert!(halves.iter().all(|bits| f16::from_bits(*bits).to_f32().abs() <= 1.0));
    let TensorData::Bool(bools) = only(DType::Bool) else { panic!() };
    assert!(bools.contains(&true) && bools.contains(&false));
    let whole = InputOptions { int_min: i64::MIN, int_max: i64::MAX, ..options };
    let schema = IoSchema { inputs: vec![spec("x", DType::I64, &[Dim::Fixed(200)])], outputs: Vec::new() };
    let TensorData::I64(ints) = seeded_inputs(&schema, &whole, 0).unwrap()["x"].data().clone() else { panic!() };
    assert!(ints.iter().any(|value| *value < i64::MIN / 2) && ints.iter().any(|value| *value > i64::MAX / 2));
}

#[test]
fn distributions_have_their_mean_and_deviation() {
    let of = |floats| InputOptions { floats, ..InputOptions::default() };
    for (options, mean, deviation) in [
        (of(Distribution::Uniform { min: 2.0, max: 4.0 }), 3.0, (4.0_f64 / 12.0).sqrt()),
        (of(Distribution::Normal { mean: -1.0, deviation: 0.5 }), -1.0, 0.5),
    ] {
        let values: Vec<f64> = floats(&options).into_iter().map(f64::from).collect();
        let n = values.len() as f64;
        let got_mean = values.iter().sum::<f64>() / n;
        let got_deviation = (values.iter().map(|value| (value - got_mean).powi(2)).sum::<f64>() / n).sqrt();
        // Four standard errors of the mean of 4000, and as much for the deviation.
        assert!((got_mean - mean).abs() < 4.0 * deviation / n.sqrt(), "{options:?}: {got_mean}");
        assert!((got_deviation / deviation - 1.0).abs() < 4.0 / n.sqrt(), "{options:?}: {got_deviation}");
    }
}

#[test]
fn ranges_without_values_and_inputs_out_of_bounds_are_refused() {
    let refused = |options: InputOptions, dtype| {
        let mut schema = schema();
        schema.inputs.retain(|spec| spec.dtype == dtype);
        matches!(seeded_inputs(&schema, &options, 0), Err(ParityError::InputRange { .. }))
    };
    let default = InputOptions::default();
    let uniform = |min, max| InputOptions { floats: Distribution::Uniform { min, max }, ..default };
    let normal = |mean, deviation| InputOptions { floats: Distribution::Normal { mean, deviation }, ..default };
    let ints = |int_min, int_max| InputOptions { int_min, int_max, ..default };
    for options in [uniform(1.0, 0.0), uniform(f64::NAN, 1.0), uniform(f64::MIN, f64::MAX), uniform(1e300, 1e301)] {
        assert!(refused(options, DType::F32), "{options:?}");
    }
    for options in [normal(f64::NAN, 1.0), normal(0.0, -1.0), normal(0.0, f64::INFINITY), normal(1e5, 0.0)] {
        assert!(refused(options, DType::F16), "{options:?}");
    }
    assert!(refused(ints(2, 1), DType::I64));
    assert!(refused(ints(0, 128), DType::I8) && !refused(ints(0, 127), DType::I8));
    assert!(refused(ints(-1, 1), DType::U8) && !refused(ints(0, 255), DType::U8));
    // Refused for what could be drawn, not for what was.
    let one = IoSchema { inputs: vec![spec("x", DType::U8, &[Dim::Fixed(1)])], outputs: Vec::new() };
    assert!(matches!(seeded_inputs(&one, &ints(-1, 255), 0), Err(ParityError::InputRange { .. })));
    let n_elements = DType::EVERY.len() * 50;
    let bounded = |elements_max| seeded_inputs(&schema(), &InputOptions { elements_max, ..default }, 0);
    assert!(bounded(n_elements).is_ok());
    assert!(matches!(bounded(n_elements - 1), Err(ParityError::InputTooLarge { .. })));
    let endless = InputOptions { any_dim: usize::MAX, ..default };
    assert!(matches!(seeded_inputs(&schema(), &endless, 0), Err(ParityError::InputTooLarge { .. })));
}
