//! ML Programs: Core ML's own graphs in their model intermediate language ("MIL"), as they lie in files.
//!
//! A program has functions, a function a block of operations, and an operation may have blocks of its own. Every value is
//! typed. What a program computes with is not looked at here; `lower` does that. (Names and numbers as in `MIL.proto`.)

pub(crate) mod decode;
pub(crate) mod expand;
pub(crate) mod lower;
pub(crate) mod read;

use std::collections::BTreeMap;

/// A program.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Program {
    pub(crate) functions: BTreeMap<String, Function>,
}

/// A function, with the block that was made for its version of operations.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Function {
    pub(crate) inputs: Vec<Named>,
    /// Version of the operations, such as `CoreML7`.
    pub(crate) opset: String,
    pub(crate) block: Block,
}

/// Operations, each after those whose values it takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Block {
    pub(crate) inputs: Vec<Named>,
    pub(crate) outputs: Vec<String>,
    pub(crate) operations: Vec<Operation>,
}

/// One operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Operation {
    /// Such as `conv`.
    pub(crate) kind: String,
    /// By the names that the operation has for them; several values where a name takes a tuple.
    pub(crate) inputs: BTreeMap<String, Vec<Binding>>,
    pub(crate) outputs: Vec<Named>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) attributes: BTreeMap<String, Literal>,
}

impl Operation {
    /// What messages call it.
    pub(crate) fn label(&self) -> &str {
        self.outputs.first().map_or("", |output| &output.name)
    }

    /// Whether it gives what is known before a run.
    pub(crate) fn is_constant(&self) -> bool {
        self.kind == "const" || self.kind.starts_with("constexpr_")
    }
}

/// What an operation takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Binding {
    /// A value by its name.
    Name(String),
    /// A value that stands here.
    Literal(Literal),
}

/// A name with its type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) of: Type,
}

/// What a value is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Type {
    /// A tensor.
    Tensor(TensorType),
    /// A tensor that a program keeps from run to run.
    State(TensorType),
    /// A list, all of one type.
    List(Box<Type>),
    /// Values of several types in a row.
    Tuple,
    /// Values by key.
    Dictionary,
    /// Not told.
    #[default]
    Nothing,
}

impl Type {
    /// The tensor that a value is or a state keeps.
    pub(crate) fn tensor(&self) -> Option<&TensorType> {
        match self {
            Self::Tensor(of) | Self::State(of) => Some(of),
            Self::List(_) | Self::Tuple | Self::Dictionary | Self::Nothing => None,
        }
    }

    /// What it is, in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Tensor(_) => "a tensor",
            Self::State(_) => "a state",
            Self::List(_) => "a list",
            Self::Tuple => "a tuple",
            Self::Dictionary => "a dictionary",
            Self::Nothing => "a value of no type",
        }
    }
}

/// Elements and extents of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TensorType {
    pub(crate) element: ElementType,
    /// `None`: as many as come.
    pub(crate) dims: Vec<Option<usize>>,
}

impl TensorType {
    /// The extents, if all are told.
    pub(crate) fn shape(&self) -> Option<Vec<usize>> {
        self.dims.iter().copied().collect()
    }

    pub(crate) fn rank(&self) -> usize {
        self.dims.len()
    }
}

/// A value that stands in the program or in a file of weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Literal {
    pub(crate) of: Type,
    pub(crate) content: Content,
}

/// Where a literal's elements are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    /// Here.
    Here(Numbers),
    /// In a file, behind an entry that begins at this byte.
    File { name: String, offset: u64 },
    /// A list of texts, such as a classifier's classes.
    Texts(Vec<String>),
    /// A list of numbers.
    Numbers(Vec<i64>),
    /// A tuple, a dictionary, or a list of something else.
    Other,
}

/// Elements as the program's text has them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Numbers {
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    Ints(Vec<i64>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
    /// Elements that the file's format has no field for, one after the other.
    Bytes(Vec<u8>),
}

impl Numbers {
    /// How many elements, or bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Doubles(values) => values.len(),
            Self::Ints(values) => values.len(),
            Self::Bools(values) => values.len(),
            Self::Texts(values) => values.len(),
            Self::Bytes(values) => values.len(),
        }
    }
}

macro_rules! element_types {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, $bits:literal;)+) => {
        /// Type of a tensor's elements.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum ElementType {
            $($(#[$doc])* $variant,)+
        }

        impl ElementType {
            /// The type that a number in files means.
            pub(crate) fn of_code(code: i64) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// Its name in programs.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The type of a name.
            pub(crate) fn of_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// Bits of an element; of a text, none.
            pub(crate) fn bits(self) -> usize {
                match self {
                    $(Self::$variant => $bits,)+
                }
            }
        }
    };
}

element_types! {
    Bool = 1, "bool", 8;
    Text = 2, "string", 0;
    F16 = 10, "fp16", 16;
    F32 = 11, "fp32", 32;
    F64 = 12, "fp64", 64;
    Bf16 = 13, "bf16", 16;
    I8 = 21, "int8", 8;
    I16 = 22, "int16", 16;
    I32 = 23, "int32", 32;
    I64 = 24, "int64", 64;
    I4 = 25, "int4", 4;
    U8 = 31, "uint8", 8;
    U16 = 32, "uint16", 16;
    U32 = 33, "uint32", 32;
    U64 = 34, "uint64", 64;
    U4 = 35, "uint4", 4;
    U2 = 36, "uint2", 2;
    U1 = 37, "uint1", 1;
    U6 = 38, "uint6", 6;
    U3 = 39, "uint3", 3;
    F8E4M3 = 40, "fp8e4m3fn", 8;
    F8E5M2 = 41, "fp8e5m2", 8;
}

impl ElementType {
    /// Whether it has fractions.
    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::F32 | Self::F64 | Self::Bf16 | Self::F8E4M3 | Self::F8E5M2)
    }
}
