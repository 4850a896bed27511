//! Operators that are asked for far more than there is: terabytes, overflows, lengths below nothing.

use crate::wire::{F32, I64, Parts, Proto, file, int, ints, node, numbers, tensor, texts, zeros};

/// An input of a node: known when the model is planned, or when it is run.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    /// Integers in a row.
    Ints(Vec<i64>),
    /// One integer.
    One(i64),
    /// Zeros of this shape.
    Zeros(Vec<i64>),
    /// Floats in a row.
    Floats(Vec<f32>),
    /// One float.
    Float(f32),
    /// Truth values in a row.
    Truths(Vec<bool>),
    /// Texts of this many bytes each.
    Texts(usize, usize),
    /// Nothing.
    Left,
}

use Given::{Float, Floats, Ints, Left, One, Texts, Truths, Zeros};

/// A node that wants too much.
pub(crate) struct Greedy {
    pub(crate) op: &'static str,
    pub(crate) given: Vec<Given>,
    pub(crate) attributes: Vec<Proto>,
    pub(crate) n_outputs: usize,
}

fn greedy(op: &'static str, given: Vec<Given>, attributes: Vec<Proto>) -> Greedy {
    Greedy { op, given, attributes, n_outputs: 1 }
}

const HUGE: i64 = 1 << 40;
const WRAPS: i64 = 1 << 32;

impl Greedy {
    /// A file of the node: its inputs are the file's, or stand in it.
    pub(crate) fn file(&self, are_constants: bool) -> Vec<u8> {
        let names: Vec<String> = (0..self.given.len()).map(|idx| format!("x{idx}")).collect();
        let name = |(idx, given): (usize, &Given)| if matches!(given, Left) { "" } else { names[idx].as_str() };
        let inputs: Vec<&str> = self.given.iter().enumerate().map(name).collect();
        let outputs: Vec<String> = (0..self.n_outputs).map(|idx| format!("y{idx}")).collect();
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let of = node(self.op, &inputs, &outputs);
        let of = self.attributes.iter().fold(of, |of, attribute| of.message(5, attribute));
        let given: Vec<(&str, &Given)> =
            inputs.iter().copied().zip(&self.given).filter(|(name, _)| !name.is_empty()).collect();
        let constants: Vec<Proto> = given.iter().map(|(name, given)| constant(name, given)).collect();
        let inputs: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
        let (constants, inputs) = if are_constants { (&constants[..], &[][..]) } else { (&[][..], &inputs[..]) };
        file(&Parts { nodes: &[of], constants, inputs, outputs: &outputs })
    }
}

fn constant(name: &str, given: &Given) -> Proto {
    let floats = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
    let len = |n: usize| i64::try_from(n).expect("few");
    match given {
        Ints(values) => numbers(name, values),
        One(value) => tensor(name, I64, &[], &value.to_le_bytes()),
        Zeros(dims) => zeros(name, dims),
        Floats(values) => tensor(name, F32, &[len(values.len())], &floats(values)),
        Float(value) => tensor(name, F32, &[], &value.to_le_bytes()),
        Truths(values) => {
            let raw: Vec<u8> = values.iter().map(|value| u8::from(*value)).collect();
            tensor(name, crate::wire::BOOL, &[len(values.len())], &raw)
        }
        Texts(n, n_bytes) => {
            let text = "a".repeat(*n_bytes);
            let of = Proto::default().int(1, len(*n)).int(2, crate::wire::TEXT).text(8, name);
            (0..*n).fold(of, |of, _| of.text(6, &text))
        }
        Left => Proto::default(),
    }
}

/// Every node.
pub(crate) fn all() -> Vec<Greedy> {
    [shapes(), windows(), generated(), products(), texts_of(), odd()].into_iter().flatten().collect()
}

fn shapes() -> Vec<Greedy> {
    let one = || Zeros(vec![1, 1]);
    let image = || Zeros(vec![1, 1, 2, 2]);
    let sizes = |values: &[i64]| Ints(values.to_vec());
    vec![
        greedy("ConstantOfShape", vec![sizes(&[HUGE])], vec![]),
        greedy("ConstantOfShape", vec![sizes(&[WRAPS, WRAPS])], vec![]),
        greedy("ConstantOfShape", vec![sizes(&[-1])], vec![]),
        greedy("Expand", vec![one(), sizes(&[HUGE, 1])], vec![]),
        greedy("Expand", vec![one(), sizes(&[WRAPS, WRAPS])], vec![]),
        greedy("Expand", vec![one(), sizes(&[i64::MIN, 1])], vec![]),
        greedy("Tile", vec![one(), sizes(&[HUGE, 1])], vec![]),
        greedy("Tile", vec![one(), sizes(&[WRAPS, WRAPS])], vec![]),
        greedy("Tile", vec![one(), sizes(&[-1, 1])], vec![]),
        greedy("Pad", vec![one(), sizes(&[HUGE, 0, 0, 0])], vec![]),
        greedy("Pad", vec![one(), sizes(&[i64::MAX, 0, i64::MAX, 0])], vec![]),
        greedy("Pad", vec![one(), sizes(&[i64::MIN, 0, i64::MIN, 0])], vec![]),
        greedy("Reshape", vec![one(), sizes(&[WRAPS, WRAPS])], vec![]),
        greedy("Reshape", vec![one(), sizes(&[-1, -1])], vec![]),
        greedy("Resize", vec![image(), Left, Left, sizes(&[1, 1, HUGE, 1])], vec![]),
        greedy("Resize", vec![image(), Left, Left, sizes(&[1, 1, -1, 1])], vec![]),
        greedy("Resize", vec![image(), Left, Floats(vec![1.0, 1.0, 1e15, 1.0])], vec![]),
        greedy("Resize", vec![image(), Left, Floats(vec![1.0, 1.0, f32::NAN, 1.0])], vec![]),
        greedy("Resize", vec![image(), Left, Floats(vec![1.0, 1.0, f32::INFINITY, -1.0])], vec![]),
        greedy("CenterCropPad", vec![one(), sizes(&[HUGE, 1])], vec![]),
        greedy("Split", vec![one(), sizes(&[i64::MAX, i64::MAX])], vec![]),
        greedy("Slice", vec![one(), sizes(&[0]), sizes(&[1]), sizes(&[0]), sizes(&[0])], vec![]),
        greedy("AffineGrid", vec![Zeros(vec![1, 2, 3]), sizes(&[1, 1, HUGE, 1])], vec![]),
        greedy("AffineGrid", vec![Zeros(vec![1, 2, 3]), sizes(&[1, 1, WRAPS, WRAPS])], vec![]),
        greedy("Col2Im", vec![Zeros(vec![1, 1, 1]), sizes(&[WRAPS, WRAPS]), sizes(&[1, 1])], vec![]),
        greedy("Col2Im", vec![Zeros(vec![1, 1, 1]), sizes(&[1, 1]), sizes(&[WRAPS, WRAPS])], vec![]),
    ]
}

fn windows() -> Vec<Greedy> {
    let image = || Zeros(vec![1, 1, 2, 2]);
    let padded = |n: i64| ints("pads", &[n, 0, n, 0]);
    let strides = |n: i64| ints("strides", &[n, 1]);
    let kernel = |n: i64| ints("kernel_shape", &[n, 1]);
    let mut all = Vec::new();
    for (op, given) in [
        ("Conv", vec![image(), Zeros(vec![1, 1, 1, 1])]),
        ("ConvInteger", vec![image(), Zeros(vec![1, 1, 1, 1])]),
        ("ConvTranspose", vec![image(), Zeros(vec![1, 1, 1, 1])]),
        ("MaxPool", vec![image()]),
        ("AveragePool", vec![image()]),
        ("LpPool", vec![image()]),
    ] {
        let own = || if op.ends_with("Pool") { vec![kernel(1)] } else { vec![] };
        all.push(greedy(op, given.clone(), [own(), vec![padded(HUGE)]].concat()));
        all.push(greedy(op, given.clone(), [own(), vec![padded(i64::MAX)]].concat()));
        all.push(greedy(op, given.clone(), [own(), vec![padded(-5)]].concat()));
        all.push(greedy(op, given.clone(), [own(), vec![ints("dilations", &[i64::MAX, 0])]].concat()));
        all.push(greedy(op, given.clone(), [own(), vec![strides(0)]].concat()));
        all.push(greedy(op, given.clone(), [own(), vec![strides(i64::MIN)]].concat()));
        // A padded copy would be as large as the padding, whatever comes out of it.
        all.push(greedy(op, given.clone(), [own(), vec![padded(HUGE), strides(HUGE)]].concat()));
    }
    for n in [HUGE, i64::MAX, 0, -1] {
        for op in ["MaxPool", "AveragePool", "LpPool"] {
            all.push(greedy(op, vec![image()], vec![kernel(n)]));
            all.push(greedy(op, vec![image()], vec![kernel(n), padded(n)]));
        }
    }
    all.push(greedy("ConvTranspose", vec![image(), Zeros(vec![1, 1, 1, 1])], vec![strides(HUGE)]));
    all.push(greedy(
        "ConvTranspose",
        vec![image(), Zeros(vec![1, 1, 1, 1])],
        vec![ints("output_shape", &[WRAPS, WRAPS])],
    ));
    all.push(greedy("ConvTranspose", vec![image(), Zeros(vec![1, 1, 1, 1])], vec![ints("output_padding", &[HUGE, 1])]));
    all.push(greedy("Conv", vec![image(), Zeros(vec![1, 1, 1, 1])], vec![int("group", 0)]));
    all.push(greedy("Conv", vec![image(), Zeros(vec![1, 1, 1, 1])], vec![int("group", i64::MAX)]));
    all.push(greedy(
        "MaxUnpool",
        vec![image(), Ints(vec![0]), Ints(vec![1, 1, WRAPS, WRAPS])],
        vec![ints("kernel_shape", &[1, 1])],
    ));
    let boxes = || vec![image(), Zeros(vec![1, 4]), Ints(vec![0])];
    for n in [HUGE, i64::MAX, -1] {
        let grid = || vec![int("output_height", n), int("output_width", n)];
        all.push(greedy("RoiAlign", boxes(), grid()));
        all.push(greedy("RoiAlign", boxes(), vec![int("sampling_ratio", n)]));
        all.push(greedy("MaxRoiPool", vec![image(), Zeros(vec![1, 5])], vec![ints("pooled_shape", &[n, n])]));
        all.push(greedy("DepthToSpace", vec![image()], vec![int("blocksize", n)]));
        all.push(greedy("SpaceToDepth", vec![image()], vec![int("blocksize", n)]));
    }
    all
}

fn generated() -> Vec<Greedy> {
    vec![
        greedy("Range", vec![One(0), One(1 << 62), One(1)], vec![]),
        greedy("Range", vec![One(i64::MIN), One(i64::MAX), One(1)], vec![]),
        greedy("Range", vec![One(0), One(10), One(0)], vec![]),
        greedy("Range", vec![Float(0.0), Float(1e30), Float(1e-30)], vec![]),
        greedy("Range", vec![Float(0.0), Float(f32::INFINITY), Float(1.0)], vec![]),
        greedy("Range", vec![Float(0.0), Float(1.0), Float(0.0)], vec![]),
        greedy("OneHot", vec![Ints(vec![0]), One(HUGE), Floats(vec![0.0, 1.0])], vec![]),
        greedy("OneHot", vec![Ints(vec![0]), One(-1), Floats(vec![0.0, 1.0])], vec![]),
        greedy("HannWindow", vec![One(HUGE)], vec![]),
        greedy("HannWindow", vec![One(i64::MAX)], vec![]),
        greedy("HannWindow", vec![One(-1)], vec![]),
        greedy("BlackmanWindow", vec![One(HUGE)], vec![]),
        greedy("MelWeightMatrix", vec![One(HUGE), One(16), One(8), Float(0.0), Float(4.0)], vec![]),
        greedy("MelWeightMatrix", vec![One(1), One(1 << 52), One(8), Float(0.0), Float(4.0)], vec![]),
        greedy("DFT", vec![Zeros(vec![1, 4, 1]), One(HUGE)], vec![]),
        greedy("DFT", vec![Zeros(vec![1, 4, 1]), One(-1)], vec![]),
        greedy("STFT", vec![Zeros(vec![1, 4, 1]), One(0), Left, One(2)], vec![]),
        greedy("STFT", vec![Zeros(vec![1, 4, 1]), One(1), Left, One(HUGE)], vec![]),
        greedy("TfIdfVectorizer", vec![Ints(vec![1])], vectorizer(HUGE)),
        greedy("TfIdfVectorizer", vec![Ints(vec![1])], vectorizer(i64::MAX)),
        greedy("TfIdfVectorizer", vec![Ints(vec![1])], vectorizer(-1)),
        greedy("RandomNormal", vec![], vec![ints("shape", &[HUGE])]),
        greedy("RandomUniform", vec![], vec![ints("shape", &[HUGE])]),
        greedy("TopK", vec![Zeros(vec![1, 1]), Ints(vec![HUGE])], vec![]),
        greedy("TopK", vec![Zeros(vec![1, 1]), Ints(vec![-1])], vec![]),
        greedy("Unsqueeze", vec![Zeros(vec![1]), Ints(vec![0, 1, 2, 3, 4, 5, 6, 7])], vec![]),
        greedy("Gather", vec![Zeros(vec![1]), Ints(vec![i64::MIN])], vec![]),
        greedy("GatherND", vec![Zeros(vec![1]), Ints(vec![i64::MAX])], vec![]),
        greedy("ScatterND", vec![Zeros(vec![1]), Ints(vec![7]), Float(0.0)], vec![]),
        greedy("ReverseSequence", vec![Zeros(vec![1, 1]), Ints(vec![i64::MAX])], vec![]),
        greedy("CumSum", vec![Zeros(vec![1]), One(i64::MIN)], vec![]),
    ]
}

fn vectorizer(column: i64) -> Vec<Proto> {
    vec![
        int("max_gram_length", 1),
        int("min_gram_length", 1),
        int("max_skip_count", 0),
        ints("ngram_counts", &[0]),
        ints("ngram_indexes", &[column]),
        ints("pool_int64s", &[1]),
        crate::wire::text("mode", "TF"),
    ]
}

fn products() -> Vec<Greedy> {
    let (tall, wide) = (|| Zeros(vec![1 << 16, 1]), || Zeros(vec![1, 1 << 16]));
    let equation = |text: &str| vec![crate::wire::text("equation", text)];
    // Many queries and keys of one number each: the scores between them are their product.
    let heads = || Zeros(vec![1, 1, 1 << 16, 1]);
    vec![
        greedy("Add", vec![tall(), wide()], vec![]),
        greedy("Where", vec![Truths(vec![true]), tall(), wide()], vec![]),
        greedy("MatMul", vec![tall(), wide()], vec![]),
        greedy("Gemm", vec![tall(), wide()], vec![]),
        greedy("Einsum", vec![tall(), tall()], equation("ab,cd->abcd")),
        greedy("Attention", vec![heads(), heads(), heads()], vec![]),
        greedy("Det", vec![Zeros(vec![1, 2])], vec![]),
        greedy("PRelu", vec![tall(), wide()], vec![]),
        greedy("Max", vec![tall(), wide()], vec![]),
        greedy("Mean", vec![tall(), wide()], vec![]),
        greedy("Mod", vec![tall(), wide()], vec![int("fmod", 1)]),
        greedy("Equal", vec![tall(), wide()], vec![]),
    ]
}

fn texts_of() -> Vec<Greedy> {
    let long = || Texts(1, 1 << 12);
    vec![
        greedy("Expand", vec![long(), Ints(vec![1 << 15])], vec![]),
        greedy("Tile", vec![long(), Ints(vec![1 << 15])], vec![]),
        greedy("Gather", vec![long(), Ints(vec![0; 1 << 15])], vec![]),
        greedy("StringConcat", vec![long(), Texts(1 << 14, 1)], vec![]),
        greedy("Where", vec![Truths(vec![true; 1 << 15]), long(), long()], vec![]),
        greedy("Pad", vec![long(), Ints(vec![0, HUGE])], vec![]),
        greedy("StringNormalizer", vec![Ints(vec![1])], vec![]),
        greedy("StringSplit", vec![Ints(vec![1])], vec![]),
    ]
}

/// Operators of one array and no attributes.
const OF_ONE: [&str; 25] = [
    "Relu",
    "Softmax",
    "LogSoftmax",
    "Hardmax",
    "Flatten",
    "Transpose",
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ArgMax",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "LpNormalization",
    "MeanVarianceNormalization",
    "Det",
    "Size",
    "Identity",
    "NonZero",
    "Trilu",
    "Unique",
    "Einsum",
    "Shrink",
    "IsNaN",
    "Squeeze",
    "DynamicQuantizeLinear",
];

/// Operators of two.
const OF_TWO: [&str; 10] = ["MatMul", "Add", "Mod", "Pow", "PRelu", "Concat", "Max", "Where", "Equal", "GridSample"];

/// Nodes over arrays that have no elements: any of them may be refused, and none may fail otherwise.
pub(crate) fn of_nothing() -> Vec<Greedy> {
    let shapes: [&[i64]; 5] = [&[0, 0, 0, 0], &[0, 1, 2, 2], &[1, 0, 2, 2], &[1, 1, 0, 2], &[1, 1, 2, 0]];
    let mut all = Vec::new();
    for shape in shapes {
        let none = || Zeros(shape.to_vec());
        all.extend(OF_ONE.map(|op| greedy(op, vec![none()], vec![])));
        all.extend(OF_TWO.map(|op| greedy(op, vec![none(), none()], vec![])));
        windows_of_nothing(&mut all, &none);
        norms_of_nothing(&mut all, &none);
        moves_of_nothing(&mut all, &none);
    }
    products_of_nothing(&mut all);
    for (op, n_gates) in [("LSTM", 4), ("GRU", 3), ("RNN", 1)] {
        for x in [[0, 1, 1], [1, 0, 1], [1, 1, 0]] {
            let (w, r) = (Zeros(vec![1, n_gates, x[2]]), Zeros(vec![1, n_gates, 1]));
            all.push(greedy(op, vec![Zeros(x.to_vec()), w, r], vec![int("hidden_size", 1)]));
        }
    }
    all
}

fn windows_of_nothing(all: &mut Vec<Greedy>, none: &dyn Fn() -> Given) {
    for op in ["MaxPool", "AveragePool", "LpPool"] {
        all.push(greedy(op, vec![none()], vec![ints("kernel_shape", &[1, 1])]));
    }
    for weights in [&[1, 1, 1, 1][..], &[0, 1, 1, 1], &[1, 0, 1, 1], &[1, 1, 0, 1]] {
        all.push(greedy("Conv", vec![none(), Zeros(weights.to_vec())], vec![]));
        all.push(greedy("ConvTranspose", vec![none(), Zeros(weights.to_vec())], vec![]));
    }
}

fn norms_of_nothing(all: &mut Vec<Greedy>, none: &dyn Fn() -> Given) {
    let one = || Zeros(vec![1]);
    all.push(greedy("LayerNormalization", vec![none(), Zeros(vec![0])], vec![]));
    all.push(greedy("InstanceNormalization", vec![none(), one(), one()], vec![]));
    all.push(greedy("GroupNormalization", vec![none(), one(), one()], vec![int("num_groups", 1)]));
    all.push(greedy("BatchNormalization", vec![none(), one(), one(), one(), one()], vec![]));
    all.push(greedy("LRN", vec![none()], vec![int("size", 1)]));
    all.push(greedy("Attention", vec![none(), none(), none()], vec![]));
    all.push(greedy("RotaryEmbedding", vec![none(), Zeros(vec![1, 1, 1]), Zeros(vec![1, 1, 1])], vec![]));
}

fn moves_of_nothing(all: &mut Vec<Greedy>, none: &dyn Fn() -> Given) {
    all.push(greedy("CumSum", vec![none(), One(2)], vec![]));
    all.push(greedy("Gather", vec![none(), Ints(vec![0])], vec![]));
    all.push(greedy("Gather", vec![none(), Ints(vec![])], vec![]));
    all.push(greedy("Resize", vec![none(), Left, Left, Ints(vec![1, 1, 4, 4])], vec![]));
    all.push(greedy("TopK", vec![none(), Ints(vec![1])], vec![]));
    all.push(greedy("TopK", vec![none(), Ints(vec![0])], vec![]));
    all.push(greedy("Tile", vec![none(), Ints(vec![2, 2, 2, 2])], vec![]));
    all.push(greedy("Pad", vec![none(), Ints(vec![1; 8])], vec![]));
    all.push(greedy("Expand", vec![none(), Ints(vec![1, 1, 1, 1])], vec![]));
    all.push(greedy("Reshape", vec![none(), Ints(vec![0, -1])], vec![]));
    all.push(greedy("DepthToSpace", vec![none()], vec![int("blocksize", 1)]));
    all.push(greedy("SpaceToDepth", vec![none()], vec![int("blocksize", 2)]));
    all.push(Greedy { n_outputs: 2, ..greedy("Split", vec![none()], vec![int("num_outputs", 2)]) });
}

fn products_of_nothing(all: &mut Vec<Greedy>) {
    let rows = || Zeros(vec![2, 0]);
    let columns = || Zeros(vec![0, 2]);
    for (a, b) in [(rows(), columns()), (columns(), rows()), (Zeros(vec![0]), Zeros(vec![0]))] {
        all.push(greedy("MatMul", vec![a.clone(), b.clone()], vec![]));
        all.push(greedy("Gemm", vec![a.clone(), b.clone(), Zeros(vec![0])], vec![]));
        all.push(greedy("Gemm", vec![a, b, Zeros(vec![1])], vec![]));
    }
}

/// Sizes of nothing, which divide.
fn odd() -> Vec<Greedy> {
    let none = || Zeros(vec![0, 0, 0]);
    let mut all = vec![
        Greedy {
            n_outputs: 3,
            ..greedy(
                "LSTM",
                vec![Zeros(vec![1, 1, 1]), Zeros(vec![1, 4, 1]), Zeros(vec![1, 4, 1])],
                vec![int("hidden_size", HUGE)],
            )
        },
        greedy("LSTM", vec![Zeros(vec![1, 1, 1]), Zeros(vec![1, 4, 1]), Zeros(vec![1, 8, 2])], vec![]),
        greedy("GRU", vec![Zeros(vec![1, 1, 1]), Zeros(vec![1, 3, 2]), Zeros(vec![1, 3, 1])], vec![]),
        greedy("Concat", vec![Zeros(vec![1]), Zeros(vec![1, 1])], vec![int("axis", 0)]),
        greedy("LabelEncoder", vec![Ints(vec![1])], vec![texts("keys_strings", &["a"])]),
    ];
    for (op, attributes) in [("LSTM", vec![]), ("GRU", vec![]), ("RNN", vec![]), ("LSTM", vec![int("hidden_size", 0)])]
    {
        all.push(greedy(op, vec![none(), none(), none()], attributes));
    }
    all
}
