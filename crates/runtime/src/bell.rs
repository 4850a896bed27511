//! How a reader wakes the owner whose sequence waits for it.

use crate::owner::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

/// Rings in an owner's inbox, where it takes one place, however many readers ring.
#[derive(Clone, Debug)]
pub(crate) struct Bell {
    owner: SyncSender<Message>,
    /// It was rung and not heard yet.
    is_rung: Arc<AtomicBool>,
}

impl Bell {
    pub(crate) fn new(owner: SyncSender<Message>) -> Self {
        Self { owner, is_rung: Arc::default() }
    }

    /// Wakes the owner. The reader has made its room before.
    pub(crate) fn ring(&self) {
        let is_new = !self.is_rung.swap(true, Ordering::AcqRel);
        // An owner whose inbox is full is awake and looks at every reader, and one that has gone serves nobody.
        if is_new && self.owner.try_send(Message::Read).is_err() {
            self.heard();
        }
    }

    /// The owner has heard it, and sees from now on what room there was when it was rung.
    pub(crate) fn heard(&self) {
        self.is_rung.swap(false, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::{Bell, Message};
    use std::sync::mpsc::sync_channel;

    #[test]
    fn it_takes_one_place_until_it_is_heard() {
        let (outbox, inbox) = sync_channel(8);
        let bell = Bell::new(outbox);
        for _ in 0..2 {
            (0..5).for_each(|_| bell.clone().ring());
            assert_eq!(inbox.try_iter().filter(|message| matches!(message, Message::Read)).count(), 1);
            bell.heard();
        }
    }

    #[test]
    fn what_a_full_inbox_does_not_take_is_rung_again() {
        let (outbox, inbox) = sync_channel(1);
        let bell = Bell::new(outbox.clone());
        outbox.try_send(Message::Read).unwrap();
        bell.ring();
        assert_eq!(inbox.try_iter().count(), 1);
        bell.ring();
        assert_eq!(inbox.try_iter().count(), 1);
    }
}
