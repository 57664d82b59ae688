//! Before a service: lumos's own limiter, where there is one, lets attempts pass or turns them away.

use lumos_core::graph::{GraphId, NodeId};
use lumos_core::scheduler::{AttemptId, EventKind};

use super::Driver;
use super::flight::Phase;
use super::happening::{Handle, Happening};
use crate::service::Passage;

impl Driver<'_> {
    pub(super) fn admit(&mut self, run: Handle, id: AttemptId) {
        let Some(handle) = self.flight_of(run, id) else { return };
        let Some(flight) = self.flights.get(handle) else { return };
        flight.asked_us = self.now_us;
        let (index, input, service) = (handle.index, flight.input, flight.service);
        let output = (flight.output, flight.output_at_most);
        let has_gate = self.services.get(service as usize).is_some_and(|service| service.gate.is_some());
        if !has_gate {
            flight.phase = Phase::Admitted;
            return self.handle(run, EventKind::Admitted(id), true);
        }
        flight.phase = Phase::Waiting;
        let (graph, node) = (GraphId(flight.graph), NodeId(flight.node));
        let flight = flight.clone();
        let worst_cost = self.worst_cost(&flight, graph, node);
        if let Some(gate) = &mut self.services[service as usize].gate {
            gate.enter(index, input, output, worst_cost);
        }
        // Whoever passes does so as an event of their own, after this run's commands.
        self.agenda.at(self.now_us, Happening::Gate(service));
        if let Some(gate) = &mut self.services[service as usize].gate {
            gate.wake_us = self.now_us;
        }
    }

    /// Lets pass whoever may.
    pub(super) fn open_gate(&mut self, service: u32) {
        loop {
            let Some(gate) = &mut self.services[service as usize].gate else { return };
            gate.wake_us = u64::MAX;
            match gate.next(self.now_us) {
                None => {
                    self.note_waiting(service as usize);
                    let Some(gate) = &mut self.services[service as usize].gate else { return };
                    if gate.wake_us != u64::MAX {
                        let at_us = gate.wake_us;
                        self.agenda.at(at_us, Happening::Gate(service));
                    }
                    return;
                }
                Some(Passage::Admitted { flight, ticket }) => {
                    let handle = self.flights.handle(flight);
                    let Some(flight) = self.flights.get(handle) else { continue };
                    (flight.permit, flight.phase) = (Some(ticket), Phase::Admitted);
                    let (run, id) = (flight.run, flight.attempt);
                    self.feed(run, EventKind::Admitted(id));
                }
                Some(Passage::Rejected { flight, failure }) => {
                    let handle = self.flights.handle(flight);
                    let Some(flight) = self.flights.get(handle) else { continue };
                    let (run, id) = (flight.run, flight.attempt);
                    self.forget(handle);
                    self.feed(run, EventKind::Rejected(id, failure));
                }
            }
        }
    }
}
