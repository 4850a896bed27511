//! Waits for a future on this thread. Every wait of this crate is woken by a thread of its own, so no runtime is needed.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut future, mut context) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::block_on;
    use crate::confine::Slot;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn waits_for_another_thread() {
        let slot = Arc::new(Slot::new());
        let there = Arc::clone(&slot);
        let thread = thread::spawn(move || there.settle(7));
        assert_eq!(block_on(slot.recv()), Some(7));
        thread.join().unwrap();
    }
}
