//! The KV cache's blocks: which are free, which hold prefixes that can be used again, and whose turn it is to go.
//!
//! As in vLLM's block pool, free blocks stand in one queue, oldest first, whether or not they hold something useful; what a
//! request needs is taken from its head and what it leaves goes to its tail, its last blocks first. Runs of blocks stand
//! there as one segment.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

use super::request::Request;

const NONE: u32 = u32::MAX;

/// Blocks of the cache.
#[derive(Debug)]
pub(super) struct Cache {
    blocks: u32,
    block_tokens: u32,
    free: u32,
    /// Blocks of prefixes that running requests hold.
    held: u32,
    queue: VecDeque<Segment>,
    stamp: u64,
    entries: Vec<Entry>,
    vacant: Vec<u32>,
    /// Looked up by id only: its order is never seen.
    by_id: HashMap<u64, u32, BuildHasherDefault<Mix>>,
}

/// Free blocks next to each other in the queue.
#[derive(Debug, Clone, Copy)]
struct Segment {
    /// The prefix that they hold, or `NONE`.
    entry: u32,
    blocks: u32,
    /// Equal to its entry's while it counts; requests that use a prefix again leave its segment behind.
    stamp: u64,
}

/// Blocks of a prefix, from its first block to the last that is there.
#[derive(Debug)]
struct Entry {
    id: u64,
    cached: u32,
    /// How many of these, from the first, running requests hold: the most that one of them does.
    held: u32,
    /// How many blocks running requests hold, and how many of them hold as many; mostly one pair.
    holders: Vec<(u32, u32)>,
    /// That of its segment of free blocks; 0 without one.
    stamp: u64,
    /// Blocks before its first, and the prefix that those belong to: a session after a system prompt.
    base: u32,
    under: Option<u64>,
}

/// Blocks that a request shares: `first` of its prefix, then `second` of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    first: Level,
    second: Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Level {
    entry: u32,
    blocks: u32,
}

impl Level {
    const EMPTY: Self = Self { entry: NONE, blocks: 0 };
}

impl Hold {
    pub const EMPTY: Self = Self { first: Level::EMPTY, second: Level::EMPTY };

    /// Blocks that are shared.
    pub fn blocks(&self) -> u32 {
        self.first.blocks + self.second.blocks
    }
}

impl Cache {
    pub fn new(blocks: u32, block_tokens: u32) -> Self {
        let mut queue = VecDeque::with_capacity(64);
        queue.push_back(Segment { entry: NONE, blocks, stamp: 0 });
        Self {
            blocks,
            block_tokens,
            free: blocks,
            held: 0,
            queue,
            stamp: 0,
            entries: Vec::new(),
            vacant: Vec::new(),
            by_id: HashMap::default(),
        }
    }

    /// Blocks that can be taken, those with unused prefixes among them.
    pub fn free(&self) -> u32 {
        self.free
    }

    /// Blocks that running requests hold.
    pub fn used(&self) -> u32 {
        self.blocks - self.free
    }

    /// Blocks of prefixes that running requests hold, each counted once.
    pub fn held(&self) -> u32 {
        self.held
    }

    /// Blocks of `id` that are there.
    #[cfg(test)]
    pub fn cached(&self, id: u64) -> u32 {
        self.by_id.get(&id).map_or(0, |e| self.entries[*e as usize].cached)
    }

    /// What of `request`, whose first `tokens` are to be computed, is there. The last token is always computed, and with it
    /// its block, because its logits are wanted.
    pub fn find(&self, request: &Request, tokens: u32) -> Hold {
        if request.prefix.is_none() && request.session.is_none() {
            return Hold::EMPTY;
        }
        let limit = tokens.saturating_sub(1) / self.block_tokens;
        let base = self.base(request);
        let first = request.prefix.map_or(Level::EMPTY, |prefix| self.level(prefix.id, 0, None, base.min(limit)));
        let second = match request.session {
            Some(session) if first.blocks == base => {
                let most = (session.tokens / self.block_tokens).min(limit).saturating_sub(base);
                self.level(session.id, base, request.prefix.map(|p| p.id), most)
            }
            _ => Level::EMPTY,
        };
        Hold { first, second }
    }

    /// Whole blocks of the prefix, which a session's come after.
    fn base(&self, request: &Request) -> u32 {
        request.prefix.map_or(0, |prefix| prefix.tokens.min(request.prompt_tokens) / self.block_tokens)
    }

    fn level(&self, id: u64, base: u32, under: Option<u64>, most: u32) -> Level {
        match self.by_id.get(&id) {
            Some(&entry) if self.entries[entry as usize].fits(base, under) => {
                Level { entry, blocks: self.entries[entry as usize].cached.min(most) }
            }
            _ => Level::EMPTY,
        }
    }

    /// How many of the blocks that were found are among the free ones.
    pub fn unheld(&self, hold: &Hold) -> u32 {
        [hold.first, hold.second]
            .iter()
            .filter(|level| level.entry != NONE)
            .map(|level| level.blocks.saturating_sub(self.entries[level.entry as usize].held))
            .sum()
    }

    /// Holds what was found for a request that is admitted, which from here on adds to its prefix what it computes.
    pub fn hold(&mut self, request: &Request, found: Hold) -> Hold {
        if request.prefix.is_none() && request.session.is_none() {
            return found;
        }
        let base = self.base(request);
        let first = match request.prefix {
            Some(prefix) => self.hold_level(prefix.id, 0, None, found.first.blocks),
            None => Level::EMPTY,
        };
        let second = match request.session {
            Some(session) => self.hold_level(session.id, base, request.prefix.map(|p| p.id), found.second.blocks),
            None => Level::EMPTY,
        };
        Hold { first, second }
    }

    fn hold_level(&mut self, id: u64, base: u32, under: Option<u64>, blocks: u32) -> Level {
        let index = match self.by_id.get(&id) {
            Some(&index) if self.entries[index as usize].fits(base, under) => index,
            Some(_) => return Level::EMPTY,
            None => self.insert(id, base, under),
        };
        let entry = &mut self.entries[index as usize];
        entry.add_holder(blocks);
        if blocks > entry.held {
            self.free -= blocks - entry.held;
            self.held += blocks - entry.held;
            entry.held = blocks;
            self.queue_free(index);
        }
        Level { entry: index, blocks }
    }

    fn insert(&mut self, id: u64, base: u32, under: Option<u64>) -> u32 {
        let index = if let Some(index) = self.vacant.pop() {
            let entry = &mut self.entries[index as usize];
            (entry.id, entry.base, entry.under) = (id, base, under);
            index
        } else {
            self.entries.push(Entry { id, cached: 0, held: 0, holders: Vec::new(), stamp: 0, base, under });
            self.entries.len() as u32 - 1
        };
        self.by_id.insert(id, index);
        index
    }

    /// Puts what nobody holds of an entry to the tail of the queue, in place of where it was.
    fn queue_free(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        let blocks = entry.cached - entry.held;
        if entry.stamp != 0 && self.queue.back().is_some_and(|last| last.stamp == entry.stamp) {
            self.queue.pop_back();
        }
        entry.stamp = 0;
        if blocks > 0 {
            self.stamp += 1;
            entry.stamp = self.stamp;
            self.queue.push_back(Segment { entry: index, blocks, stamp: self.stamp });
        }
    }

    /// Takes free blocks, the oldest first; prefixes that these held are gone.
    pub fn take(&mut self, blocks: u32) {
        debug_assert!(blocks <= self.free);
        self.free -= blocks;
        let mut rest = blocks;
        while rest > 0 {
            let Some(head) = self.queue.front_mut() else { return };
            let taken = if head.entry == NONE {
                head.blocks.min(rest)
            } else {
                let entry = &mut self.entries[head.entry as usize];
                if entry.stamp == head.stamp {
                    let taken = head.blocks.min(rest);
                    entry.cached -= taken;
                    taken
                } else {
                    head.blocks = 0;
                    0
                }
            };
            rest -= taken;
            head.blocks -= taken;
            if head.blocks == 0 {
                let (index, stamp) = (head.entry, head.stamp);
                self.queue.pop_front();
                if index != NONE && self.entries[index as usize].stamp == stamp {
                    self.entries[index as usize].stamp = 0;
                    self.forget_if_empty(index);
                }
            }
        }
    }

    fn forget_if_empty(&mut self, index: u32) {
        let entry = &self.entries[index as usize];
        if entry.cached == 0 && entry.holders.is_empty() {
            self.by_id.remove(&entry.id);
            self.vacant.push(index);
        }
    }

    /// The first `tokens` of a request are computed, or about to be in this very iteration: whole blocks of its prefix and
    /// session that others lack are shared from here on.
    pub fn share(&mut self, request: &Request, hold: &mut Hold, tokens: u32) {
        let computed = tokens / self.block_tokens;
        let base = self.base(request);
        if hold.first.entry != NONE {
            self.grow(&mut hold.first, base.min(computed));
        }
        if let Some(session) = request.session
            && hold.second.entry != NONE
            && hold.first.blocks == base
        {
            let goal = (session.tokens.min(request.prompt_tokens) / self.block_tokens).min(computed);
            self.grow(&mut hold.second, goal.saturating_sub(base));
        }
    }

    /// Adds to an entry the blocks up to `goal` of a request that holds all of it.
    fn grow(&mut self, level: &mut Level, goal: u32) {
        let entry = &mut self.entries[level.entry as usize];
        if level.blocks == entry.cached && goal > level.blocks {
            self.held += goal - level.blocks;
            entry.cached = goal;
            entry.held = goal;
            entry.remove_holder(level.blocks);
            entry.add_holder(goal);
            level.blocks = goal;
        }
    }

    /// A request that holds `blocks` in all, shared ones among them, leaves. Its whole blocks, `tokens` long, stay under
    /// `request.keep`, if it is `done`.
    pub fn release(&mut self, request: &Request, mut hold: Hold, blocks: u32, tokens: u32, done: bool) {
        let kept = match request.keep {
            Some(id) if done => self.keep(request, &mut hold, id, tokens / self.block_tokens),
            _ => Level::EMPTY,
        };
        self.discard(blocks - hold.blocks() - kept.blocks);
        if kept.entry != NONE {
            self.free += kept.blocks;
            self.queue_free(kept.entry);
            self.forget_if_empty(kept.entry);
        }
        self.leave(hold.second);
        self.leave(hold.first);
    }

    /// Keeps `computed` whole blocks under `id`: added to what the request holds under it, or as an entry of its own.
    fn keep(&mut self, request: &Request, hold: &mut Hold, id: u64, computed: u32) -> Level {
        let base = self.base(request);
        let names = |level: Level, entries: &[Entry]| level.entry != NONE && entries[level.entry as usize].id == id;
        if names(hold.first, &self.entries) {
            if hold.second.blocks == 0 {
                self.grow(&mut hold.first, computed);
            }
            return Level::EMPTY;
        }
        if names(hold.second, &self.entries) {
            if hold.first.blocks == base {
                self.grow(&mut hold.second, computed.saturating_sub(base));
            }
            return Level::EMPTY;
        }
        let blocks = computed.saturating_sub(base);
        if hold.second.blocks > 0 || blocks == 0 {
            return Level::EMPTY;
        }
        let under = request.prefix.map(|prefix| prefix.id);
        let index = match self.by_id.get(&id) {
            Some(&index) if !self.entries[index as usize].holders.is_empty() => return Level::EMPTY,
            Some(&index) => {
                let entry = &mut self.entries[index as usize];
                let stale = std::mem::take(&mut entry.cached);
                (entry.stamp, entry.base, entry.under) = (0, base, under);
                self.free -= stale;
                self.discard(stale);
                index
            }
            None => self.insert(id, base, under),
        };
        self.entries[index as usize].cached = blocks;
        Level { entry: index, blocks }
    }

    /// Blocks that hold nothing that can be used again.
    fn discard(&mut self, blocks: u32) {
        if blocks == 0 {
            return;
        }
        self.free += blocks;
        match self.queue.back_mut() {
            Some(last) if last.entry == NONE => last.blocks += blocks,
            _ => self.queue.push_back(Segment { entry: NONE, blocks, stamp: 0 }),
        }
    }

    fn leave(&mut self, level: Level) {
        if level.entry == NONE {
            return;
        }
        let entry = &mut self.entries[level.entry as usize];
        entry.remove_holder(level.blocks);
        if level.blocks == entry.held {
            let held = entry.holders.iter().map(|(blocks, _)| *blocks).max().unwrap_or(0);
            let freed = std::mem::replace(&mut entry.held, held) - held;
            self.free += freed;
            self.held -= freed;
            if freed > 0 {
                self.queue_free(level.entry);
            }
        }
        self.forget_if_empty(level.entry);
    }
}

impl Entry {
    fn fits(&self, base: u32, under: Option<u64>) -> bool {
        self.base == base && self.under == under
    }

    fn add_holder(&mut self, blocks: u32) {
        match self.holders.iter_mut().find(|(held, _)| *held == blocks) {
            Some((_, count)) => *count += 1,
            None => self.holders.push((blocks, 1)),
        }
    }

    fn remove_holder(&mut self, blocks: u32) {
        if let Some(index) = self.holders.iter().position(|(held, _)| *held == blocks) {
            self.holders[index].1 -= 1;
            if self.holders[index].1 == 0 {
                self.holders.swap_remove(index);
            }
        }
    }
}

/// Ids are the program's own, often small and consecutive: one multiplication spreads them.
#[derive(Debug, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}
