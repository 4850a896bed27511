//! Responses that are kept, in memory: they end with the server.

use super::background::Work;
use super::item::Item;
use super::shelf::{Kept, ResponseStoreOptions, Shelf};
use super::writing::Writing;
use crate::state::Server;
use ballast_runtime::TenantId;
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What one request added to a conversation.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) input: Vec<Item>,
    pub(super) output: Vec<Item>,
}

impl Turn {
    fn bytes(&self) -> usize {
        self.input.iter().chain(&self.output).map(Item::bytes).sum()
    }
}

/// A response that is kept.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) response: Arc<Value>,
    /// What was said before its request.
    pub(super) past: Vec<Arc<Turn>>,
    /// Its request and, once it has ended, its answer.
    pub(super) turn: Arc<Turn>,
    /// Of a response in the background.
    pub(super) work: Option<Arc<Work>>,
}

impl Stored {
    pub(super) fn status(&self) -> &str {
        self.response["status"].as_str().unwrap_or_default()
    }

    /// A conversation counts whole with each of its responses, though they share what they have in common.
    fn bytes(&self) -> usize {
        let turns = self.past.iter().chain([&self.turn]).map(|turn| turn.bytes()).sum::<usize>();
        let log = self.work.as_ref().map_or(0, |work| work.bytes());
        self.response.to_string().len() + turns + log
    }
}

/// The responses of all tenants. Each sees its own only.
#[derive(Debug)]
pub(crate) struct ResponseStore(Mutex<Shelf<Stored>>);

impl ResponseStore {
    pub(crate) fn new(bounds: ResponseStoreOptions) -> Self {
        Self(Mutex::new(Shelf::new(bounds)))
    }

    pub(super) fn find(&self, tenant: &TenantId, id: &str, now: i64) -> Option<Stored> {
        self.lock().find(tenant, id, now).cloned()
    }

    pub(super) fn remove(&self, tenant: &TenantId, id: &str, now: i64) -> Option<Stored> {
        let mut shelf = self.lock();
        shelf.expire(now);
        shelf.remove(tenant, id)
    }

    fn lock(&self) -> MutexGuard<'_, Shelf<Stored>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a response is to be kept, if it is.
pub(super) struct Place {
    pub(super) server: Arc<Server>,
    pub(super) tenant: TenantId,
    pub(super) past: Vec<Arc<Turn>>,
    pub(super) input: Vec<Item>,
    pub(super) work: Option<Arc<Work>>,
    pub(super) is_stored: bool,
}

impl Place {
    pub(super) fn now(&self) -> i64 {
        (self.server.options.unix_time)()
    }

    /// Keeps a response that is in work from now on.
    pub(super) fn open(&self, writing: &Writing) {
        let turn = Turn { input: self.input.clone(), output: Vec::new() };
        let (id, kept) = self.kept(writing, turn, true);
        self.server.responses.lock().insert(&self.tenant, &id, kept, self.now());
    }

    /// As [`Self::open`], for one that was kept and may be deleted by now.
    pub(super) fn update(&self, writing: &Writing) {
        let turn = Turn { input: self.input.clone(), output: Vec::new() };
        let (id, kept) = self.kept(writing, turn, true);
        self.server.responses.lock().replace(&self.tenant, &id, kept, self.now());
    }

    /// Keeps a response that has ended.
    pub(super) fn close(&mut self, writing: &Writing) {
        if !self.is_stored {
            return;
        }
        let turn = Turn { input: std::mem::take(&mut self.input), output: writing.output() };
        let (id, kept) = self.kept(writing, turn, false);
        let now = self.now();
        let mut shelf = self.server.responses.lock();
        match &self.work {
            Some(_) => shelf.replace(&self.tenant, &id, kept, now),
            None => shelf.insert(&self.tenant, &id, kept, now),
        }
    }

    fn kept(&self, writing: &Writing, turn: Turn, is_busy: bool) -> (String, Kept<Stored>) {
        let response = writing.response().clone();
        let id = response["id"].as_str().unwrap_or_default().to_owned();
        let (past, work) = (self.past.clone(), self.work.clone());
        let stored = Stored { response: Arc::new(response), past, turn: Arc::new(turn), work };
        (id, Kept { bytes: stored.bytes(), value: stored, is_busy })
    }
}
