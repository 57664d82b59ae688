//! The simulated driver: carries out the scheduler's commands on a virtual clock. It decides nothing.

mod admission;
mod attempts;
mod flight;
mod happening;
mod load;
mod record;

use std::collections::VecDeque;

use lumos_core::price::Price;
use lumos_core::record::Status;
use lumos_core::scheduler::{Command, Event, EventKind, RunState};

use crate::arrivals::{Arrivals, run_seed};
use crate::error::SimError;
use crate::iteration::PS_PER_US;
use crate::model::{Model, ServiceKind, SimValue};
use crate::replica::{Pool, ReplicaError, Reply};
use crate::results::{Measures, Queue, WarmUp, Watch};
use crate::service::{Api, Gate, Occupancy, Station};
use crate::trace::Arrival;

use flight::{Flight, Flights, Run, Session, status};
pub use record::Traced;

use happening::{Agenda, Handle, Happening, Slab, Who};
use record::Tracer;

/// The last microsecond: three centuries, so that sums of times fit.
const END_US: u64 = 10_000_000_000_000_000;

/// The last microsecond where there are replicas, whose clocks count picoseconds: 173 days.
const POOLS_END_US: u64 = 15_000_000_000_000;

/// Runs of a closed loop that may begin in one microsecond, beside one of each client.
const MOST_AT_ONCE: u64 = 100_000;

/// How a simulation goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Everything random.
    pub seed: u64,
    /// How many times as often runs arrive as the scenario says.
    pub load_factor: f64,
    /// Runs at most, in place of the scenario's.
    pub runs: Option<u64>,
    /// One iteration of a replica at a time, to prove that the closed form gives the same.
    pub stepwise: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 0, load_factor: 1.0, runs: None, stepwise: false }
    }
}

/// Simulates a model once.
///
/// # Errors
/// When a pool of replicas cannot be, or no run counts.
pub fn simulate(model: &Model, options: Options) -> Result<Measures, SimError> {
    simulate_with(model, options, None)
}

/// The same; `tell` hears of each run as it ends, those of the warm-up too.
///
/// # Errors
/// When a pool of replicas cannot be, or no run counts.
pub fn simulate_traced(model: &Model, options: Options, tell: &mut dyn FnMut(Traced)) -> Result<Measures, SimError> {
    simulate_with(model, options, Some(Tracer::new(model, tell)))
}

fn simulate_with<'m>(model: &'m Model, options: Options, tracer: Option<Tracer<'m>>) -> Result<Measures, SimError> {
    let warmup_runs = model.workload.warmup_runs;
    let none_counts = |runs: u64| Err(SimError::NoneCounts { runs, warmup_runs });
    if let Some(runs) = options.runs.filter(|runs| *runs <= warmup_runs) {
        return none_counts(runs);
    }
    let mut driver = Driver::new(model, options, tracer)?;
    driver.run()?;
    let measures = driver.finish();
    if measures.counted() == 0 { none_counts(measures.arrived) } else { Ok(measures) }
}

struct Driver<'m> {
    model: &'m Model,
    options: Options,
    now_us: u64,
    agenda: Agenda,
    runs: Slab<Run>,
    flights: Slab<Flight>,
    sessions: Slab<Session>,
    services: Vec<Service<'m>>,
    arrivals: Arrivals,
    next_arrival: Option<Arrival>,
    /// Arrivals, clients and turns of sessions that are noted and have not happened.
    to_come: u64,
    measures: Measures,
    tracer: Option<Tracer<'m>>,
    /// Runs that are to arrive at most.
    total: Option<u64>,
    started: u64,
    watch: Watch,
    /// Whether more may come than is served for a time, so that the longest queues are told.
    varies: bool,
    last_arrival_us: u64,
    /// After which nothing can happen.
    end_us: u64,
    /// When the last client came, and runs before all that came then.
    still: (u64, u64),
    /// Clients of a closed loop.
    clients: u64,
    area_since_us: u64,
    commands: VecDeque<Command>,
    fresh: Vec<Command>,
    /// What ended runs have left: their memory is used again.
    spare: Vec<(RunState<Model>, Flights)>,
}

/// A place where work is done, in use.
struct Service<'m> {
    work: Work<'m>,
    gate: Option<Gate>,
    occupancy: Option<Occupancy>,
    /// When the pool's next event is noted for.
    wake_us: u64,
    /// What the pool has answered and nobody has been told yet.
    replies: Vec<Reply>,
}

enum Work<'m> {
    Station(Station),
    Api(Box<Api<'m>>),
    Pool(Box<Pool>, u64),
}

impl<'m> Driver<'m> {
    fn new(model: &'m Model, options: Options, tracer: Option<Tracer<'m>>) -> Result<Self, ReplicaError> {
        let mut services = Vec::with_capacity(model.services.len());
        for service in &model.services {
            let work = match &service.kind {
                ServiceKind::Station { servers } => Work::Station(Station::new(*servers)),
                ServiceKind::Api(api) => Work::Api(Box::new(Api::new(api))),
                ServiceKind::Pool { spec, time, overhead_us, .. } => {
                    let mut spec = (**spec).clone();
                    spec.replica.stepwise |= options.stepwise;
                    Work::Pool(Box::new(Pool::new(spec, time.clone())?), *overhead_us)
                }
            };
            let is_shared = matches!((&service.price, &work), (Price::PerHour(_), Work::Api(_)));
            services.push(Service {
                work,
                gate: (!service.rules.is_empty()).then(|| Gate::new(service.rules)),
                occupancy: is_shared.then(Occupancy::default),
                wake_us: u64::MAX,
                replies: Vec::new(),
            });
        }
        let workload = &model.workload;
        let arrivals = Arrivals::of_load(&workload.arrivals, options.load_factor, workload.rows.clone(), options.seed);
        let has_pools = services.iter().any(|service| matches!(service.work, Work::Pool(..)));
        let nodes = model.nodes.iter().map(Vec::len).sum();
        Ok(Self {
            model,
            options,
            now_us: 0,
            agenda: Agenda::default(),
            runs: Slab::default(),
            flights: Slab::default(),
            sessions: Slab::default(),
            services,
            arrivals,
            next_arrival: None,
            to_come: 0,
            measures: Measures::new(nodes, model.services.len()),
            tracer,
            total: options.runs.or(workload.runs),
            started: 0,
            watch: Watch::new(model.services.len()),
            varies: model.varies(),
            last_arrival_us: 0,
            end_us: if has_pools { POOLS_END_US } else { END_US },
            still: (0, 0),
            clients: 0,
            area_since_us: 0,
            commands: VecDeque::new(),
            fresh: Vec::new(),
            spare: Vec::new(),
        })
    }

    /// Runs until the last run has ended and no other comes.
    fn run(&mut self) -> Result<(), SimError> {
        self.begin()?;
        while let Some((at_us, happening)) = self.agenda.next() {
            if self.runs.len() == 0 && (self.to_come == 0 || !self.is_open_at(at_us)) {
                return Ok(());
            }
            if at_us > self.end_us {
                return Err(SimError::EndOfTime { end_us: self.end_us });
            }
            if let Some(error) = self.stands_still() {
                return Err(error);
            }
            if at_us >= self.watch.next_us() {
                self.look(at_us);
            }
            self.now_us = at_us;
            match happening {
                Happening::Comes(who) => {
                    self.to_come -= 1;
                    match who {
                        Who::Arrival => self.arrive(),
                        Who::Client => self.client(),
                        Who::Turn(session) => self.turn(session),
                    }
                }
                Happening::Done(flight) => self.conclude(flight, false),
                Happening::Pool(service) => self.wake(service),
                Happening::Gate(service) => {
                    if self.services[service as usize].gate.as_ref().is_some_and(|gate| gate.wake_us <= at_us) {
                        self.open_gate(service);
                    }
                }
                Happening::Timer(run, timer) => {
                    if self.runs.get(run).is_some_and(|run| run.state.awaits(timer)) {
                        self.feed(run, EventKind::TimerFired(timer));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a closed loop that only its time would end goes round without any passing.
    fn stands_still(&self) -> Option<SimError> {
        let runs = self.started - self.still.1;
        let stands = self.total.is_none() && self.now_us == self.still.0 && runs > MOST_AT_ONCE + self.clients;
        stands.then_some(SimError::StandsStill { at_us: self.now_us, runs })
    }

    fn finish(mut self) -> Measures {
        self.integrate();
        let now_us = self.now_us;
        self.measures.horizon_us = now_us;
        self.measures.arriving_us = self.last_arrival_us;
        self.total_services();
        self.measures.close(self.watch);
        self.measures
    }

    /// Brings the sums of every service up to now.
    fn total_services(&mut self) {
        let now_us = self.now_us;
        for (index, service) in self.services.iter_mut().enumerate() {
            let measures = &mut self.measures.services[index];
            measures.advance(now_us);
            let whole = |parts: u128| u64::try_from(parts).unwrap_or(u64::MAX);
            let (paid_us, busy_us) = match (&service.work, &self.model.services[index].kind) {
                (Work::Pool(pool, _), _) => {
                    let totals = pool.totals(now_us);
                    measures.pool = Some(totals);
                    (totals.provisioned_us, whole(totals.replicas.busy_ps / u128::from(PS_PER_US)))
                }
                (_, ServiceKind::Station { servers }) => (now_us, whole(measures.served_us / u128::from(*servers))),
                _ => (now_us, service.occupancy.as_mut().map_or(0, |occupancy| occupancy.busy_us(now_us))),
            };
            (measures.paid_us, measures.busy_us) = (paid_us, busy_us.min(paid_us));
        }
    }

    /// Notes what there is as the first run arrives that counts.
    fn end_warm_up(&mut self) {
        // What ends at this moment has ended before it.
        for service in 0..self.services.len() as u32 {
            self.catch_up(service);
        }
        self.total_services();
        let measures = &mut self.measures;
        measures.warm_up = Some(Box::new(WarmUp {
            at_us: self.now_us,
            area_us: measures.area_us,
            services: measures.services.clone(),
        }));
        measures.most_runs = self.runs.len() as u64;
        for service in &mut measures.services {
            service.most = service.here;
        }
    }

    /// Adds up the runs in the system until now.
    fn integrate(&mut self) {
        let passed = u128::from(self.now_us - self.area_since_us);
        self.measures.area_us += passed * self.runs.len() as u128;
        self.area_since_us = self.now_us;
    }

    /// Begins a run.
    fn start(&mut self, lengths: Option<(u32, u32)>, session: u32, context: u32) {
        self.integrate();
        let number = self.started;
        self.started += 1;
        self.measures.arrived += 1;
        self.last_arrival_us = self.now_us;
        let workload = &self.model.workload;
        if number > 0 && number == workload.warmup_runs {
            self.end_warm_up();
        }
        if number >= workload.warmup_runs {
            self.measures.make_room(number - workload.warmup_runs);
        }
        let seed = run_seed(self.options.seed, number);
        let (state, flights) = match self.spare.pop() {
            Some((mut state, flights)) => {
                state.restart(self.model, SimValue::default(), seed);
                (state, flights)
            }
            None => (RunState::new(self.model, SimValue::default(), seed), Flights::new()),
        };
        let run = Run {
            state,
            number,
            arrived_us: self.now_us,
            counts: number >= workload.warmup_runs,
            lengths,
            context,
            session,
            worst_ttft_us: 0,
            worst_tpot_ns: 0,
            flights,
        };
        let run = self.runs.insert(run);
        if self.total == Some(self.started) {
            self.close_watch();
        }
        self.measures.most_runs = self.measures.most_runs.max(self.runs.len() as u64);
        self.feed(run, EventKind::Started);
    }

    /// Looks at the queues as they were when it was time to, now that the next event is that of `at_us`.
    fn look(&mut self, at_us: u64) {
        while self.watch.next_us() <= at_us {
            let look_us = self.watch.next_us();
            let there = self.runs.len() as u64;
            let mut queues = Vec::with_capacity(self.services.len() + 1);
            queues.push(Queue { came: self.measures.arrived, waiting: there, there, is_partial: false });
            for (service, measures) in self.services.iter().zip(&self.measures.services) {
                let held = service.gate.as_ref().map_or(0, Gate::waiting) as u64;
                let (waiting, is_partial) = match &service.work {
                    Work::Station(_) => (measures.here - measures.serving, false),
                    Work::Api(api) => (0, api.is_impaired(look_us - 1)),
                    // What happens at that very moment comes after it.
                    Work::Pool(pool, _) => (pool.waiting(look_us - 1) as u64, pool.is_partial(look_us - 1)),
                };
                let (came, there) = (measures.requests + held, measures.here + held);
                queues.push(Queue { came, waiting: waiting + held, there, is_partial });
            }
            self.watch.look(look_us, &queues);
        }
    }

    /// Notes how many wait before a service for which there is one more: for lumos's own limiter, for a free server, for a
    /// place in a batch or the end of an iteration.
    fn note_waiting(&mut self, index: usize) {
        if !self.varies {
            return;
        }
        let (service, measures) = (&self.services[index], &self.measures.services[index]);
        let held = service.gate.as_ref().map_or(0, Gate::waiting) as u64;
        let waiting = match &service.work {
            Work::Station(_) => measures.here - measures.serving,
            Work::Api(_) => 0,
            Work::Pool(pool, _) => pool.queued() as u64,
        };
        self.watch.note(index, held + waiting);
    }

    /// Nobody comes any more by himself.
    fn close_watch(&mut self) {
        let now_us = self.now_us;
        let offered = self.services.iter().map(|service| service.gate.as_ref().and_then(|gate| gate.offered(now_us)));
        let offered = offered.collect();
        for (index, service) in self.model.services.iter().enumerate() {
            if service.is_impaired_until(now_us) {
                self.watch.call_whole(index);
            }
        }
        self.watch.close(now_us, offered);
    }

    /// Feeds an event to a run and carries out what follows from it.
    fn feed(&mut self, run: Handle, kind: EventKind<SimValue>) {
        // An answer to a run that another event of the same moment has ended.
        if self.runs.get(run).is_none() {
            return;
        }
        self.handle(run, kind, false);
        while let Some(command) = self.commands.pop_front() {
            self.carry_out(run, command);
        }
        if self.runs.get(run).is_some_and(|run| run.state.outcome().is_some()) {
            self.end(run);
        }
    }

    /// Hands an event to the scheduler; what it asks for is done before everything else, or after it.
    fn handle(&mut self, run: Handle, kind: EventKind<SimValue>, next: bool) {
        let Some(entry) = self.runs.get(run) else { return };
        let at_us = self.now_us - entry.arrived_us;
        entry.state.handle(self.model, Event { at_us, kind }, &mut self.fresh);
        if next {
            for command in self.fresh.drain(..).rev() {
                self.commands.push_front(command);
            }
        } else {
            self.commands.extend(self.fresh.drain(..));
        }
    }

    fn carry_out(&mut self, run: Handle, command: Command) {
        let Some(entry) = self.runs.get(run) else { return };
        if entry.state.outcome().is_some() && !matches!(command, Command::CancelAttempt(_)) {
            return;
        }
        match command {
            Command::Prepare(id) => self.prepare(run, id),
            Command::Admit(id) => self.admit(run, id),
            Command::StartAttempt(id) => self.start_attempt(run, id),
            Command::SetTimer { timer, at_us } => {
                let at_us = entry.arrived_us.saturating_add(at_us);
                self.agenda.timer(self.now_us, at_us, run, timer);
            }
            Command::CancelAttempt(id) => self.cancel(run, id),
            // A simulated person agrees at once.
            Command::AskHuman(step) => {
                let by = lumos_core::scheduler::By::Person;
                self.handle(run, EventKind::Decided(step, lumos_core::scheduler::Decision::Approved { by }), true);
            }
            Command::Finish => {}
        }
    }

    /// Takes a run that has ended out of the system.
    fn end(&mut self, handle: Handle) {
        self.integrate();
        let Some(mut run) = self.runs.remove(handle) else { return };
        let latency_us = self.now_us - run.arrived_us;
        self.measures.ended += 1;
        self.measures.sojourn_us += u128::from(latency_us);
        if run.counts {
            let status = status(&run).unwrap_or(Status::Failed);
            self.measures.count(status);
            let batch = self.measures.batch(run.number - self.model.workload.warmup_runs);
            if status == Status::Succeeded {
                self.measures.latency.record(batch, latency_us);
                let within =
                    |limit: Option<f64>, value: u64, per: f64| limit.is_none_or(|limit| value as f64 <= limit * per);
                let slo = &self.model.slo;
                let good = within(slo.run_s, latency_us, 1e6)
                    && within(slo.ttft_s, run.worst_ttft_us, 1e6)
                    && within(slo.tpot_ms, run.worst_tpot_ns, 1e6);
                self.measures.good += u64::from(good);
            }
        }
        self.trace(&run);
        run.flights.clear();
        self.spare.push((run.state, run.flights));
        self.after(run.session);
    }
}
