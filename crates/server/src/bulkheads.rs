//! Places for requests, each class of routes with its own: a class that is full keeps no other waiting.

use crate::api_error::{ApiError, Limited};
use crate::routes::RouteClass;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Requests of each class at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkheadOptions {
    /// That have text generated; those that wait in a model's queue count, too.
    pub generation_max: usize,
    /// That have texts embedded or ranked.
    pub embeddings_max: usize,
    /// That have tensor models run.
    pub predictions_max: usize,
    /// That look at models and tokens.
    pub reading_max: usize,
    /// Of operators and their scrapers.
    pub admin_max: usize,
    /// How long a request waits for a place before it is refused.
    pub wait: Duration,
}

impl Default for BulkheadOptions {
    /// Fewer than connections may be open by default: generation alone cannot take them all.
    fn default() -> Self {
        Self {
            generation_max: 192,
            embeddings_max: 64,
            predictions_max: 256,
            reading_max: 64,
            admin_max: 16,
            wait: Duration::from_millis(500),
        }
    }
}

/// The places.
#[derive(Debug)]
pub(crate) struct Bulkheads {
    generation: Arc<Semaphore>,
    embeddings: Arc<Semaphore>,
    predictions: Arc<Semaphore>,
    reading: Arc<Semaphore>,
    admin: Arc<Semaphore>,
    wait: Duration,
}

impl Bulkheads {
    pub(crate) fn new(options: BulkheadOptions) -> Self {
        let places = |n: usize| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)));
        Self {
            generation: places(options.generation_max),
            embeddings: places(options.embeddings_max),
            predictions: places(options.predictions_max),
            reading: places(options.reading_max),
            admin: places(options.admin_max),
            wait: options.wait,
        }
    }

    /// A place in `class`, held until it is dropped; `None` where none is needed.
    ///
    /// # Errors
    /// If none became free in time.
    pub(crate) async fn enter(&self, class: RouteClass) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        let places = match class {
            RouteClass::Generation => &self.generation,
            RouteClass::Embeddings => &self.embeddings,
            RouteClass::Predictions => &self.predictions,
            RouteClass::Reading => &self.reading,
            RouteClass::Admin => &self.admin,
            RouteClass::Liveness => return Ok(None),
        };
        match timeout(self.wait, Arc::clone(places).acquire_owned()).await {
            Ok(place) => Ok(Some(place.expect("the semaphore is never closed"))),
            Err(_) => Err(Limited::Places { class }.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_class_refuses_and_keeps_no_other_waiting() {
        let classes = [
            RouteClass::Generation,
            RouteClass::Embeddings,
            RouteClass::Predictions,
            RouteClass::Reading,
            RouteClass::Admin,
        ];
        for full in classes {
            let mut options = BulkheadOptions { wait: Duration::from_secs(7), ..BulkheadOptions::default() };
            let place = match full {
                RouteClass::Generation => &mut options.generation_max,
                RouteClass::Embeddings => &mut options.embeddings_max,
                RouteClass::Predictions => &mut options.predictions_max,
                RouteClass::Reading => &mut options.reading_max,
                RouteClass::Admin => &mut options.admin_max,
                RouteClass::Liveness => unreachable!("it needs no place"),
            };
            *place = 2;
            let bulkheads = Bulkheads::new(options);
            let first = bulkheads.enter(full).await.unwrap();
            let _second = bulkheads.enter(full).await.unwrap();
            let asked = tokio::time::Instant::now();
            let refused = bulkheads.enter(full).await.unwrap_err();
            assert_eq!((refused.status().as_u16(), refused.code().as_str()), (429, "backpressure_queue_full"));
            assert_eq!(asked.elapsed(), options.wait, "{full:?}");
            for class in classes.into_iter().filter(|class| *class != full) {
                assert!(bulkheads.enter(class).await.unwrap().is_some(), "{class:?} beside {full:?}");
            }
            assert!(bulkheads.enter(RouteClass::Liveness).await.unwrap().is_none());
            drop(first);
            assert!(bulkheads.enter(full).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_becomes_free_in_time_is_taken() {
        let bulkheads = Bulkheads::new(BulkheadOptions { admin_max: 1, ..BulkheadOptions::default() });
        let first = bulkheads.enter(RouteClass::Admin).await.unwrap();
        let (second, ()) = tokio::join!(bulkheads.enter(RouteClass::Admin), async { drop(first) });
        assert!(second.is_ok());
    }
}
