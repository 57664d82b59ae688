//! Who comes: open arrivals, sessions of several turns, and clients that wait for their runs.

use lumos_core::chance::combine;
use lumos_core::spec::ArrivalSpec;

use super::happening::{Happening, Who};
use super::{Driver, Session};
use crate::arrivals;
use crate::error::{MOST_CLIENTS, SimError};

/// No session: a run by itself, or one of a closed loop's client.
const ALONE: u32 = u32::MAX;

/// What draws of the load are for, beside the seeds of runs, which are counted from 0.
const CLIENT: u64 = 1 << 61;
const SESSION: u64 = 1 << 62;
const THINK: u64 = 1 << 63;

impl Driver<'_> {
    /// Notes who comes first.
    ///
    /// # Errors
    /// More clients than there is room for.
    pub(super) fn begin(&mut self) -> Result<(), SimError> {
        if let ArrivalSpec::Closed { clients, .. } = self.model.workload.arrivals {
            // They never ask for more than can be served.
            self.close_watch();
            let clients = arrivals::clients(clients, self.options.load_factor);
            if clients > MOST_CLIENTS {
                return Err(SimError::Crowd { clients });
            }
            self.clients = clients;
            for client in 0..clients {
                let draw = combine(combine(self.options.seed, CLIENT), client);
                let think_us = self.model.workload.think.us(draw);
                self.comes(think_us, Who::Client);
            }
        } else {
            self.note_arrival();
        }
        Ok(())
    }

    fn note_arrival(&mut self) {
        self.next_arrival = self.arrivals.next().filter(|arrival| self.is_open_at(arrival.at_us));
        match self.next_arrival {
            Some(arrival) => self.comes(arrival.at_us.max(self.now_us), Who::Arrival),
            None => self.close_watch(),
        }
    }

    fn comes(&mut self, at_us: u64, who: Who) {
        self.to_come += 1;
        self.agenda.at(at_us, Happening::Comes(who));
    }

    /// Whether runs may still begin.
    pub(super) fn is_open_at(&self, at_us: u64) -> bool {
        let in_time = self.model.workload.duration_us.is_none_or(|duration_us| at_us < duration_us);
        in_time && self.total.is_none_or(|total| self.started < total)
    }

    pub(super) fn arrive(&mut self) {
        let Some(arrival) = self.next_arrival.take() else { return };
        if !self.is_open_at(self.now_us) {
            return;
        }
        match &self.model.workload.sessions {
            None => self.start(arrival.lengths, ALONE, 0),
            Some(sessions) => {
                let draw = combine(combine(self.options.seed, SESSION), self.started);
                let turns_left = sessions.turns.count(combine(draw, 0)).max(1);
                let session =
                    self.sessions.insert(Session { turns_left, turn: 0, context: 0, lengths: arrival.lengths, draw });
                self.turn(session.index);
            }
        }
        self.note_arrival();
    }

    pub(super) fn client(&mut self) {
        if self.now_us > self.still.0 {
            self.still = (self.now_us, self.started);
        }
        if self.is_open_at(self.now_us) {
            self.start(None, ALONE, 0);
        }
    }

    /// Begins a session's next run, or ends the session.
    pub(super) fn turn(&mut self, index: u32) {
        let handle = self.sessions.handle(index);
        let is_open = self.is_open_at(self.now_us);
        let Some(session) = self.sessions.get(handle) else { return };
        if session.turns_left == 0 || !is_open {
            self.sessions.remove(handle);
            return;
        }
        session.turns_left -= 1;
        session.turn += 1;
        let (lengths, context) = (session.lengths, session.context);
        self.start(lengths, index, context);
    }

    /// What follows a run's end.
    pub(super) fn after(&mut self, session: u32) {
        let workload = &self.model.workload;
        if matches!(workload.arrivals, ArrivalSpec::Closed { .. }) {
            let draw = combine(combine(self.options.seed, THINK), self.measures.ended);
            let at_us = self.now_us + workload.think.us(draw);
            if self.is_open_at(at_us) {
                self.comes(at_us, Who::Client);
            }
        }
        let Some(sessions) = workload.sessions.as_ref().filter(|_| session != ALONE) else { return };
        let handle = self.sessions.handle(session);
        let Some(entry) = self.sessions.get(handle) else { return };
        let draw = combine(entry.draw, u64::from(entry.turn));
        entry.context = entry.context.saturating_add(sessions.growth.count(combine(draw, 1)));
        if entry.turns_left == 0 {
            self.sessions.remove(handle);
        } else {
            let think_us = sessions.think.us(combine(draw, 2));
            self.comes(self.now_us + think_us, Who::Turn(session));
        }
    }
}
