//! Quantised numbers by known values.

use crate::array::Array;
use crate::ops::trial::{Trial, row};
use crate::testing::Random;

#[test]
fn numbers_are_rounded_to_even_and_kept_to_the_range() {
    let x = row(&[0f32, 1.0, 3.0, 5.0, 1000.0, -1000.0, f32::NAN]);
    let quantize =
        |zero: Array| Trial::new("QuantizeLinear", 19).run(&[x.clone(), Array::scalar(2f32), zero]).expect("computes");
    assert_eq!(quantize(Array::scalar(10u8)), row(&[10u8, 10, 12, 12, 255, 0, 0]));
    assert_eq!(quantize(Array::scalar(-1i8)), row(&[-1i8, -1, 1, 1, 127, -128, 0]));
    assert_eq!(quantize(Array::scalar(0i16)), row(&[0i16, 0, 2, 2, 500, -500, 0]));
    let plain = Trial::new("QuantizeLinear", 10).run(&[row(&[300f32]), Array::scalar(1f32)]).expect("computes");
    assert_eq!(plain, row(&[255u8]));
    let wide = Trial::new("QuantizeLinear", 21).int("output_dtype", 4).run(&[row(&[300f32]), Array::scalar(1f32)]);
    assert_eq!(wide.expect("computes"), row(&[300u16]));
    let short = Trial::new("QuantizeLinear", 21).int("output_dtype", 22).run(&[x, Array::scalar(1f32)]);
    assert_eq!(short.expect_err("refused").to_string(), "int4 is not supported");
}

#[test]
fn scales_are_of_all_of_an_axis_or_of_blocks() {
    let x = Array::new(&[2, 3], vec![0u8, 1, 2, 3, 4, 5]);
    let scale = || row(&[10f32, 100.0]);
    let by_axis = Trial::new("DequantizeLinear", 13).int("axis", 0).run(&[x.clone(), scale(), row(&[1u8, 3])]);
    assert_eq!(by_axis.expect("computes"), Array::new(&[2, 3], vec![-10f32, 0.0, 10.0, 0.0, 100.0, 200.0]));
    let blocks = Array::new(&[2, 2], vec![1f32, 10.0, 100.0, 1000.0]);
    let trial = Trial::new("DequantizeLinear", 21).int("axis", 1).int("block_size", 2);
    let by_block = trial.run(&[x.clone(), blocks.clone()]).expect("computes");
    assert_eq!(by_block, Array::new(&[2, 3], vec![0f32, 1.0, 20.0, 300.0, 400.0, 5000.0]));
    let trial = Trial::new("QuantizeLinear", 21).int("axis", 1).int("block_size", 2);
    assert_eq!(trial.run(&[by_block, blocks]).expect("computes"), x);
    assert!(Trial::new("DequantizeLinear", 13).run(&[x.clone(), scale()]).is_err(), "the axis has three places");
    let wrong = Trial::new("DequantizeLinear", 21).int("axis", 1).int("block_size", 1).run(&[x, scale()]);
    assert!(wrong.is_err());
}

#[test]
fn the_range_of_bytes_just_holds_all_numbers_and_0() {
    let outputs = Trial::new("DynamicQuantizeLinear", 11).outputs(3).all(&[row(&[0f32, 2.0, -3.0, -2.5, 1.34, 0.5])]);
    let outputs = outputs.expect("computes");
    assert_eq!(outputs[0], row(&[153u8, 255, 0, 26, 221, 179]));
    assert_eq!(outputs[2], Array::scalar(153u8));
    let nothing = Trial::new("DynamicQuantizeLinear", 11).outputs(3).all(&[row(&[0f32, 0.0])]).expect("computes");
    assert_eq!((&nothing[0], &nothing[2]), (&row(&[0u8, 0]), &Array::scalar(0u8)));
}

#[test]
fn products_are_exact() {
    let a = Array::new(&[4, 3], vec![11u8, 7, 3, 10, 6, 2, 9, 5, 1, 8, 4, 0]);
    let b = Array::new(&[3, 2], vec![1u8, 4, 2, 5, 3, 6]);
    let got =
        Trial::new("MatMulInteger", 10).run(&[a.clone(), b.clone(), row(&[12u8]), row(&[0u8])]).expect("computes");
    assert_eq!(got, Array::new(&[4, 2], vec![-38i32, -83, -44, -98, -50, -113, -56, -128]));
    // A zero point for each row of the one and each column of the other.
    let got = Trial::new("MatMulInteger", 10).run(&[a, b, row(&[11u8, 10, 9, 8]), row(&[1u8, 4])]).expect("computes");
    let expected: Vec<i32> = std::iter::repeat_n([-4 - 8 * 2, -4 - 8 * 2], 4).flatten().collect();
    assert_eq!(got.values::<i32>(), Some(&expected[..]));
    let stacked = Array::new(&[2, 1, 2], vec![1i8, 2, 3, -4]);
    let column = Array::new(&[2, 1], vec![10i8, -1]);
    let got = Trial::new("MatMulInteger", 10).run(&[stacked, column]).expect("computes");
    assert_eq!(got, Array::new(&[2, 1, 1], vec![8i32, 34]));
    assert!(Trial::new("MatMulInteger", 10).run(&[row(&[1u8, 2]), row(&[1u8])]).is_err());
    let scaled = [
        Array::new(&[1, 2], vec![3u8, 5]),
        Array::scalar(0.5f32),
        Array::scalar(1u8),
        Array::new(&[2, 1], vec![4i8, -6]),
        Array::scalar(2f32),
        Array::scalar(0i8),
        Array::scalar(4f32),
        Array::scalar(-10i8),
    ];
    // (2 * 4 - 4 * 6) * 0.5 * 2 / 4 - 10
    assert_eq!(Trial::new("QLinearMatMul", 21).values::<i8>(&scaled), [-14]);
}

#[test]
fn convolutions_are_exact_and_outside_is_the_zero_point() {
    let x = Array::new(&[1, 1, 3, 3], vec![2u8, 3, 4, 5, 6, 7, 8, 9, 10]);
    let w = Array::new(&[1, 1, 2, 2], vec![1u8; 4]);
    let inputs = [x.clone(), w, Array::scalar(1u8)];
    let plain = Trial::new("ConvInteger", 10).run(&inputs).expect("computes");
    assert_eq!(plain, Array::new(&[1, 1, 2, 2], vec![12i32, 16, 24, 28]));
    let padded = Trial::new("ConvInteger", 10).ints("pads", &[1, 1, 1, 1]).values::<i32>(&inputs);
    assert_eq!(padded, [1, 3, 5, 3, 5, 12, 16, 9, 11, 24, 28, 15, 7, 15, 17, 9]);
    let same = |pad: &str| Trial::new("ConvInteger", 10).text("auto_pad", pad).values::<i32>(&inputs);
    assert_eq!(same("SAME_UPPER"), [12, 16, 9, 24, 28, 15, 15, 17, 9]);
    assert_eq!(same("SAME_LOWER"), [1, 3, 5, 5, 12, 16, 11, 24, 28]);
    let spread = Trial::new("ConvInteger", 10).ints("dilations", &[2, 2]).values::<i32>(&inputs);
    assert_eq!(spread, [1 + 3 + 7 + 9]);
    let strided =
        Trial::new("ConvInteger", 10).ints("strides", &[2, 2]).ints("pads", &[0, 0, 1, 1]).values::<i32>(&inputs);
    assert_eq!(strided, [12, 9, 15, 9]);
    assert!(Trial::new("ConvInteger", 10).int("group", 2).run(&inputs).is_err());
    assert!(Trial::new("ConvInteger", 10).ints("kernel_shape", &[3, 3]).run(&inputs).is_err());
    let two = Array::new(&[1, 2, 1, 1], vec![3u8, 5]);
    let grouped = [
        two,
        Array::scalar(1f32),
        Array::scalar(0u8),
        Array::new(&[2, 1, 1, 1], vec![2i8, 4]),
        row(&[1f32, 0.5]),
        row(&[0i8, 1]),
        Array::scalar(1f32),
        Array::scalar(100u8),
        row(&[10i32, 1]),
    ];
    // 3 * 2 + 10 and (5 * 3 + 1) / 2
    assert_eq!(Trial::new("QLinearConv", 10).int("group", 2).values::<u8>(&grouped), [116, 108]);
}

/// Bytes from a seed, the least and the greatest among them.
fn bytes(n: usize, seed: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = Random::new(seed).floats(n).iter().map(|x| (128.0 + 127.9 * x) as u8).collect();
    bytes.iter_mut().step_by(3).for_each(|byte| *byte = if *byte < 128 { 0 } else { 255 });
    bytes
}

#[test]
fn long_products_of_extreme_bytes_are_exact() {
    for (m, k, n) in [(1, 1, 1), (3, 255, 5), (2, 256, 17), (9, 257, 3), (17, 1000, 50)] {
        let (a, b) = (bytes(m * k, 1), bytes(k * n, 2));
        for zero in [0u8, 128, 255] {
            let got = Trial::new("MatMulInteger", 10)
                .run(&[Array::new(&[m, k], a.clone()), Array::new(&[k, n], b.clone()), row(&[zero]), row(&[0u8])])
                .expect("computes");
            let sum = |at: usize| -> i32 {
                (0..k).map(|i| (i32::from(a[at / n * k + i]) - i32::from(zero)) * i32::from(b[i * n + at % n])).sum()
            };
            let expected: Vec<i32> = (0..m * n).map(sum).collect();
            assert_eq!(got.values::<i32>(), Some(&expected[..]), "{m} x {k} x {n}, less {zero}");
        }
    }
}

/// Images, groups, channels of a group, kernels of a group, rows and columns of the input and of a kernel, stride and pad.
#[derive(Clone, Copy, Debug)]
struct Convolved {
    n: usize,
    groups: [usize; 3],
    input: [usize; 2],
    kernel: [usize; 2],
    stride: usize,
    pad: usize,
}

impl Convolved {
    fn check(self) {
        let Self { n, groups: [n_groups, n_in, n_out], input: [height, width], kernel: [k_y, k_x], stride, pad } = self;
        let (x, w) = (bytes(n * n_groups * n_in * height * width, 3), bytes(n_groups * n_out * n_in * k_y * k_x, 4));
        let (x_zero, w_zero) = (100u8, 30u8);
        let [rows, cols] = [(height + 2 * pad - k_y) / stride + 1, (width + 2 * pad - k_x) / stride + 1];
        let got = Trial::new("ConvInteger", 10)
            .ints("strides", &[stride as i64; 2])
            .ints("pads", &[pad as i64; 4])
            .int("group", n_groups as i64)
            .run(&[
                Array::new(&[n, n_groups * n_in, height, width], x.clone()),
                Array::new(&[n_groups * n_out, n_in, k_y, k_x], w.clone()),
                Array::scalar(x_zero),
                Array::scalar(w_zero),
            ])
            .expect("computes");
        let mut expected = Vec::new();
        for (image, kernel) in (0..n).flat_map(|image| (0..n_groups * n_out).map(move |kernel| (image, kernel))) {
            for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
                let mut sum = 0;
                for tap in 0..n_in * k_y * k_x {
                    let (channel, y, x_at) = (tap / (k_y * k_x), tap / k_x % k_y, tap % k_x);
                    let (y, x_at) = ((row * stride + y).wrapping_sub(pad), (col * stride + x_at).wrapping_sub(pad));
                    if y < height && x_at < width {
                        let channel = (image * n_groups + kernel / n_out) * n_in + channel;
                        let entry = i32::from(x[(channel * height + y) * width + x_at]) - i32::from(x_zero);
                        sum += entry * (i32::from(w[kernel * n_in * k_y * k_x + tap]) - i32::from(w_zero));
                    }
                }
                expected.push(sum);
            }
        }
        assert_eq!(got, Array::new(&[n, n_groups * n_out, rows, cols], expected), "{self:?}");
    }
}

#[test]
fn convolutions_of_bytes_are_exact_whatever_their_windows() {
    let case = Convolved { n: 1, groups: [1, 1, 1], input: [5, 7], kernel: [1, 1], stride: 1, pad: 0 };
    for case in [
        case,
        Convolved { kernel: [3, 3], pad: 1, ..case },
        Convolved { n: 2, groups: [1, 40, 70], kernel: [3, 3], pad: 1, ..case },
        Convolved { groups: [1, 300, 3], kernel: [2, 2], stride: 2, ..case },
        Convolved { groups: [6, 1, 1], kernel: [3, 3], stride: 2, pad: 1, ..case },
        Convolved { groups: [2, 3, 5], kernel: [5, 7], pad: 2, ..case },
        Convolved { groups: [1, 1, 2], input: [20, 20], kernel: [18, 17], ..case },
        Convolved { groups: [1, 2, 9], input: [2, 500], kernel: [2, 3], pad: 1, ..case },
    ] {
        case.check();
    }
}
