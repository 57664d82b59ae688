//! Checks of hedging, cascades and the response cache.

use super::sink::Sink;
use crate::load::Bundle;
use crate::spec::{AgentSpec, CascadeSpec, NodeKind, NodeSpec};
use crate::template::Template;

/// Checks the policies of a node.
pub(super) fn check(sink: &mut Sink<'_>, bundle: &Bundle, path: &str, node: &NodeSpec) {
    let options = &node.options;
    sink.at_least_one(&format!("{path}.hedge_after_ms"), options.hedge_after_ms);
    let asks = match &node.kind {
        NodeKind::Workflow { .. } => false,
        NodeKind::Custom { .. } => true,
        kind => kind.agent().is_some_and(|agent| match bundle.agents.get(agent) {
            Some(agent) => agent.spec().model().is_some(),
            None => true,
        }),
    };
    let given = [
        ("hedge_after_ms", options.hedge_after_ms.is_some()),
        ("cascade", options.cascade.is_some()),
        ("cache", options.cache),
    ];
    for (field, _) in given.into_iter().filter(|(_, given)| *given && !asks) {
        let hint = "remove it, or put it on the nodes that ask a model".to_owned();
        sink.error(&format!("{path}.{field}"), format!("`{field}` is for nodes that ask a model"), hint);
    }
    if let Some((judge, agent)) = node.judged_by().and_then(|judge| Some((judge, bundle.agents.get(judge)?)))
        && !matches!(agent.spec(), AgentSpec::Judge(_))
    {
        let message = format!("`{judge}` is a {} agent", agent.spec().role());
        let hint = "a cascade is judged by a judge; without `judge`, `accept` reads the answer itself".to_owned();
        sink.error(&format!("{path}.cascade.judge"), message, hint);
    }
}

/// Checks a cascade of a deployment, which sees no more of a workflow than the answer.
pub(super) fn escalation(sink: &mut Sink<'_>, path: &str, cascade: &CascadeSpec) {
    if cascade.judge.is_some() {
        let hint = "put `cascade: (judge: …)` on the workflow's node, or test the answer itself".to_owned();
        sink.error(&format!("{path}.judge"), "a deployment has no judges", hint);
    }
    let at = format!("{path}.accept");
    match Template::parse(&cascade.accept) {
        Err(error) => sink.error(&at, error.message, error.hint),
        Ok(template) if !template.is_expression() => {
            let hint = "e.g. \"{{ output.items | length > 1 }}\"".to_owned();
            sink.error(&at, "`accept` must be exactly one {{ expression }}", hint);
        }
        Ok(template) => {
            if let Some(other) = template.references().iter().find(|reference| reference.root != "output") {
                let hint = "it reads the answer as `output`".to_owned();
                sink.error(&at, format!("`{other}` is not there in a deployment"), hint);
            }
        }
    }
}
