//! The f32 operations against f64 arithmetic.

use crate::data::{Random, bits};
use ballast_kernels::{Kernels, available, by_name};

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
fn layer_norm_agrees_with_f64() {
    for n in LENGTHS {
        for (magnitude, offset) in [(1e-3, 0.0), (1.0, 0.0), (1.0, 5.0), (1e6, 0.0)] {
            let mut random = Random(n as u64);
            let (x, weight, bias) = (random.floats(n, magnitude), random.floats(n, 2.0), random.floats(n, 1.0));
            let x: Vec<f32> = x.iter().map(|x| x + offset).collect();
            let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / n as f64;
            let variance = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n as f64;
            let inverse = 1.0 / (variance + f64::from(1e-5f32)).sqrt();
            let normed = |x: &f32, w: &f32| (f64::from(*x) - mean) * inverse * f64::from(*w);
            let expected = x.iter().zip(&weight).zip(&bias).map(|((x, w), b)| normed(x, w) + f64::from(*b));
            let expected: Vec<f64> = expected.collect();
            for set in available() {
                let mut out = vec![f32::NAN; n];
                set.layer_norm(&x, &weight, &bias, 1e-5, &mut out);
                // The mean is rounded to 2^-24 of the offset, in units of the deviation.
                assert_near(set, &out, &expected, 2e-5, 1e-5);
            }
        }
    }
}

#[test]
fn gelu_agrees_with_tabled_values() {
    // x, and erf(x / sqrt(2)) to twelve digits: the shares of a normal distribution within x deviations.
    let table: [(f32, f64); 9] = [
        (0.0, 0.0),
        (0.5, 0.382_924_922_548),
        (1.0, 0.682_689_492_137),
        (2.0, 0.954_499_736_104),
        (3.0, 0.997_300_203_937),
        (4.0, 0.999_936_657_516),
        (5.0, 0.999_999_426_697),
        (6.0, 0.999_999_998_027),
        (30.0, 1.0),
    ];
    for set in available() {
        for (x, erf) in table {
            let mut both = [x, -x];
            set.gelu(&mut both);
            let x = f64::from(x);
            let expected = [x * (1.0 + erf) / 2.0, -x * (1.0 - erf) / 2.0];
            assert_near(set, &both, &expected, 1e-6, 1e-6 * x.max(1.0));
        }
        let mut ends = [f32::INFINITY, -1e30, f32::NAN];
        set.gelu(&mut ends);
        assert!(ends[0] == f32::INFINITY && ends[1] == 0.0 && ends[2].is_nan(), "{ends:?}");
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
fn all_sets_give_the_same_bits() {
    let generic = by_name("generic").expect("generic runs everywhere");
    for n in LENGTHS {
        let mut random = Random(n as u64);
        let (x, y) = (random.floats(n, 7.0), random.floats(n, 2.0));
        let run = |set: &dyn Kernels| {
            let (mut normed, mut gate) = (vec![0.0; n], x.clone());
            set.rms_norm(&x, &y, 1e-5, &mut normed);
            set.silu_mul(&mut gate, &y);
            let (mut layer_normed, mut gelu) = (vec![0.0; n], x.clone());
            set.layer_norm(&x, &y, &x, 1e-5, &mut layer_normed);
            set.gelu(&mut gelu);
            [bits(&normed), bits(&gate), bits(&layer_normed), bits(&gelu)]
        };
        for set in available() {
            assert_eq!(run(set), run(generic), "{}, {n} entries", set.name());
        }
    }
}

#[test]
fn a_nan_is_not_hidden() {
    for set in available() {
        let (mut gate, x, mut out) = ([1.0, f32::NAN, -200.0], [1.0, f32::NAN, 0.0], [0.0; 3]);
        set.silu_mul(&mut gate, &[1.0; 3]);
        set.rms_norm(&x, &[1.0; 3], 1e-5, &mut out);
        assert!(gate[1].is_nan() && out.iter().all(|x| x.is_nan()), "{}", set.name());
    }
}
