//! A response as server-sent events, each with its name. The stream ends with the response's last event, without
//! `[DONE]`.
//!
//! No event carries `id:` or `retry:`: OpenAI's Python client would take the next comment for an empty event. The place
//! in the stream is `sequence_number`.

use super::store::Place;
use super::writing::Writing;
use crate::api_error::ApiError;
use crate::openai::event::PING;
use crate::stream::{EVENT_STREAM, Frames};
use ballast_runtime::{Progress, Summary, TokenEvent};

/// The events of a response that ends when its client leaves.
pub(super) struct Events {
    pub(super) writing: Writing,
    pub(super) place: Place,
}

impl Frames for Events {
    const CONTENT_TYPE: &'static str = EVENT_STREAM;
    const PING: Option<&'static str> = Some(PING);

    fn begin(&mut self) -> String {
        self.writing.begin();
        self.writing.take_events().concat()
    }

    fn token(&mut self, _idx: usize, event: &TokenEvent) -> String {
        self.writing.token(event);
        self.writing.take_events().concat()
    }

    fn progress(&mut self, _idx: usize, progress: &Progress) -> String {
        self.writing.progress(progress);
        self.writing.take_events().concat()
    }

    /// Who reads the last event may go on from the response at once, so it is kept before.
    fn end(&mut self, _idx: usize, summary: Summary) -> String {
        self.writing.end(&summary, self.place.now());
        self.place.close(&self.writing);
        self.writing.take_events().concat()
    }

    fn finish(&mut self) -> String {
        String::new()
    }

    fn fail(&mut self, cause: &ApiError) -> String {
        self.writing.fail(cause);
        self.place.close(&self.writing);
        self.writing.take_events().concat()
    }
}
