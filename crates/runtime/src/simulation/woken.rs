//! Who was woken, in the order in which it happened.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// The tasks that were woken and not looked at since.
#[derive(Debug, Default)]
pub(super) struct Woken(Mutex<Vec<usize>>);

impl Woken {
    pub(super) fn take(&self) -> Vec<usize> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn waker(self: &Arc<Self>, who: usize) -> Waker {
        Arc::new(Bell { woken: Arc::clone(self), who }).into()
    }
}

struct Bell {
    woken: Arc<Woken>,
    who: usize,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.0.lock().unwrap_or_else(PoisonError::into_inner).push(self.who);
    }
}
