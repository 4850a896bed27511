//! KV blocks: which are free, which are held by whom, and which still have content that another sequence can use.
//!
//! ```text
//! Free => Held                    taken for a sequence, content undefined
//! Held => Sealed (held)           full: its content can be found by the tokens before and in it
//! Sealed (held) => Sealed (idle)  the last holder let go; content stays until the room is needed
//! Held => Tail (idle)             let go half full; one sequence that goes on from there may take it over
//! idle => Free or Held            evicted, the longest idle first
//! ```
//!
//! Content is found by what precedes it and its own tokens, compared as they are, so that a hash collision cannot give
//! one sequence the keys and values of another. What precedes the first block is the [`Salt`]: tenants that do not
//! share one never meet. (Block hashing as in vLLM, arXiv:2309.06180; taking over tails is ours.)

use crate::TenantId;
use ballast_backend::{BlockId, TokenId};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Who may find the content of a sequence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Salt {
    /// Sequences of the same tenant.
    Tenant(TenantId),
    /// Sequences of the same tenant that say the same number.
    Part(TenantId, u64),
    /// Every sequence that says so, too.
    Shared,
}

/// Content that was sealed; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ContentId(u64);

/// What precedes a block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Parent {
    /// Nothing: it is the first.
    Root(Salt),
    /// Other content.
    Content(ContentId),
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    parent: Parent,
    tokens: Box<[TokenId]>,
}

#[derive(Debug)]
enum Content {
    Undefined,
    Sealed { key: Arc<Key>, id: ContentId },
    Tail { key: Arc<Key> },
}

#[derive(Debug)]
struct Block {
    n_holders: usize,
    /// When the last holder let go; the key in `idle`.
    idle_since: u64,
    content: Content,
}

/// The blocks of one sequence, in order.
#[derive(Debug, Default)]
pub(crate) struct KvTable {
    blocks: Vec<BlockId>,
    n_sealed: usize,
    /// What precedes the first block that is not sealed; `None`: nothing of the sequence is to be found by others.
    parent: Option<Parent>,
}

impl KvTable {
    pub(crate) fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }

    /// Room for the numbers of as many blocks as a sequence may ever have, so that it grows without asking for memory.
    pub(crate) fn reserve(&mut self, n_blocks_max: usize) {
        self.blocks.reserve_exact(n_blocks_max.saturating_sub(self.blocks.len()));
    }
}

/// What a sequence got: its blocks, and how many of its first tokens need not be computed.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) table: KvTable,
    pub(crate) n_cached: usize,
}

/// What can be used again for a sequence.
struct Match {
    blocks: Vec<BlockId>,
    parent: Parent,
    /// A tail and how many of its tokens agree.
    tail: Option<(BlockId, usize)>,
}

/// The blocks of an engine's KV cache.
#[derive(Debug)]
pub(crate) struct KvPool {
    block_len: usize,
    blocks: Vec<Block>,
    free: Vec<BlockId>,
    idle: BTreeMap<u64, BlockId>,
    sealed: HashMap<Arc<Key>, BlockId>,
    /// The newest tail after each content.
    tails: HashMap<Parent, BlockId>,
    n_events: u64,
    n_evicted: u64,
}

impl KvPool {
    /// A pool of blocks `0..n_blocks`, all free.
    ///
    /// # Panics
    /// If there are more than `u32` can number.
    pub(crate) fn new(n_blocks: usize, block_len: usize) -> Self {
        let end = u32::try_from(n_blocks).expect("an engine numbers its blocks in u32");
        let block = || Block { n_holders: 0, idle_since: 0, content: Content::Undefined };
        Self {
            block_len,
            blocks: (0..end).map(|_| block()).collect(),
            free: (0..end).rev().map(BlockId).collect(),
            idle: BTreeMap::new(),
            sealed: HashMap::with_capacity(n_blocks),
            tails: HashMap::with_capacity(n_blocks),
            n_events: 0,
            n_evicted: 0,
        }
    }

    /// Blocks that nobody holds.
    pub(crate) fn n_available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// Blocks whose content was given up for others so far.
    pub(crate) fn n_evicted(&self) -> u64 {
        self.n_evicted
    }

    /// Blocks for `n_positions` positions of a sequence that begins with `tokens`; all or nothing. At least one token is
    /// left to compute, so that there are logits.
    pub(crate) fn claim(&mut self, salt: Option<&Salt>, tokens: &[TokenId], n_positions: usize) -> Option<Claim> {
        let n_blocks = n_positions.div_ceil(self.block_len);
        let found = salt.map(|salt| self.find(salt, &tokens[..tokens.len() - 1]));
        let (n_matched, n_matched_idle) = found.as_ref().map_or((0, 0), |found| {
            let blocks = found.blocks.iter().chain(found.tail.iter().map(|(block, _)| block));
            blocks.fold((0, 0), |(n, n_idle), block| (n + 1, n_idle + usize::from(self.block(*block).n_holders == 0)))
        });
        if n_blocks.saturating_sub(n_matched) > self.n_available() - n_matched_idle {
            return None;
        }
        let mut table = KvTable::default();
        let mut n_cached = 0;
        if let Some(Match { blocks, parent, tail }) = found {
            for &block in &blocks {
                self.hold(block);
            }
            n_cached = blocks.len() * self.block_len;
            table = KvTable { n_sealed: blocks.len(), blocks, parent: Some(parent) };
            if let Some((block, n_tokens)) = tail {
                self.hold(block);
                self.forget(block);
                table.blocks.push(block);
                n_cached += n_tokens;
            }
        }
        let grown = self.grow(&mut table, n_positions);
        assert!(grown, "the blocks were counted");
        Some(Claim { table, n_cached })
    }

    /// Grows `table` to `n_positions` positions; all or nothing.
    pub(crate) fn grow(&mut self, table: &mut KvTable, n_positions: usize) -> bool {
        let n_more = n_positions.div_ceil(self.block_len).saturating_sub(table.blocks.len());
        if n_more > self.n_available() {
            return false;
        }
        for _ in 0..n_more {
            let block = self.take();
            table.blocks.push(block);
        }
        true
    }

    /// Notes that the first `n_computed` of `tokens` are in the table's blocks: full ones can be found from now on. A
    /// block whose content another sequence sealed first is given back for that one.
    pub(crate) fn seal(&mut self, table: &mut KvTable, tokens: &[TokenId], n_computed: usize) {
        while (table.n_sealed + 1) * self.block_len <= n_computed
            && let Some(parent) = table.parent.clone()
        {
            let idx = table.n_sealed;
            let tokens = tokens[idx * self.block_len..][..self.block_len].into();
            let key = Arc::new(Key { parent, tokens });
            let id = match self.sealed.get(&key) {
                Some(&twin) => {
                    self.hold(twin);
                    self.let_go(std::mem::replace(&mut table.blocks[idx], twin));
                    self.content_id(twin)
                }
                None => self.insert(table.blocks[idx], key),
            };
            table.parent = Some(Parent::Content(id));
            table.n_sealed += 1;
        }
    }

    /// Takes every block of a table back. `tokens[..n_computed]` are in them.
    pub(crate) fn release(&mut self, table: &mut KvTable, tokens: &[TokenId], n_computed: usize) {
        let KvTable { blocks, n_sealed, parent } = std::mem::take(table);
        let n_sealed_tokens = n_sealed * self.block_len;
        // Later blocks first: they are of no use without the earlier ones, so they are to be evicted first.
        for (idx, block) in blocks.into_iter().enumerate().rev() {
            if idx == n_sealed
                && n_computed > n_sealed_tokens
                && let Some(parent) = &parent
            {
                let tokens = tokens[n_sealed_tokens..n_computed].into();
                self.keep_tail(block, Key { parent: parent.clone(), tokens });
            }
            self.let_go(block);
        }
    }

    /// Forgets all content: the engine that held it is gone. Every table must have been released.
    pub(crate) fn forget_all(&mut self) {
        while let Some((_, block)) = self.idle.pop_first() {
            self.forget(block);
            self.free.push(block);
        }
        assert!(self.sealed.is_empty() && self.tails.is_empty(), "content of a lost engine is still held");
    }

    fn block(&self, block: BlockId) -> &Block {
        &self.blocks[block.index()]
    }

    fn content_id(&self, block: BlockId) -> ContentId {
        match self.block(block).content {
            Content::Sealed { id, .. } => id,
            Content::Undefined | Content::Tail { .. } => unreachable!("only sealed blocks are in the index"),
        }
    }

    /// The longest run of content that `tokens` begin with.
    fn find(&self, salt: &Salt, tokens: &[TokenId]) -> Match {
        let mut found = Match { blocks: Vec::new(), parent: Parent::Root(salt.clone()), tail: None };
        let mut rest = tokens;
        while rest.len() >= self.block_len {
            let (tokens, after) = rest.split_at(self.block_len);
            let key = Key { parent: found.parent.clone(), tokens: tokens.into() };
            let Some(&block) = self.sealed.get(&key) else { break };
            found.blocks.push(block);
            found.parent = Parent::Content(self.content_id(block));
            rest = after;
        }
        if let Some(&block) = self.tails.get(&found.parent)
            && let Content::Tail { key } = &self.block(block).content
        {
            let n_tokens = key.tokens.iter().zip(rest).take_while(|(a, b)| a == b).count();
            found.tail = (n_tokens > 0).then_some((block, n_tokens));
        }
        found
    }

    fn insert(&mut self, block: BlockId, key: Arc<Key>) -> ContentId {
        self.n_events += 1;
        let id = ContentId(self.n_events);
        self.blocks[block.index()].content = Content::Sealed { key: Arc::clone(&key), id };
        self.sealed.insert(key, block);
        id
    }

    /// Makes a block that is about to be let go the tail after its parent, in the place of an earlier one.
    fn keep_tail(&mut self, block: BlockId, key: Key) {
        if let Some(earlier) = self.tails.insert(key.parent.clone(), block) {
            let state = &mut self.blocks[earlier.index()];
            state.content = Content::Undefined;
            self.idle.remove(&state.idle_since);
            self.free.push(earlier);
        }
        self.blocks[block.index()].content = Content::Tail { key: Arc::new(key) };
    }

    fn hold(&mut self, block: BlockId) {
        let state = &mut self.blocks[block.index()];
        if state.n_holders == 0 {
            self.idle.remove(&state.idle_since);
        }
        state.n_holders += 1;
    }

    fn let_go(&mut self, block: BlockId) {
        let state = &mut self.blocks[block.index()];
        assert!(state.n_holders > 0, "a block was returned twice");
        state.n_holders -= 1;
        if state.n_holders > 0 {
            return;
        }
        if matches!(state.content, Content::Undefined) {
            self.free.push(block);
        } else {
            self.n_events += 1;
            state.idle_since = self.n_events;
            self.idle.insert(self.n_events, block);
        }
    }

    /// A block for one holder, evicting the longest idle if none is free.
    ///
    /// # Panics
    /// If there is none: the caller has counted.
    fn take(&mut self) -> BlockId {
        let block = self.free.pop().unwrap_or_else(|| {
            let (_, block) = self.idle.pop_first().expect("the caller has counted the available blocks");
            self.forget(block);
            self.n_evicted += 1;
            block
        });
        self.blocks[block.index()].n_holders = 1;
        block
    }

    /// Takes a block's content out of the indices.
    fn forget(&mut self, block: BlockId) {
        match std::mem::replace(&mut self.blocks[block.index()].content, Content::Undefined) {
            Content::Undefined => {}
            Content::Sealed { key, .. } => {
                self.sealed.remove(&key);
            }
            Content::Tail { key } => {
                self.tails.remove(&key.parent);
            }
        }
    }

    /// Checks that every block is in exactly one place.
    ///
    /// # Panics
    /// If one is lost, doubled, or held by another number of `tables` than it says.
    #[cfg(test)]
    pub(crate) fn check<'a>(&self, tables: impl Iterator<Item = &'a KvTable>) {
        let mut n_holders = vec![0; self.blocks.len()];
        for block in tables.flat_map(|table| &table.blocks) {
            n_holders[block.index()] += 1;
        }
        let n_held = n_holders.iter().filter(|n| **n > 0).count();
        assert_eq!(n_held + self.n_available(), self.blocks.len(), "a block is lost or doubled");
        for (block, n_holders) in self.blocks.iter().zip(n_holders) {
            assert_eq!(block.n_holders, n_holders, "a block's holders are miscounted");
        }
    }
}

#[cfg(test)]
mod tests;
