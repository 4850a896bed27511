//! Threads of a session, counted: alone in its process, so that nobody else's come and go.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast_backend::{DType, Dim, InferenceEngine, ModelArtifact, ModelFmt, PrepareOptions, Pulse};
use ballast_ort::{OrtEngine, OrtOptions};
use ballast_testkit::{TinyOnnx, VirtualClock};
use std::num::NonZeroUsize;
use std::sync::Arc;

fn n_threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn a_session_has_the_threads_it_was_given_and_takes_them_along() {
    #[expect(clippy::disallowed_methods, reason = "where the library lies is told by the environment")]
    let Some(library) = std::env::var_os("BALLAST_ORT_LIBRARY") else {
        println!("skipped: BALLAST_ORT_LIBRARY names no library");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let model = TinyOnnx::new(17).input("x", DType::F32, &[Dim::Any]).output("y", DType::F32, &[Dim::Any]);
    std::fs::write(&path, model.node("Neg", &["x"], &["y"], &[]).write()).unwrap();
    let clock = Arc::new(VirtualClock::new());
    let until = ballast_artifacts::Until { clock: &*clock, deadline: None, pulse: &Pulse::new() };
    let sha256 = ballast_artifacts::digest_file(&path, &until).unwrap().sha256;
    let artifact = ModelArtifact::Authoring { path, format: ModelFmt::Onnx, sha256 };
    // Opens a session and tells how many threads came with it: its own, one less than asked for, and its watcher.
    let came = |n: usize| {
        let options = OrtOptions { library: Some(library.clone().into()), n_threads: NonZeroUsize::new(n).unwrap() };
        let engine = OrtEngine::new(options, clock.clone()).unwrap();
        let prepared = engine.prepare(&artifact, &PrepareOptions::default()).unwrap();
        let before = n_threads();
        let instance = engine.open(&prepared).unwrap();
        let with = n_threads();
        drop(instance);
        assert_eq!(n_threads(), before, "a session takes its threads along");
        with - before
    };
    assert_eq!((came(1), came(2), came(4)), (1, 2, 4));
}
