//! Several processes over one cache, and processes that are killed in the middle of a build. The processes are this
//! test's own executable, entered again at [`child`].

use crate::house::{House, assert_content, fill, key, listed, meta};
use ballast_artifacts::{ArtifactCache, CacheOptions, Origin, Verification};
use ballast_testkit::SplitMix;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a process that does `what` with the cache at `root`.
    fn start(what: &str, root: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::child", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut process = Self { child, stdin, stdout };
        process.say(&format!("{what} {}", root.display()));
        process
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
        self.stdin.flush().unwrap();
    }

    /// Reads on until a line that ends with `line`; the test harness writes before the child does.
    fn wait_for(&mut self, line: &str) {
        let mut got = String::new();
        while self.stdout.read_line(&mut got).unwrap() > 0 {
            if got.trim_end().ends_with(line) {
                return;
            }
            got.clear();
        }
        panic!("the process ended without saying {line:?}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn say(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn hear() -> String {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
#[ignore = "the child of the other tests here, which enter it with something to do on standard input"]
fn child() {
    let line = hear();
    let Some((what, root)) = line.split_once(' ') else { return };
    let house = House::new();
    let cache = ArtifactCache::open(Path::new(root), CacheOptions::default()).unwrap();
    match what {
        "build-when-told" => {
            let entry = cache.get_or_build(&key(1), &meta(), &house.until(), |dir| {
                say("building");
                assert_eq!(hear(), "go");
                fill(dir, 1)
            });
            say(&format!("{:?}", entry.unwrap().origin()));
        }
        "ask" => {
            say("asking");
            let entry = cache.get_or_build(&key(1), &meta(), &house.until(), |dir| fill(dir, 9)).unwrap();
            assert_content(&entry, 1);
            say(&format!("{:?}", entry.origin()));
        }
        "hold" => {
            let _entry = cache.get(&key(1), &house.until()).unwrap().unwrap();
            say("holding");
            hear();
        }
        "churn-1" | "churn-2" | "churn-3" => {
            churn(Path::new(root), u64::from(what.as_bytes()[6]));
            say("all intact");
        }
        "build-for-ever" => {
            for n in 0..=u8::MAX {
                let entry = cache.get_or_build(&key(n), &meta(), &house.until(), |dir| {
                    say("building");
                    fill(dir, n)
                });
                drop(entry.unwrap());
            }
        }
        other => panic!("{other}"),
    }
}

/// Opens, builds, uses and evicts entries of a few keys, in a cache with room for three.
fn churn(root: &Path, seed: u64) {
    let (house, mut random) = (House::new(), SplitMix::new(seed));
    let options = CacheOptions { bytes_max: 3 * 1000, verification: Verification::Always };
    let mut cache = ArtifactCache::open(root, options).unwrap();
    let mut held = Vec::new();
    for _ in 0..60 {
        let n = random.next_u8() % 6;
        let entry = cache.get_or_build(&key(n), &meta(), &house.until(), |dir| fill(dir, n)).unwrap();
        assert_content(&entry, n);
        match random.next_u8() % 8 {
            0 => cache = ArtifactCache::open(root, options).unwrap(),
            1 | 2 => held = vec![(n, entry)],
            _ => {}
        }
        held.iter().for_each(|(n, entry)| assert_content(entry, *n));
    }
}

#[test]
fn processes_that_open_build_and_evict_at_once_keep_what_they_use() {
    let house = House::new();
    let mut processes = ["churn-1", "churn-2", "churn-3"].map(|what| Process::start(what, &house.root()));
    processes.iter_mut().for_each(|process| process.wait_for("all intact"));
}

#[test]
fn two_processes_build_the_same_key_once() {
    let house = House::new();
    let mut builder = Process::start("build-when-told", &house.root());
    builder.wait_for("building");
    let mut asking = Process::start("ask", &house.root());
    asking.wait_for("asking");
    builder.say("go");
    builder.wait_for(&format!("{:?}", Origin::Built));
    // Usually it waited; where it came late, the entry was there. Had it built, its files would be others.
    let mut got = String::new();
    while !got.contains("Waited") && !got.contains("Hit") {
        got.clear();
        assert!(asking.stdout.read_line(&mut got).unwrap() > 0, "the process ended without an entry");
    }
    drop((builder, asking));
    assert_eq!(listed(&house.root().join("entries")).len(), 1);
}

#[test]
fn the_next_process_builds_when_the_builder_is_killed() {
    let house = House::new();
    let mut builder = Process::start("build-when-told", &house.root());
    builder.wait_for("building");
    let cache = house.open();
    assert_eq!(cache.stats().stale_removed, 0, "it lives");
    drop(builder);
    assert_content(&house.get(&cache, 1).unwrap(), 1);
    assert_eq!(house.open().stats().stale_removed, 1);
    house.assert_clean();
}

#[test]
fn an_entry_that_another_process_uses_is_not_evicted() {
    let house = House::new();
    house.get(&house.open(), 1).unwrap();
    let mut holder = Process::start("hold", &house.root());
    holder.wait_for("holding");
    let none = CacheOptions { bytes_max: 0, ..CacheOptions::default() };
    assert_eq!(house.open_with(none).stats().entries, 1);
    drop(holder);
    assert_eq!(house.open_with(none).stats().entries, 0);
}

#[test]
fn a_killed_builder_never_leaves_a_torn_entry() {
    let mut random = SplitMix::new(3);
    let (mut n_entries, mut n_stale) = (0, 0);
    for _ in 0..30 {
        let house = House::new();
        let mut builder = Process::start("build-for-ever", &house.root());
        for _ in 0..random.next_u64() % 4 + 1 {
            builder.wait_for("building");
        }
        // Anywhere in what follows: writing, syncing, describing, renaming, making room, the next build.
        std::thread::park_timeout(Duration::from_micros(random.next_u64() % 6000));
        drop(builder);
        let cache = house.open_verifying(Verification::Always);
        n_stale += cache.stats().stale_removed;
        assert_eq!(cache.stats().evictions, 0, "an entry without a manifest");
        let n_found = (0..=u8::MAX)
            .filter_map(|n| Some((n, cache.get(&key(n), &house.until()).unwrap()?)))
            .map(|(n, entry)| assert_content(&entry, n))
            .count();
        assert_eq!(n_found, listed(&house.root().join("entries")).len(), "every entry is intact");
        n_entries += n_found;
        for n in 0..8 {
            assert_content(&house.get(&cache, n).unwrap(), n);
        }
        drop(house.open());
        for name in ["temp", "trash"] {
            assert!(fs::read_dir(house.root().join(name)).unwrap().next().is_none(), "{name}");
        }
    }
    assert!(n_entries > 5 && n_stale > 5, "{n_entries} entries, {n_stale} killed builds");
}
