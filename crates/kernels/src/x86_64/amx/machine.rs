//! A machine in software that runs the instructions of tiles, for tests where no CPU has them.
//!
//! It runs the bytes that the assembler made of the texts in `instructions`, after Intel's manual (SDM volume 2, the
//! pages of each instruction; exception classes AMX-E1 to E6), and panics where a CPU would fault: at a configuration
//! that is none, operands whose shapes do not fit, and memory that a product has no business with.

#![expect(unsafe_code, reason = "functions in assembly, and reading their bytes")]

use super::instructions::{Config, configure, product, release};
use crate::activations::Block;
use crate::product::tiles::{Products, Registers, Shape, Tiles, Units};
use std::arch::naked_asm;

/// Functions that are nothing but a text of `instructions`, with the operands in registers that the machine knows.
macro_rules! texts {
    ($($name:ident: $text:expr;)*) => {$(
        /// # Safety
        /// Not to be called, as the CPU may have no tiles: its bytes are read.
        // SAFETY: the assembly is the whole of the function and returns.
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!($text, "ret")
        }
    )*};
}

texts! {
    even: product!(Even, "rdi", "rsi", "rdx", "rcx", "r8");
    odd: product!(Odd, "rdi", "rsi", "rdx", "rcx", "r8");
    tail: product!(Tail, "rdi", "rsi", "rdx", "rcx", "r8");
    load_config: configure!("rdi");
    take_away: release!();
}

const RET: u8 = 0xc3;

/// The bytes of a function without a byte `RET` before its end.
fn code(function: unsafe extern "C" fn()) -> Vec<u8> {
    let start = function as *const u8;
    // SAFETY: the functions above are code that may be read, up to the return each of them ends with.
    (0..).map(|n| unsafe { start.add(n).read() }).take_while(|byte| *byte != RET).collect()
}

fn code_of(registers: Registers) -> Vec<u8> {
    code(match registers {
        Registers::Even => even,
        Registers::Odd => odd,
        Registers::Tail => tail,
    })
}

/// Memory and the registers that point to it, numbered as the CPU does.
#[derive(Default)]
struct Context {
    registers: [usize; 16],
    areas: Vec<(usize, Vec<u8>)>,
}

const RCX: usize = 1;
const RDX: usize = 2;
const RSI: usize = 6;
const RDI: usize = 7;
const R8: usize = 8;

impl Context {
    /// Puts `bytes` somewhere and has `register` point to them.
    fn put(&mut self, register: usize, bytes: Vec<u8>) {
        self.registers[register] = 0x10_0000 * (self.areas.len() + 1);
        self.areas.push((self.registers[register], bytes));
    }

    fn at(&mut self, address: usize, len: usize) -> &mut [u8] {
        let holds = |(start, bytes): &&mut (usize, Vec<u8>)| *start <= address && address + len <= *start + bytes.len();
        let (start, bytes) = self.areas.iter_mut().find(holds).expect("fault: memory that is not the operands'");
        &mut bytes[(address - *start)..][..len]
    }
}

/// Where an operand in memory begins, and the stride of its rows.
type Place = (usize, usize);

/// An instruction with operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instruction {
    LoadConfig(usize),
    Release,
    Zero(usize),
    Load(usize, Place),
    Store(Place, usize),
    /// Sum, left, right; both of signed bytes.
    Dot(usize, usize, usize),
}

/// Takes one instruction from the front of `code`: a VEX prefix of three bytes, opcode, ModRM, and SIB where there is
/// memory.
fn decode(code: &mut std::slice::Iter<'_, u8>, registers: &[usize; 16]) -> Instruction {
    let mut byte = || *code.next().expect("whole instructions");
    assert_eq!(byte(), 0xc4, "a VEX prefix of three bytes");
    let (map, prefix, opcode, modrm) = (byte(), byte(), byte(), byte());
    assert_eq!((map & 0x9f, prefix & 0x84), (0x82, 0), "the map 0F38, tile registers below 8, 128 bits, W0");
    let (x, b) = (usize::from(!map >> 6 & 1) << 3, usize::from(!map >> 5 & 1) << 3);
    let vvvv = usize::from(!prefix >> 3 & 15);
    let (reg, rm, in_memory) = (usize::from(modrm >> 3 & 7), usize::from(modrm & 7), modrm >> 6 == 0);
    assert!(in_memory || modrm >> 6 == 3, "no displacement");
    let mut place = || {
        assert_eq!((rm, vvvv), (4, 0), "tiles are loaded and stored by SIB, without a third operand");
        let sib = byte();
        let (index, base) = (usize::from(sib >> 3 & 7) | x, usize::from(sib & 7) | b);
        assert!(index != 4 && base & 7 != 5, "a base and an index");
        (registers[base], registers[index] << (sib >> 6))
    };
    match (opcode, prefix & 3, in_memory) {
        (0x49, 0, true) if reg == 0 && rm & 6 != 4 && vvvv == 0 => Instruction::LoadConfig(registers[rm | b]),
        (0x49, 0, false) if modrm == 0xc0 && vvvv == 0 => Instruction::Release,
        (0x49, 3, false) if rm == 0 && vvvv == 0 => Instruction::Zero(reg),
        (0x4b, 3, true) => Instruction::Load(reg, place()),
        (0x4b, 2, true) => Instruction::Store(place(), reg),
        (0x5e, 3, false) => Instruction::Dot(reg, rm, vvvv),
        other => panic!("fault: no instruction of ours: {other:x?}"),
    }
}

#[derive(Clone, Copy, Debug)]
struct Tile {
    n_rows: usize,
    n_bytes: usize,
    rows: [[u8; 64]; 16],
}

/// Tiles of one thread.
pub(super) struct Machine {
    tiles: Option<[Tile; 8]>,
    shape: Shape,
}

impl Machine {
    pub(super) fn configure(shape: Shape) -> Self {
        let mut machine = Self { tiles: None, shape };
        let mut context = Context::default();
        context.put(RDI, Config::of(shape).0.to_vec());
        machine.run(&code(load_config), &mut context);
        machine
    }

    fn run(&mut self, code: &[u8], context: &mut Context) {
        let mut code = code.iter();
        while !code.as_slice().is_empty() {
            match decode(&mut code, &context.registers) {
                Instruction::LoadConfig(at) => self.tiles = Some(tiles(context.at(at, 64))),
                Instruction::Release => self.tiles = None,
                Instruction::Zero(t) => self.tile(t).rows = [[0; 64]; 16],
                Instruction::Load(t, (start, stride)) => {
                    let tile = self.tile(t);
                    tile.rows = [[0; 64]; 16];
                    for row in 0..tile.n_rows {
                        let bytes = context.at(start + row * stride, tile.n_bytes);
                        tile.rows[row][..tile.n_bytes].copy_from_slice(bytes);
                    }
                }
                Instruction::Store((start, stride), t) => {
                    let tile = self.tile(t);
                    for row in 0..tile.n_rows {
                        let bytes = context.at(start + row * stride, tile.n_bytes);
                        bytes.copy_from_slice(&tile.rows[row][..tile.n_bytes]);
                    }
                }
                Instruction::Dot(c, a, b) => self.dot(c, a, b),
            }
        }
    }

    fn tile(&mut self, idx: usize) -> &mut Tile {
        let tile = &mut self.tiles.as_mut().expect("fault: the tiles are not configured")[idx];
        assert!(tile.n_rows > 0, "fault: tile {idx} is not configured");
        tile
    }

    /// TDPBSSD.
    fn dot(&mut self, c: usize, a: usize, b: usize) {
        assert!(c != a && a != b && c != b, "fault: one tile twice");
        let (left, right, sum) = (*self.tile(a), *self.tile(b), self.tile(c));
        let fours = [left.n_bytes, right.n_bytes, sum.n_bytes].iter().all(|n_bytes| n_bytes.is_multiple_of(4));
        let fit = left.n_bytes / 4 == right.n_rows && sum.n_rows == left.n_rows && sum.n_bytes == right.n_bytes;
        assert!(
            fours && fit,
            "fault: {}x{} of {}x{} times {}x{}",
            sum.n_rows,
            sum.n_bytes,
            left.n_rows,
            left.n_bytes,
            right.n_rows,
            right.n_bytes
        );
        for m in 0..sum.n_rows {
            for (n, out) in sum.rows[m].as_chunks_mut::<4>().0[..sum.n_bytes / 4].iter_mut().enumerate() {
                let mut total = i32::from_le_bytes(*out);
                for k in 0..left.n_bytes {
                    let product = signed(left.rows[m][k]) * signed(right.rows[k / 4][4 * n + k % 4]);
                    total = total.wrapping_add(product);
                }
                *out = total.to_le_bytes();
            }
        }
    }
}

fn signed(byte: u8) -> i32 {
    i32::from(byte.cast_signed())
}

/// LDTILECFG.
fn tiles(config: &[u8]) -> [Tile; 8] {
    assert_eq!(config[..2], [1, 0], "fault: palette and row to start at");
    assert!(config[2..16].iter().chain(&config[32..48]).chain(&config[56..]).all(|byte| *byte == 0), "fault: reserved");
    std::array::from_fn(|idx| {
        let n_bytes = usize::from(u16::from_le_bytes([config[16 + 2 * idx], config[17 + 2 * idx]]));
        let n_rows = usize::from(config[48 + idx]);
        assert!(n_bytes <= 64 && n_rows <= 16 && (n_bytes == 0) == (n_rows == 0), "fault: {n_rows} rows of {n_bytes}");
        Tile { n_rows, n_bytes, rows: [[0; 64]; 16] }
    })
}

impl Tiles for Machine {
    fn product(&mut self, registers: Registers, x: &[Block], (w, word): (&Units, usize), out: &mut Products) {
        let mut context = Context::default();
        context.put(RDI, x.iter().flat_map(bytes).collect());
        context.put(RDX, w.as_flattened().to_vec());
        context.put(R8, out.0.as_flattened().to_vec());
        context.registers[RDI] += 4 * word;
        context.registers[RDX] += 64 * word;
        (context.registers[RSI], context.registers[RCX]) = (size_of::<Block>(), 64);
        assert_eq!(x.len(), if registers == Registers::Tail { self.shape.n_tail_rows } else { 16 }, "rows");
        self.run(&code_of(registers), &mut context);
        out.0.as_flattened_mut().copy_from_slice(&context.areas[2].1);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.run(&code(take_away), &mut Context::default());
        assert!(self.tiles.is_none());
    }
}

/// A block as it lies in memory. What are no quants are ones: loading them by mistake shows.
fn bytes(block: &Block) -> Vec<u8> {
    let mut bytes: Vec<u8> = block.quants.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.resize(size_of::<Block>(), 1);
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Config, Machine, Shape, code, code_of, load_config, take_away, tiles};
    use crate::activations::Block;
    use crate::product::tiles::{Products, Registers, Tiles};

    /// By the manual: VEX.128, map 0F38, W0. F2 49 11:rrr:000 tilezero; F2 4B tileloadd and F3 4B tilestored with SIB;
    /// F2 5E 11:rrr:bbb tdpbssd with the third register in vvvv; NP 49 ldtilecfg and tilerelease.
    #[test]
    fn the_texts_assemble_to_the_instructions_they_name() {
        let even = "c4e27b49c0 c4e27b4b0c37 c4e27b4b140a c4e26b5ec1 c4c27a4b0408";
        let odd = "c4e27b49d8 c4e27b4b2437 c4e27b4b2c0a c4e2535edc c4c27a4b1c08";
        let tail = "c4e27b49f0 c4e27b4b3c37 c4e27b4b140a c4e26b5ef7 c4c27a4b3408";
        for (registers, wanted) in [(Registers::Even, even), (Registers::Odd, odd), (Registers::Tail, tail)] {
            assert_eq!(hex(&code_of(registers)), wanted.replace(' ', ""), "{registers:?}");
        }
        assert_eq!(
            (hex(&code(load_config)), hex(&code(take_away))),
            ("c4e2784907".to_owned(), "c4e27849c0".to_owned())
        );
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_configuration_has_the_rows_and_bytes_of_each_tile() {
        let sizes = |shape| tiles(&Config::of(shape).0).map(|tile| (tile.n_rows, tile.n_bytes));
        let (c, tail_c) = ((16, 64), (5, 64));
        let whole = sizes(Shape { n_words: 8, n_tail_rows: 5 });
        assert_eq!(whole, [c, (16, 32), (8, 64), c, (16, 32), (8, 64), tail_c, (5, 32)]);
        let halves = sizes(Shape { n_words: 4, n_tail_rows: 0 });
        assert_eq!(halves, [c, (16, 16), (4, 64), c, (16, 16), (4, 64), (0, 0), (0, 0)]);
    }

    fn multiply(shape: Shape, registers: Registers, n_rows: usize, word: usize) {
        let mut out = Products([[0; 64]; 16]);
        Machine::configure(shape).product(registers, &vec![Block::ZERO; n_rows], (&[[0; 64]; 8], word), &mut out);
    }

    #[test]
    #[should_panic(expected = "fault: memory that is not the operands'")]
    fn weights_behind_the_last_unit_fault() {
        multiply(Shape { n_words: 8, n_tail_rows: 0 }, Registers::Even, 16, 4);
    }

    #[test]
    #[should_panic(expected = "fault: tile 6 is not configured")]
    fn a_tail_that_is_not_configured_faults() {
        multiply(Shape { n_words: 8, n_tail_rows: 0 }, Registers::Tail, 0, 0);
    }

    #[test]
    #[should_panic(expected = "fault: the tiles are not configured")]
    fn tiles_without_configuration_fault() {
        let mut machine = Machine::configure(Shape { n_words: 8, n_tail_rows: 0 });
        machine.tiles = None;
        machine.dot(0, 1, 2);
    }

    #[test]
    #[should_panic(expected = "fault: 16x64 of 16x32 times 4x64")]
    fn operands_that_do_not_fit_fault() {
        let mut machine = Machine::configure(Shape { n_words: 8, n_tail_rows: 0 });
        machine.tile(2).n_rows = 4;
        machine.dot(0, 1, 2);
    }

    #[test]
    #[should_panic(expected = "fault: 0 rows of 64")]
    fn a_tile_with_columns_and_no_rows_faults() {
        let mut config = Config::of(Shape { n_words: 8, n_tail_rows: 0 }).0;
        config[48] = 0;
        tiles(&config);
    }

    #[test]
    #[should_panic(expected = "fault: reserved")]
    fn bytes_behind_the_eighth_tile_fault() {
        let mut config = Config::of(Shape { n_words: 8, n_tail_rows: 0 }).0;
        config[32] = 64;
        tiles(&config);
    }
}
