//! Behaviour of operators that take and put elements by indices.

use crate::array::Array;
use crate::graph::Attribute;
use crate::testing::run_arrays;

fn rows() -> Array {
    Array::new(&[3, 2], vec![0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0])
}

fn ints(shape: &[usize], values: &[i64]) -> Array {
    Array::new(shape, values.to_vec())
}

fn f32s(array: &Array) -> &[f32] {
    array.values().unwrap()
}

#[test]
fn indices_are_taken_from_either_end_and_checked() {
    let taken = run_arrays(("Gather", 13), &[], &[rows(), ints(&[2], &[-1, 0])]).unwrap();
    assert_eq!(f32s(&taken), [4.0, 5.0, 0.0, 1.0]);
    let column = run_arrays(("Gather", 13), &[("axis", Attribute::Int(1))], &[rows(), ints(&[], &[1])]).unwrap();
    assert_eq!((column.shape(), f32s(&column)), (&[3][..], &[1.0, 3.0, 5.0][..]));
    for idx in [3, -4, i64::MAX, i64::MIN] {
        let idx = ints(&[1, 1], &[idx]);
        for op in ["Gather", "GatherElements", "GatherND"] {
            assert!(run_arrays((op, 13), &[], &[rows(), idx.clone()]).is_err(), "{op} {idx:?}");
        }
        let updates = Array::new(&[1, 1], vec![1.0_f32]);
        assert!(run_arrays(("ScatterElements", 18), &[], &[rows(), idx.clone(), updates]).is_err());
        let row = Array::new(&[1, 2], vec![1.0_f32, 1.0]);
        assert!(run_arrays(("ScatterND", 18), &[], &[rows(), idx, row]).is_err());
    }
}

#[test]
fn tuples_name_parts_of_each_batch() {
    let x = Array::new(&[2, 2, 2], (0_i64..8).collect());
    let one = run_arrays(("GatherND", 13), &[("batch_dims", Attribute::Int(1))], &[x.clone(), ints(&[2, 1], &[1, 0])]);
    assert_eq!(one.unwrap().values::<i64>().unwrap(), [2, 3, 4, 5]);
    assert!(run_arrays(("GatherND", 13), &[], &[x, ints(&[1, 4], &[0; 4])]).is_err(), "more indices than dimensions");
}

#[test]
fn what_is_put_twice_is_combined() {
    let (indices, updates) = (ints(&[2, 1], &[1, 1]), Array::new(&[2, 2], vec![10.0_f32, -1.0, 100.0, f32::NAN]));
    let put = |how: &str| {
        let reduction = [("reduction", Attribute::Text(how.to_owned()))];
        let out = run_arrays(("ScatterND", 18), &reduction, &[rows(), indices.clone(), updates.clone()]).unwrap();
        f32s(&out)[2..4].to_vec()
    };
    assert_eq!(put("none")[0], 100.0);
    assert_eq!(put("add")[0], 112.0);
    assert_eq!(put("mul")[0], 2000.0);
    assert_eq!(put("min")[0], 2.0);
    assert_eq!(put("max")[0], 100.0);
    assert!(put("max")[1].is_nan() && put("min")[1].is_nan(), "what is not a number stays so");
    let texts = |values: &[&str]| Array::new(&[values.len()], values.iter().map(|&text| text.to_owned()).collect());
    let add = [("reduction", Attribute::Text("add".to_owned()))];
    assert!(run_arrays(("ScatterND", 18), &add, &[texts(&["a"]), ints(&[1, 1], &[0]), texts(&["b"])]).is_err());
}

#[test]
fn a_full_cache_goes_on_at_its_begin_or_is_refused() {
    let cache = Array::new(&[1, 3, 1], vec![0_i64, 1, 2]);
    let update = ints(&[1, 2, 1], &[7, 8]);
    let mode = |mode: &str| [("mode", Attribute::Text(mode.to_owned()))];
    let put =
        |how: &str| run_arrays(("TensorScatter", 24), &mode(how), &[cache.clone(), update.clone(), ints(&[1], &[2])]);
    assert_eq!(put("circular").unwrap().values::<i64>().unwrap(), [8, 1, 7]);
    assert!(put("linear").is_err());
}
