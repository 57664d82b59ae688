//! Which of several replicas gets a request.

use std::cmp::Reverse;

use super::{Replica, Request};

/// How requests are spread over replicas. Ties go to the replica with the lowest number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Routing {
    /// In turn.
    #[default]
    RoundRobin,
    /// To the one with the fewest outstanding requests.
    LeastRequests,
    /// To the one with the fewest outstanding tokens, prompts and outputs, as if outputs were known.
    LeastTokens,
    /// To the one whose cache has most of the prompt, among those with at most `slack` outstanding requests more than the
    /// one with the fewest; the fewest among equals.
    Prefix {
        /// Outstanding requests that a warm cache is worth.
        slack: u32,
    },
}

#[derive(Debug)]
pub(super) struct Router {
    routing: Routing,
    turn: usize,
    /// Scratch: (tokens that are warm, outstanding requests, index).
    candidates: Vec<(Reverse<u32>, u32, usize)>,
}

impl Router {
    pub fn new(routing: Routing) -> Self {
        Self { routing, turn: 0, candidates: Vec::new() }
    }

    /// One of `replicas` by its index, for those of which `None` stands that cannot serve; `None` if none can.
    pub fn pick<'a>(
        &mut self,
        now_us: u64,
        replicas: impl ExactSizeIterator<Item = Option<&'a mut Replica>>,
        request: &Request,
    ) -> Option<usize> {
        let count = replicas.len();
        let serving = replicas.enumerate().filter_map(|(index, replica)| Some((index, replica?)));
        match self.routing {
            Routing::RoundRobin => {
                let turn = self.turn % count;
                let picked = serving.map(|(index, _)| index).min_by_key(|index| (index + count - turn) % count)?;
                self.turn = picked + 1;
                Some(picked)
            }
            Routing::LeastRequests => serving.min_by_key(|(_, replica)| replica.outstanding()).map(|(index, _)| index),
            Routing::LeastTokens => {
                serving.min_by_key(|(_, replica)| replica.outstanding_tokens()).map(|(index, _)| index)
            }
            Routing::Prefix { slack } => {
                self.candidates.clear();
                for (index, replica) in serving {
                    let warm = Reverse(replica.warm_tokens(now_us, request));
                    self.candidates.push((warm, replica.outstanding(), index));
                }
                let most = self.candidates.iter().map(|(_, outstanding, _)| *outstanding).min()?.saturating_add(slack);
                let near = self.candidates.iter().filter(|(_, outstanding, _)| *outstanding <= most);
                near.min().map(|(.., index)| *index)
            }
        }
    }
}
