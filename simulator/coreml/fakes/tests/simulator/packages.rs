//! The packages of the tests.

use ballast_backend::{DType, Dim, Tensor, TensorData};
use ballast_testkit::TinyPackage;

const ROW: [Dim; 2] = [Dim::Fixed(1), Dim::Fixed(4)];

fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), TensorData::F32(values.to_vec())).unwrap()
}

/// `name = 2 x + 1` for a row of four.
fn twice_and_one(package: TinyPackage, name: &str) -> TinyPackage {
    let package = package.weight("two", &f32s(&[4], &[2.0; 4])).constant("one", &f32s(&[1], &[1.0]));
    let package = package.operation("mul", &[("x", "x"), ("y", "two")], Some(("twice", DType::F32, &ROW)));
    package.operation("add", &[("x", "twice"), ("y", "one")], Some((name, DType::F32, &ROW)))
}

/// `y = 2 x + 1` for a row of four: most tests' model.
pub fn plain() -> TinyPackage {
    twice_and_one(TinyPackage::new().input("x", DType::F32, &ROW), "y").output("y", DType::F32, &ROW)
}

/// The same, in two rows of two.
pub fn square() -> TinyPackage {
    let shape = [Dim::Fixed(2), Dim::Fixed(2)];
    let of = Tensor::new(vec![2], TensorData::I32(vec![2, 2])).unwrap();
    let package = twice_and_one(TinyPackage::new().input("x", DType::F32, &ROW), "row").constant("shape", &of);
    let package = package.operation("reshape", &[("x", "row"), ("shape", "shape")], Some(("y", DType::F32, &shape)));
    package.output("y", DType::F32, &shape)
}

/// `y = 2 x + 1 + s`, where the state `s` is 0 at first and grows by `x + 1`.
pub fn growing() -> TinyPackage {
    let half = |name: &'static str| Some((name, DType::F16, &ROW[..]));
    let package = TinyPackage::new().input("x", DType::F32, &ROW).state("s", &[1, 4]);
    let package = twice_and_one(package, "now").text("half", "fp16").text("single", "fp32");
    package
        .operation("read_state", &[("input", "s")], half("before"))
        .operation("cast", &[("x", "before"), ("dtype", "single")], Some(("kept", DType::F32, &ROW)))
        .operation("add", &[("x", "now"), ("y", "kept")], Some(("y", DType::F32, &ROW)))
        .operation("add", &[("x", "x"), ("y", "one")], Some(("step", DType::F32, &ROW)))
        .operation("add", &[("x", "step"), ("y", "kept")], Some(("sum", DType::F32, &ROW)))
        .operation("cast", &[("x", "sum"), ("dtype", "half")], half("after"))
        .operation("write_state", &[("input", "s"), ("data", "after")], None)
        .output("y", DType::F32, &ROW)
}

/// `y = w x`, then no element below 0, then rows looked up: something for every unit of the plan. Any number of rows.
pub fn network() -> TinyPackage {
    let rows = [Dim::Any, Dim::Fixed(4)];
    let weights: Vec<f32> = (0..16_u8).map(|idx| (f32::from(idx) - 7.0) / 10.0).collect();
    let zeros = Tensor::new(vec![2], TensorData::I32(vec![0, 0])).unwrap();
    let axis = Tensor::new(vec![], TensorData::I32(vec![0])).unwrap();
    TinyPackage::new()
        .input("x", DType::F32, &rows)
        .weight("w", &f32s(&[4, 4], &weights))
        .constant("firsts", &zeros)
        .constant("axis", &axis)
        .operation("matmul", &[("x", "x"), ("y", "w")], Some(("h", DType::F32, &rows)))
        .operation("relu", &[("x", "h")], Some(("r", DType::F32, &rows)))
        .operation(
            "gather",
            &[("x", "r"), ("indices", "firsts"), ("axis", "axis")],
            Some(("y", DType::F32, &[Dim::Fixed(2), Dim::Fixed(4)])),
        )
        .output("y", DType::F32, &[Dim::Fixed(2), Dim::Fixed(4)])
}

/// `y = w x` for any number of rows: how many, the description of `y` does not say.
pub fn rows() -> TinyPackage {
    let rows = [Dim::Any, Dim::Fixed(4)];
    let package = TinyPackage::new().input("x", DType::F32, &rows).weight("w", &f32s(&[4, 4], &[0.25; 16]));
    package.operation("matmul", &[("x", "x"), ("y", "w")], Some(("y", DType::F32, &rows))).output(
        "y",
        DType::F32,
        &rows,
    )
}

/// A model that takes a picture.
pub fn picture() -> TinyPackage {
    let shape = [Dim::Fixed(1), Dim::Fixed(3), Dim::Fixed(2), Dim::Fixed(2)];
    let package = TinyPackage::new().picture("picture", 2, 2);
    package.operation("relu", &[("x", "picture")], Some(("y", DType::F32, &shape))).output("y", DType::F32, &shape)
}
