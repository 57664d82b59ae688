//! Building workflows in Rust: the same specifications that files hold, put together by method calls.

use indexmap::IndexMap;
use serde_json::Value;

use super::workflow::{
    ApprovalSpec, CascadeSpec, InputKind, InputSpec, Join, Label, LimitsSpec, NodeKind, NodeOptions, NodeSpec, OnBlock,
    Repeat, Retry, WorkflowSpec,
};

impl WorkflowSpec {
    /// A workflow without inputs or nodes, whose output is empty.
    ///
    /// ```
    /// use lumos_core::spec::{InputSpec, NodeSpec, WorkflowSpec};
    ///
    /// let workflow = WorkflowSpec::new("answer")
    ///     .input("question", InputSpec::text().required())
    ///     .node("find", NodeSpec::retriever("notes", "{{ inputs.question }}"))
    ///     .node("write", NodeSpec::generator("writer", "{{ inputs.question }}").context("{{ find.passages }}"))
    ///     .output("{{ write.text }}");
    /// assert_eq!(workflow.nodes.len(), 2);
    /// ```
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            inputs: IndexMap::new(),
            nodes: IndexMap::new(),
            output: String::new(),
            limits: LimitsSpec::default(),
        }
    }

    /// Adds an input, or replaces the one of that name.
    #[must_use]
    pub fn input(mut self, name: impl Into<String>, input: InputSpec) -> Self {
        self.inputs.insert(name.into(), input);
        self
    }

    /// Adds a node, or replaces the one of that name.
    #[must_use]
    pub fn node(mut self, name: impl Into<String>, node: NodeSpec) -> Self {
        self.nodes.insert(name.into(), node);
        self
    }

    /// Sets the template of the run's result.
    #[must_use]
    pub fn output(mut self, template: impl Into<String>) -> Self {
        self.output = template.into();
        self
    }

    /// Sets what ends a run early.
    #[must_use]
    pub fn limits(mut self, limits: LimitsSpec) -> Self {
        self.limits = limits;
        self
    }
}

impl InputSpec {
    /// An optional input of this type.
    pub fn new(kind: InputKind) -> Self {
        Self { kind, required: false, default: None, labels: Vec::new(), description: String::new() }
    }

    /// An optional text.
    pub fn text() -> Self {
        Self::new(InputKind::Text)
    }

    /// Its value carries a label.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.labels.push(Label(label.into()));
        self
    }

    /// A run without it is an error.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Its value when it is not given.
    #[must_use]
    pub fn default_value(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }
}

impl From<NodeKind> for NodeSpec {
    fn from(kind: NodeKind) -> Self {
        Self { kind, options: NodeOptions::default() }
    }
}

impl NodeSpec {
    /// Finds passages for a query.
    pub fn retriever(agent: impl Into<String>, query: impl Into<String>) -> Self {
        NodeKind::Retriever { agent: agent.into(), query: query.into(), top_k: None }.into()
    }

    /// Makes a list of steps or items.
    pub fn planner(agent: impl Into<String>, input: impl Into<String>) -> Self {
        NodeKind::Planner { agent: agent.into(), input: input.into(), context: None }.into()
    }

    /// Forecasts a series some steps ahead.
    pub fn forecaster(agent: impl Into<String>, series: impl Into<String>, horizon: u32) -> Self {
        NodeKind::Forecaster { agent: agent.into(), series: series.into(), horizon }.into()
    }

    /// Screens a text.
    pub fn guard(agent: impl Into<String>, input: impl Into<String>, on_block: OnBlock) -> Self {
        NodeKind::Guard { agent: agent.into(), input: input.into(), on_block }.into()
    }

    /// Scores a text.
    pub fn judge(agent: impl Into<String>, input: impl Into<String>) -> Self {
        NodeKind::Judge { agent: agent.into(), input: input.into(), context: None }.into()
    }

    /// Writes a text.
    pub fn generator(agent: impl Into<String>, input: impl Into<String>) -> Self {
        NodeKind::Generator { agent: agent.into(), input: input.into(), context: None }.into()
    }

    /// Chooses a branch by an expression that evaluates to one of the labels.
    pub fn router<L: Into<String>, T: Into<String>>(
        choose: impl Into<String>,
        routes: impl IntoIterator<Item = (L, Vec<T>)>,
    ) -> Self {
        let routes = routes
            .into_iter()
            .map(|(label, targets)| (label.into(), targets.into_iter().map(Into::into).collect()))
            .collect();
        let choose = Some(choose.into());
        NodeKind::Router { agent: None, input: None, context: None, choose, routes, default: None }.into()
    }

    /// Calls a tool with the arguments given by [`NodeSpec::with`].
    pub fn tool(agent: impl Into<String>) -> Self {
        NodeKind::Tool { agent: agent.into() }.into()
    }

    /// Runs another workflow with the inputs given by [`NodeSpec::with`].
    pub fn workflow(path: impl Into<String>) -> Self {
        NodeKind::Workflow { path: path.into() }.into()
    }

    /// Runs an agent that the embedding program registered.
    pub fn custom(agent: impl Into<String>) -> Self {
        NodeKind::Custom { agent: agent.into() }.into()
    }

    /// Sets what is known, for kinds that take a context; other kinds get it as one more argument.
    #[must_use]
    pub fn context(mut self, template: impl Into<String>) -> Self {
        match &mut self.kind {
            NodeKind::Planner { context, .. }
            | NodeKind::Judge { context, .. }
            | NodeKind::Generator { context, .. }
            | NodeKind::Router { context, .. } => *context = Some(template.into()),
            _ => {
                self.options.with.insert("context".to_owned(), template.into());
            }
        }
        self
    }

    /// Adds an argument for the agent.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, template: impl Into<String>) -> Self {
        self.options.with.insert(name.into(), template.into());
        self
    }

    /// Adds a node that must end first.
    #[must_use]
    pub fn after(mut self, node: impl Into<String>) -> Self {
        self.options.after.push(node.into());
        self
    }

    /// Skips the node unless `{{ expression }}` holds.
    #[must_use]
    pub fn when(mut self, expression: impl Into<String>) -> Self {
        self.options.when = Some(expression.into());
        self
    }

    /// Starts with the first dependency that succeeds.
    #[must_use]
    pub fn join_any(mut self) -> Self {
        self.options.join = Join::Any;
        self
    }

    /// Runs the node once per entry of the list that `{{ expression }}` gives, at most `concurrency` at once.
    #[must_use]
    pub fn map(mut self, expression: impl Into<String>, concurrency: Option<u32>) -> Self {
        self.options.map = Some(expression.into());
        self.options.concurrency = concurrency;
        self
    }

    /// Runs the node again until `{{ expression }}` holds.
    #[must_use]
    pub fn repeat(mut self, until: impl Into<String>, at_most: u32) -> Self {
        self.options.repeat = Some(Repeat { until: until.into(), at_most });
        self
    }

    /// Seconds an attempt may take.
    #[must_use]
    pub fn timeout_s(mut self, seconds: f64) -> Self {
        self.options.timeout_s = Some(seconds);
        self
    }

    /// How often a failed attempt is made again.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.options.retry = Some(retry);
        self
    }

    /// Joins an attempt that takes longer than this by a second one.
    #[must_use]
    pub fn hedge_after_ms(mut self, hedge_after_ms: u32) -> Self {
        self.options.hedge_after_ms = Some(hedge_after_ms);
        self
    }

    /// Tests the answer and asks another backend when it fails.
    #[must_use]
    pub fn cascade(mut self, cascade: CascadeSpec) -> Self {
        self.options.cascade = Some(cascade);
        self
    }

    /// Reuses the answer to the very same request.
    #[must_use]
    pub fn cache(mut self) -> Self {
        self.options.cache = true;
        self
    }

    /// Asks a person before a step of the node begins.
    #[must_use]
    pub fn approve(mut self, question: impl Into<String>) -> Self {
        self.options.approve = Some(ApprovalSpec { ask: question.into(), timeout_s: None, default: None });
        self
    }

    /// Adds a backend to try when the ones before it have failed.
    #[must_use]
    pub fn fallback(mut self, backend: impl Into<String>) -> Self {
        self.options.fallback.push(backend.into());
        self
    }

    /// Adds a label that the node's output carries.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.options.labels.push(Label(label.into()));
        self
    }
}
