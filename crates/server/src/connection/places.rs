//! Every connection that is open, so that one that does nothing can make room for another.

use super::activity::{Activity, IdleLimits};
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// A connection that does nothing for less than this may be about to say something: it is not closed for another's sake.
const IDLE_MIN: Duration = Duration::from_secs(1);

/// The open connections.
#[derive(Debug)]
pub(super) struct Places {
    limits: IdleLimits,
    origin: Instant,
    n_opened: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<Watched>>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Watched {
    id: u64,
    limits: IdleLimits,
    origin: Instant,
    activity: Mutex<Activity>,
    n_answers: AtomicU64,
    /// Whether it is to make room.
    is_closed: AtomicBool,
    changed: Notify,
}

impl Places {
    pub(super) fn new(limits: IdleLimits) -> Self {
        Self { limits, origin: Instant::now(), n_opened: AtomicU64::new(0), open: Mutex::default() }
    }

    /// A connection that has just been opened.
    pub(super) fn open(&self) -> Arc<Watched> {
        let id = self.n_opened.fetch_add(1, Ordering::Relaxed);
        let (limits, origin) = (self.limits, self.origin);
        let activity = Mutex::new(Activity::new(origin.elapsed()));
        let (n_answers, is_closed, changed) = (AtomicU64::new(0), AtomicBool::new(false), Notify::new());
        let watched = Arc::new(Watched { id, limits, origin, activity, n_answers, is_closed, changed });
        self.lock().insert(id, Arc::clone(&watched));
        watched
    }

    /// A connection has ended.
    pub(super) fn close(&self, watched: &Watched) {
        self.lock().remove(&watched.id);
    }

    /// Ends the connection that has done nothing for longest, if there is one.
    pub(super) fn make_room(&self) {
        let now = self.origin.elapsed();
        let open = self.lock();
        let idle = open.values().filter_map(|watched| Some((watched.lock().idle_since()?, watched)));
        let oldest = idle.filter(|(since, _)| now.saturating_sub(*since) >= IDLE_MIN).min_by_key(|(since, _)| *since);
        if let Some((_, watched)) = oldest {
            watched.is_closed.store(true, Ordering::Relaxed);
            watched.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Watched>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Waits until the connection is to end for what it does not do.
    pub(super) async fn wait_due(&self) {
        loop {
            if self.is_closed.load(Ordering::Relaxed) {
                return;
            }
            let due_at = self.lock().due_at(&self.limits);
            let due = async {
                match due_at {
                    Some(at) => sleep_until(self.origin + at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = due => {
                    if self.lock().due_at(&self.limits).is_some_and(|at| at <= self.origin.elapsed()) {
                        return;
                    }
                }
            }
        }
    }

    /// Bytes came.
    pub(super) fn read(&self) {
        if self.lock().read(self.origin.elapsed()) {
            self.changed.notify_one();
        }
    }

    /// Bytes were taken.
    pub(super) fn wrote(&self) {
        self.lock().wrote(self.origin.elapsed());
    }

    /// A request has come: it lasts until what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>, is_h2: bool) -> Answering {
        self.lock().begin(is_h2);
        let answer = self.n_answers.fetch_add(1, Ordering::Relaxed);
        Answering { watched: Arc::clone(self), answer }
    }

    fn lock(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Answering {
    watched: Arc<Watched>,
    answer: u64,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.watched.lock().end(self.answer, self.watched.origin.elapsed());
        self.watched.changed.notify_one();
    }
}

/// The body of an answer, whose end is noted.
pub(super) struct WatchedBody {
    pub(super) body: Body,
    pub(super) answering: Answering,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Answering { watched, answer } = &self.answering;
        let (watched, answer) = (Arc::clone(watched), *answer);
        watched.lock().ask(answer);
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(Some(_))) && watched.lock().hand(answer, watched.origin.elapsed()) {
            watched.changed.notify_one();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
