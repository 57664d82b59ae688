//! A replica that carries out each iteration and touches each sequence: the scheduler's loop as it stands in vLLM v1
//! (`vllm/v1/core/sched/scheduler.py`, `schedule` and `update_from_output`), to prove the closed form by.

use std::{collections::VecDeque, sync::Arc};

use super::{
    cache::{Cache, Hold},
    fast::us,
    request::{Progress, Reply, Request},
    shares::Shares,
    spec::{ReplicaSpec, Reserve},
    totals::Totals,
};
use crate::iteration::{Batch, IterationTime};

/// See [`Replica`](super::Replica), whose methods these are.
pub(super) struct Stepwise {
    spec: ReplicaSpec,
    time: Arc<dyn IterationTime>,
    waiting: VecDeque<Sequence>,
    /// In order of admission.
    running: Vec<Sequence>,
    cancels: VecDeque<(u64, u64)>,
    cache: Cache,
    boundary_ps: u64,
    /// Requests that arrived before this are seen.
    seen_ps: u64,
    /// When the request arrived that has woken it.
    woken_ps: u64,
    /// The end of the iteration under way; with nothing running, when it wakes.
    end_ps: Option<u64>,
    held_back: u32,
    keys: u64,
    shares: Shares,
    totals: Totals,
    mark: (u64, u32),
}

#[derive(Debug)]
struct Sequence {
    request: Request,
    key: u64,
    silent: bool,
    arrival_ps: u64,
    since_ps: u64,
    start_ps: Option<u64>,
    first_ps: Option<u64>,
    computed: u32,
    generated: u32,
    /// Whether it has generated a token since it was admitted.
    decoding: bool,
    /// Tokens that the iteration under way computes of it.
    scheduled: u32,
    hold: Hold,
    cached_tokens: u32,
    preemptions: u32,
    /// Its share of the replica's time until it was last admitted, and what that of all was then.
    busy_ps: u64,
    shared_ps: u64,
}

impl Sequence {
    fn tokens(&self) -> u32 {
        self.request.prompt_tokens + self.generated
    }

    /// What it has, if it has had `busy_ps` of the replica's time.
    fn progress(&self, busy_ps: u64) -> Progress {
        Progress {
            output_tokens: self.generated,
            cached_tokens: self.cached_tokens,
            start_us: self.start_ps.map(us),
            first_us: self.first_ps.map(us),
            busy_ps,
        }
    }
}

impl Stepwise {
    pub fn new(spec: ReplicaSpec, time: Arc<dyn IterationTime>) -> Self {
        Self {
            waiting: VecDeque::new(),
            running: Vec::new(),
            cancels: VecDeque::new(),
            cache: Cache::new(spec.kv_blocks, spec.block_tokens),
            boundary_ps: 0,
            seen_ps: 0,
            woken_ps: 0,
            end_ps: None,
            held_back: 0,
            keys: 0,
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
        self.keys += 1;
        self.waiting.push_back(Sequence {
            request,
            key: self.keys,
            silent: false,
            arrival_ps: now_ps,
            since_ps: now_ps,
            start_ps: None,
            first_ps: None,
            computed: 0,
            generated: 0,
            decoding: false,
            scheduled: 0,
            hold: Hold::EMPTY,
            cached_tokens: 0,
            preemptions: 0,
            busy_ps: 0,
            shared_ps: 0,
        });
        if self.end_ps.is_none() {
            self.wake(now_ps);
        }
        self.keys
    }

    fn wake(&mut self, at_ps: u64) {
        (self.woken_ps, self.end_ps) = (at_ps, Some(at_ps.max(self.boundary_ps)));
    }

    pub fn cancel(&mut self, now_ps: u64, key: u64) -> Option<Progress> {
        let shared_ps = self.shares.after(self.underway_ps(now_ps));
        let waiting = self.waiting.iter_mut().map(|sequence| (false, sequence));
        let mut all = waiting.chain(self.running.iter_mut().map(|sequence| (true, sequence)));
        let (runs, sequence) = all.find(|(_, sequence)| sequence.key == key && !sequence.silent)?;
        sequence.silent = true;
        self.cancels.push_back((now_ps, key));
        let share_ps = if runs { shared_ps - sequence.shared_ps } else { 0 };
        Some(sequence.progress(sequence.busy_ps + share_ps))
    }

    pub fn next_ps(&self) -> Option<u64> {
        self.end_ps
    }

    pub fn advance(&mut self, now_ps: u64, out: &mut Vec<Reply>) {
        while let Some(end_ps) = self.end_ps
            && end_ps <= now_ps
        {
            self.boundary(end_ps, out);
        }
    }

    pub fn reset(&mut self, now_ps: u64, out: &mut Vec<Reply>) {
        let shared_ps = self.shares.after(self.underway_ps(now_ps));
        if !self.running.is_empty() {
            self.totals.busy_ps += u128::from(now_ps - self.boundary_ps);
        }
        let used = self.cache.used();
        self.totals.peak_blocks = self.totals.peak_blocks.max(used);
        self.totals.twice_block_ps += u128::from(now_ps.saturating_sub(self.mark.0)) * u128::from(self.mark.1 + used);
        let mut lost: Vec<(bool, Sequence)> = self.waiting.drain(..).map(|s| (false, s)).collect();
        lost.extend(self.running.drain(..).map(|s| (true, s)));
        lost.retain(|(_, sequence)| !sequence.silent);
        lost.sort_by_key(|(_, sequence)| (sequence.arrival_ps, sequence.request.id));
        for (running, sequence) in lost {
            let passed = u128::from(now_ps.saturating_sub(sequence.since_ps));
            *(if running { &mut self.totals.running_ps } else { &mut self.totals.waiting_ps }) += passed;
            let busy_ps = sequence.busy_ps + if running { shared_ps - sequence.shared_ps } else { 0 };
            let progress = sequence.progress(busy_ps);
            out.push(Reply::Failed { id: sequence.request.id, at_us: us(now_ps), progress });
        }
        self.cancels.clear();
        self.cache = Cache::new(self.spec.kv_blocks, self.spec.block_tokens);
        self.shares = Shares::default();
        (self.boundary_ps, self.end_ps, self.held_back, self.mark) = (now_ps, None, 0, (now_ps, 0));
    }

    fn wanted(&self) -> impl Iterator<Item = &Sequence> {
        self.waiting.iter().chain(&self.running).filter(|sequence| !sequence.silent)
    }

    pub fn queued(&self) -> usize {
        self.waiting.len()
    }

    pub fn waiting(&self, _: u64) -> usize {
        self.waiting.iter().filter(|sequence| sequence.arrival_ps < self.seen_ps).count()
    }

    pub fn outstanding(&self) -> u32 {
        self.wanted().count() as u32
    }

    pub fn outstanding_tokens(&self) -> u64 {
        self.wanted().map(|sequence| sequence.request.tokens()).sum()
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    pub fn totals_at(&self, now_ps: u64) -> Totals {
        let mut totals = self.totals;
        totals.busy_ps += u128::from(self.underway_ps(now_ps));
        if !self.running.is_empty() && self.end_ps.is_some_and(|end_ps| end_ps <= now_ps) {
            totals.iterations += 1;
            totals.output_tokens += self.running.iter().filter(|sequence| sequence.decoding).count() as u64;
        }
        totals
    }

    fn underway_ps(&self, now_ps: u64) -> u64 {
        let end_ps = self.end_ps.filter(|_| !self.running.is_empty());
        end_ps.map_or(0, |end_ps| now_ps.min(end_ps).saturating_sub(self.boundary_ps))
    }

    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    fn boundary(&mut self, end_ps: u64, out: &mut Vec<Reply>) {
        let at_once = self.running.is_empty() && self.woken_ps == end_ps;
        self.seen_ps = if self.spec.schedules_ahead && !self.running.is_empty() {
            self.boundary_ps
        } else {
            end_ps.saturating_add(u64::from(at_once))
        };
        if !self.running.is_empty() {
            self.totals.iterations += 1;
            self.totals.busy_ps += u128::from(end_ps - self.boundary_ps);
            self.shares.pass(end_ps - self.boundary_ps);
        }
        self.boundary_ps = end_ps;
        let used = self.cache.used();
        self.totals.peak_blocks = self.totals.peak_blocks.max(used);
        let prefilled = self.running.iter().any(|sequence| !sequence.decoding);
        let before = self.running.len();
        self.update(out);
        let finished = self.running.len() < before;
        let cancelled = self.drop_cancelled();
        let scheduled = self.schedule();
        self.shares.set(self.running.len() as u32);
        if prefilled || finished || cancelled || scheduled {
            self.totals.twice_block_ps += u128::from(end_ps - self.mark.0) * u128::from(self.mark.1 + used);
            self.mark = (end_ps, self.cache.used());
        }
    }

    /// Each sequence whose tokens are all computed has one token more, and may be done.
    fn update(&mut self, out: &mut Vec<Reply>) {
        let mut index = 0;
        while index < self.running.len() {
            let sequence = &mut self.running[index];
            sequence.scheduled = 0;
            if sequence.computed < sequence.tokens() {
                index += 1;
                continue;
            }
            sequence.first_ps = sequence.first_ps.or(Some(self.boundary_ps));
            sequence.decoding = true;
            if sequence.request.output_tokens > 0 {
                sequence.generated += 1;
                self.totals.output_tokens += 1;
            }
            if sequence.generated < sequence.request.output_tokens {
                index += 1;
                continue;
            }
            let mut sequence = self.running.remove(index);
            self.free(&mut sequence, true);
            if !sequence.silent {
                self.totals.completed += 1;
                out.push(Reply::Done {
                    id: sequence.request.id,
                    at_us: us(self.boundary_ps),
                    start_us: sequence.start_ps.map_or(0, us),
                    first_us: sequence.first_ps.map_or(0, us),
                    cached_tokens: sequence.cached_tokens,
                    preemptions: sequence.preemptions,
                    busy_ps: sequence.busy_ps,
                });
            }
        }
    }

    fn free(&mut self, sequence: &mut Sequence, done: bool) {
        sequence.busy_ps += self.shares.after(0) - sequence.shared_ps;
        self.totals.running_ps += u128::from(self.boundary_ps - sequence.since_ps);
        let blocks = self.spec.blocks(sequence.computed);
        self.cache.release(&sequence.request, sequence.hold, blocks, sequence.computed, done);
    }

    fn drop_cancelled(&mut self) -> bool {
        let mut changed = false;
        while let Some(&(at_ps, key)) = self.cancels.front()
            && at_ps < self.boundary_ps
        {
            self.cancels.pop_front();
            if let Some(index) = self.running.iter().position(|sequence| sequence.key == key) {
                let mut sequence = self.running.remove(index);
                self.free(&mut sequence, false);
                changed = true;
            } else if let Some(index) = self.waiting.iter().position(|sequence| sequence.key == key)
                && let Some(sequence) = self.waiting.remove(index)
            {
                self.totals.waiting_ps += u128::from(self.boundary_ps - sequence.since_ps);
            }
        }
        changed
    }

    /// Plans the next iteration. Returns whether its batch is another or has prompts in it.
    fn schedule(&mut self) -> bool {
        let mut batch = Batch::default();
        let mut budget = self.spec.max_num_batched_tokens;
        let mut preempted = false;
        let mut kv_tokens = 0;
        let mut index = 0;
        while index < self.running.len() {
            let sequence = &self.running[index];
            let new = (sequence.tokens() - sequence.computed).min(budget);
            let needed = self.spec.blocks(sequence.computed + new) - self.spec.blocks(sequence.computed);
            if needed > self.cache.free() {
                self.preempt_last();
                preempted = true;
                continue;
            }
            if sequence.decoding {
                batch.decodes += 1;
                kv_tokens += u64::from(sequence.computed);
            }
            budget -= new;
            self.compute(index, new, &mut batch);
            index += 1;
        }
        let before = self.running.len();
        if !preempted {
            self.admit(budget, &mut batch);
        }
        let admitted = self.running.len() > before;
        if self.running.is_empty() {
            self.end_ps = None;
            if let Some(head) = self.waiting.front() {
                self.wake(head.arrival_ps);
            }
        } else {
            let affine = self.time.affine(&batch).and(self.extra_ps());
            let took_ps = affine.base_ps.saturating_add(affine.per_kv_token_ps.saturating_mul(kv_tokens));
            self.end_ps = Some(self.boundary_ps.saturating_add(took_ps));
        }
        preempted || admitted || batch.chunks > 0
    }

    /// What the tokens that the planned iteration brings add to it.
    fn extra_ps(&self) -> u128 {
        let ending = self.running.iter().filter(|sequence| sequence.computed == sequence.tokens());
        ending.map(|sequence| u128::from(sequence.request.extra.after(sequence.generated))).sum()
    }

    fn preempt_last(&mut self) {
        let Some(mut sequence) = self.running.pop() else { return };
        self.free(&mut sequence, false);
        sequence.since_ps = self.boundary_ps;
        (sequence.computed, sequence.hold, sequence.decoding) = (0, Hold::EMPTY, false);
        sequence.preemptions += 1;
        self.totals.preemptions += 1;
        self.waiting.push_front(sequence);
    }

    fn compute(&mut self, index: usize, new: u32, batch: &mut Batch) {
        let sequence = &mut self.running[index];
        self.cache.take(self.spec.blocks(sequence.computed + new) - self.spec.blocks(sequence.computed));
        if !sequence.decoding {
            batch.chunks += 1;
            batch.chunk_tokens += new;
            batch.chunk_history += u64::from(sequence.computed);
            batch.chunk_pairs += (1..=u64::from(new)).map(|token| u64::from(sequence.computed) + token).sum::<u64>();
            self.totals.prefill_tokens += u64::from(new);
        }
        sequence.computed += new;
        sequence.scheduled = new;
        if !sequence.decoding {
            self.cache.share(&sequence.request, &mut sequence.hold, sequence.computed);
        }
    }

    fn admit(&mut self, mut budget: u32, batch: &mut Batch) {
        let mut admitted = false;
        while let Some(head) = self.waiting.front() {
            if head.arrival_ps >= self.seen_ps {
                return;
            }
            if budget == 0 || self.running.len() == self.spec.max_num_seqs as usize {
                return;
            }
            if !admitted && batch.chunks == 0 && self.holds_back(batch.decodes) {
                self.held_back += 1;
                return;
            }
            let head = &self.waiting[0];
            let found = self.cache.find(&head.request, head.tokens());
            let there = found.blocks() * self.spec.block_tokens;
            let mut new = head.tokens() - there;
            if new > budget {
                let alone = new > self.spec.max_num_batched_tokens && self.running.is_empty();
                if !self.spec.chunked_prefill && !alone {
                    return;
                }
                new = budget;
            }
            if !self.has_room(head, &found, new) {
                return;
            }
            let Some(mut sequence) = self.waiting.pop_front() else { return };
            (admitted, self.held_back) = (true, 0);
            sequence.hold = self.cache.hold(&sequence.request, found);
            sequence.computed = there;
            self.totals.admissions += 1;
            self.totals.cached_tokens += u64::from(there);
            self.totals.waiting_ps += u128::from(self.boundary_ps - sequence.since_ps);
            (sequence.since_ps, sequence.shared_ps) = (self.boundary_ps, self.shares.after(0));
            if sequence.start_ps.is_none() {
                sequence.start_ps = Some(self.boundary_ps);
                sequence.cached_tokens = there;
            }
            self.running.push(sequence);
            budget -= new;
            self.compute(self.running.len() - 1, new, batch);
        }
    }

    fn has_room(&self, head: &Sequence, found: &Hold, new: u32) -> bool {
        let there = found.blocks() * self.spec.block_tokens;
        let goal = match self.spec.reserve {
            Reserve::Chunk | Reserve::Sequence => there + new,
            Reserve::Prompt => head.tokens(),
        };
        if self.spec.reserve == Reserve::Sequence {
            let own = |s: &Sequence, hold: &Hold| self.spec.blocks(s.request.cached_at_end()) - hold.blocks();
            let running: u32 = self.running.iter().map(|s| own(s, &s.hold)).sum();
            let all = running + self.cache.held() + self.cache.unheld(found) + own(head, found);
            if all > self.spec.kv_blocks {
                return false;
            }
        }
        let watermark = if self.running.is_empty() { 0 } else { self.spec.watermark_blocks };
        self.spec.blocks(goal) - found.blocks() + self.cache.unheld(found) + watermark <= self.cache.free()
    }

    fn holds_back(&self, decodes: u32) -> bool {
        let Some(wait) = self.spec.prefill_wait else { return false };
        let arrived = self.waiting.iter().filter(|s| s.arrival_ps < self.seen_ps);
        let gathered = u64::from(decodes) + arrived.map(|s| u64::from(s.tokens())).sum::<u64>();
        decodes > 0 && self.held_back < wait.iterations && gathered < u64::from(wait.tokens)
    }
}
