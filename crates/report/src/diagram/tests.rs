//! Drawings of a workflow with every sort of node and option.

use std::sync::Arc;

use indexmap::IndexMap;
use lumos_core::program::Workflows;
use lumos_core::spec::{InputSpec, LimitsSpec, NodeSpec, OnBlock, Retry, WorkflowSpec};

use super::{Diagram, Mark};

fn research() -> WorkflowSpec {
    WorkflowSpec::new("research")
        .input("topic", InputSpec::text().required())
        .node("search", NodeSpec::retriever("notes", "{{ inputs.topic }}"))
        .node("draft", NodeSpec::generator("writer", "{{ inputs.topic }}").context("{{ search.passages }}"))
        .node(
            "score",
            NodeSpec::judge("grader", "{{ draft.text }}").repeat("{{ output.score >= 7 }}", 3).timeout_s(2.5),
        )
        .output("{{ draft.text }}")
}

fn workflow() -> Workflows {
    let root = WorkflowSpec::new("every <sort> & \"kind\"")
        .input("question", InputSpec::text().required())
        .input("sku", InputSpec::text().default_value("W-1"))
        .node("screen", NodeSpec::guard("input_guard", "{{ inputs.question }}", OnBlock::Refuse))
        .node("plan", NodeSpec::planner("planner", "{{ screen.text }}"))
        .node("forecast", NodeSpec::forecaster("demand", "{{ item }}", 8).map("{{ plan.series }}", Some(2)))
        .node("dig", NodeSpec::workflow("research.ron").with("topic", "{{ plan.items[0] }}"))
        .node("dig_again", NodeSpec::workflow("research.ron").with("topic", "{{ dig }}"))
        .node(
            "route",
            NodeSpec::router("{{ plan.kind }}", [("a \"quoted\" <label>", vec!["advise"]), ("b", vec!["refund"])]),
        )
        .node(
            "advise",
            NodeSpec::generator("advisor", "{{ forecast }}")
                .context("{{ dig_again }}")
                .when("{{ forecast | length > 0 and  plan.series\n is defined }}")
                .retry(Retry { attempts: 3, backoff: lumos_core::spec::Backoff::default() })
                .fallback("large"),
        )
        .node("refund", NodeSpec::tool("calculator").with("expression", "1 + 1"))
        .node("release", NodeSpec::guard("out", "{{ advise.text or refund.result }}", OnBlock::Redact).join_any())
        .output("{{ release.text }}")
        .limits(LimitsSpec { cost_usd: "0.05".parse().ok(), deadline_s: Some(60.0), steps: Some(200) });
    let children = IndexMap::from([("research.ron".to_owned(), 1)]);
    Workflows::new(vec![(Arc::new(root), children), (Arc::new(research()), IndexMap::new())])
}

fn diagram() -> Diagram {
    Diagram::new(&workflow()).unwrap()
}

#[test]
fn as_text() {
    insta::assert_snapshot!(diagram().text());
}

#[test]
fn as_mermaid() {
    insta::assert_snapshot!(diagram().mermaid());
}

#[test]
fn as_dot() {
    insta::assert_snapshot!(diagram().dot());
}

#[test]
fn as_svg() {
    insta::assert_snapshot!(diagram().svg());
}

#[test]
fn nodes_of_a_drawing_do_not_overlap() {
    let laid = super::layout::lay_out(&diagram().sheet);
    assert_eq!(laid.boxes.len(), 9);
    for (at, a) in laid.boxes.iter().enumerate() {
        assert!(a.x >= -0.01 && a.x + a.width <= laid.width + 0.01, "a node sticks out");
        for b in &laid.boxes[at + 1..] {
            let apart = a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;
            assert!(apart, "two nodes overlap");
        }
    }
}

#[test]
fn a_workflow_without_nodes_is_drawn() {
    let empty = Diagram::new(&Workflows::from(Arc::new(WorkflowSpec::new("empty").output("done")))).unwrap();
    assert!(empty.text().contains("output  done"));
    assert!(empty.svg().ends_with("</svg>\n"));
    assert_eq!(empty.mermaid(), "flowchart TD\n");
}

#[test]
fn a_chain_of_workflows_that_each_run_the_next_twice_stays_small() {
    let depth = 14;
    let list = (0..depth)
        .map(|level| {
            let mut spec = WorkflowSpec::new(format!("level{level}"));
            let mut children = IndexMap::new();
            if level + 1 < depth {
                spec = spec.node("a", NodeSpec::workflow("next.ron")).node("b", NodeSpec::workflow("next.ron"));
                children.insert("next.ron".to_owned(), level + 1);
            }
            (Arc::new(spec), children)
        })
        .collect();
    let diagram = Diagram::new(&Workflows::new(list)).unwrap();
    assert!(diagram.text().lines().count() < 3 * depth);
    assert!(diagram.svg().len() < 100_000);
}

#[test]
fn ways_stand_out_in_every_language() {
    use lumos_core::graph::{GraphId, NodeId};
    use lumos_core::program::Hop;

    let hop = |graph, node: Option<u32>, name: &str| Hop {
        graph: GraphId(graph),
        node: node.map(NodeId),
        name: name.to_owned(),
    };
    let way = vec![
        hop(0, None, "inputs.question"),
        hop(0, Some(0), "screen"),
        hop(0, Some(1), "plan"),
        hop(0, Some(3), "dig"),
    ];
    let mark = |sender, is_forbidden| Mark {
        label: "Pii".to_owned(),
        ways: vec![way.clone()],
        sender: (GraphId(1), NodeId(sender)),
        destination: "large".to_owned(),
        is_forbidden,
    };
    let diagram = Diagram::marked(&workflow(), &[mark(1, true), mark(2, false)]).unwrap();
    insta::assert_snapshot!("marked-text", diagram.text());
    insta::assert_snapshot!("marked-mermaid", diagram.mermaid());
    assert_eq!(diagram.dot().matches("#dc2626").count(), diagram.mermaid().matches("#dc2626").count());
    assert!(diagram.svg().contains("tip-forbidden") && diagram.svg().contains("tip-allowed"));
    assert_eq!(Diagram::marked(&workflow(), &[]).unwrap().svg(), self::diagram().svg());
}
