//! Entries from build to use, over threads and restarts, and builds that come to nothing.

use crate::house::{House, assert_content, fill, key, listed, meta};
use ballast_artifacts::{ArtifactCache, CacheError, CacheOptions, GetError, Origin, TreeError, digest_tree};
use ballast_backend::{ErrorKind, ModelArtifact};
use ballast_testkit::PATIENCE;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

#[test]
fn an_entry_is_built_once_and_found_after_a_restart() {
    let house = House::new();
    let cache = house.open();
    let built = house.get(&cache, 1).unwrap();
    assert_eq!(built.origin(), Origin::Built);
    assert_content(&built, 1);
    for cache in [&cache, &house.open()] {
        let found = cache
            .get_or_build(&key(1), &meta(), &house.until(), |_| -> io::Result<()> { panic!("it is there") })
            .unwrap();
        assert_eq!(found.origin(), Origin::Hit);
        assert_content(&found, 1);
        assert_eq!(found.artifact(), ModelArtifact::Compiled { path: built.path(), meta: meta() });
        assert_eq!(found.sha256(), digest_tree(&built.path(), &house.until()).unwrap().sha256);
        assert_eq!((found.key(), found.bytes()), (key(1).as_str(), 80));
    }
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.builds, stats.entries), (1, 1, 1, 1));
    assert!(stats.bytes > 80, "the manifest counts, too");
    house.assert_clean();
}

#[test]
fn a_lookup_builds_nothing() {
    let house = House::new();
    let cache = house.open();
    assert!(cache.get(&key(1), &house.until()).unwrap().is_none());
    house.get(&cache, 1).unwrap();
    assert_content(&cache.get(&key(1), &house.until()).unwrap().unwrap(), 1);
    assert!(cache.get(&key(2), &house.until()).unwrap().is_none());
}

#[test]
fn threads_that_ask_for_the_same_key_build_it_once() {
    let house = House::new();
    let cache = house.open();
    let (n_builds, barrier) = (AtomicUsize::new(0), Barrier::new(4));
    let origins: Vec<Origin> = std::thread::scope(|scope| {
        let ask = || {
            barrier.wait();
            let until = ballast_artifacts::Until { pulse: &ballast_backend::Pulse::new(), ..house.until() };
            let entry = cache.get_or_build(&key(1), &meta(), &until, |dir| {
                n_builds.fetch_add(1, Ordering::SeqCst);
                fill(dir, 1)
            });
            let entry = entry.unwrap();
            assert_content(&entry, 1);
            entry.origin()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(n_builds.load(Ordering::SeqCst), 1);
    assert_eq!(origins.iter().filter(|origin| **origin == Origin::Built).count(), 1);
    house.assert_clean();
}

#[test]
fn who_waits_for_another_builder_gives_up_at_its_deadline_and_otherwise_has_the_result() {
    let house = House::new();
    let cache = &house.open();
    let (started, has_started) = sync_channel(1);
    let (go, may_go) = sync_channel::<()>(1);
    std::thread::scope(|scope| {
        let until = house.until();
        let builder = scope.spawn(move || {
            cache.get_or_build(&key(1), &meta(), &until, |dir| {
                started.send(()).unwrap();
                may_go.recv_timeout(PATIENCE).unwrap();
                fill(dir, 1)
            })
        });
        has_started.recv_timeout(PATIENCE).unwrap();
        let until = house.until_after(Duration::from_secs(5));
        let late = scope.spawn(move || cache.get_or_build(&key(1), &meta(), &until, |dir| fill(dir, 9)));
        house.clock.advance(Duration::from_secs(5));
        let error = late.join().unwrap().unwrap_err();
        assert!(matches!(error, GetError::Cache(CacheError::DeadlinePassed)), "{error}");
        let patient = scope.spawn(|| cache.get_or_build(&key(1), &meta(), &house.until(), |dir| fill(dir, 9)));
        go.send(()).unwrap();
        assert_eq!(builder.join().unwrap().unwrap().origin(), Origin::Built);
        let waited = patient.join().unwrap().unwrap();
        assert!(matches!(waited.origin(), Origin::Waited | Origin::Hit));
        assert_content(&waited, 1);
    });
}

#[test]
fn an_interrupted_caller_gets_no_entry() {
    let house = House::new();
    let cache = house.open();
    house.pulse.interrupt();
    let error = house.get(&cache, 1).unwrap_err();
    let GetError::Cache(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[test]
fn a_build_that_fails_or_panics_leaves_nothing_and_the_next_one_tries() {
    let house = House::new();
    let cache = house.open();
    let failing = cache.get_or_build(&key(1), &meta(), &house.until(), |dir| {
        fill(dir, 1)?;
        Err(io::Error::other("the compiler gave up"))
    });
    assert!(matches!(failing, Err(GetError::Build(_))));
    let panicking = catch_unwind(AssertUnwindSafe(|| {
        cache.get_or_build(&key(1), &meta(), &house.until(), |dir| -> io::Result<()> {
            fill(dir, 1)?;
            panic!("the compiler broke")
        })
    }));
    assert!(panicking.is_err());
    for name in ["entries", "temp", "trash"] {
        assert!(listed(&house.root().join(name)).is_empty(), "{name}");
    }
    assert_eq!((cache.stats().build_failures, cache.stats().builds), (2, 0));
    assert_eq!(house.get(&cache, 1).unwrap().origin(), Origin::Built);
}

#[test]
fn builds_that_leave_no_bundle_are_refused() {
    let house = House::new();
    let cache = house.open_with(CacheOptions { bytes_max: 1000, ..CacheOptions::default() });
    let build = |build: &dyn Fn(&std::path::Path) -> io::Result<()>| {
        let result = cache.get_or_build(&key(1), &meta(), &house.until(), build);
        let Err(GetError::Cache(error)) = result else { panic!("{result:?}") };
        error
    };
    assert!(matches!(build(&|_| Ok(())), CacheError::Tree(TreeError::Empty { .. })));
    assert!(matches!(build(&|dir| fs::write(dir.join("a\\b"), "")), CacheError::Tree(TreeError::Name { .. })));
    let large = build(&|dir| fs::write(dir.join("x"), [0; 1001]));
    assert!(matches!(large, CacheError::EntryTooLarge { bytes: 1001, bytes_max: 1000 }), "{large}");
    assert_eq!(large.kind(), ErrorKind::Denied);
    #[cfg(unix)]
    {
        let link = build(&|dir| std::os::unix::fs::symlink("/", dir.join("out")));
        assert!(matches!(link, CacheError::Tree(TreeError::NotAFile { .. })), "{link}");
    }
    assert!(listed(&house.root().join("temp")).is_empty());
}

#[test]
fn what_dead_builders_left_is_removed_when_the_cache_is_opened() {
    let house = House::new();
    house.get(&house.open(), 1).unwrap();
    let temp = house.root().join("temp");
    fs::create_dir_all(temp.join("killed-at-once")).unwrap();
    fs::create_dir_all(temp.join("killed/files/nested")).unwrap();
    fs::write(temp.join("killed/lock"), "0").unwrap();
    fs::write(house.root().join("builds").join("key"), "").unwrap();
    fs::create_dir_all(house.root().join("trash/x/entry/files")).unwrap();
    let cache = house.open();
    assert_eq!(cache.stats().stale_removed, 2);
    house.assert_clean();
    assert!(cache.get(&key(1), &house.until()).unwrap().is_some());
}

#[test]
fn what_a_living_builder_writes_is_left_alone() {
    let house = House::new();
    let cache = house.open();
    let entry = cache.get_or_build(&key(1), &meta(), &house.until(), |dir| {
        let other = house.open();
        assert_eq!(other.stats().stale_removed, 0);
        fill(dir, 1)
    });
    assert_content(&entry.unwrap(), 1);
}

#[test]
#[cfg(unix)]
fn a_root_that_leads_elsewhere_or_is_a_file_is_refused() {
    let house = House::new();
    fs::create_dir_all(house.root()).unwrap();
    fs::create_dir_all(house.dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(house.dir.path().join("elsewhere"), house.root().join("trash")).unwrap();
    let error = ArtifactCache::open(&house.root(), CacheOptions::default()).unwrap_err();
    assert!(matches!(error, CacheError::NotADirectory { .. }), "{error}");
    let file = house.dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = ArtifactCache::open(&file, CacheOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[test]
#[cfg(unix)]
fn a_cache_made_here_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new();
    house.open();
    assert_eq!(fs::metadata(house.root()).unwrap().permissions().mode() & 0o777, 0o700);
}
