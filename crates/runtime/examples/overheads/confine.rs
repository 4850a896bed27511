//! A job's way to an owner thread and back, against a direct call.

use crate::SystemClock;
use crate::table::{N_CALLS, Table};
use ballast_backend::Clock;
use ballast_runtime::confine::{ConfineOptions, ModelClient};
use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

/// What the second seed says of its channel.
const CLAIM: &str = "~50 us";
/// Pause before a call to an idle thread.
const IDLE: Duration = Duration::from_millis(10);
const N_IDLE_CALLS: usize = 300;
/// Rounds of the work that stands for an inference, about a millisecond.
const N_ROUNDS: u64 = 1_400_000;
const N_WORK_CALLS: usize = 1_000;

pub(crate) fn measure(table: &mut Table, clock: &SystemClock) {
    let client = ModelClient::<u64>::start(&ConfineOptions::default(), Arc::new(*clock)).expect("a thread");
    let model = client.load_blocking(Duration::MAX, |_| Ok::<_, Infallible>(0)).expect("it opens");
    let deadline = || clock.now() + Duration::from_secs(60);
    let mut handle = 0_u64;
    table.time(clock, "direct call", "", || add(black_box(&mut handle)));
    let round_trip = || client.with_blocking(model, deadline(), |handle, _| add(handle)).expect("it runs");
    table.time(clock, "owner thread, blocking", CLAIM, round_trip);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let round_trip = || block_on(&waker, client.with(model, deadline(), |handle, _| add(handle))).expect("it runs");
    table.time(clock, "owner thread, async", CLAIM, round_trip);
    let crowd = crowd(&client, clock, |client| {
        client.with_blocking(model, Duration::MAX, |handle, _| add(handle)).expect("it runs");
    });
    table.add("owner thread, blocking, four callers", CLAIM, crowd);
    let mut idle = Vec::with_capacity(N_IDLE_CALLS);
    for _ in 0..N_IDLE_CALLS {
        thread::sleep(IDLE);
        let begin = clock.now();
        client.with_blocking(model, deadline(), |handle, _| add(handle)).expect("it runs");
        idle.push(nanos(clock.now() - begin));
    }
    table.add("owner thread, blocking, after 10 ms idle", CLAIM, idle);
    let direct =
        table.time_some(clock, ("work of about 1 ms, direct", "", N_WORK_CALLS), || work(black_box(&mut handle)));
    let confined = table.time_some(clock, ("work of about 1 ms, on the owner thread", "", N_WORK_CALLS), || {
        client.with_blocking(model, deadline(), |handle, _| work(handle)).expect("it runs");
    });
    table.share(
        "throughput of the owner thread to direct use",
        "equal",
        100.0 * direct as f64 / confined.max(1) as f64,
    );
}

fn add(handle: &mut u64) {
    *handle = black_box(*handle + 1);
}

fn work(handle: &mut u64) {
    (0..N_ROUNDS).for_each(|_| add(handle));
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Times of calls from four threads at once.
fn crowd(client: &ModelClient<u64>, clock: &SystemClock, call: impl Fn(&ModelClient<u64>) + Sync) -> Vec<u64> {
    let run = || {
        let time = |_| {
            let begin = clock.now();
            call(client);
            nanos(clock.now() - begin)
        };
        (0..N_CALLS / 4).map(time).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        callers.into_iter().flat_map(|caller| caller.join().expect("it runs")).collect()
    })
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor: what it adds is one unpark.
fn block_on<F: Future>(waker: &Waker, future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
