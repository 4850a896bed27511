//! Values kept for their owners: bounded by number, bytes and age. Pure: time comes in, values go out.
//!
//! ```text
//! busy  => ended    `replace`: the work on it is over
//! busy  => gone     `remove`
//! ended => gone     `remove`; its age is over; others need the room and it is the oldest of the owner that has most
//! ```
//!
//! An owner that keeps a lot loses its own oldest values first, so nobody can drive out what others keep by keeping more.
//! Values in work are counted and stay: the room they take is bounded by how many may be in work.

use ballast_runtime::TenantId;
use std::collections::BTreeMap;
use std::time::Duration;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseStoreOptions {
    /// Most responses; 0: none is kept.
    pub count_max: usize,
    /// Most bytes of all of them, conversations included.
    pub bytes_max: usize,
    /// Longest time a response is kept after it has ended.
    pub age_max: Duration,
}

impl Default for ResponseStoreOptions {
    fn default() -> Self {
        Self { count_max: 1024, bytes_max: 64 << 20, age_max: Duration::from_hours(24) }
    }
}

/// A value on its way to the shelf.
#[derive(Debug)]
pub(super) struct Kept<T> {
    pub(super) value: T,
    pub(super) bytes: usize,
    /// Somebody works on it.
    pub(super) is_busy: bool,
}

/// The values of all owners.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    bounds: ResponseStoreOptions,
    owners: BTreeMap<TenantId, Owned<T>>,
    count: usize,
    bytes: usize,
    /// What the next value is numbered with.
    next: u64,
}

#[derive(Debug)]
struct Owned<T> {
    /// By age: the oldest first.
    values: BTreeMap<u64, Entry<T>>,
    numbers: BTreeMap<String, u64>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<T> {
    id: String,
    /// Seconds since 1970.
    since: i64,
    kept: Kept<T>,
}

impl<T> Shelf<T> {
    pub(super) fn new(bounds: ResponseStoreOptions) -> Self {
        Self { bounds, owners: BTreeMap::new(), count: 0, bytes: 0, next: 0 }
    }

    /// Keeps a value, in the place of one of the same name. One that would take more than all the room is not kept.
    pub(super) fn insert(&mut self, owner: &TenantId, id: &str, kept: Kept<T>, now: i64) {
        self.remove(owner, id);
        self.expire(now);
        if kept.bytes > self.bounds.bytes_max || self.bounds.count_max == 0 {
            return;
        }
        let number = self.next;
        self.next += 1;
        self.count += 1;
        self.bytes += kept.bytes;
        let new = || Owned { values: BTreeMap::new(), numbers: BTreeMap::new(), bytes: 0 };
        let owned = self.owners.entry(owner.clone()).or_insert_with(new);
        owned.bytes += kept.bytes;
        owned.numbers.insert(id.to_owned(), number);
        owned.values.insert(number, Entry { id: id.to_owned(), since: now, kept });
        self.make_room();
    }

    /// As [`Self::insert`], if the value is still there.
    pub(super) fn replace(&mut self, owner: &TenantId, id: &str, kept: Kept<T>, now: i64) {
        if self.owners.get(owner).is_some_and(|owned| owned.numbers.contains_key(id)) {
            self.insert(owner, id, kept, now);
        }
    }

    /// The owner's value of this name.
    pub(super) fn find(&mut self, owner: &TenantId, id: &str, now: i64) -> Option<&T> {
        self.expire(now);
        let owned = self.owners.get(owner)?;
        Some(&owned.values.get(owned.numbers.get(id)?)?.kept.value)
    }

    /// Takes the owner's value of this name off the shelf.
    pub(super) fn remove(&mut self, owner: &TenantId, id: &str) -> Option<T> {
        let number = *self.owners.get(owner)?.numbers.get(id)?;
        self.take(&owner.clone(), number)
    }

    /// Lets go what is too old.
    pub(super) fn expire(&mut self, now: i64) {
        let age_max = i64::try_from(self.bounds.age_max.as_secs()).unwrap_or(i64::MAX);
        let is_old = |entry: &Entry<T>| !entry.kept.is_busy && now.saturating_sub(entry.since) > age_max;
        let old: Vec<(TenantId, u64)> = (self.owners.iter())
            .flat_map(|(owner, owned)| owned.values.iter().map(move |(number, entry)| (owner, *number, entry)))
            .filter(|(_, _, entry)| is_old(entry))
            .map(|(owner, number, _)| (owner.clone(), number))
            .collect();
        for (owner, number) in old {
            self.take(&owner, number);
        }
    }

    fn make_room(&mut self) {
        while self.count > self.bounds.count_max || self.bytes > self.bounds.bytes_max {
            let oldest = |owned: &Owned<T>| {
                owned.values.iter().find(|(_, entry)| !entry.kept.is_busy).map(|(number, _)| *number)
            };
            let owners = self.owners.iter().filter_map(|(owner, owned)| Some((owned.bytes, owner, oldest(owned)?)));
            let Some((_, owner, number)) = owners.max_by_key(|(bytes, _, _)| *bytes) else { return };
            let owner = owner.clone();
            self.take(&owner, number);
        }
    }

    fn take(&mut self, owner: &TenantId, number: u64) -> Option<T> {
        let owned = self.owners.get_mut(owner)?;
        let Entry { id, kept, .. } = owned.values.remove(&number)?;
        owned.numbers.remove(&id);
        owned.bytes -= kept.bytes;
        let is_empty = owned.values.is_empty();
        if is_empty {
            self.owners.remove(owner);
        }
        self.count -= 1;
        self.bytes -= kept.bytes;
        Some(kept.value)
    }
}

#[cfg(test)]
mod tests;
