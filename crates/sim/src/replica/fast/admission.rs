//! Who of those that wait comes into the next iteration.

use super::{
    Fast,
    slots::{NEVER, State},
};
use crate::{
    iteration::Batch,
    replica::{
        cache::Hold,
        spec::{PrefillWait, Reserve},
    },
};

impl Fast {
    /// Requests that stand in the queue.
    pub fn queued(&self) -> usize {
        self.waiting.len() - self.dropped
    }

    /// Those that were seen at the last boundary until `now_ps`: what only waits for the iteration to end is not counted.
    pub fn waiting(&self, now_ps: u64) -> usize {
        let ended = if self.length > 0 { self.iterations_until(now_ps) - self.iteration } else { 0 };
        let ahead = u64::from(self.spec.schedules_ahead);
        let seen_ps = match ended {
            0 => self.seen_ps,
            ended => self.boundary_ps.saturating_add(self.stretch.total_ps(ended - ahead)),
        };
        let slots = self.waiting.iter().rev().map(|index| &self.slots[*index as usize]);
        let to_come = slots.take_while(|slot| slot.arrival_ps >= seen_ps).filter(|slot| slot.state != State::Dropped);
        self.queued() - to_come.count()
    }

    /// Admits waiting requests in order. Returns when the first of those arrives that are still to come, or `NEVER`.
    pub(super) fn admit(&mut self, mut budget: u32, batch: &mut Batch) -> u64 {
        let mut admitted = false;
        while let Some(&index) = self.waiting.front() {
            let slot = &self.slots[index as usize];
            if slot.state == State::Dropped {
                self.waiting.pop_front();
                self.dropped -= 1;
                self.vacate(index);
                continue;
            }
            if slot.arrival_ps >= self.seen_ps {
                return slot.arrival_ps;
            }
            if budget == 0 || self.running.count == self.spec.max_num_seqs {
                self.blocked = true;
                return NEVER;
            }
            if !admitted && batch.chunks == 0 && self.holds_back(batch.decodes) {
                self.holding = true;
                self.held_back += 1;
                return self.first_to_come();
            }
            let Some((found, chunk)) = self.admissible(index, budget) else {
                self.blocked = true;
                return NEVER;
            };
            admitted = true;
            self.held_back = 0;
            self.waiting.pop_front();
            self.start(index, found);
            budget -= chunk;
            self.compute(index, chunk, batch);
        }
        NEVER
    }

    /// What the head of the queue finds in the cache and computes first, if it can be admitted now.
    fn admissible(&self, index: u32, budget: u32) -> Option<(Hold, u32)> {
        let slot = &self.slots[index as usize];
        let found = self.cache.find(&slot.request, slot.goal);
        let there = found.blocks() * self.spec.block_tokens;
        let rest = slot.goal - there;
        let alone = rest > self.spec.max_num_batched_tokens && self.running.count == 0;
        if rest > budget && !self.spec.chunked_prefill && !alone {
            return None;
        }
        let chunk = rest.min(budget);
        let first = self.spec.blocks(there + chunk) - found.blocks();
        let needed = match self.spec.reserve {
            Reserve::Chunk => first,
            Reserve::Prompt => self.spec.blocks(slot.goal) - found.blocks(),
            Reserve::Sequence => {
                let own = self.spec.blocks(slot.request.cached_at_end()) - found.blocks();
                let all = self.reserved + u64::from(self.cache.held() + self.cache.unheld(&found) + own);
                if all > u64::from(self.spec.kv_blocks) {
                    return None;
                }
                first
            }
        };
        let watermark = if self.running.count > 0 { self.spec.watermark_blocks } else { 0 };
        let needed = u64::from(needed) + u64::from(self.cache.unheld(&found)) + u64::from(watermark);
        (needed <= u64::from(self.cache.free())).then_some((found, chunk))
    }

    fn start(&mut self, index: u32, found: Hold) {
        let (boundary_ps, shared_ps) = (self.boundary_ps, self.shares.after(0));
        self.running.push(&mut self.slots, index);
        self.admissions += 1;
        let slot = &mut self.slots[index as usize];
        let there = found.blocks() * self.spec.block_tokens;
        slot.hold = self.cache.hold(&slot.request, found);
        slot.state = State::Running;
        slot.admission = self.admissions;
        slot.computed = there;
        self.totals.admissions += 1;
        self.totals.cached_tokens += u64::from(there);
        self.totals.waiting_ps += u128::from(boundary_ps - slot.since_ps);
        (slot.since_ps, slot.shared_ps) = (boundary_ps, shared_ps);
        if slot.start_ps == NEVER {
            slot.start_ps = boundary_ps;
            slot.cached_tokens = there;
        }
        self.reserved += u64::from(self.spec.blocks(slot.request.cached_at_end()) - found.blocks());
    }

    /// Whether those who wait wait on for others to join them.
    fn holds_back(&self, decodes: u32) -> bool {
        let Some(PrefillWait { iterations, tokens }) = self.spec.prefill_wait else { return false };
        if decodes == 0 || self.held_back >= iterations {
            return false;
        }
        let mut gathered = u64::from(decodes);
        for index in &self.waiting {
            let slot = &self.slots[*index as usize];
            if slot.arrival_ps >= self.seen_ps || gathered >= u64::from(tokens) {
                break;
            }
            if slot.state == State::Waiting {
                gathered += u64::from(slot.goal);
            }
        }
        gathered < u64::from(tokens)
    }

    /// When the first request arrives that has not arrived yet, or `NEVER`.
    fn first_to_come(&self) -> u64 {
        let arrivals = self.waiting.iter().rev().map(|index| self.slots[*index as usize].arrival_ps);
        arrivals.take_while(|at| *at >= self.seen_ps).last().unwrap_or(NEVER)
    }
}
