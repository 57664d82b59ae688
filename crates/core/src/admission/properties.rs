//! The ledger against a model of a server that counts exactly, with requests and answers under way for a while.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use proptest::prelude::*;

use super::{Actual, Ask, Decision, End, Ledger, Rules, Ticket};
use crate::chance::mix;
use crate::money::Usd;

const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;

/// Parts of a token that a minute's limit adds in a microsecond.
const PARTS: i128 = 60_000_000;

/// The bucket of a server that, like ours, refuses what might turn out to be too much: output is promised at arrival and
/// taken at its end. One that only takes it refuses less.
struct ServerBucket {
    limit: i128,
    parts: i128,
    promised: i128,
    at_us: u64,
}

impl ServerBucket {
    fn new(limit: Option<u32>) -> Option<Self> {
        limit.map(|limit| {
            let limit = i128::from(limit);
            Self { limit, parts: limit * PARTS, promised: 0, at_us: 0 }
        })
    }

    fn refill(&mut self, now_us: u64) {
        self.parts = (self.parts + self.limit * i128::from(now_us - self.at_us)).min(self.limit * PARTS);
        self.at_us = now_us;
    }

    /// Whether there is enough; more than it can hold is let through when it is full.
    fn arrives(&mut self, now_us: u64, takes: u64, promises: u64) -> bool {
        self.refill(now_us);
        let (takes, promises) = (i128::from(takes) * PARTS, i128::from(promises) * PARTS);
        let fits = self.parts - self.promised >= (takes + promises).min(self.limit * PARTS);
        self.parts -= takes;
        self.promised += promises;
        fits
    }

    fn ends(&mut self, now_us: u64, promised: u64, takes: u64) {
        self.refill(now_us);
        self.parts -= i128::from(takes) * PARTS;
        self.promised -= i128::from(promised) * PARTS;
    }
}

#[derive(Debug, Clone, Copy)]
struct Job {
    input: u64,
    output: u64,
    estimated_input: u64,
    most_output: u64,
    way_us: u64,
    works_us: u64,
    way_back_us: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Arrives,
    Ends,
    Settles,
    Wakes,
}

/// What lengths and delays there are.
#[derive(Debug, Clone, Copy)]
struct Load {
    seed: u64,
    input: u64,
    output: u64,
    works_us: u64,
    delay_us: u64,
}

impl Load {
    fn job(&self, number: u64) -> Job {
        let draw = |purpose: u64, below: u64| mix(mix(self.seed ^ number) ^ purpose) % below.max(1);
        let (input, output) = (1 + draw(1, self.input), draw(2, self.output + 1));
        Job {
            input,
            output,
            estimated_input: input + draw(3, input),
            most_output: output + draw(4, self.output),
            way_us: draw(5, self.delay_us + 1),
            works_us: draw(6, self.works_us),
            way_back_us: draw(7, self.delay_us + 1),
        }
    }
}

#[derive(Debug, Default)]
struct Seen {
    refused: u64,
    requests: u64,
    input: u64,
    output: u64,
    most_at_once: usize,
}

/// As many requests as are admitted, first come first served, for `length_us`.
fn saturate(rules: &Rules, load: Load, length_us: u64) -> Seen {
    let mut ledger = Ledger::default();
    let mut server = [rules.rpm, rules.tpm, rules.input_tpm, rules.output_tpm].map(ServerBucket::new);
    let mut jobs: BTreeMap<u64, Job> = BTreeMap::new();
    let mut agenda = BinaryHeap::from([Reverse((SECOND, What::Wakes, 0))]);
    let mut wakes_us = Some(SECOND);
    let (mut next, mut seen) = (0, Seen::default());
    while let Some(Reverse((now_us, what, number))) = agenda.pop() {
        if now_us > length_us {
            break;
        }
        match what {
            What::Arrives => {
                let job = jobs[&number];
                let takes = [1, job.input, job.input, 0];
                let promises = [0, job.most_output, 0, job.most_output];
                let mut fits = true;
                for (bucket, (takes, promises)) in server.iter_mut().zip(takes.into_iter().zip(promises)) {
                    fits &= bucket.as_mut().is_none_or(|bucket| bucket.arrives(now_us, takes, promises));
                }
                seen.refused += u64::from(!fits);
                agenda.push(Reverse((now_us + job.works_us, What::Ends, number)));
            }
            What::Ends => {
                let job = jobs[&number];
                for bucket in [1, 3] {
                    if let Some(bucket) = &mut server[bucket] {
                        bucket.ends(now_us, job.most_output, job.output);
                    }
                }
                seen.requests += 1;
                seen.input += job.input;
                seen.output += job.output;
                agenda.push(Reverse((now_us + job.way_back_us, What::Settles, number)));
            }
            What::Settles => {
                let job = jobs.remove(&number).expect("settled once");
                let actual = Actual {
                    input_tokens: Some(job.input),
                    output_tokens: Some(job.output),
                    cost: None,
                    end: End::Succeeded,
                };
                ledger.settle(rules, now_us, Ticket(number), &actual);
            }
            What::Wakes if wakes_us != Some(now_us) => continue,
            What::Wakes => {}
        }
        loop {
            let job = load.job(next);
            let ask = Ask {
                ticket: Ticket(next),
                input_tokens: job.estimated_input,
                output_tokens: job.most_output,
                worst_cost: None,
                lease_us: 600 * SECOND,
                owner: None,
            };
            match ledger.admit(rules, now_us, &ask) {
                Decision::Admitted => {
                    jobs.insert(next, job);
                    agenda.push(Reverse((now_us + job.way_us, What::Arrives, next)));
                    seen.most_at_once = seen.most_at_once.max(ledger.in_flight());
                    next += 1;
                }
                Decision::Wait { until_us } => {
                    wakes_us = None;
                    if let Some(until_us) = until_us {
                        assert!(until_us > now_us, "waiting must end in the future");
                        wakes_us = Some(until_us);
                        agenda.push(Reverse((until_us, What::Wakes, 0)));
                    }
                    break;
                }
                Decision::Rejected(failure) => panic!("{failure:?}"),
            }
        }
    }
    seen
}

fn limit(most: u32) -> impl Strategy<Value = Option<u32>> {
    prop_oneof![Just(None), Just(None), (1..=most / 20).prop_map(Some), (1..=most).prop_map(Some)]
}

fn share(used: u64, limit: u32, length_us: u64) -> f64 {
    used as f64 / (f64::from(limit) * (1.0 + (length_us - SECOND) as f64 / MINUTE as f64))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn an_exact_server_refuses_nothing(
        rpm in limit(300), tpm in limit(30_000), input_tpm in limit(20_000), output_tpm in limit(10_000),
        concurrency in limit(50), output in 1u64..3000, seed: u64, works_us in 1..20 * SECOND,
    ) {
        prop_assume!(rpm.or(tpm).or(input_tpm).or(output_tpm).is_some());
        let rules = Rules { rpm, tpm, input_tpm, output_tpm, concurrency, ..Rules::default() };
        // No server takes a prompt above its limit; answers may be longer.
        let most_input = tpm.unwrap_or(2000).min(input_tpm.unwrap_or(2000)).min(2000);
        let load = Load { seed, input: most_input.into(), output, works_us, delay_us: 50_000 };
        let seen = saturate(&rules, load, 3 * MINUTE);
        prop_assert_eq!(seen.refused, 0);
        prop_assert!(concurrency.is_none_or(|most| seen.most_at_once <= most as usize));
    }

    #[test]
    fn whichever_limit_binds_is_used(which in 0usize..4, seed: u64, works_us in 1..4 * SECOND) {
        let mut limits = [Some(6000), Some(6_000_000), Some(6_000_000), Some(6_000_000)];
        limits[which] = Some([60, 20_000, 15_000, 5000][which]);
        let [rpm, tpm, input_tpm, output_tpm] = limits;
        let rules = Rules { rpm, tpm, input_tpm, output_tpm, ..Rules::default() };
        let load = Load { seed, input: 200, output: 100, works_us, delay_us: 50_000 };
        let length_us = 4 * MINUTE;
        let seen = saturate(&rules, load, length_us);
        let used = [seen.requests, seen.input + seen.output, seen.input, seen.output][which];
        let share = share(used, limits[which].expect("set"), length_us);
        prop_assert_eq!(seen.refused, 0);
        prop_assert!(share >= 0.95, "{} of the limit {} used: {:?}", share, which, seen);
    }

    /// 500 requests, each of which costs up to its worst case, against one budget.
    #[test]
    fn a_budget_holds_whatever_is_asked_at_once(
        seed: u64, budget in 1i128..100_000, worst in 1i128..3000, at_once in 1usize..100,
    ) {
        let rules = Rules { usd_per_day: Some(Usd::from_nanos(budget)), ..Rules::default() };
        let mut ledger = Ledger::default();
        let mut out: VecDeque<(Ticket, i128)> = VecDeque::new();
        let mut rejected = 0;
        for number in 0..500 {
            let worst_cost = 1 + i128::from(mix(seed ^ number)) % worst;
            let ask = Ask {
                ticket: Ticket(number),
                input_tokens: 0,
                output_tokens: 0,
                worst_cost: Some(Usd::from_nanos(worst_cost)),
                lease_us: SECOND,
                owner: None,
            };
            while out.len() >= at_once || ledger.admit(&rules, 0, &ask) == (Decision::Wait { until_us: None }) {
                let (ticket, worst_cost) = out.pop_front().expect("only requests in flight are waited for");
                let cost = i128::from(mix(ticket.0)) % (worst_cost + 1);
                let cost = (ticket.0 % 5 != 0).then_some(Usd::from_nanos(cost));
                ledger.settle(&rules, 0, ticket, &Actual { cost, ..Actual::unknown(End::Succeeded) });
            }
            if ledger.in_flight() > out.len() {
                out.push_back((Ticket(number), worst_cost));
            } else {
                rejected += 1;
            }
        }
        for (ticket, _) in out {
            ledger.settle(&rules, 0, ticket, &Actual::unknown(End::Failed { retry_after_us: None }));
        }
        prop_assert!(ledger.spent_today() <= Usd::from_nanos(budget), "{rejected} were rejected");
    }
}

#[test]
fn a_request_is_admitted_even_when_it_can_never_fit() {
    let rules = Rules { rpm: Some(1), tpm: Some(10), input_tpm: Some(10), output_tpm: Some(1), ..Rules::default() };
    let load = Load { seed: 3, input: 9, output: 400, works_us: SECOND, delay_us: 50_000 };
    let seen = saturate(&rules, load, 24 * 60 * MINUTE);
    assert_eq!(seen.refused, 0);
    assert!(seen.requests >= 5, "{seen:?}");
}
