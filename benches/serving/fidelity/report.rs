//! Errors by group and source, as a table and row by row.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::protocol::Predicted;
use crate::rows::{Row, Source};

/// AIConfigurator 0.12.0's median absolute errors of TTFT and TPOT on the same rows, in percent.
const AICONFIGURATOR: [(&str, [u32; 2]); 9] = [
    ("Qwen3-32B h100 vllm", [46, 11]),
    ("Qwen3-32B h100 trtllm", [38, 11]),
    ("Llama-3.1-70B h200 vllm", [34, 5]),
    ("Llama-3.1-70B h200 trtllm", [42, 35]),
    ("Qwen3-32B h100 sglang", [87, 20]),
    ("Llama-3.1-8B-Instruct h100 trtllm", [61, 7]),
    ("Qwen3-235B-A22B-FP8 h100 trtllm", [41, 9]),
    ("gpt-oss-120b h200 vllm", [30, 6]),
    ("gpt-oss-120b h200 trtllm", [27, 9]),
];
const AICONFIGURATOR_ALL: [u32; 2] = [45, 10];

/// Mean and median absolute error and median signed error (bias), in percent.
fn errors(signed: &[f64]) -> [f64; 3] {
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
    };
    let mut absolute: Vec<f64> = signed.iter().map(|it| it.abs()).collect();
    let mean = absolute.iter().sum::<f64>() / absolute.len() as f64;
    [mean, median(&mut absolute), median(&mut signed.to_vec())].map(|share| share * 100.0)
}

/// Signed relative errors of TTFT and TPOT.
fn off(row: &Row, predicted: Predicted) -> [f64; 2] {
    [predicted.ttft_us / row.ttft_us - 1.0, predicted.tpot_us / row.tpot_us - 1.0]
}

/// Errors of one group, in percent: mean, median and bias of TTFT, then of TPOT.
struct Line {
    group: String,
    rows: usize,
    ttft: [f64; 3],
    tpot: [f64; 3],
    peer: Option<[u32; 2]>,
}

/// Every group, then each source, then all; and how many rows have no prediction.
fn lines(rows: &[&Row], predicted: &[Option<Predicted>]) -> (Vec<Line>, usize) {
    let mut groups: BTreeMap<(u8, String), Vec<[f64; 2]>> = BTreeMap::new();
    let mut missing = 0;
    for (row, predicted) in rows.iter().zip(predicted) {
        let Some(predicted) = predicted else {
            missing += 1;
            continue;
        };
        let source = match row.source {
            Source::InferenceMax => "all of source inferencemax",
            Source::Internal => "all of source internal",
        };
        for key in [(0, row.group()), (1, source.to_owned()), (2, "all".to_owned())] {
            groups.entry(key).or_default().push(off(row, *predicted));
        }
    }
    let line = |((_, group), signed): ((u8, String), Vec<[f64; 2]>)| {
        let column = |at: usize| errors(&signed.iter().map(|it| it[at]).collect::<Vec<_>>());
        let peer = match group.as_str() {
            "all" => Some(AICONFIGURATOR_ALL),
            _ => AICONFIGURATOR.iter().find(|it| it.0 == group).map(|it| it.1),
        };
        Line { rows: signed.len(), ttft: column(0), tpot: column(1), peer, group }
    };
    (groups.into_iter().map(line).collect(), missing)
}

/// A Markdown table of errors, in percent.
pub fn table(rows: &[&Row], predicted: &[Option<Predicted>]) -> String {
    let (lines, missing) = lines(rows, predicted);
    let mut text = String::from(
        "| group | rows | TTFT MAPE | median | bias | TPOT MAPE | median | bias | AIConfigurator: TTFT, TPOT median |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for Line { group, rows, ttft, tpot, peer } in lines {
        let columns = |[mean, median, bias]: [f64; 3]| format!("{mean:.1} | **{median:.1}** | {bias:+.1}");
        let peer = peer.map_or(String::new(), |[ttft, tpot]| format!("{ttft}, {tpot}"));
        let _ = writeln!(text, "| {group} | {rows} | {} | {} | {peer} |", columns(ttft), columns(tpot));
    }
    if missing > 0 {
        let _ = writeln!(text, "\n{missing} rows have no prediction: a request does not fit.");
    }
    text
}

/// The same as CSV, one line per group; `constants` says how the constants were chosen.
pub fn csv(constants: &str, rows: &[&Row], predicted: &[Option<Predicted>]) -> String {
    let mut text = String::new();
    for Line { group, rows, ttft, tpot, peer } in lines(rows, predicted).0 {
        let columns = |errors: [f64; 3]| errors.map(|it| format!("{it:.1}")).join(",");
        let peer = peer.map_or(",".to_owned(), |[ttft, tpot]| format!("{ttft},{tpot}"));
        let _ = writeln!(text, "{constants},{group},{rows},{},{},{peer}", columns(ttft), columns(tpot));
    }
    text
}

/// The first line of that CSV.
pub const CSV_HEADER: &str = "constants,group,rows,ttft_mape,ttft_median,ttft_bias,tpot_mape,tpot_median,tpot_bias,aiconfigurator_ttft_median,aiconfigurator_tpot_median\n";

/// Each row's measurement and prediction, in microseconds.
pub fn each(rows: &[&Row], predicted: &[Option<Predicted>]) -> String {
    let mut text =
        String::from("id,group,source,gpus,ep,concurrency,isl,osl,ttft_us,tpot_us,sim_ttft_us,sim_tpot_us\n");
    for (row, predicted) in rows.iter().zip(predicted) {
        let [ttft, tpot] = predicted
            .map_or([String::new(), String::new()], |it| [it.ttft_us, it.tpot_us].map(|us| format!("{us:.0}")));
        let _ = writeln!(
            text,
            "{},{},{:?},{},{},{},{},{},{:.0},{:.0},{ttft},{tpot}",
            row.id,
            row.group(),
            row.source,
            row.gpus,
            row.expert_parallel,
            row.concurrency,
            row.prompt,
            row.output,
            row.ttft_us,
            row.tpot_us,
        );
    }
    text
}
