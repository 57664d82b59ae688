//! Evaluation by a program that embeds lumos: a closure scores.

use std::sync::Arc;

use lumos::Home;
use lumos::decide::eval::{
    Case, Dataset, EvalOptions, ExternalScorer, Externals, Notes, Scorer, Side, evaluate, summarize,
};
use lumos::engine::CancellationToken;

use crate::cli::Sandbox;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_closure_scores() {
    let sandbox = Sandbox::new();
    let lumos = lumos::Lumos::builder(Home::new(sandbox.home())).build().expect("a facade");
    let (bundle, _) = lumos.open(&sandbox.folder().join("order.ron"), None).expect("a workflow");
    let rows = "{\"inputs\": {\"note\": \"x\"}}\n{\"inputs\": {\"note\": \"x\", \"price\": 40}}\n";
    let scorer = Scorer::read("custom(thrifty)").expect("a scorer");
    let dataset = Arc::new(Dataset::read("rows", rows, &bundle, &[scorer], true).expect("a data set"));
    let thrifty = |case: &Case<'_>| case.output.as_f64().map(|sum| 6.0 / sum).ok_or_else(|| "no sum".to_owned());
    let thrifty: Arc<dyn ExternalScorer> = Arc::new(thrifty);
    let externals = Externals::from([("custom(thrifty)".to_owned(), thrifty)]);
    let program = lumos.bind(&bundle).expect("a program");
    let options = EvalOptions { seed: 1, concurrency: 2, repeats: 2 };
    let sides = vec![Side { program, notes: Notes::none(), after: None }];
    let cancel = CancellationToken::new();
    let evaluations =
        evaluate(lumos.engine(), sides, &dataset, (&externals, lumos.store()), options, &cancel, &|_, _| ()).await;
    let evaluation = evaluations.into_iter().next().expect("one side");
    let results = summarize(("order", "none"), &dataset, options, evaluation);
    // 6 of 6, and 6 of 108, which is 120 with its discount.
    let scored: Vec<_> = results.outcomes.iter().map(|it| (it.row, it.repeat, it.quality)).collect();
    assert_eq!(scored, [(1, 0, Some(1.0)), (1, 1, Some(1.0)), (2, 0, Some(6.0 / 108.0)), (2, 1, Some(6.0 / 108.0))]);
    assert_eq!((results.summary.scores["thrifty"].mean.n, results.is_partial), (2, false));
}
