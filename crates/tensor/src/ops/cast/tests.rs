//! Conversions by the standard's rules.

use crate::array::Array;
use crate::ops::trial::{Trial, row};
use half::{bf16, f16};

fn cast(x: Array, to: i64) -> Array {
    Trial::new("Cast", 19).int("to", to).run(&[x]).expect("casts")
}

#[test]
fn integers_lose_upper_bits_and_floats_become_the_nearest() {
    assert_eq!(cast(row(&[200i16, -129]), 3), row(&[-56i8, 127]));
    assert_eq!(cast(row(&[-1i32]), 13), row(&[u64::MAX]));
    assert_eq!(cast(row(&[u64::MAX]), 7), row(&[-1i64]));
    assert_eq!(cast(row(&[-1.9f32, 1.9, f32::NAN, 1e20]), 6), row(&[-1i32, 1, 0, i32::MAX]));
    assert_eq!(cast(row(&[i64::MAX]), 1), row(&[9.223_372e18f32]));
    assert_eq!(cast(row(&[16_777_217i64]), 1), row(&[16_777_216f32]));
    assert_eq!(cast(row(&[65_520f32, 1.0]), 10), row(&[f16::INFINITY, f16::ONE]));
    assert_eq!(cast(row(&[1e300f64]), 1), row(&[f32::INFINITY]));
    assert_eq!(cast(row(&[0.5f32, 0.0, -0.0, f32::NAN]), 9), row(&[true, false, false, true]));
    assert_eq!(cast(row(&[true, false]), 16), row(&[bf16::ONE, bf16::ZERO]));
    let long: Vec<i64> = (0..100_000).collect();
    assert_eq!(cast(row(&long), 11), row(&long.iter().map(|x| *x as f64).collect::<Vec<_>>()));
}

#[test]
fn texts_are_numbers_and_numbers_texts() {
    let texts = |texts: &[&str]| row(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    assert_eq!(
        cast(texts(&["3.14", "1e-5", "1E8", "-INF", "+inf"]), 1).values::<f32>(),
        Some(&[3.14, 1e-5, 1e8, f32::NEG_INFINITY, f32::INFINITY][..])
    );
    assert!(cast(texts(&["NaN"]), 1).values::<f32>().is_some_and(|values| values[0].is_nan()));
    assert_eq!(cast(texts(&["100.5", "-7"]), 7), row(&[100i64, -7]));
    assert_eq!(cast(row(&[0.1f32, f32::NAN, f32::NEG_INFINITY]), 8), texts(&["0.1", "NaN", "-INF"]));
    assert_eq!(cast(row(&[-5i64]), 8), texts(&["-5"]));
    for (text, to) in [("Hello", 1), ("300", 2), ("", 7)] {
        assert!(Trial::new("Cast", 19).int("to", to).run(&[texts(&[text])]).is_err(), "{text:?}");
    }
}

#[test]
fn types_that_the_engine_does_not_have_are_named() {
    let refused = |to: i64| Trial::new("Cast", 23).int("to", to).run(&[row(&[1f32])]).expect_err("refused").to_string();
    assert_eq!(refused(17), "float8e4m3fn is not supported");
    assert_eq!(refused(22), "int4 is not supported");
    assert_eq!(refused(99), "type 99 is not supported");
    assert_eq!(Trial::new("Cast", 1).text("to", "INT32").values::<i32>(&[row(&[1.5f32])]), [1]);
    let like = Trial::new("CastLike", 19).run(&[row(&[1.5f32]), row(&[0u8])]).expect("casts");
    assert_eq!(like, row(&[1u8]));
}
