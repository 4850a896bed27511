//! Conservation, reuse and isolation of KV blocks.

use super::*;
use proptest::prelude::*;

const LEN: usize = 4;

fn tokens(text: &str) -> Vec<TokenId> {
    text.bytes().map(|byte| TokenId(byte.into())).collect()
}

fn of(tenant: &str) -> Salt {
    Salt::Tenant(tenant.parse().unwrap())
}

/// Runs a whole sequence: claims, computes, lets go. Returns how many tokens it needed not compute.
fn run(pool: &mut KvPool, salt: Option<&Salt>, text: &str) -> usize {
    let tokens = tokens(text);
    let mut claim = pool.claim(salt, &tokens, tokens.len()).unwrap();
    pool.seal(&mut claim.table, &tokens, tokens.len());
    pool.release(&mut claim.table, &tokens, tokens.len());
    pool.check(std::iter::empty());
    claim.n_cached
}

#[test]
fn what_was_computed_is_found_again_but_for_one_token() {
    let mut pool = KvPool::new(8, LEN);
    let salt = of("a");
    assert_eq!(run(&mut pool, Some(&salt), "abcdefghij"), 0);
    assert_eq!(run(&mut pool, Some(&salt), "abcdefghij"), 9);
    assert_eq!(run(&mut pool, Some(&salt), "abcdefghijklm"), 10, "a tail is taken over");
    assert_eq!(run(&mut pool, Some(&salt), "abcdefgX"), 4, "full blocks are found whole or not at all");
    assert_eq!(run(&mut pool, Some(&salt), "Xbcdefgh"), 0);
}

#[test]
fn tenants_never_share_unless_both_say_so() {
    let mut pool = KvPool::new(32, LEN);
    assert_eq!(run(&mut pool, Some(&of("a")), "abcdefghij"), 0);
    assert_eq!(run(&mut pool, Some(&of("b")), "abcdefghij"), 0);
    assert_eq!(run(&mut pool, Some(&Salt::Shared), "abcdefghij"), 0);
    assert_eq!(run(&mut pool, None, "abcdefghij"), 0);
    assert_eq!(run(&mut pool, None, "abcdefghij"), 0, "what is not to be found is not found");
    assert_eq!(run(&mut pool, Some(&Salt::Shared), "abcdefghij"), 9);
}

#[test]
fn sequences_at_work_share_full_blocks() {
    let mut pool = KvPool::new(5, LEN);
    let (salt, text) = (of("a"), tokens("abcdefghij"));
    let mut first = pool.claim(Some(&salt), &text, text.len()).unwrap().table;
    pool.seal(&mut first, &text, 8);
    let mut second = pool.claim(Some(&salt), &text, text.len()).unwrap();
    assert_eq!((second.n_cached, pool.n_available()), (8, 1));
    assert_eq!(second.table.blocks()[..2], first.blocks()[..2]);
    assert_ne!(second.table.blocks()[2], first.blocks()[2], "a block that is written has one holder");
    pool.check([&first, &second.table].into_iter());
    pool.release(&mut first, &text, 9);
    pool.release(&mut second.table, &text, 9);
    assert_eq!(pool.n_available(), 5);
}

#[test]
fn twins_computed_side_by_side_become_one() {
    let mut pool = KvPool::new(4, LEN);
    let (salt, text) = (of("a"), tokens("abcdefgh"));
    let mut claims: Vec<KvTable> = (0..2).map(|_| pool.claim(Some(&salt), &text, 8).unwrap().table).collect();
    assert_eq!(pool.n_available(), 0);
    for table in &mut claims {
        pool.seal(table, &text, 8);
    }
    assert_eq!(pool.n_available(), 2);
    assert_eq!(claims[0].blocks(), claims[1].blocks());
    pool.check(claims.iter());
}

#[test]
fn the_longest_idle_is_evicted_and_its_end_before_its_beginning() {
    let mut pool = KvPool::new(4, LEN);
    let salt = of("a");
    assert_eq!(run(&mut pool, Some(&salt), "aaaaAAAA"), 0);
    assert_eq!(run(&mut pool, Some(&salt), "bbbbBBBB"), 0);
    assert_eq!(run(&mut pool, None, "cccc"), 0);
    assert_eq!(pool.n_evicted(), 1);
    assert_eq!(run(&mut pool, Some(&salt), "bbbbBBBBb"), 8, "the younger content is still there");
    assert_eq!(run(&mut pool, Some(&salt), "aaaaAAAAa"), 4, "the older lost its end");
}

#[test]
fn a_claim_that_does_not_fit_takes_nothing() {
    let mut pool = KvPool::new(3, LEN);
    let salt = of("a");
    run(&mut pool, Some(&salt), "abcdefgh");
    assert!(pool.claim(Some(&salt), &tokens("abcdefghi"), 16).is_none());
    assert_eq!(pool.n_available(), 3);
    assert!(pool.claim(Some(&salt), &tokens("abcdefghi"), 12).is_some());
}

proptest! {
    #[test]
    fn blocks_are_conserved_and_reuse_is_right(script in script()) {
        let mut pool = KvPool::new(12, LEN);
        // What each block was last computed with, as an engine would have it.
        let mut memory: Vec<Vec<Option<TokenId>>> = vec![vec![None; LEN]; 12];
        let mut at_work: Vec<(KvTable, Vec<TokenId>)> = Vec::new();
        for (tenant, text, ends) in script {
            let salt = of(if tenant { "a" } else { "b" });
            // The salt is the first token, so that content of another tenant would be seen.
            let mut text = tokens(&text);
            text.insert(0, TokenId(u32::from(tenant)));
            if let Some(Claim { mut table, n_cached }) = pool.claim(Some(&salt), &text, text.len()) {
                let cell = |position: usize, table: &KvTable| (table.blocks()[position / LEN].index(), position % LEN);
                for (position, token) in text.iter().enumerate() {
                    let (block, row) = cell(position, &table);
                    if position < n_cached {
                        prop_assert_eq!(memory[block][row], Some(*token), "position {} of {:?}", position, text);
                    } else {
                        memory[block][row] = Some(*token);
                    }
                }
                pool.seal(&mut table, &text, text.len());
                at_work.push((table, text));
            }
            pool.check(at_work.iter().map(|(table, _)| table));
            if ends && !at_work.is_empty() {
                let (mut table, text) = at_work.remove(0);
                pool.release(&mut table, &text, text.len());
            }
            pool.check(at_work.iter().map(|(table, _)| table));
        }
    }
}

/// Sequences of two tenants over a small alphabet, so that beginnings are often shared.
fn script() -> impl Strategy<Value = Vec<(bool, String, bool)>> {
    prop::collection::vec((any::<bool>(), "[xy]{1,14}", any::<bool>()), 1..60)
}
