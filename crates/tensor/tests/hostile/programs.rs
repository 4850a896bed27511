//! Core ML programs that lie, and their files of weights.

use crate::wire::packages::{
    F16, F32, I4, Proto, constant, filed, floats, model, named, operation, program, state, tensor, weights,
};

/// A model's file, its weights and what reading and planning them must give.
pub(crate) struct Case {
    /// What it is, as a file name.
    pub(crate) name: &'static str,
    /// The model's file.
    pub(crate) model: Vec<u8>,
    /// The file of weights.
    pub(crate) weights: Vec<u8>,
    /// A part of the error's words; `None` if the package is well-formed.
    pub(crate) error: Option<&'static str>,
}

const HUGE: i64 = 1 << 40;

/// Two numbers of f16.
fn two() -> Vec<u8> {
    weights(1, &[0x00, 0x3c, 0x00, 0xc0])
}

fn refused(name: &'static str, model: Vec<u8>, error: &'static str) -> Case {
    Case { name, model, weights: two(), error: Some(error) }
}

fn valid(name: &'static str, model: Vec<u8>, weights: Vec<u8>) -> Case {
    Case { name, model, weights, error: None }
}

/// `y = x + b`, with `b` as it is given.
fn sum(b: &Proto, operations: &[Proto]) -> Vec<u8> {
    let of = tensor(F32, &[2]);
    let all =
        [std::slice::from_ref(b), operations, &[operation("add", &[("x", "x"), ("y", "b")], &[("y", of.clone())])]]
            .concat();
    model(&program(&[named("x", &of)], &all, &["y"]))
}

fn filed_sum(shape: &[i64], offset: i64) -> Vec<u8> {
    sum(&constant("b", &tensor(F16, shape), &filed(F16, shape, offset)), &[])
}

/// A constant whose place is written as it is given.
fn placed(path: &str) -> Vec<u8> {
    let place = Proto::default().text(1, path).int(2, 64);
    let literal = Proto::default().message(2, &tensor(F16, &[2])).message(5, &place);
    sum(&constant("b", &tensor(F16, &[2]), &literal), &[])
}

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    [well_formed(), wire(), places(), values()].into_iter().flatten().collect()
}

fn well_formed() -> Vec<Case> {
    let of = tensor(F32, &[2]);
    let total = [
        operation("read_state", &[("input", "total")], &[("before", of.clone())]),
        operation("add", &[("x", "before"), ("y", "x")], &[("after", of.clone())]),
        operation("write_state", &[("input", "total"), ("data", "after")], &[]),
        operation("read_state", &[("input", "total")], &[("y", of.clone())]),
    ];
    let total = model(&program(&[named("x", &of), named("total", &state(&[2]))], &total, &["y"]));
    let four = tensor(F32, &[4]);
    let blocks = [
        constant("data", &tensor(I4, &[4]), &filed(I4, &[4], 64)),
        constant("scale", &tensor(F32, &[2]), &floats(&[2], &[0.5, 2.0])),
        operation("constexpr_blockwise_shift_scale", &[("data", "data"), ("scale", "scale")], &[("w", four.clone())]),
        operation("add", &[("x", "x"), ("y", "w")], &[("y", four.clone())]),
    ];
    // Two constants of one entry: what they share is read twice.
    let again = constant("c", &tensor(F16, &[2]), &filed(F16, &[2], 64));
    let shared = sum(&constant("b", &tensor(F16, &[2]), &filed(F16, &[2], 64)), &[again]);
    vec![
        valid("sum", filed_sum(&[2], 64), two()),
        valid("shared-weights", shared, two()),
        valid("state", total, Vec::new()),
        valid("blocks", model(&program(&[named("x", &four)], &blocks, &["y"])), weights(8, &[0xf1, 0x87])),
    ]
}

fn wire() -> Vec<Case> {
    let claims = [&[0x12][..], &[0xff; 8], &[0x7f]].concat();
    let name = Proto::default().bytes(1, &[0xff]).message(2, &tensor(F32, &[2]));
    let block = (0..200).fold(Proto::default(), |block, _| {
        Proto::default().message(3, &Proto::default().text(1, "cond").message(4, &block))
    });
    let deep = Proto::default().text(2, "CoreML8").entry(3, "CoreML8", &block);
    vec![
        refused("nothing", Vec::new(), "expected a Core ML model"),
        refused("length-of-2-to-the-63", claims, "expected a whole field"),
        refused("groups", vec![0x0b; 10_000], "expected a wire type of 0, 1, 2 or 5"),
        refused("blocks-too-deep", model(&Proto::default().entry(2, "main", &deep)), "expected at most"),
        refused("name-not-utf8", model(&program(&[name], &[], &["x"])), "a text in UTF-8"),
        refused("no-function", model(&Proto::default()), "a function"),
        refused(
            "no-block",
            model(&Proto::default().entry(2, "main", &Proto::default().text(2, "CoreML8"))),
            "a block for",
        ),
        refused("neural-network", Proto::default().int(1, 4).message(500, &Proto::default()).0, "neural network"),
    ]
}

fn places() -> Vec<Case> {
    let cut = |n: usize| Case { weights: two()[..n].to_vec(), ..refused("", filed_sum(&[2], 64), "") };
    let changed = |name, at: usize, byte: u8, error| {
        let mut weights = two();
        weights[at] = byte;
        Case { weights, ..refused(name, filed_sum(&[2], 64), error) }
    };
    vec![
        refused("place-outside", placed("@model_path/../secret"), "a file in the model's folder"),
        refused("place-absolute", placed("/etc/passwd"), "a file in the model's folder"),
        refused("place-of-nothing", placed(""), "a file in the model's folder"),
        refused("entry-in-the-header", filed_sum(&[2], 0), "64 bytes of"),
        refused("entry-misaligned", filed_sum(&[2], 65), "an entry that begins with"),
        refused("entry-beyond", filed_sum(&[2], 1 << 40), "64 bytes of"),
        refused("entry-overflows", filed_sum(&[2], -1), "64 bytes of"),
        Case { name: "weights-cut-in-the-header", error: Some("a header of 64 bytes"), ..cut(63) },
        Case { name: "weights-cut-in-the-entry", error: Some("64 bytes of"), ..cut(100) },
        Case { name: "weights-cut-in-the-elements", error: Some("elements within"), ..cut(131) },
        changed("weights-version", 4, 3, "version 2"),
        changed("weights-sentinel", 64, 0, "an entry that begins with"),
        changed("weights-type-unknown", 68, 99, "a type of 1 to 17"),
        changed("weights-type-another", 68, 2, ""),
        changed("weights-length-another", 72, 5, ""),
        changed("weights-length-huge", 79, 0x7f, "elements within"),
        changed("weights-place-huge", 87, 0x7f, "elements within"),
    ]
}

fn values() -> Vec<Case> {
    let of = tensor(F32, &[2]);
    let late = [
        operation("relu", &[("x", "b")], &[("a", of.clone())]),
        operation("relu", &[("x", "a")], &[("b", of.clone())]),
    ];
    let here = |shape: &[i64], values: &[f32]| sum(&constant("b", &tensor(F32, shape), &floats(shape, values)), &[]);
    vec![
        refused("value-too-late", model(&program(&[named("x", &of)], &late, &["b"])), ""),
        refused("output-of-nobody", model(&program(&[named("x", &of)], &[], &["z"])), ""),
        refused(
            "operation-unknown",
            model(&program(&[named("x", &of)], &[operation("telepathy", &[("x", "x")], &[("y", of.clone())])], &["y"])),
            "telepathy",
        ),
        refused("dims-huge", filed_sum(&[HUGE], 64), ""),
        refused("dims-overflow", filed_sum(&[1 << 32, 1 << 32], 64), ""),
        refused("dims-negative", filed_sum(&[-2], 64), ""),
        refused("dims-nine", filed_sum(&[1; 9], 64), ""),
        refused("elements-fewer", here(&[3], &[0.0; 2]), ""),
        refused("elements-more", here(&[1], &[0.0; 2]), ""),
        refused("elements-claimed", here(&[HUGE], &[0.0]), ""),
    ]
}
