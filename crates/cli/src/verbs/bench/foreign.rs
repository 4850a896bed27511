//! Busy threads of another program on the same cores: what a shared machine does to a measurement, on purpose.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Rounds of nothing useful between two looks at the flag.
const ROUNDS: u32 = 10_000;

/// Threads that keep CPUs busy until this value is dropped.
#[derive(Debug)]
pub(super) struct Foreign {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Foreign {
    /// Starts them; none for 0.
    pub(super) fn start(n_threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let busy = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    black_box((0..ROUNDS).fold(1_u32, |sum, n| black_box(sum.wrapping_mul(31).wrapping_add(n))));
                }
            })
        };
        let threads = (0..n_threads).map(busy).collect();
        Self { stop, threads }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that adds numbers has nothing to say.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Foreign;

    #[test]
    fn the_threads_are_there_and_end_with_the_value() {
        let foreign = Foreign::start(2);
        assert_eq!(foreign.threads.len(), 2);
        assert!(foreign.threads.iter().all(|thread| !thread.is_finished()));
        let stop = std::sync::Arc::clone(&foreign.stop);
        drop(foreign);
        // Every thread held the flag; only this test does now.
        assert_eq!(std::sync::Arc::strong_count(&stop), 1);
        assert!(Foreign::start(0).threads.is_empty());
    }
}
