//! Which of the hostile files are seeds of the fuzzer: the small ones.

use crate::{models, programs, runs};
use std::collections::BTreeMap;

/// Longest seed.
const SEED_BYTES_MAX: usize = 4096;

/// Files by name, by folder.
pub(crate) fn all() -> BTreeMap<&'static str, BTreeMap<String, Vec<u8>>> {
    let called = |name: &str, is_valid: bool| format!("{}-{name}", if is_valid { "valid" } else { "refused" });
    let mut onnx: BTreeMap<String, Vec<u8>> =
        models::all().into_iter().map(|case| (called(case.name, case.error.is_none()), case.bytes)).collect();
    for (idx, greedy) in runs::all().into_iter().enumerate() {
        onnx.insert(format!("run-{idx:03}-{}", greedy.op), greedy.file(true));
    }
    let packages = programs::all().into_iter().map(|case| {
        let len = u32::try_from(case.model.len()).expect("a small file").to_le_bytes();
        (called(case.name, case.error.is_none()), [&len[..], &case.model, &case.weights].concat())
    });
    let mut all = BTreeMap::from([("onnx", onnx), ("mlpackage", packages.collect())]);
    all.values_mut().for_each(|files| files.retain(|_, bytes| bytes.len() <= SEED_BYTES_MAX));
    all
}
