//! Labels that flow through workflows of every sort.

use std::sync::Arc;

use indexmap::IndexMap;

use super::super::Program;
use super::super::compile::{Reading, Workflows};
use super::Arrival;
use crate::graph::{GraphId, NodeId};
use crate::spec::{CascadeSpec, InputSpec, Label, NodeSpec, OnBlock, WorkflowSpec};

fn ways(program: &Program, workflow: &str, node: &str) -> String {
    let carried = program.carried(workflow, node);
    carried.iter().map(|(label, way)| format!("{}: {}", label.0, way.join(" > "))).collect::<Vec<_>>().join(", ")
}

#[test]
fn labels_flow_along_templates_until_a_guard_redacts() {
    let workflow = WorkflowSpec::new("w")
        .input("who", InputSpec::text().label("Pii"))
        .input("what", InputSpec::text())
        .node("notes", {
            let mut notes = NodeSpec::retriever("n", "{{ inputs.what }}");
            notes.options.labels.push(Label("Secret".to_owned()));
            notes
        })
        .node("ask", NodeSpec::generator("a", "{{ inputs.who }}").context("{{ notes.passages }}"))
        .node("seen", NodeSpec::guard("g", "{{ ask.text }}", OnBlock::Refuse))
        .node("clean", NodeSpec::guard("g", "{{ ask.text }}", OnBlock::Redact))
        .node("after_seen", NodeSpec::generator("a", "{{ seen.text }}"))
        .node("after_clean", NodeSpec::generator("a", "{{ clean.text }}").after("ask"))
        .node("each", NodeSpec::generator("a", "{{ item }}").map("{{ ask.list }}", None))
        .node(
            "judged",
            NodeSpec::generator("a", "{{ inputs.what }}").when("{{ inputs.who }}").cascade(CascadeSpec {
                judge: Some("j".to_owned()),
                accept: "{{ output.score > 1 }}".to_owned(),
                to: "b".to_owned(),
            }),
        )
        .node("all", NodeSpec::generator("a", "{{ inputs }}"))
        .output("");
    let program = Program::compile(&Arc::new(workflow).into()).unwrap();
    let of = |node| ways(&program, "w", node);
    assert_eq!(of("notes"), "Secret: notes");
    assert_eq!(of("ask"), "Pii: inputs.who, Secret: notes");
    assert_eq!(of("after_seen"), "Pii: inputs.who > ask > seen, Secret: notes > ask > seen");
    assert_eq!(of("after_clean"), "");
    assert_eq!(of("each"), "Pii: inputs.who > ask, Secret: notes > ask");
    // Whether something is done says nothing of what it reads.
    assert_eq!(
        (of("judged"), of("judged.judge"), of("all")),
        (String::new(), String::new(), "Pii: inputs.who".to_owned())
    );
}

#[test]
fn labels_go_into_sub_workflows_and_come_out_again() {
    let inner = WorkflowSpec::new("inner")
        .input("text", InputSpec::text())
        .node("repeat", NodeSpec::generator("a", "{{ inputs.text }}"))
        .output("{{ repeat.text }}");
    let outer = WorkflowSpec::new("outer")
        .input("who", InputSpec::text().label("Pii"))
        .node("run", {
            let run = NodeSpec::workflow("inner.ron").with("text", "{{ inputs.who }} {{ previous }}");
            run.repeat("{{ output }}", 2)
        })
        .node("after", NodeSpec::generator("a", "{{ run }}"))
        .output("");
    let paths = [("inner.ron".to_owned(), 1)].into_iter().collect();
    let list = vec![(Arc::new(outer), paths), (Arc::new(inner), indexmap::IndexMap::new())];
    let program = Program::compile(&Workflows::new(list)).unwrap();
    assert_eq!(ways(&program, "inner", "repeat"), "Pii: inputs.who > run");
    assert_eq!(ways(&program, "outer", "after"), "Pii: inputs.who > run > repeat > run");
}

fn pii() -> Label {
    Label("Pii".to_owned())
}

#[test]
fn what_two_nodes_give_to_a_sub_workflow_is_kept_apart() {
    let inner = WorkflowSpec::new("inner")
        .input("text", InputSpec::text())
        .node("say", NodeSpec::generator("a", "{{ inputs.text }}"))
        .output("{{ say.text }}");
    let outer = WorkflowSpec::new("outer")
        .input("who", InputSpec::text().label("Pii"))
        .input("what", InputSpec::text())
        .node("private", NodeSpec::workflow("inner.ron").with("text", "{{ inputs.who }}"))
        .node("public", NodeSpec::workflow("inner.ron").with("text", "{{ inputs.what }}"))
        .node("after_private", NodeSpec::generator("a", "{{ private }}"))
        .node("after_public", NodeSpec::generator("a", "{{ public }}"))
        .output("{{ after_private.text }}");
    let paths: IndexMap<String, usize> = [("inner.ron".to_owned(), 1)].into_iter().collect();
    let list = vec![(Arc::new(outer), paths), (Arc::new(inner), IndexMap::new())];
    let program = Program::compile(&Workflows::new(list)).unwrap();
    assert_eq!(ways(&program, "inner", "say"), "Pii: inputs.who > private");
    assert_eq!(ways(&program, "outer", "after_private"), "Pii: inputs.who > private > say > private");
    assert_eq!(ways(&program, "outer", "after_public"), "");
    assert_eq!(program.output_carries().len(), 1);
}

#[test]
fn no_way_goes_through_two_branches_of_a_router() {
    let workflow = |routes: [(&'static str, Vec<&'static str>); 2]| {
        WorkflowSpec::new("w")
            .input("who", InputSpec::text().label("Pii"))
            .node("route", NodeSpec::router("{{ 'a' }}", routes))
            .node("private", NodeSpec::generator("a", "{{ inputs.who }}"))
            .node("other", NodeSpec::generator("a", "x"))
            .node("ask", NodeSpec::generator("a", "{{ private.text or other.text }}").join_any())
            .output("")
    };
    let of = |routes| ways(&Program::compile(&Arc::new(workflow(routes)).into()).unwrap(), "w", "ask");
    assert_eq!(of([("a", vec!["private"]), ("b", vec!["other", "ask"])]), "");
    assert_eq!(of([("a", vec!["private"]), ("b", vec!["other"])]), "Pii: inputs.who > private");
    assert_eq!(of([("a", vec!["private", "ask"]), ("b", vec!["other"])]), "Pii: inputs.who > private");
}

#[test]
fn what_an_agent_does_not_read_is_not_sent_and_a_blind_guard_clears_nothing() {
    let workflow = WorkflowSpec::new("w")
        .input("who", InputSpec::text().label("Pii"))
        .node("ask", NodeSpec::generator("brief", "x").context("{{ inputs.who }}"))
        .node("screen", NodeSpec::guard("blind", "{{ inputs.who }}", OnBlock::Redact))
        .node("after", NodeSpec::generator("a", "{{ screen.text }} {{ ask.text }}"))
        .output("");
    let mut workflows = Workflows::from(Arc::new(workflow));
    let brief = Reading { arguments: Some(["input".to_owned()].into_iter().collect()), is_blind: false };
    workflows.agents.insert("brief".to_owned(), brief);
    workflows.agents.insert("blind".to_owned(), Reading { arguments: None, is_blind: true });
    let program = Program::compile(&workflows).unwrap();
    assert_eq!(
        (ways(&program, "w", "ask"), ways(&program, "w", "after")),
        (String::new(), "Pii: inputs.who > screen".to_owned())
    );
}

#[test]
fn every_way_is_found_and_too_many_are_cut_short() {
    let mut workflow = WorkflowSpec::new("w").input("who", InputSpec::text().label("Pii"));
    let depth = 12;
    let mut before = "{{ inputs.who }}".to_owned();
    for level in 0..depth {
        for side in ["a", "b"] {
            workflow = workflow.node(format!("{side}{level}"), NodeSpec::generator("x", &*before));
        }
        before = format!("{{{{ a{level}.text }}}} {{{{ b{level}.text }}}}");
    }
    let program = Program::compile(&Arc::new(workflow.output("")).into()).unwrap();
    let to = |level: u32| Arrival::Prompt(GraphId::ROOT, NodeId(2 * level));
    let found = program.ways(&pii(), to(3), 100);
    let names = |way: &Vec<super::Hop>| way.iter().map(|hop| hop.name.clone()).collect::<Vec<_>>().join(" > ");
    let mut listed: Vec<String> = found.ways.iter().map(names).collect();
    listed.sort();
    listed.dedup();
    assert_eq!((listed.len(), found.is_complete), (8, true));
    assert_eq!(listed[0], "inputs.who > a0 > a1 > a2");
    let cut = program.ways(&pii(), to(depth - 1), 5);
    assert_eq!((cut.ways.len(), cut.is_complete), (5, false));
    assert!(program.ways(&Label("Other".to_owned()), to(3), 5).ways.is_empty());
}

#[test]
fn a_label_that_comes_back_in_the_next_round_is_found() {
    let inner = WorkflowSpec::new("inner")
        .input("text", InputSpec::text())
        .node("ask", NodeSpec::generator("a", "{{ inputs.text }}"))
        .node("look", {
            let mut look = NodeSpec::tool("t");
            look.options.labels.push(pii());
            look.after("ask")
        })
        .output("{{ look.result }}");
    let outer = WorkflowSpec::new("outer")
        .node("run", NodeSpec::workflow("inner.ron").with("text", "{{ previous }}").repeat("{{ output }}", 2))
        .output("");
    let paths: IndexMap<String, usize> = [("inner.ron".to_owned(), 1)].into_iter().collect();
    let program =
        Program::compile(&Workflows::new(vec![(Arc::new(outer), paths), (Arc::new(inner), IndexMap::new())])).unwrap();
    assert_eq!(ways(&program, "inner", "ask"), "Pii: look > run > run");
}

#[test]
fn a_workflow_that_is_hard_to_follow_is_compiled_soon_and_taken_to_leak() {
    // All ways begin in a branch that excludes the node that asks, and there are more of them than anybody can count.
    let mut workflow = WorkflowSpec::new("w")
        .input("who", InputSpec::text().label("Pii"))
        .node("route", NodeSpec::router("{{ 'a' }}", [("a", vec!["a0", "b0"]), ("b", vec!["other", "ask"])]))
        .node("free", NodeSpec::generator("x", "y"))
        .node("other", NodeSpec::generator("x", "y"));
    let depth = 24;
    let mut before = "{{ inputs.who }}".to_owned();
    for level in 0..depth {
        for side in ["a", "b"] {
            workflow = workflow.node(format!("{side}{level}"), NodeSpec::generator("x", &*before).join_any());
        }
        before = format!("{{{{ a{level}.text }}}} {{{{ b{level}.text }}}} {{{{ free.text }}}}");
    }
    let asks = format!("{{{{ other.text }}}} {before}");
    let program = Program::compile(
        &Arc::new(workflow.node("ask", NodeSpec::generator("x", &*asks).join_any()).output("")).into(),
    );
    assert_eq!(ways(&program.unwrap(), "w", "ask"), "Pii: ");
}
