//! A replica whose iterations are counted, not carried out: a stretch with an unchanged batch is one step, and a sequence
//! that decodes is touched when it joins and when it ends.

mod admission;
mod slots;
mod underway;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
};

use super::{
    cache::{Cache, Hold},
    growth::Growth,
    request::{Progress, Reply, Request},
    shares::Shares,
    spec::ReplicaSpec,
    stretch::Stretch,
    totals::Totals,
};
use crate::iteration::{Affine, Batch, IterationTime, PS_PER_US};
use slots::{NEVER, NONE, Running, Slot, State};

/// See [`Replica`](super::Replica), whose methods these are.
pub(super) struct Fast {
    spec: ReplicaSpec,
    time: Arc<dyn IterationTime>,
    /// What iterations without prefill take, by the number of sequences; base 0 where nobody has asked yet.
    decode_times: Vec<Affine>,
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    /// First come, first served; preempted ones stand in front.
    waiting: VecDeque<u32>,
    /// How many of those have been dropped and still stand there.
    dropped: usize,
    /// Cancelled at a time, in order; heard of at the first boundary after it.
    cancels: VecDeque<(u64, u32, u32)>,
    running: Running,
    /// Decoding sequences by (iteration count at which they end, admission); those that left early are skipped.
    ends: BinaryHeap<Reverse<(u64, u64, u32)>>,
    /// The sequence whose prompt is cut: the last admitted, if any.
    partial: u32,
    /// The sequences that prefill in the iteration under way, in order of admission.
    prefilling: Vec<u32>,
    growth: Growth,
    cache: Cache,
    /// Tokens that decoding sequences hold, together.
    kv_tokens: u64,
    /// What they add to an iteration, together, and what prompts that end in the one that is planned add.
    extra_ps: u128,
    prompts_extra_ps: u128,
    /// Blocks that running sequences hold of their own at their ends, together.
    reserved: u64,
    /// The last boundary, and iterations until then.
    boundary_ps: u64,
    iteration: u64,
    admissions: u64,
    /// The stretch under way: `length` iterations that end at `end_ps`. A length of 0 waits for that time.
    underway: bool,
    stretch: Stretch,
    length: u64,
    end_ps: u64,
    /// Iterations of it whose blocks have been taken.
    settled: u64,
    /// Requests that arrived before this are seen.
    seen_ps: u64,
    /// When the request arrived that has woken it.
    woken_ps: u64,
    /// Whether the head of the queue can only be admitted after a change of the batch.
    blocked: bool,
    /// Iterations that prompts have been held back for since the last admission, and whether they are in this stretch.
    held_back: u32,
    holding: bool,
    outstanding: u32,
    outstanding_tokens: u64,
    /// Whose the time of iterations is.
    shares: Shares,
    totals: Totals,
    /// When blocks in use were last counted, and how many.
    mark: (u64, u32),
}

/// Microseconds, rounded up.
pub(super) fn us(ps: u64) -> u64 {
    ps.div_ceil(PS_PER_US)
}

impl Fast {
    pub fn new(spec: ReplicaSpec, time: Arc<dyn IterationTime>) -> Self {
        Self {
            decode_times: Vec::new(),
            slots: Vec::new(),
            vacant: Vec::new(),
            waiting: VecDeque::new(),
            dropped: 0,
            cancels: VecDeque::new(),
            running: Running::new(),
            ends: BinaryHeap::new(),
            partial: NONE,
            prefilling: Vec::new(),
            growth: Growth::new(spec.block_tokens),
            cache: Cache::new(spec.kv_blocks, spec.block_tokens),
            kv_tokens: 0,
            extra_ps: 0,
            prompts_extra_ps: 0,
            reserved: 0,
            boundary_ps: 0,
            iteration: 0,
            admissions: 0,
            underway: false,
            stretch: Stretch::default(),
            length: 0,
            end_ps: 0,
            settled: 0,
            seen_ps: 0,
            woken_ps: 0,
            blocked: false,
            held_back: 0,
            holding: false,
            outstanding: 0,
            outstanding_tokens: 0,
            shares: Shares::default(),
            totals: Totals::default(),
            mark: (0, 0),
            spec,
            time,
        }
    }

    pub fn start_at(&mut self, at_ps: u64) {
        self.boundary_ps = self.boundary_ps.max(at_ps);
    }

    pub fn submit(&mut self, now_ps: u64, request: Request) -> u64 {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot::vacant(request));
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        *slot = Slot { generation: slot.generation, state: State::Waiting, ..Slot::vacant(request) };
        (slot.arrival_ps, slot.since_ps, slot.goal) = (now_ps, now_ps, request.prompt_tokens);
        let key = u64::from(index) << 32 | u64::from(slot.generation);
        self.waiting.push_back(index);
        self.outstanding += 1;
        self.outstanding_tokens += request.tokens();
        if !self.underway {
            self.wake(now_ps);
        } else if self.may_admit() {
            self.cut(now_ps);
        }
        key
    }

    pub fn cancel(&mut self, now_ps: u64, key: u64) -> Option<Progress> {
        let (index, generation) = ((key >> 32) as u32, key as u32);
        let slot = self.slots.get(index as usize)?;
        if slot.generation != generation || slot.silent || slot.state == State::Vacant {
            return None;
        }
        let progress = self.progress(index, now_ps);
        self.slots[index as usize].silent = true;
        self.outstanding -= 1;
        self.outstanding_tokens -= self.slots[index as usize].request.tokens();
        self.cancels.push_back((now_ps, index, generation));
        self.cut(now_ps);
        Some(progress)
    }

    pub fn next_ps(&self) -> Option<u64> {
        self.underway.then_some(self.end_ps)
    }

    pub fn advance(&mut self, now_ps: u64, out: &mut Vec<Reply>) {
        while self.underway && self.end_ps <= now_ps {
            self.boundary(out);
        }
    }

    /// Goes down: what is outstanding fails, in order of arrival, and the cache is lost.
    pub fn reset(&mut self, now_ps: u64, out: &mut Vec<Reply>) {
        let mut lost: Vec<u32> =
            (0..self.slots.len() as u32).filter(|i| self.slots[*i as usize].is_outstanding()).collect();
        lost.sort_by_key(|i| (self.slots[*i as usize].arrival_ps, self.slots[*i as usize].request.id));
        for index in lost {
            let progress = self.progress(index, now_ps);
            let slot = &self.slots[index as usize];
            let passed = u128::from(now_ps.saturating_sub(slot.since_ps));
            match slot.state {
                State::Running => self.totals.running_ps += passed,
                _ => self.totals.waiting_ps += passed,
            }
            out.push(Reply::Failed { id: slot.request.id, at_us: us(now_ps), progress });
        }
        if self.underway && self.length > 0 {
            let whole = self.iterations_until(now_ps) - self.iteration;
            self.totals.iterations += whole;
            self.totals.busy_ps += u128::from(now_ps - self.boundary_ps);
            self.totals.output_tokens += whole * u64::from(self.growth.sequences());
            self.take_until(whole + 1);
        }
        let used = self.cache.used();
        self.totals.peak_blocks = self.totals.peak_blocks.max(used);
        self.totals.twice_block_ps += u128::from(now_ps.saturating_sub(self.mark.0)) * u128::from(self.mark.1 + used);
        let totals = self.totals;
        let generations: Vec<u32> = self.slots.iter().map(|slot| slot.generation + 1).collect();
        let mut fresh = Self::new(self.spec.clone(), self.time.clone());
        std::mem::swap(&mut fresh.slots, &mut self.slots);
        for (slot, generation) in fresh.slots.iter_mut().zip(generations) {
            (slot.state, slot.generation) = (State::Vacant, generation);
        }
        fresh.vacant = (0..fresh.slots.len() as u32).rev().collect();
        fresh.totals = totals;
        fresh.boundary_ps = now_ps;
        fresh.mark = (now_ps, 0);
        *self = fresh;
    }

    pub fn outstanding(&self) -> u32 {
        self.outstanding
    }

    pub fn outstanding_tokens(&self) -> u64 {
        self.outstanding_tokens
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Takes the blocks of the first `iterations` of the stretch under way, those that have been taken excepted.
    fn take_until(&mut self, iterations: u64) {
        let blocks = self.growth.blocks(self.settled, iterations - self.settled);
        self.cache.take(blocks as u32);
        self.settled = iterations;
    }

    /// Takes the blocks of all iterations that have begun by `now_ps`, so that the cache is as it is then. Otherwise they are
    /// taken when the stretch ends, before the cache is next looked at from inside.
    pub fn settle(&mut self, now_ps: u64) {
        if self.underway && self.length > 0 {
            let begun = (self.iterations_until(now_ps) - self.iteration + 1).min(self.length);
            self.take_until(begun.max(self.settled));
        }
    }

    /// Wakes an idle replica.
    fn wake(&mut self, at_ps: u64) {
        self.underway = true;
        self.length = 0;
        self.woken_ps = at_ps;
        self.end_ps = at_ps.max(self.boundary_ps);
    }

    /// Whether a request that arrives now could change the batch at the next boundary.
    fn may_admit(&self) -> bool {
        !self.blocked
            && self.length > 1
            && self.running.count < self.spec.max_num_seqs
            && self.growth.sequences() < self.spec.max_num_batched_tokens
    }

    /// Ends the stretch under way at its first boundary after `at_ps`.
    fn cut(&mut self, at_ps: u64) {
        if self.underway && self.length > 1 && at_ps < self.end_ps {
            self.length = self.stretch.reaching(at_ps.saturating_sub(self.boundary_ps) + 1, self.length);
            self.end_ps = self.boundary_ps.saturating_add(self.stretch.total_ps(self.length));
        }
    }

    /// What happens between the stretch that ends and the next.
    fn boundary(&mut self, out: &mut Vec<Reply>) {
        let length = self.length;
        if length > 0 {
            let decodes = u64::from(self.growth.sequences());
            self.totals.iterations += length;
            self.totals.busy_ps += u128::from(self.end_ps - self.boundary_ps);
            self.shares.pass(self.end_ps - self.boundary_ps);
            self.totals.output_tokens += decodes * length;
            self.kv_tokens += decodes * length;
            self.take_until(length);
            self.growth.advance(length);
            self.iteration += length;
            if self.holding {
                self.held_back += (length - 1) as u32;
            }
        }
        let last_ps = self.boundary_ps.saturating_add(self.stretch.total_ps(length.saturating_sub(1)));
        self.boundary_ps = self.end_ps;
        let at_once = length == 0 && self.woken_ps == self.boundary_ps;
        self.seen_ps = if self.spec.schedules_ahead && length > 0 {
            last_ps
        } else {
            self.boundary_ps.saturating_add(u64::from(at_once))
        };
        let used = self.cache.used();
        self.totals.peak_blocks = self.totals.peak_blocks.max(used);

        let mut changed = !self.prefilling.is_empty();
        while let Some(&Reverse((end, admission, index))) = self.ends.peek() {
            if end > self.iteration {
                break;
            }
            self.ends.pop();
            if self.decodes(index, admission) {
                self.finish(index, out);
                changed = true;
            }
        }
        let mut prefilling = std::mem::take(&mut self.prefilling);
        for index in prefilling.drain(..) {
            if self.slots[index as usize].computed == self.slots[index as usize].goal {
                self.prefilled(index, out);
            }
        }
        self.prefilling = prefilling;
        while let Some(&(at_ps, index, generation)) = self.cancels.front()
            && at_ps < self.boundary_ps
        {
            self.cancels.pop_front();
            changed |= self.drop_cancelled(index, generation);
        }
        changed |= self.plan();
        self.shares.set(self.running.count);
        if changed {
            let (since_ps, before) = self.mark;
            self.totals.twice_block_ps += u128::from(self.boundary_ps - since_ps) * u128::from(before + used);
            self.mark = (self.boundary_ps, self.cache.used());
        }
    }

    fn decodes(&self, index: u32, admission: u64) -> bool {
        let slot = &self.slots[index as usize];
        slot.state == State::Running && slot.decoding && slot.admission == admission
    }

    /// A prompt is computed: its sequence has its first token, or the first after a preemption.
    fn prefilled(&mut self, index: u32, out: &mut Vec<Reply>) {
        let (iteration, boundary_ps) = (self.iteration, self.boundary_ps);
        let slot = &mut self.slots[index as usize];
        if slot.first_ps == NEVER {
            slot.first_ps = boundary_ps;
        }
        if slot.request.output_tokens > 0 {
            slot.generated += 1;
            self.totals.output_tokens += 1;
        }
        if slot.generated == slot.request.output_tokens {
            self.finish(index, out);
            return;
        }
        (slot.decoding, slot.joined) = (true, iteration);
        let end = iteration + u64::from(slot.request.output_tokens - slot.generated);
        self.ends.push(Reverse((end, slot.admission, index)));
        self.kv_tokens += u64::from(slot.computed);
        self.extra_ps += u128::from(slot.request.extra.next_ps);
        self.growth.join(slot.computed);
    }

    fn finish(&mut self, index: u32, out: &mut Vec<Reply>) {
        self.stop(index, true);
        let slot = &self.slots[index as usize];
        if !slot.silent {
            self.totals.completed += 1;
            self.outstanding -= 1;
            self.outstanding_tokens -= slot.request.tokens();
            out.push(Reply::Done {
                id: slot.request.id,
                at_us: us(self.boundary_ps),
                start_us: us(slot.start_ps),
                first_us: us(slot.first_ps),
                cached_tokens: slot.cached_tokens,
                preemptions: slot.preemptions,
                busy_ps: slot.busy_ps,
            });
        }
        self.vacate(index);
    }

    fn vacate(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.state = State::Vacant;
        slot.generation = slot.generation.wrapping_add(1);
        self.vacant.push(index);
    }

    /// Whether a request that was cancelled was still running.
    fn drop_cancelled(&mut self, index: u32, generation: u32) -> bool {
        if self.slots[index as usize].generation != generation {
            return false;
        }
        match self.slots[index as usize].state {
            State::Running => {
                self.stop(index, false);
                self.vacate(index);
                true
            }
            State::Waiting => {
                let slot = &mut self.slots[index as usize];
                slot.state = State::Dropped;
                self.dropped += 1;
                self.totals.waiting_ps += u128::from(self.boundary_ps - slot.since_ps);
                false
            }
            State::Vacant | State::Dropped => false,
        }
    }

    /// Takes a running sequence out of the batch and its blocks from it.
    fn stop(&mut self, index: u32, done: bool) {
        self.running.remove(&mut self.slots, index);
        let (boundary_ps, shared_ps) = (self.boundary_ps, self.shares.after(0));
        let slot = &mut self.slots[index as usize];
        slot.busy_ps += shared_ps - slot.shared_ps;
        self.totals.running_ps += u128::from(boundary_ps - slot.since_ps);
        if slot.decoding {
            let passed = (self.iteration - slot.joined) as u32;
            slot.computed += passed;
            slot.generated += passed;
            slot.decoding = false;
            self.kv_tokens -= u64::from(slot.computed);
            self.extra_ps -= u128::from(slot.request.extra.next_ps);
            self.growth.leave(slot.computed);
        } else if self.partial == index {
            self.partial = NONE;
        }
        let total = self.spec.blocks(slot.request.cached_at_end());
        self.reserved -= u64::from(total - slot.hold.blocks());
        let blocks = self.spec.blocks(slot.computed);
        self.cache.release(&slot.request, slot.hold, blocks, slot.computed, done);
        slot.hold = Hold::EMPTY;
    }

    /// Schedules the next iteration, and finds how many more pass with the same batch. Returns whether the batch has changed.
    fn plan(&mut self) -> bool {
        let (chunk, preempted) = self.schedule_running();
        let mut batch = Batch { decodes: self.growth.sequences(), ..Batch::default() };
        self.prompts_extra_ps = 0;
        let mut budget = self.spec.max_num_batched_tokens - batch.decodes;
        if chunk > 0 {
            budget -= chunk;
            self.compute(self.partial, chunk, &mut batch);
        }
        let admitted = self.admissions;
        let mut next_arrival = NEVER;
        (self.blocked, self.holding) = (preempted, false);
        if !preempted {
            next_arrival = self.admit(budget, &mut batch);
        }
        let changed = preempted || self.admissions != admitted || batch.chunks > 0;
        if self.running.count == 0 {
            self.underway = false;
            if next_arrival != NEVER {
                self.wake(next_arrival);
            }
            return changed;
        }
        self.underway = true;
        let affine = self.affine(&batch).and(self.extra_ps + self.prompts_extra_ps);
        self.stretch = Stretch {
            first_ps: affine.base_ps.saturating_add(affine.per_kv_token_ps.saturating_mul(self.kv_tokens)),
            step_ps: affine.per_kv_token_ps.saturating_mul(u64::from(batch.decodes)),
        };
        self.settled = 1;
        self.length = if batch.chunks > 0 || preempted { 1 } else { self.steady() };
        self.end_ps = self.boundary_ps.saturating_add(self.stretch.total_ps(self.length));
        if next_arrival != NEVER {
            self.cut(next_arrival);
        }
        if let Some((at_ps, ..)) = self.cancels.front() {
            self.cut(*at_ps);
        }
        changed
    }

    fn affine(&mut self, batch: &Batch) -> Affine {
        if batch.chunks > 0 {
            return self.time.affine(batch);
        }
        let index = batch.decodes as usize;
        if self.decode_times.len() <= index {
            self.decode_times.resize(index + 1, Affine::default());
        }
        if self.decode_times[index].base_ps == 0 {
            let affine = self.time.affine(batch);
            self.decode_times[index] = Affine { base_ps: affine.base_ps.max(1), ..affine };
        }
        self.decode_times[index]
    }

    /// How many iterations pass, from the next one on, before a sequence ends, a block is missing or waiting is over.
    fn steady(&mut self) -> u64 {
        while let Some(&Reverse((end, admission, index))) = self.ends.peek() {
            if self.decodes(index, admission) {
                let most = end - self.iteration;
                let most = match self.spec.prefill_wait {
                    Some(wait) if self.holding => most.min(u64::from(wait.iterations - self.held_back) + 1),
                    _ => most,
                };
                return 1 + self.growth.fitting(most - 1, self.cache.free());
            }
            self.ends.pop();
        }
        1
    }

    /// Gives those that decode the blocks that their next tokens need, preempting the last admitted where there are none, and
    /// sees whether the prompt that is cut can go on. Returns its tokens, and whether anybody was preempted.
    ///
    /// In the order in which a loop over the sequences does it: what is free is taken before anybody is preempted, because
    /// which prefixes are lost depends on it.
    fn schedule_running(&mut self) -> (u32, bool) {
        let (mut taken, mut preempted) = (0, false);
        loop {
            let (needed, free) = (self.growth.next() - taken, self.cache.free());
            self.cache.take(needed.min(free));
            if needed <= free {
                break;
            }
            taken += free;
            self.preempt(self.running.tail);
            preempted = true;
        }
        if self.partial == NONE {
            return (0, preempted);
        }
        let slot = &self.slots[self.partial as usize];
        let chunk = (slot.goal - slot.computed).min(self.spec.max_num_batched_tokens - self.growth.sequences());
        if self.spec.blocks(slot.computed + chunk) - self.spec.blocks(slot.computed) > self.cache.free() {
            self.preempt(self.partial);
            return (0, true);
        }
        (chunk, preempted)
    }

    fn preempt(&mut self, index: u32) {
        self.stop(index, false);
        let slot = &mut self.slots[index as usize];
        slot.state = State::Waiting;
        slot.since_ps = self.boundary_ps;
        slot.goal = slot.request.prompt_tokens + slot.generated;
        slot.computed = 0;
        slot.preemptions += 1;
        self.totals.preemptions += 1;
        self.waiting.push_front(index);
    }

    /// The next `chunk` tokens of a prompt are computed in the iteration that is planned.
    fn compute(&mut self, index: u32, chunk: u32, batch: &mut Batch) {
        let slot = &mut self.slots[index as usize];
        let (there, size) = (u64::from(slot.computed), u64::from(chunk));
        self.cache.take(self.spec.blocks(slot.computed + chunk) - self.spec.blocks(slot.computed));
        slot.computed += chunk;
        let shared = slot.hold.blocks();
        self.cache.share(&slot.request, &mut slot.hold, slot.computed);
        self.reserved -= u64::from(slot.hold.blocks() - shared);
        batch.chunks += 1;
        batch.chunk_tokens += chunk;
        batch.chunk_pairs += size * there + size * (size + 1) / 2;
        batch.chunk_history += there;
        if slot.computed == slot.goal {
            self.prompts_extra_ps += u128::from(slot.request.extra.after(slot.generated));
        }
        self.totals.prefill_tokens += size;
        self.partial = if slot.computed < slot.goal { index } else { NONE };
        self.prefilling.push(index);
    }
}
