//! The contract of `docs/CONCURRENCY.md`, where types hold it: what crosses threads, what is shared, what may block.

use crate::support::{Shelf, declare, question, quiet, room};
use ballast::{
    Answer, Canceller, ChatSession, Engine, Error, ModelLease, ModelSource, Models, RoutedLease, RoutedStream, Runtime,
    TokenStream,
};
use ballast_backend::Generator;
use ballast_runtime::buffer_pool::{BufferPool, PooledTensor};
use ballast_runtime::confine::{ModelClient, ModelRef};
use ballast_runtime::instance_pool::{InstancePool, Permit, PooledInstance};
use ballast_runtime::lifecycle::{Lease, ModelHouse};
use ballast_runtime::routing::{ChoiceGuard, SharedRouter};
use ballast_testkit::PATIENCE;
use std::cell::Cell;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;

const fn sent<T: Send>() {}
const fn shared<T: Send + Sync>() {}

/// Shared between threads.
const _: () = {
    shared::<Engine>();
    shared::<Models>();
    shared::<ModelLease>();
    shared::<ModelSource>();
    shared::<Runtime>();
    shared::<Canceller>();
    shared::<Error>();
    shared::<ModelHouse<Engine>>();
    shared::<Lease<Engine>>();
    shared::<SharedRouter>();
    shared::<BufferPool>();
    shared::<PooledTensor>();
    // Whatever the native handle is.
    shared::<ModelRef>();
    shared::<ModelClient<Rc<Cell<u8>>>>();
};

/// Handed from thread to thread, used by one at a time.
const _: () = {
    sent::<ChatSession>();
    sent::<TokenStream>();
    sent::<RoutedLease>();
    sent::<RoutedStream>();
    sent::<ChoiceGuard>();
    sent::<Box<dyn Generator>>();
};

/// Pools and their permits follow what they lend.
#[expect(dead_code, reason = "it only has to compile")]
fn pools_cross_threads<I: PooledInstance + Send + Sync + 'static>() {
    shared::<InstancePool<I>>();
    sent::<Permit<I>>();
}

/// Futures of the async twins may be spawned on a runtime with several threads.
#[expect(dead_code, reason = "it only has to compile")]
fn futures_may_be_spawned(models: &Models, source: ModelSource, stream: &mut RoutedStream) {
    fn spawned<F: Future + Send>(_: F) {}
    spawned(models.acquire_async("a"));
    spawned(models.acquire_for_async("a", ballast::AffinityKey::of_number(1)));
    spawned(models.unload_async("a"));
    spawned(models.swap_async("a", source, ballast::SwapMode::Beside));
    spawned(stream.recv());
}

fn in_async_code<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
#[should_panic = "Cannot block the current thread from within a runtime"]
fn blocking_reads_in_async_code_panic_instead_of_stopping_its_thread() {
    let shelf = Shelf::new();
    let engine = Engine::load(&shelf.file(1), &quiet()).unwrap();
    in_async_code(async { drop(engine.generate(&question())) });
}

#[test]
fn async_code_reads_streams_without_blocking() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 1));
    declare(&models, &shelf, 1);
    let n_events = in_async_code(async {
        let lease = models.acquire_for_async("a", ballast::AffinityKey::of_number(1)).await.unwrap();
        let mut stream = lease.stream(&question()).unwrap();
        let mut n_events = 0;
        while stream.recv().await.is_some() {
            n_events += 1;
        }
        n_events
    });
    assert_eq!(n_events, 9, "eight tokens and the summary");
}

#[test]
fn sessions_leases_and_streams_move_between_threads() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 1));
    declare(&models, &shelf, 1);
    let lease = models.acquire("a", Some(PATIENCE)).unwrap();
    let stream = lease.stream(&question()).unwrap();
    let mut session = lease.chat_session(question());
    session.send("hello").unwrap().finish();
    let moved = std::thread::spawn(move || {
        session.send("again").unwrap().finish();
        let n_turns = session.history().len();
        (n_turns, Answer::collect(stream, |_| {}), lease)
    });
    let (n_turns, answer, lease) = moved.join().unwrap();
    assert_eq!((n_turns, answer.text), (4, lease.generate(&question()).unwrap().text));
}

/// Every Rust file below `dir`, as one text.
fn sources(dir: &Path, text: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &std::fs::read_to_string(&path).unwrap();
        }
    }
}

#[test]
fn the_document_names_tests_that_are_there() {
    /// A word in code type with so many underscores is the name of a test.
    const UNDERSCORES_MIN: usize = 3;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let document = std::fs::read_to_string(root.join("docs/CONCURRENCY.md")).unwrap();
    let mut text = String::new();
    sources(&root.join("crates"), &mut text);
    let is_test = |word: &&str| {
        word.matches('_').count() >= UNDERSCORES_MIN
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let names: Vec<&str> = document.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(names.len() > 50, "{} names", names.len());
    let missing: Vec<&&str> = names.iter().filter(|name| !text.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "docs/CONCURRENCY.md names tests that do not exist: {missing:?}");
}
