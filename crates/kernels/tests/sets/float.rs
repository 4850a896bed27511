//! The f32 operations against f64 arithmetic.

use crate::data::{Random, bits};
use ballast_kernels::{Kernels, available};
use half::f16;

const LENGTHS: [usize; 14] = [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 100, 576];

/// Asserts `got` within `relative` of `expected`, or both under `floor`.
fn assert_near(set: &dyn Kernels, got: &[f32], expected: &[f64], relative: f64, floor: f64) {
    assert_eq!(got.len(), expected.len());
    for (idx, (got, expected)) in got.iter().zip(expected).enumerate() {
        let difference = (f64::from(*got) - expected).abs();
        let limit = relative * expected.abs() + floor;
        assert!(difference <= limit, "{}, entry {idx} of {}: {got}, {expected}", set.name(), expected);
    }
}

#[test]
fn rms_norm_agrees_with_f64() {
    for n in LENGTHS {
        for magnitude in [1e-12, 1e-3, 1.0, 1e6] {
            let mut random = Random(n as u64);
            let (x, weight) = (random.floats(n, magnitude), random.floats(n, 2.0));
            let squares: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
            let inverse = 1.0 / (squares / n as f64 + f64::from(1e-5f32)).sqrt();
            let expected: Vec<f64> =
                x.iter().zip(&weight).map(|(x, w)| f64::from(*x) * inverse * f64::from(*w)).collect();
            for set in available() {
                let mut out = vec![f32::NAN; n];
                set.rms_norm(&x, &weight, 1e-5, &mut out);
                // Generic adds up to 576 squares one by one: n / 2 roundings of 2^-24, half of that after the root.
                assert_near(set, &out, &expected, 2e-5, 1e-30);
            }
        }
    }
}

#[test]
fn add_is_exact() {
    for n in LENGTHS {
        let mut random = Random(n as u64);
        let (x, y) = (random.floats(n, 1.0), random.floats(n, 100.0));
        let expected: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
        for set in available() {
            let mut out = x.clone();
            set.add(&mut out, &y);
            assert_eq!(bits(&out), bits(&expected), "{}", set.name());
        }
    }
}

#[test]
fn silu_mul_agrees_with_f64() {
    for n in LENGTHS {
        for magnitude in [1e-20, 1.0, 20.0, 100.0, 1e30] {
            let mut random = Random(n as u64);
            let (gate, up) = (random.floats(n, magnitude), random.floats(n, 2.0));
            let silu = |v: f64| v / (1.0 + (-v).exp());
            let expected: Vec<f64> = gate.iter().zip(&up).map(|(g, u)| silu(f64::from(*g)) * f64::from(*u)).collect();
            for set in available() {
                let mut out = gate.clone();
                set.silu_mul(&mut out, &up);
                // exp within 2 ulp and three roundings; results under e^-87 may be 0.
                assert_near(set, &out, &expected, 4e-7, 1e-35);
            }
        }
    }
}

#[test]
fn rope_rotates_the_pairs_and_leaves_the_rest() {
    for (head_dim, n_pairs) in [(2, 1), (8, 4), (64, 32), (64, 16), (80, 40), (14, 5), (9, 4), (4, 0)] {
        let mut random = Random(head_dim as u64);
        let x = random.floats(3 * head_dim, 5.0);
        let angles: Vec<f32> = random.floats(n_pairs, 3.0);
        let cos: Vec<f32> = angles.iter().map(|a| a.cos()).collect();
        let sin: Vec<f32> = angles.iter().map(|a| a.sin()).collect();
        let mut expected: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        for head in expected.chunks_mut(head_dim) {
            for i in 0..n_pairs {
                let (a, b, c, s) = (head[2 * i], head[2 * i + 1], f64::from(cos[i]), f64::from(sin[i]));
                (head[2 * i], head[2 * i + 1]) = (a * c - b * s, a * s + b * c);
            }
        }
        for set in available() {
            let mut out = x.clone();
            set.rope(&mut out, head_dim, &cos, &sin);
            // Two products of at most 5 and one sum, rounded each.
            assert_near(set, &out, &expected, 0.0, 2e-6);
        }
    }
}

#[test]
fn softmax_agrees_with_f64() {
    for n in LENGTHS.into_iter().skip(1) {
        for (magnitude, offset) in [(1.0, 0.0), (30.0, 0.0), (1.0, 1e4), (300.0, -1e4), (0.0, 3.0)] {
            let x: Vec<f32> = Random(n as u64).floats(n, magnitude).into_iter().map(|x| x + offset).collect();
            let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f64> = x.iter().map(|x| f64::from(x - max).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let expected: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
            for set in available() {
                let mut out = x.clone();
                set.softmax(&mut out);
                // exp within 2 ulp, its sum within n / 2 roundings, an inverse and a product.
                assert_near(set, &out, &expected, 2e-5, 1e-37);
            }
        }
    }
}

#[test]
fn softmax_takes_masked_scores_and_none() {
    for set in available() {
        set.softmax(&mut []);
        let mut x = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY, 0.0];
        set.softmax(&mut x);
        assert_eq!(x, [0.0, 0.5, 0.0, 0.5], "{}", set.name());
    }
}

#[test]
fn a_nan_is_not_hidden() {
    for set in available() {
        let (mut gate, mut scores, mut out) = ([1.0, f32::NAN, -200.0], [1.0, f32::NAN, 0.0], [0.0; 3]);
        set.silu_mul(&mut gate, &[1.0; 3]);
        set.rms_norm(&scores, &[1.0; 3], 1e-5, &mut out);
        set.softmax(&mut scores);
        assert!(gate[1].is_nan() && scores.iter().chain(&out).all(|x| x.is_nan()), "{}", set.name());
    }
}

#[test]
fn store_f16_rounds_to_even() {
    for n in LENGTHS {
        let mut random = Random(n as u64);
        let mut x = random.floats(n, 1e-6);
        x.extend([0.0, -0.0, 1.0, 65504.0, 65519.0, 65520.0, 1e9, 2f32.powi(-25), 3.0 * 2f32.powi(-25)]);
        x.extend([1.0 + 2f32.powi(-11), 1.0 + 3.0 * 2f32.powi(-11), f32::NEG_INFINITY]);
        let expected: Vec<u16> = x.iter().map(|x| f16::from_f32(*x).to_bits()).collect();
        for set in available() {
            let mut out = vec![f16::NAN; x.len()];
            set.store_f16(&x, &mut out);
            assert_eq!(out.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), expected, "{}", set.name());
        }
    }
}
