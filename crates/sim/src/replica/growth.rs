//! When decoding sequences need their next blocks, counted and not looked up.

/// How many decoding sequences cross into a new block at which iteration. Every sequence does so once in `block_tokens`
/// iterations, so a count per iteration modulo `block_tokens` tells all blocks of any stretch.
#[derive(Debug)]
pub(super) struct Growth {
    /// Sequences by the iteration, modulo the length, that needs a block more.
    counts: Vec<u32>,
    sequences: u32,
    /// The next iteration, modulo the length.
    cursor: u32,
}

impl Growth {
    pub fn new(block_tokens: u32) -> Self {
        Self { counts: vec![0; block_tokens as usize], sequences: 0, cursor: 0 }
    }

    fn block_tokens(&self) -> u32 {
        self.counts.len() as u32
    }

    /// The iteration, modulo `block_tokens`, at which a sequence with `tokens` in the cache before the next iteration needs a
    /// block: whenever it holds a multiple of `block_tokens`.
    fn phase(&self, tokens: u32) -> usize {
        let filled = tokens % self.block_tokens();
        let phase = self.cursor + self.block_tokens() - filled;
        (if phase >= self.block_tokens() { phase - self.block_tokens() } else { phase }) as usize
    }

    /// A sequence that holds `tokens` decodes from the next iteration on.
    pub fn join(&mut self, tokens: u32) {
        let phase = self.phase(tokens);
        self.counts[phase] += 1;
        self.sequences += 1;
    }

    /// A sequence that holds `tokens` does not take part in the next iteration.
    pub fn leave(&mut self, tokens: u32) {
        let phase = self.phase(tokens);
        self.counts[phase] -= 1;
        self.sequences -= 1;
    }

    /// Decoding sequences.
    pub fn sequences(&self) -> u32 {
        self.sequences
    }

    /// Blocks that the next iteration needs.
    pub fn next(&self) -> u32 {
        self.counts[self.cursor as usize]
    }

    /// Blocks that `iterations` need after the next `skip`.
    pub fn blocks(&self, skip: u64, iterations: u64) -> u64 {
        let length = u64::from(self.block_tokens());
        let mut blocks = 0;
        let mut rest = iterations;
        if rest >= length {
            blocks = rest / length * u64::from(self.sequences);
            rest %= length;
        }
        let mut at = self.cursor as usize + if skip < length { skip } else { skip % length } as usize;
        for _ in 0..rest {
            if at >= self.counts.len() {
                at -= self.counts.len();
            }
            blocks += u64::from(self.counts[at]);
            at += 1;
        }
        blocks
    }

    /// The most iterations, at most `most`, after the next one, whose blocks `free` suffices for.
    pub fn fitting(&self, most: u64, free: u32) -> u64 {
        let length = u64::from(self.block_tokens());
        let (free, sequences) = (u64::from(free), u64::from(self.sequences));
        if sequences == 0 || most.saturating_add(length).saturating_mul(sequences) <= free.saturating_mul(length) {
            return most;
        }
        let rounds = free / sequences;
        let mut iterations = rounds * length;
        let mut blocks = rounds * sequences;
        let mut at = self.cursor as usize + 1;
        while iterations < most {
            if at >= self.counts.len() {
                at -= self.counts.len();
            }
            blocks += u64::from(self.counts[at]);
            if blocks > free {
                return iterations;
            }
            iterations += 1;
            at += 1;
        }
        most
    }

    /// `iterations` have been computed.
    pub fn advance(&mut self, iterations: u64) {
        let length = self.block_tokens();
        let moved =
            if iterations < u64::from(length) { iterations as u32 } else { (iterations % u64::from(length)) as u32 };
        self.cursor += moved;
        if self.cursor >= length {
            self.cursor -= length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_are_what_each_sequence_needs(
            block in 1_u32..20, tokens in proptest::collection::vec(1_u32..100, 1..9), before in 0_u64..50, most in 0_u64..80, free in 0_u32..60,
        ) {
            let mut growth = Growth::new(block);
            growth.advance(before);
            for t in &tokens { growth.join(*t); }
            let need = |i: u64| tokens.iter().filter(|t| (u64::from(**t) + i).is_multiple_of(u64::from(block))).count() as u64;
            prop_assert_eq!(u64::from(growth.next()), need(0));
            prop_assert_eq!(growth.blocks(0, most), (0..most).map(need).sum::<u64>());
            prop_assert_eq!(growth.blocks(1, most), (1..=most).map(need).sum::<u64>());
            prop_assert_eq!(growth.blocks(before, most), (before..before + most).map(need).sum::<u64>());
            let wanted = (0..=most).take_while(|m| (1..=*m).map(need).sum::<u64>() <= u64::from(free)).last().unwrap_or(0);
            prop_assert_eq!(growth.fitting(most, free), wanted);
            growth.advance(most);
            for t in &tokens { growth.leave(t + most as u32); }
            prop_assert!(growth.counts.iter().all(|c| *c == 0));
        }
    }
}
