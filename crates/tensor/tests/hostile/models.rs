//! ONNX files that lie: one for each way to be wrong that the reader knows, and what it must say.

use crate::wire::{
    BOOL, F32, I64, Parts, Proto, TEXT, U8, call, external, file, function, graph, int, ints, model, node, numbers,
    tensor, within, zeros,
};

/// A file and what reading and planning it must give.
pub(crate) struct Case {
    /// What it is, as a file name.
    pub(crate) name: &'static str,
    /// The file.
    pub(crate) bytes: Vec<u8>,
    /// A part of the error's words; `None` if the file is well-formed.
    pub(crate) error: Option<&'static str>,
}

fn refused(name: &'static str, bytes: Vec<u8>, error: &'static str) -> Case {
    Case { name, bytes, error: Some(error) }
}

fn valid(name: &'static str, bytes: Vec<u8>) -> Case {
    Case { name, bytes, error: None }
}

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    [wire(), nesting(), tensors(), graphs(), well_formed()].into_iter().flatten().collect()
}

/// `y = Identity(x)` with other parts.
fn identity(constants: &[Proto]) -> Vec<u8> {
    file(&Parts { nodes: &[node("Identity", &["x"], &["y"])], constants, inputs: &["x"], outputs: &["y"] })
}

fn with_node(of: Proto) -> Vec<u8> {
    file(&Parts { nodes: &[of], inputs: &["x"], outputs: &["y"], ..Parts::default() })
}

fn wire() -> Vec<Case> {
    // A field of bytes, and a length that no file has.
    let claims = |key: u8| [&[key][..], &[0xff; 8], &[0x7f]].concat();
    let groups = [vec![0x3b; 100_000], vec![0x3c; 100_000]].concat();
    vec![
        refused("nothing", Vec::new(), "expected an ONNX model with a graph"),
        refused("no-graph", Proto::default().int(1, 8).0, "expected an ONNX model with a graph"),
        refused("no-versions", Proto::default().message(7, &graph(&Parts::default())).0, "versions of operators"),
        refused("length-of-2-to-the-63", claims(0x3a), "an end within it"),
        refused("length-within-a-graph", Proto::default().bytes(7, &claims(0x0a)).0, "graph: expected a whole field"),
        refused("number-of-eleven-bytes", [&[0x08][..], &[0xff; 11]].concat(), "expected a whole field"),
        refused("field-0", vec![0x00, 0x00], "expected a field's number"),
        refused("field-of-2-to-the-29", vec![0x80, 0x80, 0x80, 0x80, 0x10, 0x00], "expected a field's number"),
        refused("groups", groups, "expected a wire type of 0, 1, 2 or 5, got 3"),
        refused("graph-that-is-a-number", Proto::default().int(7, 1).0, "model, field 7: expected bytes, got a number"),
        refused("two-graphs", two_graphs(), "expected one graph"),
        refused("name-not-utf8", with_node(node("Identity", &["x"], &["y"]).bytes(3, &[0xff])), "a text in UTF-8"),
        refused("producer-not-utf8", [identity(&[]), Proto::default().bytes(2, &[0xc0]).0].concat(), "a text in UTF-8"),
    ]
}

fn two_graphs() -> Vec<u8> {
    let one = graph(&Parts {
        nodes: &[node("Identity", &["x"], &["y"])],
        inputs: &["x"],
        outputs: &["y"],
        ..Parts::default()
    });
    [model(&one, &[]), Proto::default().message(7, &one).0].concat()
}

/// A graph of an `If` in an `If`, so many of them.
pub(crate) fn nested(n: usize) -> Proto {
    let inner = (0..n).fold(node("Identity", &["x"], &["y"]), |inner, _| {
        let branch = graph(&Parts { nodes: &[inner], outputs: &["y"], ..Parts::default() });
        node("If", &["c"], &["y"])
            .message(5, &within("then_branch", &branch))
            .message(5, &within("else_branch", &branch))
    });
    graph(&Parts { nodes: &[inner], inputs: &["x", "c"], outputs: &["y"], ..Parts::default() })
}

/// As [`nested`], in one of the branches only, so that the file stays small.
fn nested_deep(n: usize) -> Vec<u8> {
    let leaf = graph(&Parts { nodes: &[node("Identity", &["x"], &["y"])], outputs: &["y"], ..Parts::default() });
    let inner = (0..n).fold(node("Identity", &["x"], &["y"]), |inner, _| {
        let branch = graph(&Parts { nodes: &[inner], outputs: &["y"], ..Parts::default() });
        node("If", &["c"], &["y"]).message(5, &within("then_branch", &branch)).message(5, &within("else_branch", &leaf))
    });
    model(&graph(&Parts { nodes: &[inner], inputs: &["x", "c"], outputs: &["y"], ..Parts::default() }), &[])
}

fn nesting() -> Vec<Case> {
    let whole = graph(&Parts { nodes: &[call("f", "x", "y")], inputs: &["x"], outputs: &["y"], ..Parts::default() });
    let itself = function("f", &[call("f", "x", "y")]);
    let (f, g) = (function("f", &[call("g", "x", "y")]), function("g", &[call("f", "x", "y")]));
    // Each calls the next eight times: 8 to the 12th nodes of a file of a few hundred bytes.
    let names: Vec<String> = (0..13).map(|n| if n == 0 { "f".to_owned() } else { format!("f{n}") }).collect();
    let many = |n: usize| {
        let calls: Vec<Proto> = (0..8).map(|at| call(&names[n + 1], "x", if at == 0 { "y" } else { "" })).collect();
        function(&names[n], &calls)
    };
    let mut bomb: Vec<Proto> = (0..12).map(many).collect();
    bomb.push(function(&names[12], &[node("Identity", &["x"], &["y"])]));
    vec![
        refused("graphs-too-deep", nested_deep(40), "messages within messages: expected at most 64"),
        refused(
            "function-of-itself",
            model(&whole, std::slice::from_ref(&itself)),
            "functions within functions: expected at most 16",
        ),
        refused("functions-of-each-other", model(&whole, &[f, g]), "functions within functions"),
        refused("functions-that-multiply", model(&whole, &bomb), "nodes: expected at most"),
        refused("function-twice", model(&whole, &[itself.clone(), itself]), "each function once"),
        refused(
            "attribute-of-no-function",
            with_node(
                node("Softmax", &["x"], &["y"]).message(5, &Proto::default().text(1, "axis").text(21, "a").int(20, 2)),
            ),
            "one that refers to a function's within it",
        ),
    ]
}

fn tensors() -> Vec<Case> {
    let of = |tensor: Proto| identity(&[tensor]);
    let typed = |code: i64, value: i64| Proto::default().int(1, 1).int(2, code).text(8, "w").int(5, value);
    let raw_text = Proto::default().int(1, 1).int(2, TEXT).text(8, "w").bytes(9, b"abc");
    let text_not_utf8 = Proto::default().int(1, 1).int(2, TEXT).text(8, "w").bytes(6, &[0xff]);
    vec![
        refused("dim-negative", of(tensor("w", F32, &[-1], &[])), "extents of 0 or more"),
        refused("dims-overflow", of(tensor("w", F32, &[1 << 32, 1 << 32, 2], &[])), "bytes, got the shape"),
        refused("dims-wrap-to-nothing", of(tensor("w", F32, &[1 << 32, 1 << 32], &[])), "bytes, got the shape"),
        refused("dims-claimed", of(tensor("w", U8, &[1 << 30], &[0])), "bytes, got the shape"),
        refused("dims-nine", of(tensor("w", F32, &[1; 9], &[0; 4])), "at most 8 extents"),
        refused("elements-short", of(tensor("w", F32, &[2], &[0; 7])), "expected 8 bytes, got 7"),
        refused("elements-long", of(tensor("w", I64, &[1], &[0; 9])), "expected 8 bytes, got 9"),
        refused("elements-missing", of(Proto::default().int(1, 2).int(2, F32).text(8, "w")), "2 elements of f32"),
        refused("number-outside-its-type", of(typed(U8, 256)), "numbers of u8"),
        refused("texts-missing", of(raw_text), "1 elements of str"),
        refused("text-not-utf8", of(text_not_utf8), "a text in UTF-8"),
        refused("type-complex", of(tensor("w", 14, &[1], &[0; 8])), "a tensor of complex64"),
        refused("type-unknown", of(tensor("w", 99, &[1], &[0; 8])), "a tensor of type 99"),
        refused(
            "elements-in-no-folder",
            of(external("w", &[1], &[("location", "w.bin")])),
            "a file in the model's folder",
        ),
        refused(
            "packed-floats-cut",
            of(Proto::default().int(1, 1).int(2, F32).text(8, "w").bytes(4, &[0; 3])),
            "packed floats",
        ),
        refused(
            "packed-numbers-cut",
            of(Proto::default().int(1, 1).int(2, I64).text(8, "w").bytes(7, &[0x80])),
            "packed numbers",
        ),
    ]
}

fn graphs() -> Vec<Case> {
    let of = |nodes: &[Proto]| file(&Parts { nodes, inputs: &["x"], outputs: &["y"], ..Parts::default() });
    let identity = |from: &str, to: &str| node("Identity", &[from], &[to]);
    let weights = [zeros("w", &[1]), zeros("w", &[2])];
    let twice = node("Softmax", &["x"], &["y"]).message(5, &int("axis", 0)).message(5, &int("axis", 1));
    let sparse = Proto::default().message(15, &Proto::default().int(3, 1));
    vec![
        refused(
            "cycle-of-two",
            of(&[node("Add", &["x", "b"], &["y"]), identity("y", "b")]),
            "come before they are used",
        ),
        refused("cycle-of-one", of(&[node("Add", &["x", "y"], &["y"])]), "come before they are used"),
        refused(
            "order-reversed",
            of(&[node("Relu", &["a"], &["y"]), node("Relu", &["x"], &["a"])]),
            "come before they are used",
        ),
        refused("output-of-nobody", of(&[identity("x", "a")]), "\"y\""),
        refused("value-twice", of(&[identity("x", "y"), identity("x", "y")]), "each value once"),
        refused("value-named-as-an-input", of(&[node("Relu", &["x"], &["x"]), identity("x", "y")]), "each value once"),
        refused(
            "input-twice",
            file(&Parts { nodes: &[identity("x", "y")], inputs: &["x", "x"], outputs: &["y"], ..Parts::default() }),
            "each value once",
        ),
        refused(
            "constant-twice",
            file(&Parts { nodes: &[identity("w", "y")], constants: &weights, inputs: &["x"], outputs: &["y"] }),
            "each constant once",
        ),
        refused("attribute-twice", of(&[twice]), "each attribute once"),
        refused("operator-unknown", of(&[node("Frobnicate", &["x"], &["y"])]), "Frobnicate"),
        refused("operator-of-no-import", of(&[identity("x", "y").text(7, "elsewhere")]), "\"elsewhere\""),
        refused("attribute-unknown", of(&[identity("x", "y").message(5, &int("odd", 1))]), "\"odd\""),
        refused(
            "attribute-of-another-type",
            of(&[node("Softmax", &["x"], &["y"]).message(5, &ints("axis", &[1]))]),
            "an integer",
        ),
        refused(
            "attribute-without-a-type",
            of(&[node("Softmax", &["x"], &["y"]).message(5, &Proto::default().text(1, "axis"))]),
            "of type 0",
        ),
        refused(
            "attribute-without-its-tensor",
            of(&[node("Constant", &[], &["y"]).message(5, &Proto::default().text(1, "value").int(20, 4))]),
            "a tensor",
        ),
        refused(
            "sparse-weights",
            model(&Proto(([graph(&Parts::default()).0, sparse.0]).concat()), &[]),
            "sparse initializers",
        ),
    ]
}

fn well_formed() -> Vec<Case> {
    let loops = loop_of(&node("Identity", &["s"], &["t"]));
    let mask = tensor("c", BOOL, &[], &[1]);
    let add = [node("Add", &["x", "w"], &["a"]), node("Relu", &["a"], &["y"])];
    vec![
        valid("identity", identity(&[])),
        valid(
            "constants",
            file(&Parts { nodes: &add, constants: &[zeros("w", &[2])], inputs: &["x"], outputs: &["y"] }),
        ),
        valid("if-in-an-if", model(&nested(3), &[])),
        valid("loop", loops),
        valid(
            "function",
            model(
                &graph(&Parts { nodes: &[call("f", "x", "y")], inputs: &["x"], outputs: &["y"], ..Parts::default() }),
                &[function("f", &[node("Relu", &["x"], &["y"])])],
            ),
        ),
        valid(
            "chosen",
            file(&Parts {
                nodes: &[node("Where", &["c", "x", "x"], &["y"]), node("Shape", &["x"], &["z"])],
                constants: &[mask, numbers("unused", &[1, 2])],
                inputs: &["x"],
                outputs: &["y", "z"],
            }),
        ),
    ]
}

/// A loop of `n` runs that hands `s` on through a node, to `t`, and begins with `x`.
pub(crate) fn loop_of(body: &Proto) -> Vec<u8> {
    let again = node("Identity", &["go"], &["again"]);
    let body = graph(&Parts {
        nodes: &[again, body.clone()],
        inputs: &["i", "go", "s"],
        outputs: &["again", "t"],
        ..Parts::default()
    });
    let run = node("Loop", &["n", "", "x"], &["y"]).message(5, &within("body", &body));
    file(&Parts { nodes: &[run], inputs: &["n", "x"], outputs: &["y"], ..Parts::default() })
}
