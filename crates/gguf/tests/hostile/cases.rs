//! Files made byte by byte: well-formed ones, and one for every way to be wrong that the reader knows.

use ballast_gguf::{Array, StringArray, TensorType, Value, ValueType, Writer, limits};

/// A file and what opening it must give.
pub(crate) struct Case {
    /// What it is, as a file name.
    pub(crate) name: &'static str,
    /// The file.
    pub(crate) bytes: Vec<u8>,
    /// How the error begins when printed with `{:?}`; `None` if the file is well-formed.
    pub(crate) error: Option<&'static str>,
}

/// Bytes of a file, appended to.
struct Raw(Vec<u8>);

impl Raw {
    fn new(n_tensors: u64, n_entries: u64) -> Self {
        Self(Vec::new()).raw(b"GGUF").u32(3).u64(n_tensors).u64(n_entries)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u32(self, value: u32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    fn u64(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    fn string(self, bytes: &[u8]) -> Self {
        self.u64(bytes.len() as u64).raw(bytes)
    }

    fn key(self, key: &str, value_type: ValueType) -> Self {
        self.string(key.as_bytes()).u32(value_type.id())
    }

    fn array(self, key: &str, item_type: ValueType, n: u64) -> Self {
        self.key(key, ValueType::Array).u32(item_type.id()).u64(n)
    }

    fn tensor(self, name: &str, shape: &[u64], type_id: u32, offset: u64) -> Self {
        let dims = u32::try_from(shape.len()).unwrap();
        let dims = self.string(name.as_bytes()).u32(dims);
        shape.iter().fold(dims, |raw, dim| raw.u64(*dim)).u32(type_id).u64(offset)
    }

    /// Pads to the data and appends `n_bytes` of it.
    fn data(mut self, n_bytes: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(32) + n_bytes, 0xAB);
        self
    }

    fn refused(self, name: &'static str, error: &'static str) -> Case {
        Case { name, bytes: self.0, error: Some(error) }
    }

    fn valid(self, name: &'static str) -> Case {
        Case { name, bytes: self.0, error: None }
    }
}

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    [valid(), bad_starts(), bad_metadata(), bad_arrays(), bad_alignments(), bad_tensors(), bad_layouts()]
        .into_iter()
        .flatten()
        .collect()
}

/// A file with every value type, every array type and several tensors.
pub(crate) fn everything() -> Vec<u8> {
    let strings: StringArray = ["", "a", "\u{20ac}"].into_iter().collect();
    let nested = Array::Array(vec![Array::U8(vec![1, 2]), Array::String(strings.clone()), Array::Array(Vec::new())]);
    Writer::new()
        .metadata("general.architecture", "llama")
        .metadata("general.alignment", 64u32)
        .metadata("scalar.u8", 1u8)
        .metadata("scalar.i8", -1i8)
        .metadata("scalar.u16", 2u16)
        .metadata("scalar.i16", -2i16)
        .metadata("scalar.i32", -3i32)
        .metadata("scalar.f32", 0.5f32)
        .metadata("scalar.bool", true)
        .metadata("scalar.u64", u64::MAX)
        .metadata("scalar.i64", i64::MIN)
        .metadata("scalar.f64", -0.25f64)
        .metadata("text.raw", Value::String(b"\xff\xfe"[..].into()))
        .metadata("array.u8", vec![1u8, 2])
        .metadata("array.i8", vec![-1i8])
        .metadata("array.u16", vec![1u16])
        .metadata("array.i16", vec![-1i16])
        .metadata("array.u32", vec![1u32])
        .metadata("array.i32", vec![-1i32, 7])
        .metadata("array.f32", vec![1.5f32])
        .metadata("array.bool", vec![true, false])
        .metadata("array.u64", vec![1u64])
        .metadata("array.i64", vec![-1i64])
        .metadata("array.f64", vec![2.5f64])
        .metadata("array.empty", Vec::<u32>::new())
        .metadata("array.string", strings)
        .metadata("array.nested", nested)
        .tensor("a.weight", &[32, 2], TensorType::Q8_0, vec![1; 68])
        .tensor("b.weight", &[3, 2, 1, 2], TensorType::F32, vec![2; 48])
        .tensor("c.weight", &[5], TensorType::F16, vec![3; 10])
        .to_bytes()
        .unwrap()
}

fn every_tensor_type() -> Vec<u8> {
    let mut writer = Writer::new();
    for tensor_type in TensorType::ALL {
        let data = vec![0; usize::try_from(tensor_type.block_bytes()).unwrap()];
        writer.tensor(tensor_type.name(), &[tensor_type.block_len()], *tensor_type, data);
    }
    writer.to_bytes().unwrap()
}

fn valid() -> Vec<Case> {
    let mut version_2 = everything();
    version_2[4] = 2;
    let f32 = TensorType::F32.id();
    vec![
        Raw::new(0, 0).valid("nothing"),
        Raw(everything()).valid("everything"),
        Raw(every_tensor_type()).valid("every-tensor-type"),
        Raw(version_2).valid("version-2"),
        nested(limits::ARRAY_DEPTH_MAX).valid("arrays-as-deep-as-allowed"),
        Raw::new(1, 0).tensor(&"n".repeat(256), &[1], f32, 0).data(4).valid("tensor-name-as-long-as-allowed"),
        Raw::new(2, 0).tensor("b", &[1], f32, 96).tensor("a", &[1], f32, 32).data(100).valid("tensors-in-any-order"),
        Raw::new(0, 1).key("k", ValueType::String).string(b"\xc3\x28").valid("string-not-utf8"),
        Raw::new(0, 1).array("k", ValueType::String, 2).string(b"\xff").string(b"").valid("strings-not-utf8"),
    ]
}

fn bad_starts() -> Vec<Case> {
    let start = |magic: &[u8], version: [u8; 4]| Raw(Vec::new()).raw(magic).raw(&version).u64(0).u64(0);
    let (max, magic) = (u64::MAX, b"GGUF");
    vec![
        Raw(Vec::new()).refused("no-bytes", "Truncated { field: \"magic\", offset: 0, expected: 4, got: 0"),
        start(b"GGML", [3, 0, 0, 0]).refused("magic", "BadMagic { got: [71, 71, 77, 76]"),
        start(magic, [0; 4]).refused("version-0", "UnsupportedVersion { got: 0"),
        start(magic, [1, 0, 0, 0]).refused("version-1", "UnsupportedVersion { got: 1"),
        start(magic, [4, 0, 0, 0]).refused("version-4", "UnsupportedVersion { got: 4"),
        start(magic, [0, 0, 0, 2]).refused("big-endian-2", "BigEndian { version: 2"),
        start(magic, [0, 0, 0, 3]).refused("big-endian-3", "BigEndian { version: 3"),
        Raw::new(max, 0).refused("tensors-too-many", "TooMany { field: \"tensor count\", offset: 8"),
        Raw::new(limits::TENSORS_MAX, 0).refused("tensors-claimed", "Truncated { field: \"tensor table\", offset: 24"),
        Raw::new(0, max).refused("entries-too-many", "TooMany { field: \"metadata count\", offset: 16"),
        Raw::new(0, limits::METADATA_ENTRIES_MAX).refused("entries-claimed", "Truncated { field: \"entries\""),
    ]
}

fn bad_metadata() -> Vec<Case> {
    let entry = || Raw::new(0, 1);
    let padding = [0; 32];
    vec![
        entry().u64(u64::MAX).raw(&padding).refused("key-too-long", "TooMany { field: \"key of metadata entry 0\""),
        entry().u64(65_535).raw(&padding).refused("key-claimed", "Truncated { field: \"key of metadata entry 0\""),
        entry().string(b"").raw(&padding).refused("key-empty", "EmptyName { field: \"key of metadata entry 0\""),
        entry()
            .string(b"a\xff")
            .raw(&padding)
            .refused("key-not-utf8", "NotUtf8 { field: \"key of metadata entry 0\", offset: 24, valid_up_to: 1"),
        entry().string(b"k").u32(13).raw(&padding).refused(
            "value-type",
            "UnknownValueType { field: \"value type of metadata \\\"k\\\"\", offset: 33, got: 13",
        ),
        entry().key("k", ValueType::U64).raw(&[0; 7]).refused(
            "value-cut",
            "Truncated { field: \"value of metadata \\\"k\\\"\", offset: 37, expected: 8, got: 7",
        ),
        entry()
            .key("k", ValueType::Bool)
            .raw(&[2])
            .refused("bool-2", "BadBool { field: \"value of metadata \\\"k\\\"\", offset: 37, got: 2"),
        entry()
            .key("k", ValueType::String)
            .u64(u64::MAX)
            .refused("string-too-long", "TooMany { field: \"value of metadata"),
        entry()
            .key("k", ValueType::String)
            .u64(limits::STRING_BYTES_MAX)
            .refused("string-claimed", "Truncated { field: \"value of metadata"),
        Raw::new(0, 2)
            .key("k", ValueType::U8)
            .raw(&[0])
            .key("k", ValueType::U32)
            .u32(1)
            .refused("key-twice", "DuplicateKey { key: \"k\", offset: 38"),
    ]
}

fn nested(depth: usize) -> Raw {
    let outermost = Raw::new(0, 1).key("k", ValueType::Array);
    let inner = (1..depth).fold(outermost, |raw, _| raw.u32(ValueType::Array.id()).u64(1));
    inner.u32(ValueType::U8.id()).u64(1).raw(&[7])
}

fn bad_arrays() -> Vec<Case> {
    let array = |item_type, n| Raw::new(0, 1).array("k", item_type, n);
    let max = limits::ARRAY_ELEMENTS_MAX;
    let elements = "Truncated { field: \"array elements of metadata \\\"k\\\"\"";
    vec![
        Raw::new(0, 1)
            .key("k", ValueType::Array)
            .u32(99)
            .u64(0)
            .refused("array-item-type", "UnknownValueType { field: \"array item type of metadata"),
        array(ValueType::U8, u64::MAX).refused("array-too-long", "TooMany { field: \"array length of metadata"),
        array(ValueType::U8, max).refused("array-claimed-u8", elements),
        array(ValueType::F64, max).refused("array-claimed-f64", elements),
        array(ValueType::Bool, max).refused("array-claimed-bool", elements),
        array(ValueType::String, max).raw(&[0; 64]).refused("array-claimed-string", elements),
        array(ValueType::Array, max).raw(&[0; 64]).refused("array-claimed-array", elements),
        array(ValueType::Bool, 2)
            .raw(&[1, 7])
            .refused("array-bool-7", "BadBool { field: \"array elements of metadata \\\"k\\\"\", offset: 50, got: 7"),
        array(ValueType::String, 2)
            .string(b"a")
            .u64(u64::MAX)
            .refused("array-string-too-long", "TooMany { field: \"array elements"),
        array(ValueType::String, 2).string(b"a").u64(9).refused("array-string-claimed", elements),
        array(ValueType::String, 3).string(b"abcdefgh").u64(0).refused("array-strings-cut", elements),
        nested(limits::ARRAY_DEPTH_MAX + 1)
            .refused("arrays-too-deep", "ArrayTooDeep { field: \"array elements of metadata"),
        nested(5_000).refused("arrays-much-too-deep", "ArrayTooDeep"),
    ]
}

fn bad_alignments() -> Vec<Case> {
    let number = |value: u32| Raw::new(0, 1).key("general.alignment", ValueType::U32).u32(value);
    vec![
        number(0).refused("alignment-0", "BadAlignment { min: 8, max: 2097152, got: 0"),
        number(4).refused("alignment-4", "BadAlignment"),
        number(48).refused("alignment-48", "BadAlignment"),
        number(1 << 31).refused("alignment-huge", "BadAlignment"),
        Raw::new(0, 1)
            .key("general.alignment", ValueType::String)
            .string(b"32")
            .refused("alignment-text", "WrongType { key: \"general.alignment\""),
        Raw::new(0, 1)
            .key("general.alignment", ValueType::I32)
            .raw(&(-32i32).to_le_bytes())
            .refused("alignment-negative", "OutOfRange { key: \"general.alignment\""),
    ]
}

fn bad_tensors() -> Vec<Case> {
    let f32 = TensorType::F32.id();
    let one = |shape: &[u64], type_id| Raw::new(1, 0).tensor("t", shape, type_id, 0).data(64);
    let dims = |n: u32| Raw::new(1, 0).string(b"t").u32(n).data(64);
    let too_large = "TensorTooLarge { name: \"t\", offset: 33";
    vec![
        Raw::new(1, 0)
            .string(b"")
            .data(64)
            .refused("tensor-name-empty", "EmptyName { field: \"name of tensor 0\", offset: 24"),
        Raw::new(1, 0)
            .tensor(&"n".repeat(257), &[1], f32, 0)
            .refused("tensor-name-too-long", "TooMany { field: \"name of tensor 0\""),
        Raw::new(1, 0)
            .string(b"\xed\xa0\x80")
            .data(64)
            .refused("tensor-name-not-utf8", "NotUtf8 { field: \"name of tensor 0\""),
        dims(0).refused("dims-0", "BadDimCount { name: \"t\", offset: 33, max: 4, got: 0"),
        dims(5).refused("dims-5", "BadDimCount { name: \"t\", offset: 33, max: 4, got: 5"),
        dims(u32::MAX).refused("dims-huge", "BadDimCount"),
        one(&[1, 0], f32).refused("dim-zero", "ZeroDim { name: \"t\", offset: 33, dim_idx: 1"),
        one(&[u64::MAX, 2], f32).refused("elements-overflow", too_large),
        one(&[1 << 32, 1 << 32], f32).refused("elements-wrap-to-zero", too_large),
        one(&[1 << 63], f32).refused("elements-over-i64", too_large),
        one(&[1 << 61], TensorType::I64.id()).refused("bytes-overflow", too_large),
        one(&[32], 4)
            .refused("type-removed-q4_2", "RemovedTensorType { name: \"t\", offset: 45, got: 4, type_name: \"Q4_2\""),
        one(&[32], 31).refused("type-removed-q4_0_4_4", "RemovedTensorType"),
        one(&[32], 43).refused("type-unknown", "UnknownTensorType { name: \"t\", offset: 45, got: 43"),
        one(&[32], u32::MAX).refused("type-unknown-huge", "UnknownTensorType"),
        one(&[33], TensorType::Q4_0.id())
            .refused("row-not-in-blocks", "RowNotInBlocks { name: \"t\", offset: 33, expected: 32, got: 33"),
        one(&[16, 2], TensorType::Q4_0.id()).refused("row-is-half-a-block", "RowNotInBlocks"),
        Raw::new(2, 0)
            .tensor("t", &[1], f32, 0)
            .tensor("t", &[1], f32, 32)
            .data(64)
            .refused("tensor-twice", "DuplicateTensor { name: \"t\", offset: 57"),
    ]
}

fn bad_layouts() -> Vec<Case> {
    let f32 = TensorType::F32.id();
    let at = |offset| Raw::new(1, 0).tensor("t", &[1], f32, offset).data(64);
    let two = |first, second| Raw::new(2, 0).tensor("a", &[16], f32, first).tensor("b", &[1], f32, second).data(128);
    vec![
        at(4).refused("offset-misaligned", "TensorMisaligned { name: \"t\", offset: 24, expected: 32, got: 4"),
        at(u64::MAX).refused("offset-misaligned-huge", "TensorMisaligned"),
        at(u64::MAX - 31).refused("offset-overflow", "TensorOutOfBounds { name: \"t\", offset: 24"),
        at(64).refused("offset-at-the-end", "TensorOutOfBounds { name: \"t\", offset: 24, expected: 128, got: 132"),
        Raw::new(1, 0).tensor("t", &[17], f32, 0).data(64).refused("end-outside", "TensorOutOfBounds"),
        Raw::new(1, 0).tensor("t", &[1], f32, 0).refused("no-data", "TensorOutOfBounds"),
        two(0, 0).refused("overlap-same-start", "TensorsOverlap { first: \"a\", second: \"b\""),
        two(0, 32).refused("overlap-inside", "TensorsOverlap { first: \"a\", second: \"b\", expected: 160, got: 128"),
        Raw::new(2, 0)
            .tensor("a", &[1], f32, 32)
            .tensor("b", &[16], f32, 0)
            .data(128)
            .refused("overlap-later-first", "TensorsOverlap { first: \"b\", second: \"a\""),
    ]
}

/// A file that ends where the elements of an array of `n` arrays begin.
pub(crate) fn with_array_of_arrays(n: u64) -> Vec<u8> {
    Raw::new(0, 1).array("k", ValueType::Array, n).0
}

/// A file of `n` entries with short keys.
pub(crate) fn with_entries(n: u64) -> Vec<u8> {
    (0..n).fold(Raw::new(0, n), |raw, idx| raw.key(&idx.to_string(), ValueType::U8).raw(&[0])).0
}

/// The fuzzer's seed corpus: the cases under the names of files. Small ones only; large files slow a fuzzer down.
pub(crate) fn corpus() -> Vec<(String, Vec<u8>)> {
    let file = |case: Case| {
        let kind = if case.error.is_some() { "refused" } else { "valid" };
        (format!("{kind}-{}.gguf", case.name), case.bytes)
    };
    all().into_iter().filter(|case| case.bytes.len() <= 8_192).map(file).collect()
}
