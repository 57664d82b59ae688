//! Whose work a replica's time is: of every moment each of the `n` sequences in the batch has one n-th.

/// The share of one sequence that were in the batch all the time, in picoseconds. It is the same whether time passes iteration
/// by iteration or in stretches: it is rounded only when the number of sequences changes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shares {
    base_ps: u64,
    /// Picoseconds since the number of sequences changed last.
    passed_ps: u64,
    sequences: u32,
}

impl Shares {
    /// So much time passes with the batch as it is.
    pub fn pass(&mut self, ps: u64) {
        self.passed_ps += ps;
    }

    /// So many sequences are in the batch from now on.
    pub fn set(&mut self, sequences: u32) {
        if sequences != self.sequences {
            *self = Self { base_ps: self.after(0), passed_ps: 0, sequences };
        }
    }

    /// What it will be when so much more time has passed.
    pub fn after(&self, ps: u64) -> u64 {
        self.base_ps + (self.passed_ps + ps).checked_div(u64::from(self.sequences)).unwrap_or(0)
    }
}
