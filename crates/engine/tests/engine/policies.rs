//! Hedging, cascades, the boundary and the response cache, on a backend that does as it is told.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use lumos_core::price::{Price, Rates, TokenPrice};
use lumos_core::program::{BackendRef, Program};
use lumos_core::record::Status;
use lumos_core::spec::{CascadeSpec, InputSpec, Label, NodeSpec, WorkflowSpec};
use lumos_core::{
    Agent, AgentCall, AgentError, AgentOutput, Arguments, Backend, BackendError, BackendErrorKind, BackendInfo, Basis,
    CallReport, ChatRequest, Completion, Decoding, Delta, DeltaSink, Destination, Embeddings, FinishReason, Message,
    OutputFormat, Prepared, Role, SharedAgent, SharedBackend, Usage, Usd,
};
use lumos_engine::{
    BoundBackend, BoundProgram, CancellationToken, Engine, FinishedRun, Kind, NodeBinding, RecordStore, ResponseCache,
    RunRequest,
};
use serde_json::json;

/// What the backend does with its next call; with none left it answers.
enum Act {
    /// Sends the request and half an answer, and no more.
    Stalls,
    /// Answers with this.
    Says(&'static str),
    /// Answers after a while.
    Dawdles,
    /// Cannot be reached.
    Fails,
}

struct Told {
    acts: Mutex<VecDeque<Act>>,
    calls: Mutex<Vec<ChatRequest>>,
}

#[async_trait]
impl Backend for Told {
    fn info(&self) -> BackendInfo {
        BackendInfo {
            model: "told".to_owned(),
            provider: "test".to_owned(),
            chat: true,
            embed: false,
            context_tokens: None,
            dimensions: None,
            digest: String::new(),
            detail: String::new(),
        }
    }

    fn count_input_tokens(&self, _: &ChatRequest) -> Option<u64> {
        Some(1_000)
    }

    async fn chat(&self, request: ChatRequest, deltas: &dyn DeltaSink) -> Result<Completion, BackendError> {
        self.calls.lock().unwrap().push(request);
        let mut act = self.acts.lock().unwrap().pop_front().unwrap_or(Act::Says("fine"));
        deltas.sent(500);
        if let Act::Dawdles = act {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            act = Act::Says("late");
        }
        match act {
            Act::Dawdles => unreachable!("it has dawdled"),
            Act::Stalls => {
                deltas.delta(Delta { text: "half", output_tokens: 5 });
                pending().await
            }
            Act::Fails => Err(BackendError::new(BackendErrorKind::Transient, "cannot be reached")),
            Act::Says(text) => {
                let report = CallReport {
                    usage: Usage {
                        input_tokens: Some(1_000),
                        cached_input_tokens: Some(0),
                        output_tokens: Some(10),
                        ..Usage::default()
                    },
                    bytes_sent: 500,
                    busy_us: Some(7),
                    finish_reason: Some(FinishReason::Stop),
                    ..CallReport::new(Basis::Reported)
                };
                Ok(Completion { text: text.to_owned(), tool_calls: Vec::new(), report })
            }
        }
    }

    async fn embed(&self, _: Vec<String>) -> Result<Embeddings, BackendError> {
        Err(BackendError::new(BackendErrorKind::InvalidRequest, "no embedder"))
    }
}

/// Sends its argument `input` and gives the answer.
struct Asks;

#[async_trait]
impl Agent for Asks {
    fn prepare(&self, arguments: &Arguments, _: Option<&SharedBackend>) -> Result<Prepared, AgentError> {
        let content = arguments.get("input").map(ToString::to_string).unwrap_or_default();
        let message = Message::new(Role::User, content);
        let decoding = Decoding { max_tokens: 10, ..Decoding::default() };
        let request = ChatRequest::new(vec![message], decoding, OutputFormat::Text);
        Ok(Prepared { request: Some(request), input_tokens: None })
    }

    async fn run(&self, call: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        let (backend, request) = (call.backend.expect("a backend"), call.request.expect("a request"));
        let completion = backend.chat(request, call.deltas).await?;
        let score = completion.text.parse::<f64>().ok();
        Ok(AgentOutput { value: json!({"text": completion.text, "score": score}), report: Some(completion.report) })
    }
}

fn told(acts: impl IntoIterator<Item = Act>) -> Arc<Told> {
    Arc::new(Told { acts: Mutex::new(acts.into_iter().collect()), calls: Mutex::default() })
}

/// A remote backend outside: a dollar per million input tokens, ten per million output tokens.
fn bound(name: &str, backend: &Arc<Told>, cache: Option<ResponseCache>) -> Arc<BoundBackend> {
    let usd = |dollars: i128| Usd::from_nanos(dollars * 1_000_000_000);
    let rates = Rates { input: usd(1), output: Some(usd(10)), ..Rates::default() };
    Arc::new(BoundBackend {
        backend: backend.clone(),
        reference: BackendRef {
            backend: name.to_owned(),
            model: "told".to_owned(),
            provider: "test".to_owned(),
            destination: Destination::Outside,
            usd_per_hour: None,
        },
        price: Price::Tokens(Box::new(TokenPrice::flat(rates))),
        is_remote: true,
        cache,
        gate: None,
        occupancy: None,
    })
}

fn ask(input: &str) -> NodeSpec {
    NodeSpec::custom("asks").with("input", input)
}

fn program(workflow: WorkflowSpec, backends: &[Arc<BoundBackend>]) -> BoundProgram {
    let program = Program::compile(&Arc::new(workflow).into()).unwrap();
    let agent: SharedAgent = Arc::new(Asks);
    let bind = |_: &_| Ok::<_, String>(NodeBinding { agent: Some(agent.clone()), backends: backends.to_vec() });
    BoundProgram::new(program, "test", bind).unwrap()
}

async fn run(program: BoundProgram) -> FinishedRun {
    let (engine, program) = (Engine::builder().build(), Arc::new(program));
    engine.run(&program, RunRequest::default(), &CancellationToken::new()).await.unwrap()
}

#[tokio::test]
async fn a_stalled_attempt_is_joined_by_another_and_its_cost_is_counted() {
    let backend = told([Act::Stalls]);
    let workflow = WorkflowSpec::new("hedge").node("a", ask("x").hedge_after_ms(5)).output("{{ a.text }}");
    let record = run(program(workflow, &[bound("b", &backend, None)])).await.record();
    assert_eq!((record.status, &record.output), (Status::Succeeded, &json!("fine")));
    let [lost, won] = &record.steps[0].attempts[..] else { panic!("{:?}", record.steps[0].attempts) };
    assert_eq!((lost.status, won.status), (Status::Cancelled, Status::Succeeded));
    // What had arrived of the lost answer and its whole prompt are estimated: 1,000 + 5 × 10 millionths of a dollar.
    assert_eq!(lost.cost_usd, Some(Usd::from_nanos(1_050_000)));
    assert_eq!((lost.bytes_sent, lost.basis.tokens), (Some(500), Some(Basis::Estimated)));
    assert_eq!(won.cost_usd, Some(Usd::from_nanos(1_100_000)));
    assert_eq!(record.totals.cost_usd, Some(Usd::from_nanos(2_150_000)));
    assert_eq!((record.totals.cost_complete, record.totals.bytes_outside), (true, Some(1_000)));
}

#[tokio::test]
async fn what_an_interrupted_attempt_has_sent_is_unknown() {
    let home = tempfile::tempdir().unwrap();
    let store = RecordStore::open(home.path()).unwrap();
    let backend = told([Act::Stalls]);
    let workflow = WorkflowSpec::new("stalls").node("a", ask("x")).output("{{ a.text }}");
    let program = Arc::new(program(workflow, &[bound("b", &backend, None)]));
    let engine = Engine::builder().store(store.clone()).build();
    let task = tokio::spawn({
        let (engine, program) = (engine.clone(), program.clone());
        async move { engine.run(&program, RunRequest::default(), &CancellationToken::new()).await.map(|_| ()) }
    });
    while backend.calls.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    task.abort();
    task.await.unwrap_err();
    let id = store.list(&Kind::default()).unwrap()[0].run_id.clone();
    let cut = store.load(&id).unwrap();
    assert_eq!((cut.steps[0].attempts[0].bytes_sent, cut.totals.bytes_outside), (None, None));
    let record = engine.resume(&program, &id, Vec::new(), &CancellationToken::new()).await.unwrap().record();
    let [lost, won] = &record.steps[0].attempts[..] else { panic!("{:?}", record.steps[0].attempts) };
    assert_eq!((lost.status, lost.bytes_sent, lost.cost_usd), (Status::Interrupted, None, None));
    assert_eq!((lost.basis.latency, won.basis.latency), (Basis::Estimated, Basis::Measured));
    assert_eq!((won.bytes_sent, record.totals.bytes_outside), (Some(500), None));
}

#[tokio::test]
async fn an_attempt_that_failed_for_nothing_costs_nothing_but_its_bytes_are_counted() {
    let (first, second) = (told([Act::Fails]), told([]));
    let workflow = WorkflowSpec::new("fails").node("a", ask("x").fallback("second")).output("{{ a.text }}");
    let record = run(program(workflow, &[bound("first", &first, None), bound("second", &second, None)])).await.record();
    let attempts = &record.steps[0].attempts;
    assert_eq!((attempts[0].cost_usd, attempts[0].bytes_sent), (Some(Usd::ZERO), Some(500)));
    assert_eq!((attempts[1].backend.as_deref(), record.totals.bytes_outside), (Some("second"), Some(1_000)));
}

#[tokio::test]
async fn a_judge_sends_a_bad_answer_to_the_dear_backend() {
    let cascade = |accept: &str, judge: Option<&str>| CascadeSpec {
        judge: judge.map(str::to_owned),
        accept: accept.to_owned(),
        to: "dear".to_owned(),
    };
    for (cheap_says, escalates) in [("3", true), ("9", false)] {
        let (cheap, dear) = (told([Act::Says("cheap"), Act::Says(cheap_says)]), told([Act::Says("dear")]));
        let node = ask("a question").cascade(cascade("{{ output.score > 5 }}", Some("judge")));
        let workflow = WorkflowSpec::new("cascade").node("a", node).output("{{ a.text }}");
        let record = run(program(workflow, &[bound("cheap", &cheap, None), bound("dear", &dear, None)])).await.record();
        assert_eq!(record.output, json!(if escalates { "dear" } else { "cheap" }));
        let nodes: Vec<_> = record.steps.iter().map(|step| (step.node.as_str(), step.attempts.len())).collect();
        assert_eq!(nodes, [("a", 1 + usize::from(escalates)), ("a.judge", 1)]);
        // The judge reads the answer, and no more than it needs.
        assert_eq!(cheap.calls.lock().unwrap()[1].messages[0].content, "\"cheap\"");
        assert_eq!(dear.calls.lock().unwrap().len(), usize::from(escalates));
    }
    let (cheap, dear) = (told([Act::Says("3")]), told([]));
    let node = ask("a question").cascade(cascade("{{ output.score > 5 }}", None));
    let workflow = WorkflowSpec::new("cascade").node("a", node).output("{{ a.text }}");
    let record = run(program(workflow, &[bound("cheap", &cheap, None), bound("dear", &dear, None)])).await.record();
    assert_eq!((record.output, record.steps.len()), (json!("fine"), 1));
}

#[tokio::test]
async fn a_forbidden_label_is_stopped_before_a_byte_is_sent() {
    let workflow = || {
        WorkflowSpec::new("label")
            .input("who", InputSpec::text().label("Pii"))
            .node("first", ask("nothing"))
            .node("second", ask("{{ inputs.who }}, {{ first.text }}"))
            .node("third", ask("{{ second.text }}"))
            .output("{{ third.text }}")
    };
    let backend = told([]);
    let outside = bound("out", &backend, None);
    let record = run(program(workflow(), std::slice::from_ref(&outside)).forbid_outside([Label("Pii".to_owned())]))
        .await
        .record();
    assert_eq!((record.status, record.status.exit_code()), (Status::Refused, 3));
    let message = record.error.unwrap().message;
    assert!(message.contains("inputs.who → second") && message.contains("`Pii`"), "{message}");
    assert_eq!((backend.calls.lock().unwrap().len(), record.totals.attempts), (1, 1));
    let mut inside = (*outside).clone();
    inside.reference.destination = Destination::Inside;
    let inside = program(workflow(), &[Arc::new(inside)]).forbid_outside([Label("Pii".to_owned())]);
    assert_eq!(run(inside).await.status(), Status::Succeeded);
}

#[tokio::test]
async fn a_cached_answer_is_given_again_and_what_it_saves_is_shown() {
    let home = tempfile::tempdir().unwrap();
    let workflow = |input: &str| WorkflowSpec::new("cache").node("a", ask(input).cache()).output("{{ a.text }}");
    let backend = told([]);
    let cached = bound("b", &backend, Some(ResponseCache::open(home.path()).unwrap()));
    let first = run(program(workflow("x"), std::slice::from_ref(&cached))).await.record();
    assert_eq!((first.totals.cost_usd, first.totals.saved_usd), (Some(Usd::from_nanos(1_100_000)), None));
    let again = run(program(workflow("x"), std::slice::from_ref(&cached))).await.record();
    assert_eq!((again.totals.cost_usd, again.totals.saved_usd), (Some(Usd::ZERO), Some(Usd::from_nanos(1_100_000))));
    assert_eq!((again.output, again.totals.bytes_outside), (first.output, Some(0)));
    assert_eq!(backend.calls.lock().unwrap().len(), 1);
    run(program(workflow("y"), std::slice::from_ref(&cached))).await;
    // A node that does not want it asks again.
    run(program(WorkflowSpec::new("cache").node("a", ask("x")), &[cached])).await;
    assert_eq!(backend.calls.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_budget_is_never_exceeded_by_parallel_attempts_of_unknown_length() {
    let backend = told([]);
    let mut workflow = WorkflowSpec::new("budget").output("");
    for name in ["a", "b", "c", "d", "e", "f"] {
        workflow = workflow.node(name, ask("x"));
    }
    // Each may cost at most 19 bytes of prompt and 10 tokens of answer, and costs 1.1 thousandths of a dollar.
    workflow.limits.cost_usd = Some(Usd::from_nanos(2_500_000));
    let record = run(program(workflow, &[bound("b", &backend, None)])).await.record();
    assert_eq!(record.status, Status::Limited);
    let spent = record.totals.cost_usd.unwrap();
    assert!(spent <= Usd::from_nanos(2_500_000 + 1_100_000), "{spent}");
}

#[tokio::test]
async fn a_machine_paid_by_the_hour_is_shared_by_those_who_keep_it_busy() {
    let backend = told([Act::Dawdles, Act::Dawdles, Act::Dawdles, Act::Fails]);
    let mut machine = (*bound("own", &backend, None)).clone();
    machine.price = Price::PerHour(Usd::from_nanos(3_600_000_000));
    machine.occupancy = Some(Arc::default());
    machine.reference.usd_per_hour = Some(Usd::from_nanos(3_600_000_000));
    let mut workflow = WorkflowSpec::new("share").output("");
    for name in ["a", "b", "c"] {
        workflow = workflow.node(name, ask("x"));
    }
    let record = run(program(workflow, &[Arc::new(machine)])).await.record();
    // A thousandth of a dollar per second, so a microsecond costs a nano-dollar: three at a time cost as much as one.
    let costs: Vec<i128> = record.steps.iter().map(|step| step.attempts[0].cost_usd.unwrap().nanos()).collect();
    let together: i128 = costs.iter().sum();
    assert!(together <= i128::from(record.totals.duration_us) && together >= 15_000, "{costs:?}");
    let each: Vec<u64> = record.steps.iter().map(|step| step.attempts[0].duration_us).collect();
    assert!(i128::from(each.iter().sum::<u64>()) > together + 15_000, "{each:?} {together}");
    assert_eq!(record.totals.reserved_usd, Some(Usd::from_nanos(i128::from(record.totals.duration_us))));
}
