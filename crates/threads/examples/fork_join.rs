//! What fork and join cost, quiet and beside a foreign thread that never rests: the round trip of an empty fork, which
//! the caller may do alone, and of one that every thread must take part in; after a pause; and the tokens a second of a
//! load like decoding, 150 forks of 25 us of work on each thread.
//!
//! ```text
//! cargo run --release -p ballast-threads --example fork_join -- measure [THREADS]
//! setsid target/release/examples/fork_join burn 20 &    # the foreign thread; setsid gives it a group of its own
//! setsid taskset -c 1 target/release/examples/fork_join burn 20 &    # the same, on one core
//! ```
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use ballast_threads::ComputePool;
use std::error::Error;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;
const ROUND_TRIPS: u32 = 20_000;
const FORKS_PER_TOKEN: usize = 150;
const FORK_WORK: Duration = Duration::from_micros(25);
/// How long a round of the load like decoding takes.
const DECODE_ROUND: Duration = Duration::from_millis(400);

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |default: usize| args.get(1).map_or(Ok(default), |arg| arg.parse());
    match args.first().map(String::as_str) {
        Some("burn") => burn(Duration::from_secs(number(20)? as u64)),
        Some("measure") => measure(NonZeroUsize::new(number(2)?).ok_or("there is at least one thread")?),
        Some(_) | None => return Err("give `measure [THREADS]` or `burn SECONDS`".into()),
    }
    Ok(())
}

/// A part that does nothing, and that the compiler must call.
fn empty() {
    black_box(0);
}

/// The foreign thread.
fn burn(limit: Duration) {
    let start = Instant::now();
    while start.elapsed() < limit {
        work(1_000);
    }
}

fn measure(n_threads: NonZeroUsize) {
    let mut pool = ComputePool::new(n_threads);
    let mut parts = vec![(); n_threads.get()];
    let round_trip = |pool: &mut ComputePool, parts: &mut [()]| {
        let start = Instant::now();
        for _ in 0..ROUND_TRIPS {
            pool.run(parts, |()| empty());
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUND_TRIPS)
    };
    print("empty fork, ns", medians(|| round_trip(&mut pool, &mut parts)));
    print("fork in which all meet, ns", medians(|| meeting(&mut pool, &mut parts)));
    for pause in [Duration::from_micros(20), Duration::from_micros(200), Duration::from_millis(20)] {
        let name = format!("empty fork after {pause:?}, ns");
        print(&name, medians(|| after_pause(&mut pool, &mut parts, pause)));
    }
    let iterations = calibrate();
    for per_thread in [1, 2, 4] {
        let mut parts = vec![iterations / per_thread as u64; n_threads.get() * per_thread];
        let name = format!("decode in {per_thread} parts a thread, tokens/s");
        print(&name, medians(|| decode(&mut pool, &mut parts)));
    }
}

/// The round trip of a fork whose parts wait for each other, so that every thread runs one.
fn meeting(pool: &mut ComputePool, parts: &mut [()]) -> f64 {
    let (n_here, n_threads) = (AtomicUsize::new(0), parts.len());
    let start = Instant::now();
    for round in 1..=ROUND_TRIPS as usize {
        pool.run(parts, |()| {
            n_here.fetch_add(1, Ordering::Relaxed);
            for poll in 1.. {
                if n_here.load(Ordering::Relaxed) >= round * n_threads {
                    break;
                }
                if poll % 10_000 == 0 { std::thread::yield_now() } else { std::hint::spin_loop() }
            }
        });
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUND_TRIPS)
}

/// Median over a few forks that each come after a pause.
fn after_pause(pool: &mut ComputePool, parts: &mut [()], pause: Duration) -> f64 {
    let mut times: Vec<_> = (0..9)
        .map(|_| {
            rest(pause);
            let start = Instant::now();
            pool.run(parts, |()| empty());
            start.elapsed().as_secs_f64() * 1e9
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A pause as between steps: short ones are spent awake.
fn rest(pause: Duration) {
    if pause >= Duration::from_millis(1) {
        return std::thread::sleep(pause);
    }
    let start = Instant::now();
    while start.elapsed() < pause {
        std::hint::spin_loop();
    }
}

fn decode(pool: &mut ComputePool, parts: &mut [u64]) -> f64 {
    let (start, mut n_tokens) = (Instant::now(), 0);
    while start.elapsed() < DECODE_ROUND {
        for _ in 0..FORKS_PER_TOKEN {
            pool.run(parts, |n| work(*n));
        }
        n_tokens += 1;
    }
    f64::from(n_tokens) / start.elapsed().as_secs_f64()
}

/// Iterations of `work` that take a fork's time on this CPU: of the fastest of some tries.
fn calibrate() -> u64 {
    const N: u64 = 200_000;
    let time = |_| {
        let start = Instant::now();
        work(N);
        start.elapsed()
    };
    let fastest = (0..20).map(time).min().unwrap_or(FORK_WORK);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some tens of thousands")]
    let n = (N as f64 * FORK_WORK.as_secs_f64() / fastest.as_secs_f64()) as u64;
    n
}

/// Arithmetic that touches no memory.
fn work(n: u64) {
    let mut x = 1_u64;
    for _ in 0..n {
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// The results of some rounds, sorted.
fn medians(mut round: impl FnMut() -> f64) -> Vec<f64> {
    let mut results: Vec<_> = (0..ROUNDS).map(|_| round()).collect();
    results.sort_by(f64::total_cmp);
    results
}

fn print(name: &str, results: Vec<f64>) {
    let (least, median, most) = (results[0], results[results.len() / 2], results[results.len() - 1]);
    println!("{name:>36}: {median:9.1} ({least:.1} to {most:.1})");
}
