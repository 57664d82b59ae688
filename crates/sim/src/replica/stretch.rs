//! Iterations in a row with the same batch, in closed form.

/// The times of consecutive iterations of one batch: the first takes `first_ps`, each further one `step_ps` more, as each
/// decoding sequence holds one token more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stretch {
    pub first_ps: u64,
    pub step_ps: u64,
}

impl Stretch {
    /// Picoseconds of the first `iterations`; saturates at the end of time.
    pub fn total_ps(self, iterations: u64) -> u64 {
        let pairs = u128::from(iterations) * u128::from(iterations.saturating_sub(1)) / 2;
        let total = (u128::from(self.first_ps) * u128::from(iterations))
            .saturating_add(u128::from(self.step_ps).saturating_mul(pairs));
        u64::try_from(total).unwrap_or(u64::MAX)
    }

    /// The least number of iterations, at most `most`, that take at least `ps`; `most` if none does.
    pub fn reaching(self, ps: u64, most: u64) -> u64 {
        if most <= 1 || ps <= self.first_ps {
            return most.min(1);
        }
        let first = self.first_ps as f64 - self.step_ps as f64 / 2.0;
        let root = (first * first + 2.0 * self.step_ps as f64 * ps as f64).sqrt();
        // The positive root of total_ps(m) = ps in the form that does not cancel; the loops make it exact.
        let mut iterations = ((2.0 * ps as f64 / (first + root)) as u64).clamp(1, most);
        while iterations < most && self.total_ps(iterations) < ps {
            iterations += 1;
        }
        while iterations > 1 && self.total_ps(iterations - 1) >= ps {
            iterations -= 1;
        }
        iterations
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn closed_form_is_the_sum(first in 1_u64..1 << 40, step in 0_u64..1 << 30, count in 0_u64..300, ps in 0_u64..1 << 48) {
            let stretch = Stretch { first_ps: first, step_ps: step };
            let ends: Vec<u64> = (0..count).scan(0, |end, i| { *end += first + step * i; Some(*end) }).collect();
            prop_assert_eq!(stretch.total_ps(count), ends.last().copied().unwrap_or(0));
            let wanted = ends.iter().position(|end| *end >= ps).map_or(count, |i| i as u64 + 1);
            prop_assert_eq!(stretch.reaching(ps, count), wanted);
        }
    }

    #[test]
    fn the_end_of_time_saturates() {
        let stretch = Stretch { first_ps: u64::MAX, step_ps: u64::MAX };
        assert_eq!(stretch.total_ps(u64::MAX), u64::MAX);
        assert_eq!(stretch.reaching(u64::MAX, 5), 1);
    }
}
