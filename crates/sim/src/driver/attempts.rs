//! The life of a simulated attempt: prepared, served, settled.

use lumos_core::admission::End;
use lumos_core::chance::{self, Purpose, unit};
use lumos_core::graph::{GraphId, NodeId};
use lumos_core::price::{Bounds, Price};
use lumos_core::scheduler::{AttemptId, Bill, Estimate, EventKind, Failure};
use lumos_core::{Basis, CallReport, Usage, Usd};

use super::flight::{Fate, Flight, NOBODY, Phase};
use super::happening::{Handle, Happening};
use super::{Driver, Work};
use crate::model::{NodeModel, ServiceKind, SimValue};
use crate::replica::{Extra, Prefix, Reply, Request};
use crate::service::{Answer, ApiAsk};

/// What an attempt used and cost.
#[derive(Default)]
struct Settled {
    /// What it read and wrote, if anybody is told.
    report: Option<CallReport>,
    cost: Option<Usd>,
    /// Nanoseconds of machines that are paid by the hour.
    busy_ns: Option<u64>,
}

impl Driver<'_> {
    pub(super) fn prepare(&mut self, run: Handle, id: AttemptId) {
        let model = self.model;
        let Some(entry) = self.runs.get(run) else { return };
        let step = entry.state.step(id.step);
        let (graph, node_id) = (entry.state.graph_of(id.step), step.node);
        let node = model.node(graph, node_id);
        let candidate = entry.state.candidate(id.step) as usize;
        let service = node.candidates.get(candidate).copied().unwrap_or(NOBODY);
        let draw = entry.state.attempt_seed(id);
        let key = entry.state.view(id.step).key();
        // A prompt is the same however often it is sent; an answer is not.
        let input = match (&node.input, entry.lengths) {
            (Some(input), _) => input.count(chance::draw(entry.state.seed(), key, 0, Purpose::Input)),
            (None, lengths) => lengths.map_or(1, |(input, _)| input),
        };
        let output = match (&node.output, entry.lengths) {
            (Some(output), _) => output.count(chance::combine(draw, Purpose::Output as u64)),
            (None, lengths) => lengths.map_or(1, |(_, output)| output),
        };
        let recorded = model.recorded_attempt(&entry.state, id.step, id.number);
        let mut was_to_have = 0;
        let (input, output) = match (recorded.and_then(|asked| asked.lengths), node.max_output) {
            (Some(lengths), _) => lengths,
            (None, Some(most)) if output > most => {
                was_to_have = output;
                (input, most)
            }
            _ => (input, output),
        };
        let is_local = self.model.services.get(service as usize).is_some_and(|service| service.is_local);
        let prescribed = match recorded.and_then(|asked| asked.prescribed) {
            _ if !is_local => 0,
            Some(tokens) => tokens,
            None => (f64::from(output) * node.prescribed).round() as u32,
        };
        let context = if node.context { entry.context } else { 0 };
        let input = input.saturating_add(context).max(1);
        let fails = match recorded {
            Some(asked) => asked.is_useless,
            None => node.fail > 0.0 && unit(chance::combine(draw, Purpose::Failure as u64)) < node.fail,
        };
        let output_at_most = node.max_output.unwrap_or(output);
        let flight = Flight {
            run,
            attempt: id,
            graph: graph.0,
            node: node_id.0,
            service,
            phase: Phase::Prepared,
            draw,
            input,
            output,
            // Something is generated in any case.
            prescribed: prescribed.min(output.saturating_sub(1)),
            output_at_most,
            was_to_have,
            cached: 0,
            asked_us: self.now_us,
            came_us: self.now_us,
            sent_us: self.now_us,
            first_us: self.now_us,
            start_us: self.now_us,
            fate: if fails { Fate::Failed } else { Fate::Answered },
            permit: None,
            ticket: None,
            share_ns: 0,
            busy_ps: 0,
        };
        let worst_cost = self.worst_cost(&flight, graph, node_id);
        let handle = self.flights.insert(flight);
        if let Some(entry) = self.runs.get(run) {
            entry.flights.push((id, handle));
        }
        let estimate = Estimate { worst_cost, input_tokens: Some(u64::from(input)), request_hash: 0 };
        self.handle(run, EventKind::Prepared(id, estimate), true);
    }

    /// The most that an attempt can cost, where somebody asks for it.
    pub(super) fn worst_cost(&self, flight: &Flight, graph: GraphId, node: NodeId) -> Option<Usd> {
        let service = self.model.services.get(flight.service as usize)?;
        if self.model.program.plan().limits.cost.is_none() && service.rules.usd_per_day.is_none() {
            return None;
        }
        service.price.worst_cost(&Bounds {
            input_tokens: u64::from(flight.input),
            output_tokens: u64::from(flight.output_at_most),
            time_us: self.model.program.plan().graph(graph).node(node).policy.timeout_us,
        })
    }

    pub(super) fn start_attempt(&mut self, run: Handle, id: AttemptId) {
        let Some(handle) = self.flight_of(run, id) else { return };
        let now_us = self.now_us;
        let Some(flight) = self.flights.get(handle) else { return };
        (flight.phase, flight.sent_us, flight.came_us) = (Phase::Running, now_us, now_us);
        let service = flight.service;
        if service == NOBODY {
            let flight = flight.clone();
            let duration_us = self.duration_us(&flight);
            if duration_us == 0 {
                return self.conclude(handle, true);
            }
            return self.agenda.at(now_us + duration_us, Happening::Done(handle));
        }
        let index = service as usize;
        let measures = &mut self.measures.services[index];
        measures.advance(now_us);
        measures.requests += 1;
        measures.here += 1;
        measures.most = measures.most.max(measures.here);
        let node = self.model.node(GraphId(flight.graph), NodeId(flight.node));
        let shared =
            (node.shared_tokens > 0).then(|| (u64::from(node.position) + 1, node.shared_tokens.min(flight.input)));
        if let Some(occupancy) = &mut self.services[index].occupancy {
            flight.share_ns = occupancy.enter(now_us);
        }
        match &mut self.services[index].work {
            Work::Station(station) => {
                flight.phase = Phase::Queued;
                if station.enter(handle.index) {
                    self.serve(handle);
                } else {
                    self.note_waiting(index);
                }
            }
            Work::Api(api) => {
                let ask = ApiAsk { draw: flight.draw, input: flight.input, output: flight.output, shared };
                let answer = api.send(now_us, &ask);
                self.measures.services[index].serving += 1;
                let at_us = match answer {
                    Answer::Tokens { first_us, done_us, cached } => {
                        (flight.first_us, flight.cached) = (first_us, cached);
                        done_us
                    }
                    Answer::RateLimited { at_us, retry_after_us } => {
                        flight.fate = Fate::RateLimited { retry_after_us };
                        at_us
                    }
                    Answer::Failed { at_us } => {
                        flight.fate = Fate::Failed;
                        at_us
                    }
                };
                self.agenda.at(at_us, Happening::Done(handle));
            }
            Work::Pool(..) => self.submit(handle, shared),
        }
    }

    fn submit(&mut self, handle: Handle, shared: Option<(u64, u32)>) {
        let now_us = self.now_us;
        let Some(flight) = self.flights.get(handle).map(|flight| flight.clone()) else { return };
        let index = flight.service as usize;
        // What has ended until now has ended before this request comes.
        self.catch_up(flight.service);
        let node = self.model.node(GraphId(flight.graph), NodeId(flight.node));
        let session = self.runs.get(flight.run).map_or((u32::MAX, 0), |run| (run.session, run.context));
        let talk = node.context && session.0 != u32::MAX;
        let name = (1 << 40) | u64::from(session.0) << 8 | u64::from(node.position & 0xff);
        let request = Request {
            id: handle.id(),
            // What is prescribed is read like a prompt, and never generated.
            prompt_tokens: flight.input.saturating_add(flight.prescribed),
            output_tokens: flight.output - flight.prescribed,
            prefix: shared.map(|(id, tokens)| Prefix { id, tokens }),
            session: (talk && session.1 > 0)
                .then(|| Prefix { id: name, tokens: (node.shared_tokens + session.1).min(flight.input) }),
            keep: talk.then_some(name),
            extra: self.extra(node, flight.service),
        };
        let Work::Pool(pool, _) = &mut self.services[index].work else { return };
        // A server counts what the answer may have, not what it will have.
        let ticket = pool.takes(flight.input, flight.output_at_most).and_then(|()| pool.submit(now_us, request));
        self.measures.services[index].serving += 1;
        self.note_waiting(index);
        if let Some(flight) = self.flights.get(handle) {
            flight.ticket = ticket.ok();
            if let Err(rejection) = ticket {
                flight.fate = Fate::Refused(rejection);
                self.agenda.at(now_us, Happening::Done(handle));
            }
        }
        self.note_pool(index);
    }

    /// What choosing its tokens adds to a node's request of a service.
    fn extra(&self, node: &NodeModel, service: u32) -> Extra {
        let candidate = node.candidates.iter().position(|candidate| *candidate == service);
        match (&self.model.services[service as usize].kind, candidate) {
            (ServiceKind::Pool { choosing, .. }, Some(at)) => choosing.extra(node.choices[at]),
            _ => Extra::default(),
        }
    }

    /// Notes when a pool wants to be advanced.
    fn note_pool(&mut self, index: usize) {
        let service = &mut self.services[index];
        let Work::Pool(pool, _) = &service.work else { return };
        if let Some(next_us) = pool.next_us()
            && next_us < service.wake_us
        {
            service.wake_us = next_us;
            self.agenda.at(next_us.max(self.now_us), Happening::Pool(index as u32));
        }
    }

    pub(super) fn wake(&mut self, service: u32) {
        let index = service as usize;
        if self.services[index].wake_us <= self.now_us {
            self.services[index].wake_us = u64::MAX;
            self.advance_pool(index);
        }
        self.deliver(index);
        self.note_pool(index);
    }

    /// Brings a pool up to now, if it is behind; whoever is answered by that is told by an event of its own.
    pub(super) fn catch_up(&mut self, service: u32) {
        let index = service as usize;
        let due = match &self.services[index].work {
            Work::Pool(pool, _) => pool.next_us().is_some_and(|next_us| next_us <= self.now_us),
            Work::Station(_) | Work::Api(_) => false,
        };
        if due {
            self.agenda.at(self.now_us, Happening::Pool(service));
            self.advance_pool(index);
        }
    }

    /// Brings a pool up to now; what has ended is kept until [`Driver::deliver`].
    fn advance_pool(&mut self, index: usize) {
        let now_us = self.now_us;
        let service = &mut self.services[index];
        if let Work::Pool(pool, _) = &mut service.work {
            pool.advance(now_us, &mut service.replies);
        }
    }

    /// Hands out what pools have answered.
    fn deliver(&mut self, index: usize) {
        let overhead_us = match &self.services[index].work {
            Work::Pool(_, overhead_us) => *overhead_us,
            Work::Station(_) | Work::Api(_) => 0,
        };
        // Whoever is told may ask again, and the pool answer, before the last is told.
        let mut replies = std::mem::take(&mut self.services[index].replies);
        for reply in replies.drain(..) {
            let (id, at_us) = match reply {
                Reply::Done { id, at_us, start_us, first_us, cached_tokens, busy_ps, .. } => {
                    let handle = Handle::of(id);
                    if let Some(flight) = self.flights.get(handle) {
                        (flight.first_us, flight.cached, flight.ticket) = (first_us + overhead_us, cached_tokens, None);
                        (flight.start_us, flight.busy_ps) = (start_us, busy_ps);
                    }
                    (id, at_us)
                }
                Reply::Failed { id, at_us, progress } => {
                    let handle = Handle::of(id);
                    if let Some(flight) = self.flights.get(handle) {
                        (flight.fate, flight.output) = (Fate::Failed, flight.written(progress.output_tokens));
                        (flight.ticket, flight.busy_ps) = (None, progress.busy_ps);
                    }
                    (id, at_us)
                }
            };
            let handle = Handle::of(id);
            let at_us = at_us + overhead_us;
            if at_us <= self.now_us {
                self.conclude(handle, false);
            } else {
                self.agenda.at(at_us, Happening::Done(handle));
            }
        }
        let later = &mut self.services[index].replies;
        if later.is_empty() {
            *later = replies;
        }
    }

    /// Begins the work of a station.
    fn serve(&mut self, handle: Handle) {
        let now_us = self.now_us;
        let Some(flight) = self.flights.get(handle) else { return };
        (flight.phase, flight.sent_us) = (Phase::Running, now_us);
        let flight = flight.clone();
        let measures = &mut self.measures.services[flight.service as usize];
        measures.advance(now_us);
        measures.serving += 1;
        let duration_us = self.duration_us(&flight);
        self.agenda.at(now_us + duration_us, Happening::Done(handle));
    }

    fn duration_us(&self, flight: &Flight) -> u64 {
        let node = self.model.node(GraphId(flight.graph), NodeId(flight.node));
        node.duration.us(chance::combine(flight.draw, Purpose::Duration as u64))
    }

    /// Ends an attempt: bills it, gives back what it held, and tells its run. `inside`: while the run's commands are carried
    /// out.
    pub(super) fn conclude(&mut self, handle: Handle, inside: bool) {
        let Some(flight) = self.forget(handle) else { return };
        let now_us = self.now_us;
        let settled = self.settle(&flight, flight.output);
        let report = &settled.report;
        let node = self.model.node(GraphId(flight.graph), NodeId(flight.node));
        let (run, id) = (flight.run, flight.attempt);
        let failed = flight.fate != Fate::Answered;
        let work = self.services.get(flight.service as usize).map(|service| &service.work);
        let is_pool = matches!(work, Some(Work::Pool(..)));
        // Of a station nobody knows when its first token is there.
        let is_timed = report.is_some() && !matches!(work, Some(Work::Station(_)));
        let tpot_ns = (now_us.saturating_sub(flight.first_us) * 1000)
            .checked_div(u64::from(flight.output.saturating_sub(1)))
            .filter(|_| is_timed);
        if let Some(entry) = self.runs.get(run) {
            let ttft_us = flight.first_us.saturating_sub(flight.sent_us);
            if is_timed && !failed {
                entry.worst_ttft_us = entry.worst_ttft_us.max(ttft_us);
                entry.worst_tpot_ns = entry.worst_tpot_ns.max(tpot_ns.unwrap_or(0));
            }
            if entry.counts {
                let batch = self.measures.batch(entry.number - self.model.workload.warmup_runs);
                let measures = &mut self.measures.nodes[node.position as usize];
                measures.attempts += 1;
                measures.cut(flight.was_to_have);
                measures.again += u64::from(id.number > 1);
                measures.failed += u64::from(failed);
                match flight.fate {
                    Fate::RateLimited { .. } => measures.rate_limited += 1,
                    Fate::Refused(rejection) => measures.refuse(rejection),
                    Fate::Answered | Fate::Failed => {}
                }
                measures.queue.record(batch, flight.sent_us - flight.asked_us);
                measures.duration.record(batch, now_us - flight.sent_us);
                if let Some(report) = report {
                    measures.use_tokens(&report.usage);
                    if is_timed && !failed {
                        measures.ttft.record(batch, ttft_us);
                        if is_pool {
                            measures.wait.record(batch, flight.start_us.max(flight.sent_us) - flight.asked_us);
                        }
                        if let Some(tpot_ns) = tpot_ns {
                            measures.tpot.record(batch, tpot_ns);
                        }
                    }
                }
                self.charge(&flight, &settled);
            }
        }
        let bill = self.bill(&flight, settled);
        let kind = match flight.fate {
            Fate::Answered => EventKind::Succeeded(id, SimValue { tokens: flight.output }, bill),
            Fate::Failed => {
                let failure = Failure { retryable: true, ..Failure::fatal("the attempt failed") };
                EventKind::Failed(id, failure, bill)
            }
            Fate::Refused(rejection) => EventKind::Failed(id, Failure::fatal(rejection.to_string()), bill),
            Fate::RateLimited { retry_after_us } => {
                let failure = Failure { retryable: true, retry_after_us, ..Failure::fatal("429: too many requests") };
                EventKind::Failed(id, failure, bill)
            }
        };
        if inside {
            self.handle(run, kind, false);
        } else {
            self.feed(run, kind);
        }
        self.follow(&flight);
    }

    /// What becomes possible when an attempt has left its service.
    fn follow(&mut self, flight: &Flight) {
        let Some(service) = self.services.get_mut(flight.service as usize) else { return };
        if let Work::Station(station) = &mut service.work
            && flight.phase == Phase::Running
            && let Some(next) = station.leave()
        {
            let handle = self.flights.handle(next);
            self.serve(handle);
        }
        if flight.permit.is_some() {
            // Somebody who waits may pass; as an event of its own, because this may be in the middle of another run.
            if let Some(gate) = &mut self.services[flight.service as usize].gate {
                gate.wake_us = self.now_us;
            }
            self.agenda.at(self.now_us, Happening::Gate(flight.service));
        }
    }

    /// What an attempt used and cost; gives back its permit and its place.
    fn settle(&mut self, flight: &Flight, output: u32) -> Settled {
        let now_us = self.now_us;
        let index = flight.service as usize;
        let Some(service) = self.services.get_mut(index) else { return Settled::default() };
        let model = &self.model.services[index];
        let busy_ns = match (&model.price, &model.kind) {
            (Price::PerHour(_), ServiceKind::Pool { .. }) => Some(flight.busy_ps / 1_000),
            (Price::PerHour(_), ServiceKind::Station { servers }) => {
                // The machine is busy to the share of its servers that are.
                let served_us = if flight.phase == Phase::Running { now_us - flight.sent_us } else { 0 };
                Some(served_us * 1_000 / u64::from(*servers))
            }
            _ => service.occupancy.as_mut().map(|occupancy| occupancy.leave(now_us, flight.share_ns)),
        };
        let is_station = matches!(service.work, Work::Station(_));
        let is_free = model.is_free();
        // A station that stands for what is paid by the token is paid so; what still waits there has cost nothing.
        let is_told = !is_station || matches!(model.price, Price::Tokens(_)) && flight.phase == Phase::Running;
        let was_taken = !matches!(flight.fate, Fate::RateLimited { .. } | Fate::Refused(_)) && is_told;
        let is_counted = was_taken
            && (flight.fate == Fate::Answered
                || flight.ticket.is_some()
                || output > 0 && matches!(service.work, Work::Pool(..)));
        let report = is_counted.then(|| CallReport {
            usage: Usage {
                input_tokens: Some(u64::from(flight.input)),
                cached_input_tokens: Some(u64::from(flight.cached)),
                cache_write_tokens: Some(0),
                output_tokens: Some(u64::from(output)),
                ..Usage::default()
            },
            busy_us: busy_ns.map(|ns| ns / 1_000),
            ..CallReport::new(Basis::Simulated)
        });
        let cost = match (&model.price, &report) {
            (Price::PerHour(usd), _) => busy_ns.and_then(|busy_ns| usd.scaled(busy_ns, 3_600_000_000_000)),
            (price, Some(report)) => price.cost(report),
            // A refused request costs nothing.
            (Price::Tokens(_), None) => Some(Usd::ZERO),
            (Price::Unknown, None) => None,
        };
        if cost.is_none() && !is_free {
            self.measures.cost_complete = false;
        }
        let end = match flight.fate {
            Fate::Answered => End::Succeeded,
            // Live, a request that does not fit ends as any other that the server refuses.
            Fate::Failed | Fate::Refused(_) => End::Failed { retry_after_us: None },
            Fate::RateLimited { retry_after_us } => End::RateLimited { retry_after_us },
        };
        if let (Some(gate), Some(permit)) = (&mut service.gate, flight.permit) {
            gate.settle(now_us, permit, report.as_ref(), cost, end);
        }
        if let Work::Api(api) = &mut service.work
            && flight.fate == Fate::Answered
        {
            api.end(now_us, output);
        }
        let measures = &mut self.measures.services[index];
        measures.advance(now_us);
        measures.here -= 1;
        if flight.phase == Phase::Running {
            measures.serving -= 1;
        }
        measures.sojourn_us += u128::from(now_us - flight.came_us);
        match flight.fate {
            Fate::Answered => {}
            Fate::Failed | Fate::Refused(_) => measures.failed += 1,
            Fate::RateLimited { .. } => measures.rate_limited += 1,
        }
        Settled { report, cost, busy_ns }
    }

    /// Notes what an attempt of a run that counts has cost, at its node and at its service.
    fn charge(&mut self, flight: &Flight, Settled { cost, busy_ns, .. }: &Settled) {
        let index = flight.service as usize;
        let Some(service) = self.model.services.get(index) else { return };
        let position = self.model.node(GraphId(flight.graph), NodeId(flight.node)).position as usize;
        let (node, at) = (&mut self.measures.nodes[position], &mut self.measures.services[index]);
        // The time of machines is divided among nodes once it is known how much of it there was.
        if let Some(busy_ns) = busy_ns {
            at.busy_ns[position] += u128::from(*busy_ns);
            return;
        }
        match cost {
            Some(cost) => {
                node.cost += *cost;
                at.cost += *cost;
            }
            None if service.is_free() => {}
            None => (node.is_unknown, at.is_unknown) = (true, true),
        }
    }

    pub(super) fn cancel(&mut self, run: Handle, id: AttemptId) {
        let Some(handle) = self.flight_of(run, id) else { return };
        if let Some(service) =
            self.flights.get(handle).map(|flight| flight.service).filter(|service| *service != NOBODY)
        {
            self.catch_up(service);
        }
        let Some(mut flight) = self.forget(handle) else { return };
        let now_us = self.now_us;
        let counts = self.runs.get(run).is_some_and(|run| run.counts);
        let node = self.model.node(GraphId(flight.graph), NodeId(flight.node)).position as usize;
        if counts && matches!(flight.phase, Phase::Running | Phase::Queued) {
            let measures = &mut self.measures.nodes[node];
            measures.attempts += 1;
            measures.cut(flight.was_to_have);
            measures.again += u64::from(id.number > 1);
            measures.cancelled += 1;
        }
        let bill = match flight.phase {
            Phase::Prepared => Some(Bill { cost: Some(Usd::ZERO), report: None }),
            Phase::Waiting | Phase::Admitted => {
                if let Some(gate) = self.services.get_mut(flight.service as usize).and_then(|at| at.gate.as_mut()) {
                    gate.give_up(now_us, handle.index);
                }
                Some(Bill { cost: Some(Usd::ZERO), report: None })
            }
            Phase::Queued | Phase::Running => {
                let mut output = 0;
                match self.services.get_mut(flight.service as usize).map(|service| &mut service.work) {
                    Some(Work::Station(station)) if flight.phase == Phase::Queued => station.give_up(handle.index),
                    Some(Work::Pool(pool, _)) => {
                        let progress = flight.ticket.and_then(|ticket| pool.cancel(now_us, ticket));
                        flight.busy_ps = progress.map_or(flight.busy_ps, |progress| progress.busy_ps);
                        output = progress.map_or(flight.output, |progress| flight.written(progress.output_tokens));
                    }
                    // A server that nobody listens to any more has generated what it could until then.
                    Some(Work::Api(_)) if now_us >= flight.first_us => {
                        let whole = flight.output;
                        output = whole;
                    }
                    _ => {}
                }
                let settled = self.settle(&flight, output);
                if counts {
                    if let Some(report) = &settled.report {
                        self.measures.nodes[node].use_tokens(&report.usage);
                    }
                    self.charge(&flight, &settled);
                }
                self.follow(&flight);
                Some(self.bill(&flight, settled))
            }
        };
        if let Some(bill) = bill {
            self.handle(run, EventKind::Settled(id, bill), false);
        }
    }

    /// What a run is told of an attempt: of its calls only when somebody wants records, because runs wait in great numbers.
    fn bill(&self, flight: &Flight, Settled { report, cost, .. }: Settled) -> Bill {
        let report = self.tracer.is_some().then(|| {
            let has_begun = (flight.came_us + 1..=self.now_us).contains(&flight.first_us);
            let ttft_us = has_begun.then(|| flight.first_us - flight.sent_us);
            let queue_us = flight.sent_us - flight.came_us;
            Box::new(CallReport { ttft_us, queue_us, ..report.unwrap_or(CallReport::new(Basis::Simulated)) })
        });
        Bill { cost, report }
    }

    pub(super) fn flight_of(&mut self, run: Handle, id: AttemptId) -> Option<Handle> {
        let entry = self.runs.get(run)?;
        entry.flights.iter().find(|(attempt, _)| *attempt == id).map(|(_, handle)| *handle)
    }

    /// Takes an attempt out of those that go on.
    pub(super) fn forget(&mut self, handle: Handle) -> Option<Flight> {
        let flight = self.flights.remove(handle)?;
        if let Some(entry) = self.runs.get(flight.run)
            && let Some(position) = entry.flights.iter().position(|(_, known)| *known == handle)
        {
            entry.flights.swap_remove(position);
        }
        Some(flight)
    }
}
