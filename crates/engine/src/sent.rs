//! What was asked in every attempt of a run, rendered again from its log in one pass.

use lumos_core::ChatRequest;
use lumos_core::scheduler::{AttemptId, EventKind, RunState};
use serde_json::Value;

use crate::attempt;
use crate::binding::BoundProgram;
use crate::store::{RecordStore, StoreError};

/// What an attempt asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendering {
    /// The attempt.
    pub attempt: AttemptId,
    /// The position of its node among those of the program.
    pub position: usize,
    /// What its agent was given; `None` when it cannot be rendered any more.
    pub arguments: Option<Value>,
    /// What a model was asked; `None` when none was.
    pub request: Option<ChatRequest>,
    /// Whether that is what was asked then, by its digest.
    pub is_as_recorded: bool,
}

impl RecordStore {
    /// Gives what each attempt of a run asked to `take`, in the order in which they were prepared; `bound` is the run's
    /// program, whose backends are not asked.
    ///
    /// # Errors
    /// When there is no such run, or its log cannot be read.
    pub fn renderings(
        &self,
        bound: &BoundProgram,
        run_id: &str,
        take: &mut dyn FnMut(Rendering),
    ) -> Result<(), StoreError> {
        self.read(|reader| {
            let header = reader.find(run_id)?;
            let program = bound.program();
            let mut state = RunState::new(program, reader.first_inputs(&header)?, header.seed);
            let mut commands = Vec::new();
            reader.events(&header, u64::MAX, &mut |event, _| {
                if let EventKind::Prepared(id, estimate) = &event.kind
                    && id.step.index() < state.steps().len()
                {
                    let position = program.node(state.graph_of(id.step), state.step(id.step).node).position;
                    let rendered = attempt::render(bound, &state, *id).ok();
                    take(Rendering {
                        attempt: *id,
                        position,
                        is_as_recorded: rendered.as_ref().is_some_and(|it| it.hash() == estimate.request_hash),
                        arguments: rendered.as_ref().and_then(|it| serde_json::to_value(&it.arguments).ok()),
                        request: rendered.and_then(|it| it.prepared.request),
                    });
                }
                state.handle(program, event, &mut commands);
                commands.clear();
            })?;
            Ok(())
        })
    }
}
