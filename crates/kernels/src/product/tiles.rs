//! Quantised weights on int8 tiles: a slice of 32 columns of a strip times sixteen activation rows at once.
//!
//! A product of tiles is the exact integer that the other sets get one row at a time; what is done with it is theirs to
//! the bit (`quantized::add`). A strip's slices are unpacked, a chunk at a time, to a buffer that all rows of a panel
//! use. Quants are stored less the format's zero, which their eight bits hold, so nothing has to be made up for later.
//!
//! Counted in the compiled loops, for a slice and sixteen rows: 93 instructions without minima (16 conversions, 16
//! multiplications, 16 additions, 5 of the tiles, the rest is the loop), 126 with minima, 178 for the halves of Q6_K. The
//! same by dot products of vectors, which take 8 for each row, is 266 (Q8_0), 282 (Q4_0), 286 (Q4_1), 314 (Q5_0), 440
//! (Q6_K), unpacking included; here that comes once for all rows of a panel, 52 for Q4_0.
//!
//! A product takes longer from its first load to its last store than adding it up does, so [`LEAD`] products are on
//! their way when one is added, each in other memory, and neighbours are in other registers.

use super::formats::{self, Factors, Format};
use super::{PANEL_TILES, quantized, store};
use crate::activations::{Block, TILE_ROWS};
use crate::isa::Isa;
use crate::packed::STRIP_ROWS;
use crate::{ActivationFormat, Activations, PackedMatrix, PanelMut, WeightType};
use std::ops::Range;

/// Activation rows from which on tiles are used. Below sixteen rows a slice costs some 100 instructions, unpacking
/// included, and 7 to 9 for each row; by vectors it is some 25 and 15. That is even between nine and thirteen rows.
pub(crate) const ROWS_MIN: usize = 12;

/// Slices that are unpacked at once: as much as stays in the first cache beside the rest.
const SLICES: usize = 16;
/// Slices whose products are on their way while one before is added up.
const LEAD: usize = 3;
/// Products that are there at once.
const SLOTS: usize = 4;
const _: () = assert!(LEAD < SLOTS, "a product is not written over before it is added");

/// What an instruction set that has tiles does beside [`Isa`].
pub(crate) trait TileIsa: Isa {
    /// Each byte less `zero`, as a signed byte.
    fn store_signed(self, quants: Self::B, zero: u8, out: &mut [u8; 64]);
}

/// What a thread's tiles are configured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Words of four columns that a product takes: a slice's 8, or 4 where its halves have scales of their own.
    pub(crate) n_words: usize,
    /// Activation rows in the last tile, where that has fewer than [`TILE_ROWS`]; else 0.
    pub(crate) n_tail_rows: usize,
}

/// Which registers a product goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Registers {
    /// Those for [`TILE_ROWS`] rows.
    Even,
    /// Others for as many.
    Odd,
    /// Those for the last tile's rows.
    Tail,
}

/// The units of a slice, see `packed`, in signed bytes.
pub(crate) type Units = [[u8; 64]; 8];

/// A row of sixteen i32, little-endian, for each activation row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Products(pub(crate) [[u8; 64]; TILE_ROWS]);

/// Tiles of the thread that are configured for a [`Shape`].
pub(crate) trait Tiles {
    /// For each block in `x` and each of a strip's rows, the sum of the products of activations and weights, over as
    /// many words as the shape says from the one that `weights` names beside the units.
    ///
    /// # Panics
    /// If `x` has not as many rows as `registers` are for, or there are fewer words.
    fn product(&mut self, registers: Registers, x: &[Block], weights: (&Units, usize), out: &mut Products);
}

/// Whether these products are for tiles.
pub(crate) fn has(w: &PackedMatrix<'_>, x: &Activations) -> bool {
    w.weight_type().activation_format() == ActivationFormat::Q8_32 && x.n_rows() >= ROWS_MIN
}

/// `y = x w^T`; shapes were checked, and [`has`] says yes. Tiles are configured for the time of the call.
#[inline(always)]
pub(crate) fn matmul<S: TileIsa, T: Tiles>(
    isa: S,
    configure: impl FnOnce(Shape) -> T,
    w: &PackedMatrix<'_>,
    x: &Activations,
    y: &mut PanelMut<'_>,
) {
    match w.weight_type() {
        WeightType::F32 | WeightType::F16 | WeightType::BF16 => unreachable!("plain weights are not for tiles"),
        WeightType::Q4_0 => all::<S, formats::Q4_0, T>(isa, configure, w, x, y),
        WeightType::Q4_1 => all::<S, formats::Q4_1, T>(isa, configure, w, x, y),
        WeightType::Q5_0 => all::<S, formats::Q5_0, T>(isa, configure, w, x, y),
        WeightType::Q5_1 => all::<S, formats::Q5_1, T>(isa, configure, w, x, y),
        WeightType::Q8_0 => all::<S, formats::Q8_0, T>(isa, configure, w, x, y),
        WeightType::Q4_K => all::<S, formats::Q4_K, T>(isa, configure, w, x, y),
        WeightType::Q5_K => all::<S, formats::Q5_K, T>(isa, configure, w, x, y),
        WeightType::Q6_K => all::<S, formats::Q6_K, T>(isa, configure, w, x, y),
    }
}

/// A slice of a strip, unpacked.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Unpacked {
    units: Units,
    scales: [[f32; STRIP_ROWS]; 2],
    mins: [f32; STRIP_ROWS],
}

/// What a chunk of slices and a panel of rows work on: 36 KiB of the thread's stack.
struct Scratch {
    slices: [Unpacked; SLICES],
    /// Of slices, and of second halves: neighbours in time do not lie 4 KiB apart, which loads take for the same place.
    products: [[Products; SLOTS]; 2],
    sums: [[[f32; STRIP_ROWS]; TILE_ROWS]; PANEL_TILES],
}

impl Scratch {
    const ZERO: Self = {
        let slice = Unpacked { units: [[0; 64]; 8], scales: [[0.0; STRIP_ROWS]; 2], mins: [0.0; STRIP_ROWS] };
        Self {
            slices: [slice; SLICES],
            products: [[Products([[0; 64]; TILE_ROWS]); SLOTS]; 2],
            sums: [[[0.0; STRIP_ROWS]; TILE_ROWS]; PANEL_TILES],
        }
    };
}

#[inline(always)]
fn all<S: TileIsa, F: Format, T: Tiles>(
    isa: S,
    configure: impl FnOnce(Shape) -> T,
    w: &PackedMatrix<'_>,
    x: &Activations,
    y: &mut PanelMut<'_>,
) {
    let n_words = if F::HALVES { 4 } else { 8 };
    let mut tiles = configure(Shape { n_words, n_tail_rows: x.n_rows() % TILE_ROWS });
    let mut scratch = Scratch::ZERO;
    let n_tiles = x.n_rows().div_ceil(TILE_ROWS);
    for first in (0..n_tiles).step_by(PANEL_TILES) {
        let panel = first..n_tiles.min(first + PANEL_TILES);
        for strip in 0..w.n_strips() {
            scratch.sums[..panel.len()].as_flattened_mut().as_flattened_mut().fill(0.0);
            add_strip::<S, F, T>(isa, &mut tiles, w.strip(strip), (x, panel.clone()), &mut scratch);
            for (tile, sums) in panel.clone().zip(&scratch.sums) {
                for (row, sums) in sums[..x.tile_rows(tile)].iter().enumerate() {
                    store(isa, y, tile * TILE_ROWS + row, strip * STRIP_ROWS, isa.load(sums));
                }
            }
        }
    }
}

/// Adds the products of a strip and the tiles `panel` of `x` to the sums.
#[inline(always)]
fn add_strip<S: TileIsa, F: Format, T: Tiles>(
    isa: S,
    tiles: &mut T,
    strip: &[u8],
    (x, panel): (&Activations, Range<usize>),
    scratch: &mut Scratch,
) {
    let n_slices = x.n_cols() / 32;
    for first in (0..n_slices).step_by(SLICES) {
        let n = SLICES.min(n_slices - first);
        for (idx, slice) in (first..).zip(&mut scratch.slices[..n]) {
            let group = &strip[idx / F::SLICES * F::GROUP..][..F::GROUP];
            unpack::<S, F>(isa, group, idx % F::SLICES, slice);
        }
        for (tile, sums) in panel.clone().zip(&mut scratch.sums) {
            let n_rows = x.tile_rows(tile);
            let blocks = &x.tile_blocks(tile)[first * n_rows..][..n * n_rows];
            let (slices, products) = (&scratch.slices[..n], &mut scratch.products);
            if n_rows == TILE_ROWS {
                full_tile::<S, F, T>(isa, tiles, (slices, blocks), products, sums);
            } else {
                tail_tile::<S, F, T>(isa, tiles, (slices, blocks), products, &mut sums[..n_rows]);
            }
        }
    }
}

#[inline(always)]
fn unpack<S: TileIsa, F: Format>(isa: S, group: &[u8], idx: usize, out: &mut Unpacked) {
    let w = F::load(isa, group, idx);
    let zero = u8::try_from(F::ZERO).expect("quants are bytes");
    for (quants, unit) in w.quants.iter().zip(&mut out.units) {
        isa.store_signed(*quants, zero, unit);
    }
    for (scales, out) in w.factors.scales.iter().zip(&mut out.scales) {
        isa.store(*scales, out);
    }
    isa.store(w.factors.mins, &mut out.mins);
}

/// Adds the products of slices with sixteen rows, whose blocks are `[slices, 16]`. The sums are in registers.
#[inline(always)]
fn full_tile<S: TileIsa, F: Format, T: Tiles>(
    isa: S,
    tiles: &mut T,
    (slices, blocks): (&[Unpacked], &[Block]),
    [first, second]: &mut [[Products; SLOTS]; 2],
    sums: &mut [[f32; STRIP_ROWS]; TILE_ROWS],
) {
    let mut totals = [isa.splat(0.0); TILE_ROWS];
    for (total, sum) in totals.iter_mut().zip(&*sums) {
        *total = isa.load(sum);
    }
    for step in 0..slices.len() + LEAD {
        if step < slices.len() {
            let is_even = F::HALVES || step % 2 == 0;
            let registers = if is_even { [Registers::Even, Registers::Odd] } else { [Registers::Odd, Registers::Even] };
            let x = &blocks[step * TILE_ROWS..][..TILE_ROWS];
            let out = [&mut first[step % SLOTS], &mut second[step % SLOTS]];
            multiply::<F, T>(tiles, registers, x, &slices[step], out);
        }
        if let Some(idx) = step.checked_sub(LEAD) {
            let blocks: &[Block; TILE_ROWS] = blocks[idx * TILE_ROWS..].first_chunk().expect("a tile is sixteen rows");
            let slice = factors(isa, &slices[idx]);
            let (first, second) = (&first[idx % SLOTS].0, &second[idx % SLOTS].0);
            for row in 0..TILE_ROWS {
                let products = [isa.load_i32(&first[row]), isa.load_i32(&second[row])];
                totals[row] = quantized::add::<S, F>(isa, &slice, &blocks[row], products, totals[row]);
            }
        }
    }
    for (total, sum) in totals.iter().zip(sums) {
        isa.store(*total, sum);
    }
}

/// As [`full_tile`] with as many rows as there are sums, which stay in memory.
#[inline(always)]
fn tail_tile<S: TileIsa, F: Format, T: Tiles>(
    isa: S,
    tiles: &mut T,
    (slices, blocks): (&[Unpacked], &[Block]),
    [first, second]: &mut [[Products; SLOTS]; 2],
    sums: &mut [[f32; STRIP_ROWS]],
) {
    let n_rows = sums.len();
    assert!(n_rows < TILE_ROWS, "{n_rows} rows are no tail");
    for step in 0..slices.len() + LEAD {
        if step < slices.len() {
            let x = &blocks[step * n_rows..][..n_rows];
            let out = [&mut first[step % SLOTS], &mut second[step % SLOTS]];
            multiply::<F, T>(tiles, [Registers::Tail; 2], x, &slices[step], out);
        }
        if let Some(idx) = step.checked_sub(LEAD) {
            let blocks = &blocks[idx * n_rows..][..n_rows];
            let slice = factors(isa, &slices[idx]);
            let (first, second) = (&first[idx % SLOTS].0, &second[idx % SLOTS].0);
            for row in 0..n_rows {
                let products = [isa.load_i32(&first[row]), isa.load_i32(&second[row])];
                let total = quantized::add::<S, F>(isa, &slice, &blocks[row], products, isa.load(&sums[row]));
                isa.store(total, &mut sums[row]);
            }
        }
    }
}

/// Multiplies a slice and a block of each row, in two halves through the two `registers` where the format has them.
#[inline(always)]
fn multiply<F: Format, T: Tiles>(
    tiles: &mut T,
    registers: [Registers; 2],
    x: &[Block],
    slice: &Unpacked,
    [first, second]: [&mut Products; 2],
) {
    tiles.product(registers[0], x, (&slice.units, 0), first);
    if F::HALVES {
        tiles.product(registers[1], x, (&slice.units, 4), second);
    }
}

#[inline(always)]
fn factors<S: Isa>(isa: S, slice: &Unpacked) -> Factors<S> {
    let [first, second] = &slice.scales;
    Factors { scales: [isa.load(first), isa.load(second)], mins: isa.load(&slice.mins) }
}
