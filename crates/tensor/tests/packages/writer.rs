//! Writes small ML Programs, byte by byte: what Core ML Tools write, without them.

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proto(pub(crate) Vec<u8>);

impl Proto {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).expect("seven bits"));
    }

    pub(crate) fn int(mut self, field: u64, value: i64) -> Self {
        self.varint(field << 3);
        self.varint(value.cast_unsigned());
        self
    }

    pub(crate) fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn float(mut self, field: u64, value: f32) -> Self {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub(crate) fn message(self, field: u64, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    /// An entry of a map from names to messages.
    pub(crate) fn entry(self, field: u64, name: &str, message: &Self) -> Self {
        self.message(field, &Self::default().text(1, name).message(2, message))
    }
}

pub(crate) const F32: i64 = 11;
pub(crate) const F16: i64 = 10;
pub(crate) const I4: i64 = 25;
pub(crate) const U4: i64 = 35;
pub(crate) const U1: i64 = 37;
pub(crate) const TEXT: i64 = 2;

/// An extent that a type leaves open.
pub(crate) const OPEN: i64 = -1;

/// A type of tensors.
pub(crate) fn tensor(code: i64, shape: &[i64]) -> Proto {
    let of = Proto::default().int(1, code).int(2, i64::try_from(shape.len()).expect("few"));
    let dim = |extent: i64| match extent {
        OPEN => Proto::default().message(2, &Proto::default().int(1, 0)),
        extent => Proto::default().message(1, &Proto::default().int(1, extent)),
    };
    let of = shape.iter().fold(of, |of, &extent| of.message(3, &dim(extent)));
    Proto::default().message(1, &of)
}

/// A state of f16.
pub(crate) fn state(shape: &[i64]) -> Proto {
    Proto::default().message(5, &Proto::default().message(1, &tensor(F16, shape)))
}

/// A value with its type.
pub(crate) fn named(name: &str, of: &Proto) -> Proto {
    Proto::default().text(1, name).message(2, of)
}

fn value(of: &Proto, tensor_value: &Proto) -> Proto {
    Proto::default().message(2, of).message(3, &Proto::default().message(1, tensor_value))
}

/// Constant floats.
pub(crate) fn floats(shape: &[i64], values: &[f32]) -> Proto {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    value(&tensor(F32, shape), &Proto::default().message(1, &Proto::default().bytes(1, &bytes)))
}

/// A constant text.
pub(crate) fn text(text: &str) -> Proto {
    value(&tensor(TEXT, &[]), &Proto::default().message(4, &Proto::default().text(1, text)))
}

/// Constants in a file of weights, behind the entry at `offset`.
pub(crate) fn filed(code: i64, shape: &[i64], offset: i64) -> Proto {
    let place = Proto::default().text(1, "@model_path/weights/weight.bin").int(2, offset);
    Proto::default().message(2, &tensor(code, shape)).message(5, &place)
}

/// An operation whose inputs are names.
pub(crate) fn operation(kind: &str, inputs: &[(&str, &str)], outputs: &[(&str, Proto)]) -> Proto {
    let of = inputs.iter().fold(Proto::default().text(1, kind), |of, (input, name)| {
        of.entry(2, input, &Proto::default().message(1, &Proto::default().text(1, name)))
    });
    outputs.iter().fold(of, |of, (name, kind)| of.message(3, &named(name, kind)))
}

/// A constant by its name.
pub(crate) fn constant(name: &str, of: &Proto, literal: &Proto) -> Proto {
    operation("const", &[], &[(name, of.clone())]).entry(5, "val", literal)
}

/// A program with one function, `main`.
pub(crate) fn program(inputs: &[Proto], operations: &[Proto], outputs: &[&str]) -> Proto {
    Proto::default().int(1, 1).entry(2, "main", &function(inputs, operations, outputs))
}

/// A function.
pub(crate) fn function(inputs: &[Proto], operations: &[Proto], outputs: &[&str]) -> Proto {
    let block = outputs.iter().fold(Proto::default(), |block, name| block.text(2, name));
    let block = operations.iter().fold(block, |block, operation| block.message(3, operation));
    let function = inputs.iter().fold(Proto::default(), |function, input| function.message(1, input));
    function.text(2, "CoreML8").entry(3, "CoreML8", &block)
}

/// A model's file with a program.
pub(crate) fn model(program: &Proto) -> Vec<u8> {
    let metadata = Proto::default().text(2, "1.5").text(3, "A. Uthor").text(4, "CC0");
    let metadata = metadata.message(100, &Proto::default().text(1, "key").text(2, "value"));
    let description = Proto::default().message(100, &metadata);
    Proto::default().int(1, 9).message(2, &description).message(502, program).0
}

/// A file of weights with one entry at byte 64.
pub(crate) fn weights(code: u32, elements: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 128];
    file[0..4].copy_from_slice(&1_u32.to_le_bytes());
    file[4..8].copy_from_slice(&2_u32.to_le_bytes());
    file[64..68].copy_from_slice(&0xDEAD_BEEF_u32.to_le_bytes());
    file[68..72].copy_from_slice(&code.to_le_bytes());
    file[72..80].copy_from_slice(&(elements.len() as u64).to_le_bytes());
    file[80..88].copy_from_slice(&128_u64.to_le_bytes());
    file.extend_from_slice(elements);
    file
}
