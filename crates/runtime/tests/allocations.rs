//! What a generated token allocates in the whole process, from the plan of its step to its reader's hands: nothing, but
//! for the keys by which full KV blocks are found again. Alone in its binary, because it counts allocations.
#![expect(unsafe_code, reason = "a global allocator that counts")]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast_backend::{EngineError, Generator, GeneratorShape, LogitRows, Logits, Pulse, SequenceStep, TokenId};
use ballast_runtime::telemetry::{Metrics, Telemetry, TracingLogger};
use ballast_runtime::{Event, PrefixCache, Request, Runtime, RuntimeParts, TokenStream};
use ballast_testkit::{VirtualClock, tiny_tokenizer};
use ballast_tokens::SamplingParams;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// The system's allocator, counting what all threads ask of it.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BLOCK_LEN: usize = 16;
const CONTEXT_LEN: usize = 1024;
/// More than a stable sort takes without memory of its own.
const SEQUENCES_MAX: usize = 30;

/// Tokens of each sequence until all memory has grown: the events' channel takes a block for 32 of them, and gives the
/// second back as the first is read.
const N_WARM_UP: usize = 100;
/// How often allocations are counted.
const COUNTS: usize = 3;
const N_TOKENS: usize = 512;

/// What a full KV block costs that may be found again: its key, and the tokens in that. They are what is kept of it.
const ALLOCATIONS_PER_SEALED_BLOCK: usize = 2;

/// Says the alphabet, one step for each time that it is let.
struct Alphabet {
    shape: GeneratorShape,
    gate: Receiver<()>,
}

impl Generator for Alphabet {
    fn shape(&self) -> &GeneratorShape {
        &self.shape
    }

    fn step(&mut self, batch: &[SequenceStep<'_>], logits: &mut Logits, _: &Pulse) -> Result<(), EngineError> {
        // Without the test the steps need not wait.
        let _is_let = self.gate.recv();
        let rows = || batch.iter().filter(|share| share.logits == LogitRows::Last);
        logits.reset(rows().count(), self.shape.vocab_size).fill(0.0);
        for (idx, share) in rows().enumerate() {
            logits.row_mut(idx)[usize::from(b'a') + (share.start + share.tokens.len()) % 26] = 9.0;
        }
        Ok(())
    }
}

fn open() -> (Runtime, SyncSender<()>) {
    let (allow, gate) = sync_channel(1);
    let shape = GeneratorShape {
        vocab_size: tiny_tokenizer().vocab_size(),
        context_len: CONTEXT_LEN,
        block_len: BLOCK_LEN,
        n_blocks: SEQUENCES_MAX * CONTEXT_LEN / BLOCK_LEN,
        max_batch_tokens: 512,
        max_batch_sequences: SEQUENCES_MAX,
    };
    let telemetry = Telemetry { metrics: Some(Arc::new(Metrics::default())), logger: Some(Arc::new(TracingLogger)) };
    let parts = RuntimeParts { telemetry, ..RuntimeParts::new(tiny_tokenizer(), Arc::new(VirtualClock::new())) };
    (Runtime::start(Box::new(Alphabet { shape, gate }), parts), allow)
}

fn read_token(stream: &mut TokenStream) {
    let Some(Event::Token(token)) = stream.next_blocking() else { panic!("the answer has not ended") };
    assert_eq!(token.text.len(), 1);
}

/// Allocations of the process while each of `n` sequences generates [`N_TOKENS`] tokens.
fn allocations(n: usize, prefix_cache: PrefixCache) -> usize {
    let (runtime, allow) = open();
    let request = |idx: usize| Request {
        prefix_cache,
        sampling: SamplingParams::greedy(),
        ..Request::new(vec![TokenId(u32::try_from(idx).unwrap() + 1); 3])
    };
    let mut streams: Vec<_> = (0..n).map(|idx| runtime.submit(request(idx)).unwrap()).collect();
    // The first sequence is in the first step, and all are in the second. So each has a token after each step, but for
    // the first step; and all are read as fast as they come, so that no more events lie about at one time than at another.
    allow.send(()).unwrap();
    read_token(&mut streams[0]);
    let mut token = |_| {
        allow.send(()).unwrap();
        streams.iter_mut().for_each(read_token);
    };
    (0..N_WARM_UP).for_each(&mut token);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..N_TOKENS).for_each(&mut token);
    let n_allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    drop(allow);
    drop(streams);
    n_allocations
}

/// The least of a few counts: a reader that the system lets wait leaves events lying about, and now and then that takes
/// the channel one more block. What a token costs would be in every count.
fn least(n: usize, prefix_cache: PrefixCache) -> usize {
    (0..COUNTS).map(|_| allocations(n, prefix_cache)).min().expect("there is a count")
}

// One test: a second one beside it would allocate, too.
#[test]
fn a_token_allocates_nothing_from_its_plan_to_its_reader() {
    for n in [1, 4, SEQUENCES_MAX] {
        assert_eq!(least(n, PrefixCache::Off), 0, "{n} sequences");
        let expected = n * N_TOKENS / BLOCK_LEN * ALLOCATIONS_PER_SEALED_BLOCK;
        assert_eq!(least(n, PrefixCache::Tenant), expected, "{n} sequences whose blocks are kept");
    }
}
