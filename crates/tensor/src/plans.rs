//! What instances of one model share, made once however many open it at the same time. Who opens one model does not wait
//! for another.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Most models that are remembered while an instance of them is open.
const PLANS_MAX: usize = 64;

/// Models by their keys, for as long as somebody has them.
pub(crate) struct Plans<T> {
    known: Mutex<Vec<(String, Arc<Slot<T>>)>>,
}

/// The place of one model. Its lock is held while the model is made.
struct Slot<T> {
    opened: Mutex<Weak<T>>,
}

impl<T> Default for Plans<T> {
    fn default() -> Self {
        Self { known: Mutex::default() }
    }
}

impl<T> fmt::Debug for Plans<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plans").finish_non_exhaustive()
    }
}

impl<T> Plans<T> {
    /// The model of this key, made by `open` unless somebody has it. Who comes while it is made waits for it; if making it
    /// fails, the next tries again.
    ///
    /// # Errors
    /// Those of `open`.
    pub(crate) fn get<E>(&self, key: &str, open: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let slot = self.slot(key);
        let mut opened = slot.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = opened.upgrade() {
            return Ok(opened);
        }
        let new = Arc::new(open()?);
        *opened = Arc::downgrade(&new);
        Ok(new)
    }

    fn slot(&self, key: &str) -> Arc<Slot<T>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, slot)| slot.is_needed());
        if let Some((_, slot)) = known.iter().find(|(known, _)| known == key) {
            return Arc::clone(slot);
        }
        if known.len() == PLANS_MAX {
            known.remove(0);
        }
        let slot = Arc::new(Slot { opened: Mutex::new(Weak::new()) });
        known.push((key.to_owned(), Arc::clone(&slot)));
        slot
    }
}

impl<T> Slot<T> {
    /// Whether somebody has the model or makes it. Asked while nobody else can take the slot.
    fn is_needed(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || self.opened.lock().unwrap_or_else(PoisonError::into_inner).strong_count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::{PLANS_MAX, Plans};
    use ballast_testkit::PATIENCE;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::sync_channel;
    use std::sync::{Arc, Barrier};

    fn of<T>(value: T) -> impl FnOnce() -> Result<T, Infallible> {
        || Ok(value)
    }

    #[test]
    fn different_models_are_made_at_the_same_time() {
        let plans = Plans::default();
        let ((to_b, from_a), (to_a, from_b)) = (sync_channel(1), sync_channel(1));
        std::thread::scope(|scope| {
            // Each waits until the other is being made.
            let a = move || {
                to_b.send(()).unwrap();
                from_b.recv_timeout(PATIENCE).map(|()| 1)
            };
            let plans = &plans;
            scope.spawn(move || plans.get("a", a));
            let b = plans.get("b", || {
                to_a.send(()).unwrap();
                from_a.recv_timeout(PATIENCE).map(|()| 2)
            });
            assert_eq!(b.map(|b| *b), Ok(2));
        });
    }

    #[test]
    fn who_opens_one_model_at_the_same_time_shares_it() {
        let (plans, n_made, start) = (Plans::default(), AtomicUsize::new(0), Barrier::new(4));
        let open = || {
            start.wait();
            plans.get("a", || Ok::<_, Infallible>(n_made.fetch_add(1, Ordering::SeqCst))).unwrap()
        };
        let opened: Vec<Arc<usize>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(opened.iter().all(|other| Arc::ptr_eq(other, &opened[0])) && n_made.into_inner() == 1);
    }

    #[test]
    fn what_nobody_has_any_more_is_made_again_and_so_is_what_failed() {
        let plans = Plans::default();
        assert_eq!(plans.get("a", || Err("broken")), Err::<Arc<i32>, _>("broken"));
        let first = plans.get("a", of(1)).unwrap();
        assert_eq!(*plans.get("a", of(2)).unwrap(), 1);
        drop(first);
        assert_eq!(*plans.get("a", of(3)).unwrap(), 3);
    }

    #[test]
    fn remembers_a_bounded_number_of_models() {
        let plans = Plans::default();
        let held: Vec<_> = (0..PLANS_MAX + 10).map(|idx| plans.get(&idx.to_string(), of(idx)).unwrap()).collect();
        assert_eq!(plans.known.lock().unwrap().len(), PLANS_MAX);
        assert_eq!(*plans.get("0", of(1000)).unwrap(), 1000, "the oldest is forgotten");
        drop(held);
        let _last = plans.get("0", of(1)).unwrap();
        assert_eq!(plans.known.lock().unwrap().len(), 1, "what nobody has makes room");
    }
}
