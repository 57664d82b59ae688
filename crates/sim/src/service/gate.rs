//! lumos's own limiter before a service, as the live gate is: one queue, whose first asks the ledger.

use std::collections::VecDeque;

use lumos_core::admission::{Actual, Ask, Decision, End, Ledger, Rules, Ticket};
use lumos_core::scheduler::Failure;
use lumos_core::{CallReport, Usd};

use crate::results::Offered;

/// A lease never runs out: simulated processes don't die.
const LEASE_US: u64 = u64::MAX / 4;

/// The gate before one service.
pub(crate) struct Gate {
    rules: Rules,
    ledger: Ledger,
    queue: VecDeque<Waiting>,
    tickets: u64,
    /// When the first in the queue asks again.
    pub wake_us: u64,
    /// Requests, tokens of prompts and tokens of answers that were asked for.
    asked: [u64; 3],
}

struct Waiting {
    flight: u32,
    ask: Ask,
}

/// What becomes of somebody who asked.
pub(crate) enum Passage {
    Admitted { flight: u32, ticket: Ticket },
    Rejected { flight: u32, failure: Failure },
}

impl Gate {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { rules, ledger: Ledger::default(), queue: VecDeque::new(), tickets: 0, wake_us: u64::MAX, asked: [0; 3] }
    }

    /// Those that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// What was asked for until now beside what the limits let pass in that time; `None` where nothing is limited by the
    /// minute.
    pub(crate) fn offered(&self, now_us: u64) -> Option<Offered> {
        let [requests, input, output] = self.asked;
        let limits = [
            (self.rules.rpm, requests),
            (self.rules.tpm, input + output),
            (self.rules.input_tpm, input),
            (self.rules.output_tpm, output),
        ];
        // The first comes at the beginning: what follows it counts.
        let follow = requests.saturating_sub(1) as f64 / requests.max(1) as f64;
        let load = |(limit, asked): (Option<u32>, u64)| {
            let passes = f64::from(limit?) * now_us.max(1) as f64 / 60e6;
            Some(asked as f64 * follow / passes)
        };
        let load = limits
            .into_iter()
            .filter_map(load)
            .fold(None, |most: Option<f64>, load| Some(most.map_or(load, |most| most.max(load))))?;
        Some(Offered { load, requests })
    }

    /// Somebody comes to the queue's end with a prompt of `input` tokens, for at most `output` of which `answer` will come.
    pub(crate) fn enter(&mut self, flight: u32, input: u32, (answer, output): (u32, u32), worst_cost: Option<Usd>) {
        self.tickets += 1;
        for (asked, more) in self.asked.iter_mut().zip([1, input, answer]) {
            *asked += u64::from(more);
        }
        let ask = Ask {
            ticket: Ticket(self.tickets),
            input_tokens: u64::from(input),
            output_tokens: u64::from(output),
            worst_cost,
            lease_us: LEASE_US,
            owner: None,
        };
        self.queue.push_back(Waiting { flight, ask });
    }

    /// The next who passes, or is turned away, at `now_us`; `None` when the first has to wait, or nobody is there.
    pub(crate) fn next(&mut self, now_us: u64) -> Option<Passage> {
        let first = self.queue.front()?;
        match self.ledger.admit(&self.rules, now_us, &first.ask) {
            Decision::Admitted => {
                let Waiting { flight, ask } = self.queue.pop_front()?;
                Some(Passage::Admitted { flight, ticket: ask.ticket })
            }
            Decision::Rejected(failure) => {
                let Waiting { flight, .. } = self.queue.pop_front()?;
                Some(Passage::Rejected { flight, failure })
            }
            Decision::Wait { until_us } => {
                // Only a settlement helps where no time is given.
                self.wake_us = until_us.map_or(u64::MAX, |until_us| until_us.max(now_us + 1));
                None
            }
        }
    }

    /// Somebody who waits gives up.
    pub(crate) fn give_up(&mut self, now_us: u64, flight: u32) {
        if let Some(position) = self.queue.iter().position(|waiting| waiting.flight == flight)
            && let Some(waiting) = self.queue.remove(position)
        {
            self.ledger.withdraw(&self.rules, now_us, waiting.ask.ticket);
        }
    }

    /// Tells what somebody who passed has used.
    pub(crate) fn settle(
        &mut self,
        now_us: u64,
        ticket: Ticket,
        used: Option<&CallReport>,
        cost: Option<Usd>,
        end: End,
    ) {
        let (input_tokens, output_tokens) = match (used, end) {
            (Some(report), _) => (report.usage.input_tokens, report.usage.output_tokens),
            (None, End::Cancelled) => (None, None),
            // Refused, or failed before it was counted.
            (None, _) => (Some(0), Some(0)),
        };
        self.ledger.settle(&self.rules, now_us, ticket, &Actual { input_tokens, output_tokens, cost, end });
    }
}
