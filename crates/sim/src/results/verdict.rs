//! Whether what arrives is served, judged by what waits before each service while runs arrive. Work that is being served
//! says nothing: a pipeline that fills, or an API that nothing limits, is not overloaded.

use lumos_core::spec::ArrivalSpec;
use serde::Serialize;

use super::watch::{Queue, Watch};

/// Windows into which the time of arrivals is cut to see whether a queue grows in all of them.
const WINDOWS: usize = 16;

/// How many standard errors above zero the mean growth of those windows must be (Student's t with 15 degrees of freedom:
/// one queue in 600 at exactly its capacity gets there, and hardly any below), and that of the second half alone.
const GROWS: f64 = 3.5;
const GROWS_LATE: f64 = 4.5;

/// How many make one wonder.
const MAY_GROW: f64 = 2.0;

/// Requests from which on growth says anything.
const FEWEST: u64 = 10;

/// How the system bears its load.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Verdict {
    /// What arrives is served.
    Stable,
    /// For some time more arrived than was served, and then less: times hold for this load.
    Overloaded {
        /// When and where, by service and then by time.
        spans: Vec<Span>,
    },
    /// Too few runs arrived to tell: times hold for these runs only.
    Unclear {
        /// The services of which it cannot be told.
        services: Vec<String>,
    },
    /// More arrives than is served, so queues grow as long as one looks.
    Unstable {
        /// Runs by which the backlog grows each second.
        runs_per_s: f64,
        /// The services whose own queues grow, the one that grows most first.
        services: Vec<Bottleneck>,
    },
}

/// A service that does not keep up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bottleneck {
    /// Its name.
    pub service: String,
    /// What it is asked for, as a multiple of what it can do; absent where nothing of that was seen to end.
    pub load: Option<f64>,
    /// Requests by which its queue grows each second; 0 while a limit's full bucket hides it.
    pub requests_per_s: f64,
}

/// A time in which a service did not keep up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Span {
    /// Its name.
    pub service: String,
    /// Seconds from the start until more was asked of it than it served, to within a look at it.
    pub from_s: f64,
    /// Until it was longest.
    pub to_s: f64,
    /// Until it was worked off; absent if it was not before the last arrival.
    pub worked_off_s: Option<f64>,
    /// The most requests that waited at a time.
    pub most_waiting: u64,
}

/// How arrivals go on, if one looks for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// As before, after so many microseconds of a cycle at the latest.
    Steady {
        /// The cycle; 0 without one.
        cycle_us: u64,
    },
    /// As on the first day.
    Daily {
        /// Length of a day.
        day_us: u64,
    },
    /// As recorded, and then not at all.
    Recorded,
    /// Never more than there are clients.
    Closed,
}

impl Pattern {
    /// That of arrivals `factor` times as often as a scenario says.
    pub fn of(arrivals: &ArrivalSpec) -> Self {
        let us = |seconds: f64| (seconds * 1e6) as u64;
        match arrivals {
            ArrivalSpec::OnOff { on_s, off_s, .. } => Self::Steady { cycle_us: us(4.0 * (on_s + off_s)) },
            ArrivalSpec::Diurnal { day_h, .. } => Self::Daily { day_us: us(day_h * 3600.0) },
            ArrivalSpec::Trace { .. } => Self::Recorded,
            ArrivalSpec::Closed { .. } => Self::Closed,
            _ => Self::Steady { cycle_us: 0 },
        }
    }
}

/// What is known of the watched services.
#[derive(Clone, Copy)]
pub struct Watched<'a> {
    /// Their names.
    pub names: &'a [&'a str],
    /// Whether the first of two, by position, has its turn before the other.
    pub is_before: &'a dyn Fn(usize, usize) -> bool,
    /// Those that batch, by position: more of them being served is not yet a queue, and may become one.
    pub batches: &'a dyn Fn(usize) -> bool,
    /// How runs arrive.
    pub pattern: Pattern,
    /// Whether something is down for a time.
    pub has_outages: bool,
}

/// The verdict on simulations of one load with several seeds.
pub fn verdict(watches: &[Watch], watched: &Watched<'_>) -> Verdict {
    if watched.pattern == Pattern::Closed {
        return Verdict::Stable;
    }
    let states: Vec<State> = (0..watched.names.len()).map(|service| state(watches, service, watched)).collect();
    let mut growing: Vec<Bottleneck> = Vec::new();
    let mut unclear = Vec::new();
    let mut runs_per_s = 0.0;
    for (service, (name, state)) in watched.names.iter().zip(&states).enumerate() {
        match state {
            State::Grows { .. } if is_flooded(watches, service, &states, watched) => unclear.push((*name).to_owned()),
            State::Grows { load, per_s } => {
                growing.push(Bottleneck { service: (*name).to_owned(), load: *load, requests_per_s: *per_s });
                // Of a run that asks several times, several wait.
                runs_per_s += per_s / per_run(watches, service).max(1.0);
            }
            State::Unclear => unclear.push((*name).to_owned()),
            State::Served => {}
        }
    }
    if !growing.is_empty() {
        growing.sort_by(|a, b| {
            b.requests_per_s.total_cmp(&a.requests_per_s).then(b.load.unwrap_or(0.0).total_cmp(&a.load.unwrap_or(0.0)))
        });
        // Batches that fill hold runs too, and are not there for ever. Of a day or a record the second half is the one that
        // is quieter, or busier, than the rest.
        let late = late(&all);
        let span: &dyn Fn(&Watch) -> (usize, usize) = if is_even(watched.pattern) { &late } else { &all };
        let there = growth(watches, None, span, |queue| queue.there);
        return Verdict::Unstable { runs_per_s: there.per_s.min(runs_per_s).max(0.0), services: growing };
    }
    if !unclear.is_empty() {
        return Verdict::Unclear { services: unclear };
    }
    let varies = watched.has_outages || matches!(watched.pattern, Pattern::Daily { .. } | Pattern::Recorded);
    let spans: Vec<Span> = watches
        .first()
        .filter(|_| varies)
        .map(|watch| watched.names.iter().enumerate().flat_map(|(at, name)| spans(watch, at, name)).collect())
        .unwrap_or_default();
    if spans.is_empty() { Verdict::Stable } else { Verdict::Overloaded { spans } }
}

/// The verdict on a load whose services cannot be seen into: runs that are there, of which `typical_us` is how long one takes
/// that nobody holds up.
pub fn verdict_of_runs(watch: &Watch, typical_us: Option<u64>, pattern: Pattern) -> Verdict {
    let Pattern::Steady { cycle_us } = pattern else { return Verdict::Stable };
    let watches = std::slice::from_ref(watch);
    let late = growth(watches, None, &late(&all), |queue| queue.there);
    if late.t < GROWS_LATE {
        return Verdict::Stable;
    }
    // A pipeline that fills is full after as long as one run takes.
    let is_full = typical_us.is_some_and(|typical_us| watch.until_us() / 2 >= 3 * typical_us);
    let is_enough = late.came >= FEWEST && watch.until_us() >= cycle_us;
    if is_full && is_enough {
        Verdict::Unstable { runs_per_s: late.per_s, services: Vec::new() }
    } else {
        Verdict::Unclear { services: Vec::new() }
    }
}

/// How one service bears its load.
enum State {
    Served,
    Unclear,
    Grows { load: Option<f64>, per_s: f64 },
}

fn state(watches: &[Watch], service: usize, watched: &Watched<'_>) -> State {
    // Before all that may serve does, a queue grows that will be worked off: nothing follows from that.
    let whole_span = |watch: &Watch| longest_whole(watch, service);
    let is_seen = watches.iter().all(|watch| {
        let (from, to) = whole_span(watch);
        to - from >= WINDOWS.min(watch.count())
    });
    // Part of a day or of a record says nothing of the rest: a morning in which all serves may be busier than the day.
    let is_part = is_seen && is_even(watched.pattern);
    let span: &dyn Fn(&Watch) -> (usize, usize) = if is_part { &whole_span } else { &all };
    let whole = growth(watches, Some(service), span, |queue| queue.waiting);
    let late = growth(watches, Some(service), &late(span), |queue| queue.waiting);
    let shortest_us = watches.iter().map(Watch::until_us).min().unwrap_or(0);
    let came_per_s = whole.came as f64 / whole.seconds;
    let load = capacity(watches, service).map(|per_s| (came_per_s / per_s).max(1.0));
    let grows = match watched.pattern {
        // Over whole days, because what is left in the evening may be worked off at night.
        Pattern::Daily { day_us } => lasts(shortest_us, day_us) && load >= Some(1.02),
        // What grew while something was down is worked off, unless more is asked for than all of it carries.
        Pattern::Recorded => {
            let is_all = watches.iter().all(|watch| whole_span(watch) == all(watch));
            whole.t >= GROWS && (is_all || !is_seen || load > Some(1.0))
        }
        _ => whole.t >= GROWS || late.t >= GROWS_LATE,
    };
    let cycle_us = match watched.pattern {
        Pattern::Steady { cycle_us } => cycle_us,
        _ => 0,
    };
    let seen_us = |watch: &Watch| match span(watch) {
        span if span == all(watch) => watch.until_us(),
        (from, to) => (to - from) as u64 * watch.slot_us(),
    };
    let is_enough = is_seen && whole.came >= FEWEST && watches.iter().all(|watch| seen_us(watch) >= cycle_us);
    let goes_on = match watched.pattern {
        Pattern::Steady { .. } => true,
        Pattern::Daily { day_us } => lasts(shortest_us, day_us),
        Pattern::Recorded | Pattern::Closed => false,
    };
    let left = |load: f64| came_per_s * (1.0 - 1.0 / load);
    match offered(watches, service, &whole).filter(|_| goes_on) {
        Some((load, true)) if is_enough => {
            let per_s = late.per_s.max(whole.per_s).clamp(0.0, left(load));
            return State::Grows { load: Some(load), per_s };
        }
        Some(_) => return State::Unclear,
        None => {}
    }
    if grows {
        let per_s = load.map_or(late.per_s.max(whole.per_s).min(came_per_s), left);
        return if is_enough { State::Grows { load, per_s } } else { State::Unclear };
    }
    if matches!(watched.pattern, Pattern::Steady { .. }) {
        let waits = watches.iter().filter(|watch| never_empties(watch, service)).count();
        let fills = (watched.batches)(service) && fills(watches, service);
        if 2 * waits > watches.len() || fills || whole.t >= MAY_GROW {
            return State::Unclear;
        }
    }
    State::Served
}

/// Whether all parts of a load are alike.
fn is_even(pattern: Pattern) -> bool {
    matches!(pattern, Pattern::Steady { .. })
}

/// All slots.
fn all(watch: &Watch) -> (usize, usize) {
    (0, watch.count())
}

/// The second half of some slots.
fn late(span: &dyn Fn(&Watch) -> (usize, usize)) -> impl Fn(&Watch) -> (usize, usize) {
    move |watch| {
        let (from, to) = span(watch);
        (from + (to - from) / 2, to)
    }
}

/// The longest time in which all of a service served that may, in slots; the last of several.
fn longest_whole(watch: &Watch, service: usize) -> (usize, usize) {
    let is_whole = |slots: usize| !watch.at(Some(service), slots).is_partial;
    let (mut longest, mut from) = ((0, 0), 0);
    for slots in 0..watch.count() {
        if !is_whole(slots) || !is_whole(slots + 1) {
            from = slots + 1;
        } else if slots + 1 - from >= longest.1 - longest.0 {
            longest = (from, slots + 1);
        }
    }
    longest
}

/// Whether what waits for a service may be no more than what others before it have held back while not all of them served.
fn is_flooded(watches: &[Watch], service: usize, states: &[State], watched: &Watched<'_>) -> bool {
    let waits: u64 = watches.iter().map(|watch| watch.at(Some(service), watch.count()).waiting).sum();
    let held = |other: usize| {
        let most = watches.iter().filter_map(|watch| {
            let looks = (0..=watch.count()).map(|slots| watch.at(Some(other), slots));
            let is_partial = looks.clone().any(|queue| queue.is_partial);
            looks.map(|queue| queue.waiting).max().filter(|_| is_partial)
        });
        most.sum::<u64>() as f64 * per_run(watches, service) / per_run(watches, other).max(f64::MIN_POSITIVE)
    };
    let others = (0..states.len())
        .filter(|other| *other != service && (watched.is_before)(*other, service))
        .filter(|other| !matches!(states[*other], State::Grows { .. }));
    waits > 0 && waits as f64 <= others.map(held).sum()
}

/// Requests of a run to a service, on average over runs.
fn per_run(watches: &[Watch], service: usize) -> f64 {
    let came = |of: Option<usize>| watches.iter().map(|watch| watch.at(of, watch.count()).came).sum::<u64>();
    came(Some(service)) as f64 / came(None).max(1) as f64
}

/// Whether a day is over with its last arrival, which comes a little before its end.
fn lasts(until_us: u64, day_us: u64) -> bool {
    until_us + day_us / 20 >= day_us
}

/// By how much limits are overrun, if they are, and whether that is more than chance.
fn offered(watches: &[Watch], service: usize, whole: &Growth) -> Option<(f64, bool)> {
    let all: Vec<_> = watches.iter().filter_map(|watch| watch.offered(service)).collect();
    let requests: u64 = all.iter().map(|offered| offered.requests).sum();
    let load = all.iter().map(|offered| offered.load).sum::<f64>() / all.len().max(1) as f64;
    // Twice, because lengths vary too.
    let error = (2.0 * whole.dispersion / requests.max(1) as f64).sqrt();
    (load > 1.0).then_some((load, (load - 1.0) >= GROWS * error))
}

/// How something grew over the windows of some watches.
struct Growth {
    /// Mean growth over its standard error.
    t: f64,
    /// Mean growth.
    per_s: f64,
    /// Requests that came.
    came: u64,
    /// Seconds in which they did, of all watches together.
    seconds: f64,
    /// Variance of the requests that came in a window over their mean: 1 if they come independently of each other.
    dispersion: f64,
}

/// Growth in the slots that `span` says of each watch.
fn growth(
    watches: &[Watch],
    service: Option<usize>,
    span: &dyn Fn(&Watch) -> (usize, usize),
    of: impl Fn(Queue) -> u64,
) -> Growth {
    let (mut grew, mut came, mut seconds) = (Vec::new(), Vec::new(), 0.0);
    for watch in watches {
        let (from, to) = span(watch);
        let windows = WINDOWS.min(to - from);
        let at = |window: usize| watch.at(service, from + window * (to - from) / windows.max(1));
        for window in 0..windows {
            let (before, after) = (at(window), at(window + 1));
            grew.push(of(after) as f64 - of(before) as f64);
            came.push(after.came.saturating_sub(before.came) as f64);
        }
        seconds += ((to - from) as u64 * watch.slot_us()) as f64 / 1e6;
    }
    let (mean, variance) = moments(&grew);
    let (mean_came, variance_came) = moments(&came);
    let error = (variance / grew.len().max(1) as f64).sqrt();
    Growth {
        t: if mean <= 0.0 { 0.0 } else { mean / error },
        per_s: mean * grew.len() as f64 / f64::max(seconds, 1e-6),
        came: came.iter().sum::<f64>() as u64,
        seconds: f64::max(seconds, 1e-6),
        dispersion: if mean_came > 0.0 { variance_came / mean_came } else { 1.0 },
    }
}

/// Mean and variance.
fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0))
}

/// Requests per second that are served while many wait and all serves that may, after the last arrival too; `None` where that
/// is not seen.
fn capacity(watches: &[Watch], service: usize) -> Option<f64> {
    let (mut served, mut us) = (0.0, 0);
    for watch in watches {
        let (from, to) = longest_whole(watch, service);
        let enough = watch.enough(service, from..=to);
        let queue = |slots: usize| watch.at(Some(service), slots);
        for slots in from..to {
            let (before, after) = (queue(slots), queue(slots + 1));
            if before.waiting >= enough && after.waiting >= enough {
                served += work(after) - work(before);
                us += watch.slot_us();
            }
        }
        if let Some((at_us, last)) = watch.tail(service).filter(|_| to == watch.count()) {
            served += work(last) - work(queue(to));
            us += at_us.saturating_sub(to as u64 * watch.slot_us());
        }
    }
    (served > 0.0 && us > 0).then(|| served / (us as f64 / 1e6))
}

/// Requests that have been served, of those in the middle of it half: a batch that fills ends nothing yet.
fn work(queue: Queue) -> f64 {
    queue.came.saturating_sub(queue.there) as f64 + queue.there.saturating_sub(queue.waiting) as f64 / 2.0
}

/// Whether somebody waited at every look of the second half, and more than hardly anybody at the end: such a queue may be on
/// its way anywhere.
fn never_empties(watch: &Watch, service: usize) -> bool {
    let count = watch.count();
    let end = watch.at(Some(service), count);
    let hardly = (end.came / 200).max(3);
    count > 0 && end.waiting >= hardly && (count / 2..count).all(|slot| watch.at(Some(service), slot + 1).waiting > 0)
}

/// Whether batches still grow at the end of a load that is short beside one request: how many there will be is not seen.
fn fills(watches: &[Watch], service: usize) -> bool {
    let late = growth(watches, Some(service), &late(&all), |queue| queue.there);
    if late.t < GROWS_LATE {
        return false;
    }
    let is_short = |watch: &Watch| {
        let count = watch.count();
        let there: u64 = (0..count).map(|slot| watch.at(Some(service), slot + 1).there).sum();
        let end = watch.at(Some(service), count);
        // By Little's law, of those that have left.
        let served = end.came.saturating_sub(end.there);
        served == 0 || watch.until_us() / 2 < 3 * there * watch.slot_us() / served
    };
    watches.iter().all(is_short)
}

/// The times in which a service did not keep up: a queue that grows for some slots, by more than chance makes it.
fn spans(watch: &Watch, service: usize, name: &str) -> Vec<Span> {
    let at = |slots: usize| watch.at(Some(service), slots);
    let count = watch.count();
    let longest = (0..=count).map(|slots| at(slots).waiting).max().unwrap_or(0);
    let floor = (longest / 20).max(1);
    let seconds = |slots: usize| (slots as u64 * watch.slot_us()) as f64 / 1e6;
    let mut spans = Vec::new();
    let (mut slots, mut done) = (0, 0);
    while slots < count {
        if at(slots + 1).waiting < floor {
            slots += 1;
            continue;
        }
        let from = slots;
        let until = (from + 1..=count).find(|slots| at(*slots).waiting < floor);
        let top = (from..=until.unwrap_or(count)).max_by_key(|slots| at(*slots).waiting).unwrap_or(from);
        let grown = at(top).waiting;
        // Twice what came: so much did by chance, and so much was served by chance.
        let by_chance = (2.0 * (at(top).came - at(from).came) as f64).sqrt();
        if top >= from + 2 && grown as f64 >= 5.0 * by_chance {
            spans.push(Span {
                service: name.to_owned(),
                from_s: seconds(begins(watch, service, done, from, top)),
                to_s: seconds(top),
                worked_off_s: until.map(seconds),
                most_waiting: (from..=until.unwrap_or(count))
                    .map(|slot| watch.peak(service, slot))
                    .max()
                    .unwrap_or(grown),
            });
        }
        slots = until.unwrap_or(count);
        done = slots;
    }
    spans
}

/// When a queue began to grow that was long at `from` and longest at `top`, not before `earliest`. On a smooth curve it grows
/// slowly at first: it begins where arrivals lag furthest behind what is served per slot while it is long. Where nobody
/// waited, it had not begun.
fn begins(watch: &Watch, service: usize, earliest: usize, from: usize, top: usize) -> usize {
    let at = |slots: usize| watch.at(Some(service), slots);
    let ended = |slots: usize| at(slots).came.saturating_sub(at(slots).there) as f64;
    let per_slot = (ended(top) - ended(from)) / (top - from).max(1) as f64;
    let ahead = |slots: usize| at(slots).came as f64 - per_slot * slots as f64;
    let mut begins = from;
    for slots in (earliest..from).rev() {
        if ahead(slots) < ahead(begins) {
            begins = slots;
        }
        if at(slots).waiting == 0 {
            break;
        }
    }
    begins
}
