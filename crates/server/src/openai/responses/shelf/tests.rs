//! What stays and what goes.

use super::*;

const BOUNDS: ResponseStoreOptions =
    ResponseStoreOptions { count_max: 4, bytes_max: 100, age_max: Duration::from_secs(60) };

fn ended(bytes: usize) -> Kept<()> {
    Kept { value: (), bytes, is_busy: false }
}

fn busy(bytes: usize) -> Kept<()> {
    Kept { is_busy: true, ..ended(bytes) }
}

fn owner(name: &str) -> TenantId {
    name.parse().unwrap()
}

/// The names that are there, of one owner.
fn names(shelf: &mut Shelf<()>, of: &TenantId, now: i64) -> String {
    "abcdefgh".chars().filter(|id| shelf.find(of, &id.to_string(), now).is_some()).collect()
}

#[test]
fn the_oldest_goes_when_there_are_too_many() {
    let (mut shelf, me) = (Shelf::new(BOUNDS), owner("me"));
    for id in ["a", "b", "c", "d", "e", "f"] {
        shelf.insert(&me, id, ended(1), 0);
    }
    assert_eq!(names(&mut shelf, &me, 0), "cdef");
}

#[test]
fn the_oldest_go_until_the_bytes_fit() {
    let (mut shelf, me) = (Shelf::new(BOUNDS), owner("me"));
    for (id, bytes) in [("a", 40), ("b", 40), ("c", 20), ("d", 70)] {
        shelf.insert(&me, id, ended(bytes), 0);
    }
    assert_eq!(names(&mut shelf, &me, 0), "cd");
    shelf.insert(&me, "e", ended(101), 0);
    assert_eq!(names(&mut shelf, &me, 0), "cd", "what is longer than all the room drives out nothing");
}

#[test]
fn what_is_too_old_goes() {
    let (mut shelf, me) = (Shelf::new(BOUNDS), owner("me"));
    shelf.insert(&me, "a", ended(1), 0);
    shelf.insert(&me, "b", busy(1), 0);
    shelf.insert(&me, "c", ended(1), 1);
    assert_eq!(names(&mut shelf, &me, 60), "abc");
    assert_eq!(names(&mut shelf, &me, 61), "bc", "what is in work has no age");
    shelf.replace(&me, "b", ended(1), 61);
    assert_eq!(names(&mut shelf, &me, 121), "b", "it counts from its end");
}

#[test]
fn who_keeps_most_loses_first() {
    let (mut shelf, me, other) = (Shelf::new(BOUNDS), owner("me"), owner("other"));
    shelf.insert(&other, "a", ended(5), 0);
    for id in ["a", "b", "c", "d", "e"] {
        shelf.insert(&me, id, ended(10), 0);
    }
    assert_eq!((names(&mut shelf, &me, 0).as_str(), names(&mut shelf, &other, 0).as_str()), ("cde", "a"));
}

#[test]
fn what_is_in_work_stays() {
    let (mut shelf, me) = (Shelf::new(BOUNDS), owner("me"));
    for id in ["a", "b", "c", "d", "e"] {
        shelf.insert(&me, id, busy(1), 0);
    }
    shelf.insert(&me, "f", ended(1), 0);
    assert_eq!(names(&mut shelf, &me, 0), "abcde");
}

#[test]
fn owners_see_only_what_is_theirs() {
    let (mut shelf, me, other) = (Shelf::new(BOUNDS), owner("me"), owner("other"));
    shelf.insert(&me, "a", ended(1), 0);
    assert!(shelf.find(&other, "a", 0).is_none());
    assert!(shelf.remove(&other, "a").is_none());
    assert!(shelf.find(&me, "a", 0).is_some());
}

#[test]
fn what_was_removed_does_not_come_back_and_leaves_nothing() {
    let (mut shelf, me) = (Shelf::new(BOUNDS), owner("me"));
    shelf.insert(&me, "a", busy(50), 0);
    assert!(shelf.remove(&me, "a").is_some());
    shelf.replace(&me, "a", ended(50), 0);
    assert_eq!(names(&mut shelf, &me, 0), "");
    assert_eq!((shelf.count, shelf.bytes, shelf.owners.len()), (0, 0, 0));
}

#[test]
fn nothing_is_kept_where_nothing_may_be() {
    let mut shelf = Shelf::new(ResponseStoreOptions { count_max: 0, ..BOUNDS });
    shelf.insert(&owner("me"), "a", busy(1), 0);
    assert!(shelf.find(&owner("me"), "a", 0).is_none());
}
