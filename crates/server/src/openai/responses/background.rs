//! Responses in the background: the work goes on whoever listens, until its deadline.

use super::log::{Log, Read};
use super::store::Place;
use super::writing::Writing;
use crate::api_error::{ApiError, Limited};
use crate::generation::{Tokens, complete};
use crate::openai::event::PING;
use crate::stream::{EVENT_STREAM, streamed};
use axum::response::Response;
use ballast_runtime::Event;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

/// Most responses in work in the background at a time.
pub const BACKGROUND_MAX: usize = 64;
const PLACES: u32 = 64;
const _: () = assert!(PLACES as usize == BACKGROUND_MAX);

/// The places of responses in the background.
#[derive(Debug)]
pub(crate) struct Background(Arc<Semaphore>);

impl Default for Background {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BACKGROUND_MAX)))
    }
}

impl Background {
    /// # Errors
    /// If all places are taken.
    pub(super) fn take_place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let place = Arc::clone(&self.0).try_acquire_owned();
        place.map_err(|_| Limited::Background { background_max: BACKGROUND_MAX }.into())
    }

    /// Waits until nothing is in work.
    pub(crate) async fn wait_idle(&self) {
        drop(self.0.acquire_many(PLACES).await.expect("the semaphore is never closed"));
    }
}

/// What those hold who listen to a response in the background, or end it.
#[derive(Debug)]
pub(super) struct Work {
    /// Whether its events may be read.
    pub(super) is_streamed: bool,
    log: Mutex<Log>,
    /// Changes whenever the log does.
    changed: watch::Sender<()>,
    cancelled: Notify,
}

impl Work {
    pub(super) fn new(is_streamed: bool) -> Self {
        Self { is_streamed, log: Mutex::default(), changed: watch::Sender::new(()), cancelled: Notify::new() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes()
    }

    pub(super) fn read(&self, next: usize) -> Read {
        self.lock().read(next)
    }

    /// Ends the work.
    pub(super) fn cancel(&self) {
        self.cancelled.notify_one();
    }

    /// Waits for the work's end.
    pub(super) async fn wait_ended(&self) {
        let mut changed = self.changed.subscribe();
        while !self.lock().is_ended() {
            changed.changed().await.expect("the sender is ours and lives");
        }
    }

    fn say(&self, writing: &mut Writing) {
        let events = writing.take_events();
        events.iter().for_each(|event| self.lock().push(event));
        self.changed.send_replace(());
    }

    fn end(&self) {
        self.lock().end();
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the response to its end. The place among those in work is given back last.
pub(super) async fn run(
    mut tokens: Tokens,
    mut writing: Writing,
    mut place: Place,
    work: Arc<Work>,
    permit: OwnedSemaphorePermit,
) {
    let mut is_started = false;
    work.say(&mut writing);
    loop {
        let next = tokio::select! {
            biased;
            () = work.cancelled.notified() => {
                writing.cancel();
                break;
            }
            next = tokens.next() => next,
        };
        if !std::mem::replace(&mut is_started, true) {
            writing.start();
            place.update(&writing);
        }
        match next {
            Ok(Some((_, Event::Token(event)))) => writing.token(&event),
            Ok(Some((_, Event::Progress(progress)))) => writing.progress(&progress),
            Ok(Some((_, Event::Done(summary)))) => {
                match complete(summary) {
                    Ok(summary) => writing.end(&summary, place.now()),
                    Err(error) => writing.fail(&error),
                }
                break;
            }
            Ok(None) => break,
            Err(error) => {
                writing.fail(&error);
                break;
            }
        }
        work.say(&mut writing);
    }
    drop(tokens);
    work.say(&mut writing);
    place.close(&writing);
    work.end();
    drop((place, permit));
}

/// A body that follows the work from event number `next` on. Leaving it changes nothing.
pub(super) fn follow(work: Arc<Work>, next: usize, keep_alive: Duration) -> Response {
    let reader = Reader { changed: work.changed.subscribe(), work, next, keep_alive };
    let stream = futures_util::stream::unfold(reader, async |mut reader| {
        let text = reader.next().await?;
        Some((Ok::<_, Infallible>(text.into()), reader))
    });
    streamed(EVENT_STREAM, stream)
}

struct Reader {
    work: Arc<Work>,
    changed: watch::Receiver<()>,
    next: usize,
    keep_alive: Duration,
}

impl Reader {
    /// The next bytes; `None` after the last event, or when the reader was so slow that the next one is gone.
    async fn next(&mut self) -> Option<String> {
        loop {
            match self.work.read(self.next) {
                Read::Events(events) => {
                    self.next += events.len();
                    return Some(events.concat());
                }
                Read::End | Read::Gone(_) => return None,
                Read::Later => {}
            }
            match timeout(self.keep_alive, self.changed.changed()).await {
                Ok(changed) => changed.expect("the work is held and has the sender"),
                Err(_) => return Some(PING.to_owned()),
            }
        }
    }
}
