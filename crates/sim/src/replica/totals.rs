//! What a replica did, in sums.

/// Sums over all that a replica has done until its last boundary between iterations. Products with time are in u128: a
/// day of a million waiting requests exceeds u64 picoseconds. What is under way counts when it ends, if
/// nobody asks for it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Iterations.
    pub iterations: u64,
    /// Picoseconds in iterations: those in which it had work in its batch.
    pub busy_ps: u128,
    /// Requests that were admitted, preempted ones again.
    pub admissions: u64,
    /// Requests that are done.
    pub completed: u64,
    /// Tokens that were generated, of cancelled and failed requests too.
    pub output_tokens: u64,
    /// Prompt tokens that were computed, again after a preemption too.
    pub prefill_tokens: u64,
    /// Prompt tokens that were found in the cache.
    pub cached_tokens: u64,
    /// Preemptions.
    pub preemptions: u64,
    /// Picoseconds that requests waited, summed over requests (divided by time: the mean length of the queue).
    pub waiting_ps: u128,
    /// Picoseconds that requests ran, summed over requests (divided by time: the mean number of sequences).
    pub running_ps: u128,
    /// Twice the blocks in use times picoseconds, by trapezoids between changes of the batch.
    pub twice_block_ps: u128,
    /// The most blocks in use at a time.
    pub peak_blocks: u32,
}

impl Totals {
    /// Sums of two replicas.
    pub fn merge(&mut self, other: &Self) {
        self.iterations += other.iterations;
        self.busy_ps += other.busy_ps;
        self.admissions += other.admissions;
        self.completed += other.completed;
        self.output_tokens += other.output_tokens;
        self.prefill_tokens += other.prefill_tokens;
        self.cached_tokens += other.cached_tokens;
        self.preemptions += other.preemptions;
        self.waiting_ps += other.waiting_ps;
        self.running_ps += other.running_ps;
        self.twice_block_ps += other.twice_block_ps;
        self.peak_blocks = self.peak_blocks.max(other.peak_blocks);
    }

    /// What came after `before`, an earlier state of the same replicas; the peak is that of all time.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            iterations: self.iterations - before.iterations,
            busy_ps: self.busy_ps - before.busy_ps,
            admissions: self.admissions - before.admissions,
            completed: self.completed - before.completed,
            output_tokens: self.output_tokens - before.output_tokens,
            prefill_tokens: self.prefill_tokens - before.prefill_tokens,
            cached_tokens: self.cached_tokens - before.cached_tokens,
            preemptions: self.preemptions - before.preemptions,
            waiting_ps: self.waiting_ps - before.waiting_ps,
            running_ps: self.running_ps - before.running_ps,
            twice_block_ps: self.twice_block_ps - before.twice_block_ps,
            peak_blocks: self.peak_blocks,
        }
    }
}
