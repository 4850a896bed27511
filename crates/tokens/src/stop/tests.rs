//! Tests of stop strings: every way of cutting a text into tokens gives the same answer, and nothing leaks.

use super::{STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX, StopError, StopMatcher};
use ballast_backend::ErrorKind;
use proptest::prelude::*;

fn matcher(stops: &[&str]) -> StopMatcher {
    StopMatcher::new(&stops.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
}

/// Feeds the pieces; what came out in each step, the rest at the end, and which stop string matched.
fn feed(stops: &[&str], pieces: &[&str]) -> (Vec<String>, String, Option<usize>) {
    let mut matcher = matcher(stops);
    let mut matched = None;
    let released = pieces.iter().map(|piece| {
        let outcome = matcher.push(piece);
        matched = outcome.matched;
        outcome.text.to_owned()
    });
    let released = released.collect();
    (released, matcher.finish(), matched)
}

/// Where the text ends and which stop string ends it: the first to be completed, of those the longest.
fn slow_find(stops: &[String], text: &str) -> Option<(usize, usize)> {
    (1..=text.len()).find_map(|end| {
        let ending = stops.iter().enumerate().filter(|(_, stop)| text.as_bytes()[..end].ends_with(stop.as_bytes()));
        // The first of equal strings.
        ending.rev().max_by_key(|(_, stop)| stop.len()).map(|(idx, stop)| (idx, end - stop.len()))
    })
}

#[test]
fn stop_releases_text_once_it_cannot_become_a_stop_string() {
    // Stop strings, pieces fed, text released for each, text left at the end, which stop string matched.
    type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], &'a str, Option<usize>);
    let cases: [Case<'_>; 15] = [
        (&[], &["a", "b"], &["a", "b"], "", None),
        (&["END"], &["some EN", "D more", "x"], &["some ", "", ""], "", Some(0)),
        (&["END"], &["some EN", "TER"], &["some ", "ENTER"], "", None),
        (&["END"], &["some EN"], &["some "], "EN", None),
        (&["END"], &["E", "E", "N", "N", "END"], &["", "E", "", "ENN", ""], "", Some(0)),
        (&["aab"], &["aa", "aa", "ab"], &["", "aa", "a"], "", Some(0)),
        (&["abcabd"], &["abcabcab", "d!"], &["abc", ""], "", Some(0)),
        (&["\n\n"], &["a\n", "b\n", "\nc"], &["a", "\nb", ""], "", Some(0)),
        (&["b", "abc"], &["xabc"], &["xa"], "", Some(0)),
        (&["bc", "abc"], &["xab", "c"], &["x", ""], "", Some(1)),
        (&["abc", "bc"], &["xabc"], &["x"], "", Some(0)),
        (&["x", "x"], &["x"], &[""], "", Some(0)),
        (&["é!"], &["caf", "é", "e", "é!"], &["caf", "", "ée", ""], "", Some(0)),
        (&["<|end|>"], &["<", "|", "x", "<|end|", ">"], &["", "", "<|x", "", ""], "", Some(0)),
        (&["stop"], &["", "s", "", "top", ""], &["", "", "", "", ""], "", Some(0)),
    ];
    for (stops, pieces, released, rest, matched) in cases {
        let expected = (released.iter().map(ToString::to_string).collect(), rest.to_owned(), matched);
        assert_eq!(feed(stops, pieces), expected, "{stops:?} {pieces:?}");
    }
}

#[test]
fn stop_refuses_lists_over_its_bounds() {
    let many = vec!["x".to_owned(); STOP_STRINGS_MAX + 1];
    let long = vec!["a".to_owned(), "é".repeat(STOP_STRING_BYTES_MAX / 2 + 1)];
    let cases = [
        (many, StopError::TooMany { got: 17 }),
        (long, StopError::TooLong { idx: 1, got: 1026 }),
        (vec!["a".to_owned(), String::new()], StopError::Empty { idx: 1 }),
    ];
    for (stops, expected) in cases {
        assert_eq!(StopMatcher::new(&stops).unwrap_err(), expected);
        assert_eq!(expected.kind(), ErrorKind::Invalid);
    }
    assert!(StopMatcher::new(&vec!["x".repeat(STOP_STRING_BYTES_MAX); STOP_STRINGS_MAX]).is_ok());
}

proptest! {
    #[test]
    fn stop_finds_the_same_end_however_the_text_is_cut(
        stops in prop::collection::vec("[abé]{1,5}", 1..5),
        pieces in prop::collection::vec("[abé]{0,4}", 0..20),
    ) {
        let text = pieces.concat();
        let mut matcher = StopMatcher::new(&stops).unwrap();
        let (mut out, mut matched, mut n_pushed) = (String::new(), None, 0);
        for piece in &pieces {
            let outcome = matcher.push(piece);
            out.push_str(outcome.text);
            matched = outcome.matched;
            n_pushed += piece.len();
            if matched.is_none() {
                // Held back is exactly the longest suffix that a stop string begins with.
                let seen = &text[..n_pushed];
                let held = (0..=seen.len())
                    .filter(|&at| seen.is_char_boundary(at))
                    .find(|&at| stops.iter().any(|stop| stop.starts_with(&seen[at..])));
                prop_assert_eq!(out.len(), held.expect("every string begins with the empty one"));
            }
        }
        out.push_str(&matcher.finish());
        match slow_find(&stops, &text) {
            Some((idx, end)) => {
                prop_assert_eq!(matched, Some(idx));
                prop_assert_eq!(&out, &text[..end]);
            }
            None => {
                prop_assert_eq!(matched, None);
                prop_assert_eq!(&out, &text);
            }
        }
    }
}
