//! The instructions of tiles, which stable Rust reaches by assembly alone.
//!
//! A product is one block of assembly, so that no tile is to keep what it holds between two. The texts are macros: the
//! tests assemble the very same with registers of their own and run what comes out on a machine in software.

#![expect(unsafe_code, reason = "instructions that have no intrinsics in stable Rust")]

use super::permission::Permission;
use crate::activations::{Block, TILE_ROWS};
use crate::product::tiles::{Products, Registers, Shape, Tiles, Units};
use std::arch::asm;
use std::marker::PhantomData;
use std::mem::{offset_of, size_of};

/// `[c] = [a] * [b]`, where `a` has rows `a_stride` apart and the others rows of `row` bytes.
macro_rules! product {
    (Even, $($at:literal),*) => { product!("tmm0", "tmm1", "tmm2", $($at),*) };
    (Odd, $($at:literal),*) => { product!("tmm3", "tmm4", "tmm5", $($at),*) };
    (Tail, $($at:literal),*) => { product!("tmm6", "tmm7", "tmm2", $($at),*) };
    ($c:literal, $a:literal, $b:literal, $a_at:literal, $a_stride:literal, $b_at:literal, $row:literal, $c_at:literal) => {
        concat!(
            "tilezero ", $c, "\n",
            "tileloadd ", $a, ", [", $a_at, " + ", $a_stride, "]\n",
            "tileloadd ", $b, ", [", $b_at, " + ", $row, "]\n",
            "tdpbssd ", $c, ", ", $a, ", ", $b, "\n",
            "tilestored [", $c_at, " + ", $row, "], ", $c, "\n",
        )
    };
}

/// Configures the tiles as the 64 bytes at `at` say.
macro_rules! configure {
    ($at:literal) => {
        concat!("ldtilecfg [", $at, "]\n")
    };
}

/// Takes the configuration away, and what the tiles hold.
macro_rules! release {
    () => {
        "tilerelease\n"
    };
}

#[cfg(test)]
pub(super) use {configure, product, release};

/// What `ldtilecfg` reads. (Intel SDM, volume 1, 18.2.1)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Config(pub(super) [u8; 64]);

impl Config {
    /// The configuration in which the products of `shape` are defined: `c` and `a` have a row for each activation row,
    /// `b` one for each word of `a`.
    pub(super) fn of(shape: Shape) -> Self {
        assert!(matches!(shape.n_words, 4 | 8) && shape.n_tail_rows < TILE_ROWS, "tiles of {shape:?}");
        let (full, tail) = (TILE_ROWS, shape.n_tail_rows);
        let (a_bytes, tail_bytes) = (4 * shape.n_words, if tail == 0 { 0 } else { 4 * shape.n_words });
        let c_tail_bytes = if tail == 0 { 0 } else { 64 };
        let b = (shape.n_words, 64);
        let tiles =
            [(full, 64), (full, a_bytes), b, (full, 64), (full, a_bytes), b, (tail, c_tail_bytes), (tail, tail_bytes)];
        let mut bytes = [0; 64];
        bytes[0] = 1; // the palette of eight tiles of sixteen rows of 64 bytes
        for (idx, (n_rows, n_bytes)) in tiles.into_iter().enumerate() {
            bytes[16 + 2 * idx] = u8::try_from(n_bytes).expect("at most 64");
            bytes[48 + idx] = u8::try_from(n_rows).expect("at most 16");
        }
        Self(bytes)
    }
}

/// The thread's tiles, configured for as long as this is there. It stays on the thread and is the only one.
#[derive(Debug)]
pub(super) struct Configured {
    shape: Shape,
    _thread: PhantomData<*const ()>,
}

impl Permission {
    /// Configures this thread's tiles.
    ///
    /// # Safety
    /// No other [`Configured`] may be there on this thread: its products would be of tiles of this shape.
    pub(super) unsafe fn configure(self, shape: Shape) -> Configured {
        let config = Config::of(shape);
        // SAFETY: `self` proves that the CPU has the instruction and that the system lets this process use it; it reads
        // the 64 bytes of `config`, which are a valid configuration. Without `nomem`, so that they are written before.
        unsafe {
            asm!(
                configure!("{config}"),
                config = in(reg) config.0.as_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags)
            );
        }
        Configured { shape, _thread: PhantomData }
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: having `self` proves that the CPU has tiles; nobody reads them after it.
        unsafe {
            asm!(
                release!(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags)
            );
        }
    }
}

/// Runs a product through the registers of that name.
macro_rules! run {
    ($registers:ident, $a:expr, $b:expr, $c:expr) => {
        asm!(
            product!($registers, "{a}", "{a_stride}", "{b}", "{row}", "{c}"),
            a = in(reg) $a, a_stride = in(reg) size_of::<Block>(), b = in(reg) $b, row = in(reg) 64_usize, c = in(reg) $c,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, preserves_flags)
        )
    };
}

const _: () = assert!(offset_of!(Block, quants) == 0, "a block begins with what tiles load");

impl Tiles for Configured {
    #[inline(always)]
    fn product(&mut self, registers: Registers, x: &[Block], (w, word): (&Units, usize), out: &mut Products) {
        let n_rows = if registers == Registers::Tail { self.shape.n_tail_rows } else { TILE_ROWS };
        assert!(x.len() == n_rows && n_rows > 0, "{} rows for {n_rows}", x.len());
        assert!(word + self.shape.n_words <= w.len(), "words from {word} on");
        let a = x.as_ptr().cast::<u8>().wrapping_add(4 * word);
        let (b, c) = (w[word..].as_ptr(), out.0.as_mut_ptr());
        // SAFETY: `self`, the only one of the thread, proves how the tiles are configured: `a` for `n_rows` rows of `n_words` words, which lie a
        // block apart in as many blocks of `x`, from word `word` on of eight; `b` for `n_words` rows of 64 bytes, which
        // `w` has from `word` on; `c` for `n_rows` rows of 64 bytes, of which `out` has `TILE_ROWS`.
        unsafe {
            match registers {
                Registers::Even => run!(Even, a, b, c),
                Registers::Odd => run!(Odd, a, b, c),
                Registers::Tail => run!(Tail, a, b, c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Block, Configured, PhantomData, Products, Registers, Shape, Tiles};
    use std::mem::ManuallyDrop;

    /// A product that is refused before the CPU sees it; nothing is released either.
    fn multiply(shape: Shape, registers: Registers, n_rows: usize, word: usize) {
        let mut tiles = ManuallyDrop::new(Configured { shape, _thread: PhantomData });
        let mut out = Products([[0; 64]; 16]);
        tiles.product(registers, &vec![Block::ZERO; n_rows], (&[[0; 64]; 8], word), &mut out);
    }

    #[test]
    #[should_panic(expected = "15 rows for 16")]
    fn refuses_fewer_rows_than_a_tile_has() {
        multiply(Shape { n_words: 8, n_tail_rows: 15 }, Registers::Even, 15, 0);
    }

    #[test]
    #[should_panic(expected = "16 rows for 15")]
    fn refuses_more_rows_than_the_tail_has() {
        multiply(Shape { n_words: 8, n_tail_rows: 15 }, Registers::Tail, 16, 0);
    }

    #[test]
    #[should_panic(expected = "0 rows for 0")]
    fn refuses_a_tail_that_is_not_there() {
        multiply(Shape { n_words: 8, n_tail_rows: 0 }, Registers::Tail, 0, 0);
    }

    #[test]
    #[should_panic(expected = "words from 5 on")]
    fn refuses_words_behind_the_last() {
        multiply(Shape { n_words: 4, n_tail_rows: 0 }, Registers::Odd, 16, 5);
    }
}
