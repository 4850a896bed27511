//! Comparisons and logic by their tables.

use crate::ops::trial::{Trial, row};

#[test]
fn numbers_are_compared_and_what_is_none_is_not_equal_to_itself() {
    let inputs = [row(&[1f32, 2.0, 3.0, f32::NAN]), row(&[2f32, 2.0, 2.0, f32::NAN])];
    let cases = [
        ("Equal", [false, true, false, false]),
        ("Greater", [false, false, true, false]),
        ("GreaterOrEqual", [false, true, true, false]),
        ("Less", [true, false, false, false]),
        ("LessOrEqual", [true, true, false, false]),
    ];
    for (op, expected) in cases {
        assert_eq!(Trial::new(op, 19).values::<bool>(&inputs), expected, "{op}");
    }
    let large = [row(&[i64::MAX, -1]), row(&[i64::MAX - 1, 1])];
    assert_eq!(Trial::new("Greater", 13).values::<bool>(&large), [true, false]);
    let texts = [row(&["a".to_owned(), "b".to_owned()]), row(&["a".to_owned()])];
    assert_eq!(Trial::new("Equal", 19).values::<bool>(&texts), [true, false]);
    assert!(Trial::new("Less", 13).run(&texts).is_err());
}

#[test]
fn logic_follows_its_tables() {
    let inputs = [row(&[false, false, true, true]), row(&[false, true, false, true])];
    let cases =
        [("And", [false, false, false, true]), ("Or", [false, true, true, true]), ("Xor", [false, true, true, false])];
    for (op, expected) in cases {
        assert_eq!(Trial::new(op, 7).values::<bool>(&inputs), expected, "{op}");
    }
    assert!(Trial::new("And", 7).run(&[row(&[1i32]), row(&[1i32])]).is_err());
    let bits = [row(&[0b1100u8]), row(&[0b1010u8])];
    for (op, expected) in [("BitwiseAnd", 0b1000), ("BitwiseOr", 0b1110), ("BitwiseXor", 0b0110)] {
        assert_eq!(Trial::new(op, 18).values::<u8>(&bits), [expected], "{op}");
    }
    assert_eq!(Trial::new("BitwiseNot", 18).values::<i16>(&[row(&[5i16])]), [-6]);
    assert!(Trial::new("BitwiseNot", 18).run(&[row(&[1f32])]).is_err());
}
