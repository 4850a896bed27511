//! Fast Fourier transforms of any length.

use super::wide;
use std::f64::consts::PI;

/// A complex number.
pub(super) type Complex = [f64; 2];

fn product(a: Complex, b: Complex) -> Complex {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

/// `e` to the power of `i` times this many turns.
fn turned(turns: f64) -> Complex {
    let (sin, cos) = (2.0 * PI * turns).sin_cos();
    [cos, sin]
}

/// Transforms of one length and sign.
#[derive(Debug)]
pub(super) struct Fourier {
    len: usize,
    /// -1 forward, 1 backward.
    sign: f64,
    chirp: Option<Chirp>,
}

/// What a length that is no power of two needs: its transform as a convolution of one that is.
/// (L. Bluestein, "A linear filtering approach to the computation of discrete Fourier transform", 1970)
#[derive(Debug)]
struct Chirp {
    /// Factor of each element, before and after.
    factors: Vec<Complex>,
    /// The transform of what is convolved with.
    filter: Vec<Complex>,
}

impl Fourier {
    /// Transforms of `len`, which is 1 or more; `sign` is -1 forward, 1 backward.
    pub(super) fn new(len: usize, sign: f64) -> Self {
        if len.is_power_of_two() {
            return Self { len, sign, chirp: None };
        }
        // The square of an index in half turns comes round after twice the length.
        let factor = |idx: usize| {
            let square = (idx as u128 * idx as u128) % (2 * len as u128);
            turned(sign * wide(usize::try_from(square).unwrap_or(0)) / wide(2 * len))
        };
        let factors: Vec<Complex> = (0..len).map(factor).collect();
        let mut filter = vec![[0.0; 2]; (2 * len).next_power_of_two()];
        for (idx, [re, im]) in factors.iter().enumerate() {
            let mirrored = (filter.len() - idx) % filter.len();
            filter[idx] = [*re, -im];
            filter[mirrored] = [*re, -im];
        }
        radix_2(&mut filter, -1.0);
        Self { len, sign, chirp: Some(Chirp { factors, filter }) }
    }

    /// Transforms in place; nothing is scaled.
    ///
    /// # Panics
    /// If `values` is of another length.
    pub(super) fn run(&self, values: &mut [Complex]) {
        assert_eq!(values.len(), self.len, "the transform is of one length");
        let Some(Chirp { factors, filter }) = &self.chirp else { return radix_2(values, self.sign) };
        let mut wave = vec![[0.0; 2]; filter.len()];
        wave.iter_mut()
            .zip(values.iter().zip(factors))
            .for_each(|(wave, (&value, &factor))| *wave = product(value, factor));
        radix_2(&mut wave, -1.0);
        wave.iter_mut().zip(filter).for_each(|(wave, &filter)| *wave = product(*wave, filter));
        radix_2(&mut wave, 1.0);
        let scale = 1.0 / wide(filter.len());
        for ((value, wave), &factor) in values.iter_mut().zip(wave).zip(factors) {
            let [re, im] = product(wave, factor);
            *value = [re * scale, im * scale];
        }
    }
}

/// Cooley and Tukey's transform of a length that is a power of two, in place.
fn radix_2(values: &mut [Complex], sign: f64) {
    let n = values.len();
    let n_bits = n.trailing_zeros();
    for idx in 0..n {
        let mirrored = if n_bits == 0 { 0 } else { idx.reverse_bits() >> (usize::BITS - n_bits) };
        if idx < mirrored {
            values.swap(idx, mirrored);
        }
    }
    let mut half = 1;
    while half < n {
        let factors: Vec<Complex> = (0..half).map(|idx| turned(sign * wide(idx) / wide(2 * half))).collect();
        for block in values.chunks_mut(2 * half) {
            let (left, right) = block.split_at_mut(half);
            for ((a, b), &factor) in left.iter_mut().zip(right).zip(&factors) {
                let moved = product(*b, factor);
                *b = [a[0] - moved[0], a[1] - moved[1]];
                *a = [a[0] + moved[0], a[1] + moved[1]];
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, term by term.
    fn plain(values: &[Complex], sign: f64) -> Vec<Complex> {
        let n = values.len();
        let term =
            |k: usize, (idx, &value): (usize, &Complex)| product(value, turned(sign * wide(k * idx % n) / wide(n)));
        let sum = |k: usize| {
            values.iter().enumerate().map(|at| term(k, at)).fold([0.0; 2], |a, b| [a[0] + b[0], a[1] + b[1]])
        };
        (0..n).map(sum).collect()
    }

    #[test]
    fn transforms_of_any_length_are_those_of_the_definition() {
        for len in [1, 2, 3, 4, 5, 7, 8, 12, 16, 31, 97, 100, 128, 400] {
            for sign in [-1.0, 1.0] {
                let values: Vec<Complex> =
                    (0..len).map(|idx| [(wide(idx) * 0.7).sin(), (wide(idx) * 1.3).cos()]).collect();
                let mut got = values.clone();
                Fourier::new(len, sign).run(&mut got);
                let expected = plain(&values, sign);
                let error =
                    got.iter().flatten().zip(expected.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(error < 1e-9, "length {len}, sign {sign}: {error}");
            }
        }
    }
}
