//! The ledger, case by case.

use proptest::prelude::*;

use super::*;
use crate::admission::BreakerRule;

const SECOND: u64 = 1_000_000;
const FAILED: End = End::Failed { retry_after_us: None };

fn ask(ticket: u64, input_tokens: u64, output_tokens: u64) -> Ask {
    Ask { ticket: Ticket(ticket), input_tokens, output_tokens, worst_cost: None, lease_us: 600 * SECOND, owner: None }
}

fn owned(owner: u128, ask: Ask) -> Ask {
    Ask { owner: Some(OwnerId(owner)), ..ask }
}

fn dear(ticket: u64, nanos: i128) -> Ask {
    Ask { worst_cost: Some(Usd::from_nanos(nanos)), ..ask(ticket, 0, 0) }
}

fn used(input: u64, output: u64, end: End) -> Actual {
    Actual { input_tokens: Some(input), output_tokens: Some(output), cost: None, end }
}

fn budget(nanos: i128) -> Rules {
    Rules { usd_per_day: Some(Usd::from_nanos(nanos)), ..Rules::default() }
}

fn paid(nanos: i128) -> Actual {
    Actual { cost: Some(Usd::from_nanos(nanos)), ..Actual::unknown(End::Succeeded) }
}

#[test]
fn concurrency_waits_for_a_settlement_or_the_end_of_a_lease() {
    let rules = Rules { concurrency: Some(1), ..Rules::default() };
    let mut ledger = Ledger::default();
    assert_eq!(ledger.admit(&rules, 0, &ask(1, 0, 0)), Decision::Admitted);
    assert_eq!(ledger.admit(&rules, 1, &ask(2, 0, 0)), Decision::Wait { until_us: None });
    assert_eq!(ledger.admit(&rules, 600 * SECOND, &ask(2, 0, 0)), Decision::Admitted);
    ledger.settle(&rules, 600 * SECOND, Ticket(1), &used(0, 0, End::Succeeded));
    assert_eq!(ledger.in_flight(), 1, "a settlement that comes too late settles nothing else");
    ledger.withdraw(&rules, 600 * SECOND, Ticket(2));
    assert_eq!(ledger.in_flight(), 0);
}

#[test]
fn output_is_held_while_it_is_generated_and_paid_when_it_ends() {
    let rules = Rules { tpm: Some(1000), output_tpm: Some(600), ..Rules::default() };
    let mut ledger = Ledger::default();
    assert_eq!(ledger.admit(&rules, 0, &ask(1, 100, 500)), Decision::Admitted);
    let later = 120 * SECOND;
    for rules in [Rules { tpm: None, ..rules }, Rules { output_tpm: None, ..rules }] {
        assert_eq!(ledger.admit(&rules, later, &ask(2, 0, 490)), Decision::Wait { until_us: None });
    }
    ledger.settle(&rules, later, Ticket(1), &used(100, 300, End::Succeeded));
    let tokens = |bucket: &Option<Bucket>| bucket.as_ref().map(Bucket::tokens);
    assert_eq!((tokens(&ledger.tokens), tokens(&ledger.output)), (Some(700), Some(300)));
    assert_eq!(ledger.admit(&rules, later, &ask(2, 0, 288)), Decision::Admitted, "all but 2 % of the limit");
}

#[test]
fn a_request_larger_than_the_limit_goes_alone() {
    let rules = Rules { input_tpm: Some(600), ..Rules::default() };
    let mut ledger = Ledger::default();
    assert_eq!(ledger.admit(&rules, 60 * SECOND, &ask(1, 6, 0)), Decision::Admitted);
    let full = 60 * SECOND + 600_000 + 100_000;
    assert_eq!(ledger.admit(&rules, 60 * SECOND, &ask(2, 900, 0)), Decision::Wait { until_us: Some(full) });
    assert_eq!(ledger.admit(&rules, full, &ask(2, 900, 0)), Decision::Admitted);
    let back = full + 30 * SECOND + SECOND + 200_000;
    assert_eq!(ledger.admit(&rules, full, &ask(3, 0, 0)), Decision::Wait { until_us: Some(back) });
}

#[test]
fn a_withdrawn_request_leaves_no_trace() {
    let rules = Rules { rpm: Some(60), tpm: Some(1000), usd_per_day: Some(Usd::from_nanos(9)), ..Rules::default() };
    let mut ledger = Ledger::default();
    let first = Ask { worst_cost: Some(Usd::from_nanos(5)), ..ask(1, 10, 10) };
    assert_eq!(ledger.admit(&rules, 0, &first), Decision::Admitted);
    let before = ledger.clone();
    let second = Ask { ticket: Ticket(2), worst_cost: Some(Usd::from_nanos(4)), ..first };
    assert_eq!(ledger.admit(&rules, 0, &second), Decision::Admitted);
    ledger.withdraw(&rules, 0, Ticket(2));
    assert_eq!(ledger, before);
}

#[test]
fn after_a_429_nothing_is_thought_to_be_left() {
    let rules = Rules { rpm: Some(60), ..Rules::default() };
    let mut ledger = Ledger::default();
    for ticket in 0..3 {
        assert_eq!(ledger.admit(&rules, 0, &ask(ticket, 0, 0)), Decision::Admitted);
    }
    let limited = End::RateLimited { retry_after_us: Some(2 * SECOND) };
    ledger.settle(&rules, SECOND, Ticket(0), &Actual::unknown(limited));
    let until = |us| Decision::Wait { until_us: Some(us) };
    assert_eq!(ledger.admit(&rules, SECOND, &ask(4, 0, 0)), until(3 * SECOND));
    assert_eq!(ledger.admit(&rules, 3 * SECOND, &ask(4, 0, 0)), until(3_200_000));
    assert_eq!(ledger.admit(&rules, 3_200_000, &ask(4, 0, 0)), Decision::Admitted);
}

#[test]
fn pauses_without_a_stated_length_double_once_per_burst() {
    let rules = Rules { concurrency: Some(9), ..Rules::default() };
    let mut ledger = Ledger::default();
    let limited = Actual::unknown(End::RateLimited { retry_after_us: None });
    let mut now = 0;
    for pause_s in [1, 2, 4, 8, 16, 32, 60, 60] {
        for ticket in 0..3 {
            ledger.settle(&rules, now, Ticket(ticket), &limited);
        }
        let until_us = now + pause_s * SECOND;
        assert_eq!(ledger.admit(&rules, now, &ask(9, 0, 0)), Decision::Wait { until_us: Some(until_us) });
        now = until_us;
    }
    ledger.settle(&rules, now, Ticket(0), &Actual::unknown(End::Succeeded));
    ledger.settle(&rules, now, Ticket(0), &limited);
    assert_eq!(ledger.admit(&rules, now, &ask(9, 0, 0)), Decision::Wait { until_us: Some(now + SECOND) });
}

#[test]
fn a_breaker_says_until_when_and_lets_one_request_through() {
    let breaker = BreakerRule { failures: 2, window_us: 30 * SECOND, cooldown_us: 15 * SECOND };
    let rules = Rules { breaker: Some(breaker), ..Rules::default() };
    let mut ledger = Ledger::default();
    for ticket in [1, 2] {
        assert_eq!(ledger.admit(&rules, 0, &ask(ticket, 0, 0)), Decision::Admitted);
        ledger.settle(&rules, SECOND, Ticket(ticket), &Actual::unknown(FAILED));
    }
    let Decision::Rejected(failure) = ledger.admit(&rules, 2 * SECOND, &ask(3, 0, 0)) else { panic!("admitted") };
    assert_eq!(failure.message, "the backend failed 2 times within 30.0 s: it is left alone for another 14.0 s");
    assert_eq!((failure.retryable, failure.retry_after_us), (true, Some(14 * SECOND)));
    assert_eq!(ledger.admit(&rules, 16 * SECOND, &ask(3, 0, 0)), Decision::Admitted);
    assert!(matches!(ledger.admit(&rules, 17 * SECOND, &ask(4, 0, 0)), Decision::Rejected(_)));
    // The probe's lease ends, seen by a process that has no breaker.
    ledger.admit(&Rules::default(), 616 * SECOND, &ask(6, 0, 0));
    assert_eq!(ledger.admit(&rules, 616 * SECOND, &ask(4, 0, 0)), Decision::Admitted);
    ledger.settle(&rules, 617 * SECOND, Ticket(4), &Actual::unknown(End::Succeeded));
    assert_eq!(ledger.admit(&rules, 617 * SECOND, &ask(5, 0, 0)), Decision::Admitted);
}

#[test]
fn a_budget_that_others_only_reserve_is_waited_for_and_a_spent_one_is_not() {
    let (rules, mut ledger) = (budget(100), Ledger::default());
    assert_eq!(ledger.admit(&rules, 0, &dear(1, 60)), Decision::Admitted);
    assert_eq!(ledger.admit(&rules, 0, &dear(2, 60)), Decision::Wait { until_us: None });
    ledger.settle(&rules, 0, Ticket(1), &paid(30));
    assert_eq!(ledger.admit(&rules, 0, &dear(2, 60)), Decision::Admitted);
    ledger.settle(&rules, 0, Ticket(2), &Actual::unknown(FAILED));
    assert_eq!(ledger.spent_today(), Usd::from_nanos(90), "an unknown cost is the worst one");
    let Decision::Rejected(failure) = ledger.admit(&rules, 0, &dear(3, 11)) else { panic!("admitted") };
    assert_eq!(
        failure.message,
        "the backend's budget for today cannot cover a request of up to 0.000000011 USD: \
         0.00000009 of 0.0000001 USD are spent"
    );
    assert!(!failure.retryable && failure.is_limit);
    let Decision::Rejected(failure) = ledger.admit(&rules, 0, &ask(3, 0, 0)) else { panic!("unknown is not zero") };
    assert!(!failure.is_limit, "the deployment is wrong, not the budget spent");
    assert_eq!(ledger.admit(&rules, DAY_US, &dear(3, 100)), Decision::Admitted);
}

#[test]
fn a_clock_that_is_set_back_neither_invents_tokens_nor_blocks() {
    let rules = Rules { rpm: Some(60), ..Rules::default() };
    let mut ledger = Ledger::default();
    let far = 400 * DAY_US;
    let drained = Actual::unknown(End::RateLimited { retry_after_us: Some(10 * SECOND) });
    ledger.settle(&rules, far, Ticket(0), &drained);
    let now = 5 * DAY_US;
    let until = |us| Decision::Wait { until_us: Some(us) };
    assert_eq!(ledger.admit(&rules, now, &ask(1, 0, 0)), until(now + 10 * SECOND), "the pause is still ahead");
    assert_eq!(ledger.admit(&rules, now - SECOND / 2, &ask(1, 0, 0)), until(now + 10 * SECOND));
    assert_eq!(ledger.admit(&rules, now + 10 * SECOND, &ask(1, 0, 0)), Decision::Admitted);
    let tokens = ledger.requests.as_ref().map(Bucket::tokens);
    assert_eq!(tokens, Some(9), "ten seconds' worth, less one");
}

#[test]
fn a_changed_limit_keeps_what_is_there_and_a_process_without_it_uses_it_up() {
    let (small, large) = (Rules { rpm: Some(10), ..Rules::default() }, Rules { rpm: Some(100), ..Rules::default() });
    let mut ledger = Ledger::default();
    assert_eq!(ledger.admit(&small, 0, &ask(1, 0, 0)), Decision::Admitted);
    assert_eq!(ledger.admit(&Rules::default(), 0, &ask(2, 0, 0)), Decision::Admitted);
    ledger.admit(&large, 0, &ask(3, 0, 0));
    let tokens = ledger.requests.as_ref().map(Bucket::tokens);
    assert_eq!((tokens, ledger.in_flight()), (Some(7), 3));
}

#[test]
fn a_ledger_survives_being_written_down() {
    let rules = Rules { rpm: Some(10), tpm: Some(100), usd_per_day: Some(Usd::from_nanos(99)), ..Rules::default() };
    let mut ledger = Ledger::default();
    for ticket in 0..3 {
        let ask = Ask { worst_cost: Some(Usd::from_nanos(7)), ..ask(u64::MAX - ticket, 9, 9) };
        let ask = owned(u128::MAX - u128::from(ticket % 2), ask);
        assert_eq!(ledger.admit(&rules, 1 << 50, &ask), Decision::Admitted);
    }
    ledger.settle(&rules, 1 << 50, Ticket(u64::MAX), &paid(3));
    assert!(ledger.take_changed() && !ledger.take_changed());
    let text = serde_json::to_string(&ledger).expect("a ledger is JSON");
    assert_eq!(serde_json::from_str::<Ledger>(&text).expect("and back"), ledger);
}

#[test]
fn absurd_numbers_overflow_nothing() {
    let most = Some(u32::MAX);
    let rules = Rules { rpm: most, tpm: most, input_tpm: most, output_tpm: most, ..budget(i128::MAX) };
    let mut ledger = Ledger::default();
    let worst_cost = Some(Usd::from_nanos(i128::MAX));
    let ask = Ask { worst_cost, lease_us: u64::MAX, ..ask(1, u64::MAX, u64::MAX) };
    for now_us in [u64::MAX - 1, u64::MAX, 0, u64::MAX] {
        ledger.admit(&rules, now_us, &ask);
        let end = End::RateLimited { retry_after_us: Some(u64::MAX) };
        let actual = Actual { input_tokens: Some(u64::MAX), output_tokens: Some(u64::MAX), cost: worst_cost, end };
        ledger.settle(&rules, now_us, Ticket(1), &actual);
    }
    assert_eq!(ledger.in_flight(), 0);
}

/// One process asks for little again and again, another one for much.
#[test]
fn who_asks_for_much_is_not_passed_over_for_ever() {
    let rules = Rules { input_tpm: Some(600), ..Rules::default() };
    let mut ledger = Ledger::default();
    let (mut small, mut served_us) = (1, None);
    for now_us in (60 * SECOND..180 * SECOND).step_by(20_000) {
        if ledger.admit(&rules, now_us, &ask(small, 10, 0)) == Decision::Admitted {
            small += 1;
        }
        if now_us >= 120 * SECOND && served_us.is_none() {
            served_us = (ledger.admit(&rules, now_us, &ask(0, 300, 0)) == Decision::Admitted).then_some(now_us);
        }
    }
    let waited = served_us.expect("it is served") - 120 * SECOND;
    assert!((29 * SECOND..33 * SECOND).contains(&waited), "a second, and half a minute of refill: {waited}");
    assert!(small > 120, "the others are served before and after: {small}");
}

#[test]
fn what_the_dead_hold_is_free_at_once_and_counts_as_used() {
    let breaker = BreakerRule { failures: 1, window_us: SECOND, cooldown_us: 0 };
    let one = Rules { concurrency: Some(1), ..Rules::default() };
    let output = Rules { output_tpm: Some(1000), ..Rules::default() };
    let money = budget(100);
    let probe = Rules { breaker: Some(breaker), ..Rules::default() };
    let held = Ask { worst_cost: Some(Usd::from_nanos(60)), ..ask(1, 0, 500) };
    let wanted = Ask { worst_cost: Some(Usd::from_nanos(40)), ..ask(2, 0, 480) };
    let too_dear = Ask { worst_cost: Some(Usd::from_nanos(41)), ..ask(3, 0, 490) };
    let dead = BTreeSet::from([OwnerId(7)]);
    for (name, rules) in [("one", one), ("output", output), ("money", money), ("probe", probe)] {
        let mut ledger = Ledger::default();
        if rules.breaker.is_some() {
            ledger.settle(&rules, 0, Ticket(0), &Actual::unknown(FAILED));
        }
        assert_eq!(ledger.admit(&rules, 0, &owned(7, held)), Decision::Admitted, "{name}");
        let decision = ledger.admit(&rules, 0, &owned(8, too_dear));
        assert!(decision != Decision::Admitted && ledger.is_held_up(&decision), "{name}: {decision:?}");
        assert_eq!(ledger.owners(), dead, "{name}");
        ledger.withdraw(&rules, 0, Ticket(3));
        assert!(!ledger.settle_dead(&rules, 0, &BTreeSet::from([OwnerId(8)])), "{name}: it lives");
        ledger.take_changed();
        assert!(ledger.settle_dead(&rules, 0, &dead) && ledger.take_changed(), "{name}");
        assert!(!ledger.settle_dead(&rules, 0, &dead) && !ledger.take_changed(), "{name}: once");
        assert_eq!((ledger.in_flight(), ledger.spent_today()), (0, Usd::from_nanos(60)), "{name}");
        match name {
            "output" => {
                let decision = ledger.admit(&rules, 0, &too_dear);
                assert!(matches!(decision, Decision::Wait { until_us: Some(_) }), "only time helps: {decision:?}");
                assert!(!ledger.is_held_up(&decision));
                ledger.withdraw(&rules, 0, Ticket(3));
            }
            "money" => {
                let decision = ledger.admit(&rules, 0, &too_dear);
                assert!(matches!(&decision, Decision::Rejected(failure) if failure.is_limit), "{decision:?}");
                assert!(!ledger.is_held_up(&decision));
            }
            _ => {}
        }
        assert_eq!(ledger.admit(&rules, 0, &owned(8, wanted)), Decision::Admitted, "{name}");
        // The one that was taken for dead tells of its end after all.
        ledger.settle(&rules, 0, Ticket(1), &used(0, 500, End::Succeeded));
        assert_eq!((ledger.in_flight(), ledger.spent_today()), (1, Usd::from_nanos(60)), "{name}");
        assert_eq!(ledger.owners(), BTreeSet::from([OwnerId(8)]), "{name}");
    }
}

#[test]
fn a_ledger_from_before_leases_had_owners_is_read() {
    let text = concat!(
        r#"{"at_us":1000000,"day":0,"spent":"0","paused_until_us":0,"strikes":0,"breaker":{"Closed":{"failures_us":[]}},"#,
        r#""requests":{"limit":10,"levels":[540000000,600000000],"full_since_us":null},"tokens":null,"input":null,"#,
        r#""output":null,"leases":[{"ticket":1,"input":0,"output":0,"worst_cost":"0.000000005","expires_us":601000000}],"#,
        r#""claims":[]}"#
    );
    let rules = Rules { concurrency: Some(2), ..Rules::default() };
    let mut ledger: Ledger = serde_json::from_str(text).expect("readable");
    assert_eq!(serde_json::to_string(&ledger).expect("a ledger is JSON"), text, "without owners nothing is different");
    assert_eq!(ledger.admit(&rules, SECOND, &owned(7, ask(2, 0, 0))), Decision::Admitted);
    assert_eq!(ledger.owners(), BTreeSet::from([OwnerId(7)]));
    assert!(ledger.settle_dead(&rules, SECOND, &BTreeSet::from([OwnerId(0), OwnerId(7)])));
    assert_eq!(ledger.in_flight(), 1, "only its lease ends the other one");
    assert!(!ledger.settle_dead(&rules, 601 * SECOND, &BTreeSet::new()));
    assert_eq!(ledger.in_flight(), 0);
}

/// Something that happens among a few processes, of which those that die are followed by others.
#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Admit { process: usize, input: u64, output: u64, cost: i128 },
    Settle { request: usize, share: u64, fails: bool },
    Withdraw(usize),
    Die(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..10 * SECOND).prop_map(Step::Pass),
        4 => (0usize..4, 0u64..200, 0u64..200, 0i128..50)
            .prop_map(|(process, input, output, cost)| Step::Admit { process, input, output, cost }),
        2 => (any::<usize>(), 0u64..=4, any::<bool>())
            .prop_map(|(request, share, fails)| Step::Settle { request, share, fails }),
        1 => any::<usize>().prop_map(Step::Withdraw),
        1 => (0usize..4).prop_map(Step::Die),
    ]
}

proptest! {
    /// When a process dies, its requests count exactly as if it had dropped each of them at that moment: nothing is lost,
    /// nothing is counted twice, and whoever lives keeps what it has.
    #[test]
    fn the_dead_leave_what_they_would_have_left_by_dropping_it(steps in prop::collection::vec(step(), 1..80)) {
        let breaker = BreakerRule { failures: 2, window_us: 30 * SECOND, cooldown_us: 3 * SECOND };
        let rules = Rules {
            rpm: Some(200), tpm: Some(4000), input_tpm: Some(3000), output_tpm: Some(2000), concurrency: Some(6),
            usd_per_day: Some(Usd::from_nanos(600)), breaker: Some(breaker),
        };
        let (mut ledger, mut dropping) = (Ledger::default(), Ledger::default());
        let mut processes = [1, 2, 3, 4];
        let mut in_flight: Vec<(u128, Ask)> = Vec::new();
        let (mut now_us, mut tickets, mut deaths, mut spent) = (0, 0, 4, 0);
        // In the end nobody is left.
        for step in steps.into_iter().chain((0..4).map(Step::Die)) {
            match step {
                Step::Pass(us) => now_us += us,
                Step::Admit { process, input, output, cost } => {
                    tickets += 1;
                    let ask = Ask { worst_cost: Some(Usd::from_nanos(cost)), ..ask(tickets, input, output) };
                    let ask = owned(processes[process], Ask { lease_us: DAY_US, ..ask });
                    let decision = ledger.admit(&rules, now_us, &ask);
                    prop_assert_eq!(&decision, &dropping.admit(&rules, now_us, &ask));
                    if decision == Decision::Admitted {
                        in_flight.push((processes[process], ask));
                    }
                }
                Step::Settle { request, share, fails } if !in_flight.is_empty() => {
                    let (_, ask) = in_flight.remove(request % in_flight.len());
                    let cost = ask.worst_cost.map_or(0, Usd::nanos) * i128::from(share) / 4;
                    let end = if fails { FAILED } else { End::Succeeded };
                    let actual = used(ask.input_tokens * share / 4, ask.output_tokens * share / 4, end);
                    let actual = Actual { cost: Some(Usd::from_nanos(cost)), ..actual };
                    spent += cost;
                    for ledger in [&mut ledger, &mut dropping] {
                        ledger.settle(&rules, now_us, ask.ticket, &actual);
                    }
                }
                Step::Withdraw(request) if !in_flight.is_empty() => {
                    let (_, ask) = in_flight.remove(request % in_flight.len());
                    for ledger in [&mut ledger, &mut dropping] {
                        ledger.withdraw(&rules, now_us, ask.ticket);
                    }
                }
                Step::Settle { .. } | Step::Withdraw(_) => {}
                Step::Die(process) => {
                    let text = serde_json::to_string(&ledger).expect("a ledger is JSON");
                    ledger = serde_json::from_str(&text).expect("and back");
                    let died = processes[process];
                    deaths += 1;
                    processes[process] = deaths;
                    let held = |(owner, _): &(u128, Ask)| *owner == died;
                    let any = ledger.settle_dead(&rules, now_us, &BTreeSet::from([OwnerId(died)]));
                    prop_assert_eq!(any, in_flight.iter().any(held));
                    for (_, ask) in in_flight.extract_if(.., |request| held(request)) {
                        spent += ask.worst_cost.map_or(0, Usd::nanos);
                        dropping.settle(&rules, now_us, ask.ticket, &Actual::unknown(End::Cancelled));
                    }
                    if !any {
                        dropping.advance(&rules, now_us);
                    }
                }
            }
            ledger.take_changed();
            dropping.take_changed();
            prop_assert_eq!(&ledger, &dropping);
            let owners: BTreeSet<_> = in_flight.iter().map(|(owner, _)| OwnerId(*owner)).collect();
            prop_assert_eq!((ledger.owners(), ledger.in_flight()), (owners, in_flight.len()));
            prop_assert!(ledger.spent_today() == Usd::from_nanos(spent) && spent <= 600);
        }
        prop_assert!(!ledger.breaker.is_probing() && ledger.leases.is_empty());
    }
}
