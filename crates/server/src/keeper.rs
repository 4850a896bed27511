//! The task that does what time asks of the house of models: it ends keep-alives, and loads that take too long.

use crate::state::Server;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Longest time between two looks at the clock: keep-alives that begin meanwhile are seen then.
const SLEEP_MAX: Duration = Duration::from_millis(250);

/// Holds the task; dropping it ends the task.
#[derive(Debug)]
pub(crate) struct Keeper(JoinHandle<()>);

impl Keeper {
    pub(crate) fn start(server: &Arc<Server>) -> Self {
        let models = server.models.clone();
        Self(tokio::spawn(async move {
            loop {
                let due_in = models.tick().unwrap_or(SLEEP_MAX);
                // At least a little, so that what cannot be done yet is not asked for without a pause.
                sleep(due_in.clamp(Duration::from_millis(1), SLEEP_MAX)).await;
            }
        }))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}
