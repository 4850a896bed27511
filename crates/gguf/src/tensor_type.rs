//! The tensor types of ggml: identifier, name and block size. What the bytes of a block mean is not known here.

use std::fmt;

macro_rules! tensor_types {
    ($($name:ident = $id:literal: $block_len:literal in $block_bytes:literal,)*) => {
        /// How the elements of a tensor are stored. The numbers are ggml's, the names too.
        ///
        /// Sizes are those of the structures in `ggml-common.h`; the `gguf` package of Python says 40 bytes for `Q8_1`, whose
        /// scales were f32 once.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the names are the formats' own")]
        #[allow(non_camel_case_types, reason = "the names are the formats' own")]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum TensorType { $($name = $id,)* }

        impl TensorType {
            /// Every type, by identifier.
            pub const ALL: &'static [TensorType] = &[$(TensorType::$name,)*];

            /// The name, as ggml's enumeration and the `gguf` package spell it: `Q4_K`, `IQ2_XXS`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Elements in a block; 1 for types without blocks.
            #[must_use]
            pub const fn block_len(self) -> u64 {
                match self { $(Self::$name => $block_len,)* }
            }

            /// Bytes of a block.
            #[must_use]
            pub const fn block_bytes(self) -> u64 {
                match self { $(Self::$name => $block_bytes,)* }
            }

            /// The type with this identifier in files.
            #[must_use]
            pub const fn from_id(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$name),)* _ => None }
            }
        }
    };
}

tensor_types! {
    F32 = 0: 1 in 4,
    F16 = 1: 1 in 2,
    Q4_0 = 2: 32 in 18,
    Q4_1 = 3: 32 in 20,
    Q5_0 = 6: 32 in 22,
    Q5_1 = 7: 32 in 24,
    Q8_0 = 8: 32 in 34,
    Q8_1 = 9: 32 in 36,
    Q2_K = 10: 256 in 84,
    Q3_K = 11: 256 in 110,
    Q4_K = 12: 256 in 144,
    Q5_K = 13: 256 in 176,
    Q6_K = 14: 256 in 210,
    Q8_K = 15: 256 in 292,
    IQ2_XXS = 16: 256 in 66,
    IQ2_XS = 17: 256 in 74,
    IQ3_XXS = 18: 256 in 98,
    IQ1_S = 19: 256 in 50,
    IQ4_NL = 20: 32 in 18,
    IQ3_S = 21: 256 in 110,
    IQ2_S = 22: 256 in 82,
    IQ4_XS = 23: 256 in 136,
    I8 = 24: 1 in 1,
    I16 = 25: 1 in 2,
    I32 = 26: 1 in 4,
    I64 = 27: 1 in 8,
    F64 = 28: 1 in 8,
    IQ1_M = 29: 256 in 56,
    BF16 = 30: 1 in 2,
    TQ1_0 = 34: 256 in 54,
    TQ2_0 = 35: 256 in 66,
    MXFP4 = 39: 32 in 17,
    NVFP4 = 40: 64 in 36,
    Q1_0 = 41: 128 in 18,
    Q2_0 = 42: 64 in 18,
}

/// Identifiers that ggml once used and no longer reads.
const REMOVED: &[(u32, &str)] = &[
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

impl TensorType {
    /// The identifier in files.
    #[must_use]
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The type called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|tensor_type| tensor_type.name() == name)
    }

    /// The name of a type that ggml has given up, by its identifier.
    #[must_use]
    pub fn removed_name(id: u32) -> Option<&'static str> {
        REMOVED.iter().find(|(removed, _)| *removed == id).map(|(_, name)| *name)
    }

    /// Bytes of `n_elements` in a row; `None` if they are not a whole number of blocks or the product overflows.
    #[must_use]
    pub const fn row_bytes(self, n_elements: u64) -> Option<u64> {
        if !n_elements.is_multiple_of(self.block_len()) {
            return None;
        }
        (n_elements / self.block_len()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_identifiers_lead_back_to_the_type() {
        for &tensor_type in TensorType::ALL {
            assert_eq!(TensorType::from_id(tensor_type.id()), Some(tensor_type));
            assert_eq!(TensorType::from_name(tensor_type.name()), Some(tensor_type));
        }
    }

    #[test]
    fn every_identifier_below_the_count_is_known_or_removed() {
        // ggml's GGML_TYPE_COUNT is 43.
        for id in 0..43 {
            assert!(TensorType::from_id(id).is_some() != TensorType::removed_name(id).is_some(), "{id}");
        }
        assert_eq!(TensorType::from_id(43), None);
        assert_eq!(TensorType::removed_name(43), None);
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(TensorType::Q4_K.row_bytes(512), Some(288));
        assert_eq!(TensorType::Q4_K.row_bytes(500), None);
        assert_eq!(TensorType::F64.row_bytes(u64::MAX), None);
    }
}
