//! Bars over the time of a run, in characters that can be told apart without colour.

use std::ops::Range;

use lumos_core::{AttemptRecord, Status};

use super::tree::end_us;

/// What a stretch of a bar shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stretch {
    /// The row stands for several others.
    Whole,
    /// The attempt waited for its backend.
    Waiting,
    /// The backend worked and had not answered.
    Thinking,
    /// The backend answered, or the step without a model worked.
    Working,
    /// It ended by an error.
    Failed,
    /// Somebody, or another attempt, ended it.
    Cancelled,
    /// Its process died.
    Interrupted,
    /// It has no end yet.
    Open,
}

impl Stretch {
    /// The character.
    pub fn sign(self) -> char {
        match self {
            Self::Whole => '─',
            Self::Waiting => '░',
            Self::Thinking => '▒',
            Self::Working => '█',
            Self::Failed => '×',
            Self::Cancelled => '/',
            Self::Interrupted => '!',
            Self::Open => '→',
        }
    }

    /// What the legend says.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Whole => "see the rows below",
            Self::Waiting => "waiting for the backend",
            Self::Thinking => "until the first token",
            Self::Working => "working",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::Open => "not over",
        }
    }
}

/// What happened when, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bar {
    stretches: Vec<(Range<u64>, Stretch)>,
    end: Option<Stretch>,
}

impl Bar {
    /// A row that stands for others.
    pub fn whole(span: Range<u64>, status: Option<Status>) -> Self {
        let end = status.and_then(ended).filter(|end| *end == Stretch::Open);
        Self { stretches: vec![(span, Stretch::Whole)], end }
    }

    /// A step without attempts.
    pub fn plain(span: Range<u64>, status: Status) -> Self {
        Self { stretches: vec![(span, Stretch::Working)], end: ended(status) }
    }

    /// An attempt; `end` is where it ends when it has no end of its own.
    pub fn attempt(attempt: &AttemptRecord, now_us: u64) -> Self {
        let started = attempt.start_us.saturating_add(attempt.queue_us);
        let end = if attempt.status == Status::Running { now_us.max(started) } else { end_us(attempt) };
        let first = attempt.ttft_us.map_or(started, |ttft| started.saturating_add(ttft).min(end));
        let stretches = vec![
            (attempt.start_us..started, Stretch::Waiting),
            (started..first, Stretch::Thinking),
            (first..end, Stretch::Working),
        ];
        Self { stretches, end: ended(attempt.status) }
    }

    /// The same for a step that ended otherwise than its attempt did, such as a guard's that refuses.
    pub fn ending(self, status: Status) -> Self {
        Self { end: self.end.or(ended(status)), ..self }
    }

    /// Its signs in `cells` characters, of which the last stands for the end of `whole_us`.
    pub fn draw(&self, cells: usize, whole_us: u64) -> Vec<Option<Stretch>> {
        let mut drawn = vec![None; cells];
        let scale = |at: u64| {
            let at = u128::from(at.min(whole_us)) * cells as u128;
            // Rounded to the nearest edge of a cell.
            (at * 2 + u128::from(whole_us)) / (u128::from(whole_us.max(1)) * 2)
        } as usize;
        for (range, stretch) in &self.stretches {
            let (from, to) = (scale(range.start).min(cells), scale(range.end).min(cells));
            drawn[from..to].fill(Some(*stretch));
        }
        let Some((range, _)) = self.stretches.first() else { return drawn };
        let main = self.stretches.iter().max_by_key(|(range, _)| range.end.saturating_sub(range.start));
        if drawn.iter().all(Option::is_none) {
            // Too short for a cell, but it was there.
            let at = (u128::from(range.start.min(whole_us)) * cells as u128 / u128::from(whole_us.max(1))) as usize;
            if let Some(cell) = drawn.get_mut(at.min(cells.saturating_sub(1))) {
                *cell = main.map(|(_, stretch)| *stretch);
            }
        }
        if let (Some(end), Some(last)) = (self.end, drawn.iter_mut().rev().find(|cell| cell.is_some())) {
            *last = Some(end);
        }
        drawn
    }
}

fn ended(status: Status) -> Option<Stretch> {
    match status {
        Status::Succeeded | Status::Skipped => None,
        Status::Failed | Status::Refused | Status::Limited => Some(Stretch::Failed),
        Status::Cancelled => Some(Stretch::Cancelled),
        Status::Interrupted => Some(Stretch::Interrupted),
        Status::Running | Status::Paused => Some(Stretch::Open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::attempt;

    fn drawn(bar: &Bar, cells: usize, whole_us: u64) -> String {
        bar.draw(cells, whole_us).into_iter().map(|cell| cell.map_or('.', Stretch::sign)).collect()
    }

    #[test]
    fn waiting_the_first_token_and_the_end_are_told_apart() {
        let mut tried = attempt(1, Some("api"));
        (tried.start_us, tried.queue_us, tried.ttft_us, tried.duration_us) = (100, 200, Some(300), 400);
        assert_eq!(drawn(&Bar::attempt(&tried, 0), 10, 1_000), ".░░▒▒▒█...");
        for (status, last) in [(Status::Failed, '×'), (Status::Cancelled, '/'), (Status::Interrupted, '!')] {
            tried.status = status;
            assert_eq!(drawn(&Bar::attempt(&tried, 0), 10, 1_000), format!(".░░▒▒▒{last}..."));
        }
        tried.status = Status::Running;
        assert_eq!(drawn(&Bar::attempt(&tried, 1_000), 10, 1_000), ".░░▒▒▒███→");
    }

    #[test]
    fn what_is_shorter_than_a_cell_is_still_there() {
        assert_eq!(drawn(&Bar::plain(0..1, Status::Succeeded), 5, 1_000_000), "█....");
        assert_eq!(drawn(&Bar::plain(1_000_000..1_000_000, Status::Failed), 5, 1_000_000), "....×");
        assert_eq!(drawn(&Bar::whole(0..7, None), 5, 0), "─....");
        assert_eq!(drawn(&Bar::default(), 3, 9), "...");
    }

    #[test]
    fn no_time_is_outside_the_bar() {
        for (start, end) in [(0, u64::MAX), (u64::MAX, u64::MAX), (7, 9)] {
            for whole in [0, 1, 8, u64::MAX] {
                assert_eq!(
                    Bar::plain(start..end, Status::Failed).draw(3, whole).iter().flatten().last(),
                    Some(&Stretch::Failed)
                );
            }
        }
    }
}
