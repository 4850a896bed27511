//! Downloads that succeed, however crookedly.

use std::fs::{self, File};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use ballast_store::{Clock, Digest, ModelName, Places, Progress, Source, Store, StoreError};

use crate::hub::{Bench, Hub, TOKEN, limits, model};
use crate::server::{Reply, Request, Server};

const NAME: &str = "hf:u/r:Q4_0";
const FILE: &str = "m.Q4_0.gguf";

/// Answers like `hub`, but the first `bent` requests for files are bent.
fn bend_first(hub: Hub, bent: usize, bend: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |request| {
        let honest = hub.answer(request);
        let is_file = request.path.contains("/resolve/");
        if is_file && count.fetch_add(1, Ordering::SeqCst) < bent { bend(request, honest) } else { honest }
    })
}

#[test]
fn keeps_a_verified_file_and_knows_it_afterwards() {
    let bytes = model(10_000, 1);
    let hub = Hub::with(&[("README.md", b"text"), (FILE, &bytes)]);
    let server = Server::start(move |request| hub.answer(request));
    let bench = Bench::new(&server);
    let located = bench.pull(NAME).unwrap();
    assert_eq!((located.source, located.digest()), (Source::Hub, Some(Digest::of(&bytes))));
    assert_eq!((located.path(), fs::read(located.path()).unwrap()), (bench.target(FILE).as_path(), bytes));
    assert_eq!((bench.partial("part"), bench.partial("json")), (vec![], vec![]));
    let requests = server.requests().len();
    assert_eq!(bench.pull(NAME).unwrap(), located, "a second pull finds it");
    assert_eq!(server.requests().len(), requests, "and asks nobody");
    let listed = bench.store.list();
    assert_eq!(listed.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["hf:u/r/m.Q4_0.gguf"]);
    assert_eq!(listed[0].model, located);
    assert_eq!(bench.store.remove(&ModelName::parse(NAME).unwrap()).unwrap(), located);
    assert!(!bench.dir.path().join("data/models/hf").exists(), "empty directories go too");
    assert!(matches!(bench.resolve(NAME), Err(StoreError::NotFound { pullable: true, .. })));
}

#[test]
fn goes_on_where_the_connection_was_cut() {
    let bytes = model(10_000, 2);
    let server = bend_first(Hub::with(&[(FILE, &bytes)]), 3, |_, reply| reply.cut_at(3000));
    // Three cuts and two attempts: an attempt that got somewhere is no failure.
    let bench = Bench::with(&server, |_, limits| limits.attempts = 2);
    assert_eq!(fs::read(bench.pull(NAME).unwrap().path()).unwrap(), bytes);
    assert_eq!(server.file_ranges(), [0, 3000, 6000, 9000]);
}

#[test]
fn goes_on_in_a_later_call() {
    let bytes = model(10_000, 3);
    let server = bend_first(Hub::with(&[(FILE, &bytes)]), 1, |_, reply| reply.cut_at(4000));
    let bench = Bench::with(&server, |_, limits| (limits.attempts, limits.progress_bytes) = (1, u64::MAX));
    let Err(StoreError::Interrupted { got_bytes: 4000, .. }) = bench.pull(NAME) else { panic!("not interrupted") };
    assert!(!bench.target(FILE).exists());
    assert_eq!(fs::read(bench.pull(NAME).unwrap().path()).unwrap(), bytes);
    assert_eq!(server.file_ranges(), [0, 4000]);
}

#[test]
fn starts_over_when_the_part_no_longer_fits() {
    let bytes = model(10_000, 4);
    type Bend = fn(&Request, Reply) -> Reply;
    let whole = |reply: Reply, bytes: &[u8]| Reply { status: 200, body: bytes.to_vec(), ..reply };
    let bends: [(&str, Bend, &[usize]); 3] = [
        (
            "changed tag",
            |request, reply| if request.from > 0 { reply.with("etag", "\"new\"") } else { reply.cut_at(4000) },
            &[0, 4000, 0],
        ),
        (
            "refused range",
            |request, reply| if request.from > 0 { Reply::status(416) } else { reply.cut_at(4000) },
            &[0, 4000, 0],
        ),
        (
            "no range said",
            |request, mut reply| {
                reply.headers.retain(|_| request.from == 0);
                reply.cut_at(4000)
            },
            &[0, 4000, 4000],
        ),
    ];
    for (label, bend, ranges) in bends {
        let server = bend_first(Hub::with(&[(FILE, &bytes)]), 2, bend);
        let bench = Bench::new(&server);
        assert_eq!(fs::read(bench.pull(NAME).unwrap().path()).unwrap(), bytes, "{label}");
        assert_eq!(server.file_ranges(), ranges, "{label}");
    }
    let full = bytes.clone();
    let ignores_ranges = move |request: &Request, reply: Reply| {
        if request.from > 0 { whole(Reply::default(), &full) } else { reply.cut_at(4000) }
    };
    let server = bend_first(Hub::with(&[(FILE, &bytes)]), 2, ignores_ranges);
    let bench = Bench::new(&server);
    assert_eq!(fs::read(bench.pull(NAME).unwrap().path()).unwrap(), bytes);
    assert_eq!(server.file_ranges(), [0, 4000]);
}

#[test]
fn fetches_a_damaged_part_anew() {
    let bytes = model(10_000, 5);
    let server = bend_first(Hub::with(&[(FILE, &bytes)]), 1, |_, reply| reply.cut_at(4000));
    let bench = Bench::with(&server, |_, limits| limits.attempts = 1);
    bench.pull(NAME).unwrap_err();
    let part = bench.partial("part").remove(0);
    fs::write(&part, vec![0; 4000]).unwrap();
    assert_eq!(fs::read(bench.pull(NAME).unwrap().path()).unwrap(), bytes);
    assert_eq!(server.file_ranges(), [0, 4000, 0]);
}

#[test]
fn ignores_a_part_that_belongs_to_other_content() {
    let (old, new) = (model(10_000, 6), model(10_000, 7));
    let server = bend_first(Hub::with(&[(FILE, &old)]), 1, |_, reply| reply.cut_at(4000));
    let bench = Bench::with(&server, |_, limits| limits.attempts = 1);
    bench.pull(NAME).unwrap_err();
    let hub = Hub::with(&[(FILE, &new)]);
    let changed = Server::start(move |request| hub.answer(request));
    let mut places = Places::new(bench.dir.path().join("data"));
    places.hf_endpoint = changed.url();
    let clock = Clock { now: Box::new(|| SystemTime::UNIX_EPOCH), sleep: Box::new(|_| {}) };
    let store = Store::with_limits(places, clock, limits());
    let located = store.pull(&ModelName::parse(NAME).unwrap(), &mut ballast_store::Silent, &AtomicBool::new(false));
    assert_eq!(fs::read(located.unwrap().path()).unwrap(), new);
    assert_eq!(changed.file_ranges(), [0]);
}

#[test]
fn obeys_retry_after_and_backs_off() {
    let bytes = model(2000, 8);
    for (status, header, want) in [(429, Some("7"), 7), (503, Some("9"), 9), (500, None, 1), (503, Some("soon"), 1)] {
        let bend = move |_: &Request, _: Reply| {
            let reply = Reply::status(status);
            if let Some(wait) = header { reply.with("retry-after", wait) } else { reply }
        };
        let server = bend_first(Hub::with(&[(FILE, &bytes)]), 1, bend);
        let bench = Bench::new(&server);
        bench.pull(NAME).unwrap();
        assert_eq!(bench.waited(), Duration::from_secs(want), "{status} {header:?}");
    }
}

#[test]
fn sends_the_token_to_the_hub_and_not_where_it_redirects() {
    let bytes = model(2000, 9);
    let hub = Hub::with(&[(FILE, &bytes)]);
    let content = hub.clone();
    let network = Server::start(move |request| content.answer(request).with("etag", "\"edge\""));
    let elsewhere = network.url();
    let server = Server::start(move |request| match request.path.split_once("/resolve/") {
        None => hub.answer(request),
        Some(_) if !request.path.starts_with("/u/") => {
            let path = request.path.replacen("/moved", "", 1);
            Reply::status(302).with("location", format!("{elsewhere}{path}")).with("x-linked-etag", "\"linked\"")
        }
        Some(_) => Reply::status(307).with("location", format!("/moved{}", request.path)),
    });
    let bench = Bench::new(&server);
    assert_eq!(fs::read(bench.pull(NAME).unwrap().path()).unwrap(), bytes);
    let bearer = Some(format!("Bearer {TOKEN}"));
    assert_eq!(server.requests().len(), 3);
    assert!(server.requests().iter().all(|request| request.authorization == bearer));
    assert_eq!(network.requests().iter().map(|r| r.authorization.clone()).collect::<Vec<_>>(), [None]);
}

#[test]
fn fetches_all_shards_and_finds_them_together() {
    let (first, second) = (model(3000, 10), model(5000, 11));
    let names = ["q/m-Q8_0-00001-of-00002.gguf", "q/m-Q8_0-00002-of-00002.gguf"];
    let hub = Hub::with(&[(names[1], &second), (FILE, &first), (names[0], &first)]);
    let server = Server::start(move |request| hub.answer(request));
    let bench = Bench::new(&server);
    let located = bench.pull("hf:u/r:Q8_0").unwrap();
    assert_eq!(located.files.iter().map(|file| file.path.clone()).collect::<Vec<_>>(), names.map(|n| bench.target(n)));
    assert_eq!((located.bytes(), located.digest()), ((first.len() + second.len()) as u64, None));
    assert_eq!(bench.resolve(bench.target(names[1]).to_str().unwrap()).unwrap().files.len(), 2, "by path too");
    assert_eq!(bench.store.list().len(), 1);
    fs::remove_file(bench.target(names[0])).unwrap();
    let path = bench.target(names[1]);
    assert!(matches!(bench.resolve(path.to_str().unwrap()), Err(StoreError::MissingShards { have: 1, want: 2, .. })));
    assert_eq!(bench.pull("hf:u/r:Q8_0").unwrap().files.len(), 2, "only what is missing is fetched again");
    assert_eq!(server.file_ranges().len(), 3);
}

/// Remembers what it is told, and cancels once `cancel_at` bytes are there.
struct Watcher<'a> {
    told: Vec<String>,
    cancel_at: u64,
    cancel: &'a AtomicBool,
}

impl Progress for Watcher<'_> {
    fn start(&mut self, label: &str, total: Option<u64>) {
        self.told.push(format!("start {label} {total:?}"));
    }

    fn advance_to(&mut self, done: u64) {
        self.cancel.store(done >= self.cancel_at, Ordering::SeqCst);
    }

    fn finish(&mut self) {
        self.told.push("finish".into());
    }
}

#[test]
fn cancelling_keeps_what_has_come() {
    let bytes = model(600_000, 12);
    let hub = Hub::with(&[(FILE, &bytes)]);
    let server = Server::start(move |request| hub.answer(request));
    let bench = Bench::new(&server);
    let cancel = AtomicBool::new(false);
    let mut watcher = Watcher { told: vec![], cancel_at: 1000, cancel: &cancel };
    let name = ModelName::parse(NAME).unwrap();
    assert!(matches!(bench.store.pull(&name, &mut watcher, &cancel), Err(StoreError::Cancelled)));
    assert_eq!(watcher.told, [format!("start {FILE} Some({})", bytes.len()), "finish".into()]);
    let got = fs::metadata(bench.partial("part").remove(0)).unwrap().len();
    assert!(got >= 1000 && got < bytes.len() as u64, "{got}");
    assert_eq!(fs::read(bench.pull(NAME).unwrap().path()).unwrap(), bytes);
    assert_eq!(server.file_ranges(), [0, usize::try_from(got).unwrap()]);
}

#[test]
fn waits_for_another_process_and_takes_its_result() {
    let bytes = model(5000, 13);
    let hub = Hub::with(&[(FILE, &bytes)]);
    let server = bend_first(hub, 1, |_, reply| reply.cut_at(10));
    let bench = Bench::with(&server, |_, limits| limits.attempts = 1);
    bench.pull(NAME).unwrap_err();
    let other = File::open(bench.partial("lock").remove(0)).unwrap();
    other.lock().unwrap();
    let (held, target) = (Mutex::new(Some(other)), bench.target(FILE));
    let finish = move |_| {
        if let Some(other) = held.lock().unwrap().take() {
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::write(&target, &bytes).unwrap();
            other.unlock().unwrap();
        }
    };
    let mut places = Places::new(bench.dir.path().join("data"));
    places.hf_endpoint = server.url();
    let clock = Clock { now: Box::new(|| SystemTime::UNIX_EPOCH), sleep: Box::new(finish) };
    let store = Store::with_limits(places, clock, limits());
    store.pull(&ModelName::parse(NAME).unwrap(), &mut ballast_store::Silent, &AtomicBool::new(false)).unwrap();
    assert_eq!(server.file_ranges(), [0], "the file was not fetched a second time");
}

#[test]
fn gives_up_on_a_lock_that_is_never_released() {
    let hub = Hub::with(&[(FILE, &model(5000, 14))]);
    let server = bend_first(hub, 1, |_, reply| reply.cut_at(10));
    let bench = Bench::with(&server, |_, limits| limits.attempts = 1);
    bench.pull(NAME).unwrap_err();
    let other = File::open(bench.partial("lock").remove(0)).unwrap();
    other.lock().unwrap();
    assert!(matches!(bench.pull(NAME), Err(StoreError::Busy { .. })));
    assert_eq!(bench.waited(), limits().lock);
}

#[test]
fn deletes_parts_that_nobody_has_touched_for_long() {
    let bytes = model(5000, 15);
    let hub = Hub::with(&[(FILE, &bytes), ("other.Q8_0.gguf", &bytes)]);
    let server = bend_first(hub, 1, |_, reply| reply.cut_at(10));
    let bench = Bench::with(&server, |_, limits| limits.attempts = 1);
    bench.pull(NAME).unwrap_err();
    let part = bench.partial("part").remove(0);
    let pull_at = |age: Duration, name: &str| {
        let modified = fs::metadata(&part).map_or(SystemTime::UNIX_EPOCH, |meta| meta.modified().unwrap());
        let mut places = Places::new(bench.dir.path().join("data"));
        places.hf_endpoint = server.url();
        let now = modified + age;
        let clock = Clock { now: Box::new(move || now), sleep: Box::new(|_| {}) };
        let store = Store::with_limits(places, clock, limits());
        store.pull(&ModelName::parse(name).unwrap(), &mut ballast_store::Silent, &AtomicBool::new(false)).unwrap();
    };
    pull_at(limits().stale, "hf:u/r:Q8_0");
    assert!(part.exists());
    fs::remove_file(bench.target("other.Q8_0.gguf")).unwrap();
    pull_at(limits().stale + Duration::from_secs(1), "hf:u/r/other.Q8_0.gguf");
    assert!(!part.exists() && bench.partial("json").is_empty());
}
