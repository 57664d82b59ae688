//! What a simulation or a load found, for people.

use std::fmt::Write;

use lumos::core::Usd;
use lumos::sim::results::{Bottleneck, NodeResult, Percentiles, Results, ServiceResult, Span, Verdict};
use lumos_report::{Column, Role, Table, clean, figure};

use crate::cli::output;

/// All results: side by side when there are several, then one by one.
pub fn text(results: &[Results]) -> String {
    let mut text = String::new();
    if let [first, _, ..] = results {
        let _ = writeln!(text, "{}  {}\n", output::bold(&clean(&first.scenario)), output::dim("all figures simulated"));
        text.push_str(&output::lines(&comparison(results).lines()));
        text.push('\n');
    }
    for result in results {
        text.push_str(&one(result));
        text.push('\n');
    }
    text
}

fn comparison(results: &[Results]) -> Table {
    let mut table = Table::new(vec![
        Column::left("deployment"),
        Column::right("load"),
        Column::right("runs/s"),
        Column::right("p50"),
        Column::right("p95"),
        Column::right("p99"),
        Column::right("good"),
        Column::right("per success, busy"),
        Column::right("per success, reserved"),
    ]);
    for result in results {
        let at =
            |of: fn(&Percentiles) -> f64| result.latency_s.as_ref().map_or("unstable".to_owned(), |it| seconds(of(it)));
        table.row(
            Role::Row,
            vec![
                clean(&result.deployment),
                format!("×{}", result.load_factor),
                format!("{:.3}", result.succeeded_per_s),
                at(|it| it.p50),
                at(|it| it.p95),
                at(|it| it.p99),
                result.good_share.map_or_else(none, percent),
                per_success(result, result.cost_per_succeeded_run_usd),
                per_success(result, result.reserved_cost_per_succeeded_run_usd),
            ],
        );
    }
    table
}

fn one(result: &Results) -> String {
    let mut text = format!(
        "{} {}\n",
        output::bold(&format!("{} on {}", clean(&result.workflow), clean(&result.deployment))),
        output::dim(&format!(
            "{} runs in {}{}, load ×{}, {}; all figures {}",
            figure::count(result.runs),
            figure::duration((result.measured_s * 1e6) as u64),
            warm_up(result.warmup_runs),
            result.load_factor,
            seeds(&result.seeds),
            result.basis,
        ))
    );
    text.push_str(&verdict(&result.verdict));
    text.push('\n');
    text.push_str(&output::lines(&runs(result).lines()));
    text.push('\n');
    text.push_str(&output::lines(&nodes(&result.nodes).lines()));
    if !result.services.is_empty() {
        text.push('\n');
        text.push_str(&output::lines(&services(&result.services).lines()));
    }
    for service in result.services.iter().filter(|service| service.replicas.is_some()) {
        text.push_str(&replicas(service));
    }
    text.push('\n');
    text.push_str(&sums(result));
    for warning in &result.warnings {
        let _ = writeln!(text, "{} {}", output::bold("warning:"), clean(warning));
    }
    for assumption in &result.assumptions {
        let _ = writeln!(text, "{} {}", output::bold("assumed:"), clean(assumption));
    }
    text
}

/// How a load is borne; nothing is said of one that is.
pub fn verdict(verdict: &Verdict) -> String {
    let mut text = String::new();
    match verdict {
        Verdict::Stable => {}
        Verdict::Overloaded { spans } => text.push_str(&overloaded(spans)),
        Verdict::Unclear { services } => {
            let whom = if services.is_empty() { "the backends".to_owned() } else { listed(services.iter()) };
            let keep = if services.len() == 1 { "keeps" } else { "keep" };
            let _ = writeln!(
                text,
                "{} whether {whom} {keep} up with this load if it goes on. Times are those of these runs.",
                output::bold("too short to tell:")
            );
        }
        Verdict::Unstable { runs_per_s, services } => {
            let _ = writeln!(
                text,
                "{} more arrives than is served: the backlog grows by {runs_per_s:.3} runs per second.",
                output::bold("unstable:")
            );
            for Bottleneck { service, load, requests_per_s } in services {
                let _ = writeln!(
                    text,
                    "          {} is asked for {} it can do; its queue grows by {requests_per_s:.3} requests per second.",
                    clean(service),
                    load.map_or("more than".to_owned(), |load| format!("{load:.2} times what"))
                );
            }
            text.push_str("          Times depend on how long one looks, so none are given.\n");
        }
    }
    text
}

fn warm_up(runs: u64) -> String {
    if runs == 0 { String::new() } else { format!(" after {} of warm-up", figure::count(runs)) }
}

/// Most overloaded times that are told one by one.
const MOST_SPANS: usize = 6;

fn overloaded(spans: &[Span]) -> String {
    let mut text = String::new();
    let clock = |seconds: f64| {
        let minutes = (seconds / 60.0).round() as u64;
        match seconds {
            // Times of day, or moments of a short load.
            seconds if seconds < 600.0 => self::seconds(seconds),
            _ => format!("{:02}:{:02}", minutes / 60, minutes % 60),
        }
    };
    for span in spans.iter().take(MOST_SPANS) {
        let after = match span.worked_off_s {
            Some(at_s) => format!("worked off by {}", clock(at_s)),
            None => "not worked off before the last arrival".to_owned(),
        };
        let _ = writeln!(
            text,
            "{} {} from {} to {}; at most {} waited, {after}",
            output::bold("overloaded:"),
            clean(&span.service),
            clock(span.from_s),
            clock(span.to_s),
            figure::count(span.most_waiting),
        );
    }
    if spans.len() > MOST_SPANS {
        let _ = writeln!(text, "            and {} times more", spans.len() - MOST_SPANS);
    }
    text
}

fn listed<'n>(names: impl Iterator<Item = &'n String>) -> String {
    names.map(|name| clean(name)).collect::<Vec<_>>().join(", ")
}

fn seeds(seeds: &[u64]) -> String {
    match seeds {
        [one] => format!("seed {one}"),
        [first, .., last] => format!("seeds {first} to {last}"),
        [] => String::new(),
    }
}

fn runs(result: &Results) -> Table {
    let mut table = Table::new(vec![
        Column::left("runs"),
        Column::right("mean"),
        Column::right("± 95 %"),
        Column::right("p50"),
        Column::right("p90"),
        Column::right("p95"),
        Column::right("p99"),
        Column::right("most"),
    ]);
    let cells = match &result.latency_s {
        None => vec![none(); 7],
        Some(it) => vec![
            seconds(it.mean.value),
            it.mean.half.map_or_else(|| figure::UNKNOWN.to_owned(), seconds),
            seconds(it.p50),
            seconds(it.p90),
            seconds(it.p95),
            seconds(it.p99),
            seconds(it.max),
        ],
    };
    table.row(Role::Row, [vec!["from arrival to end".to_owned()], cells].concat());
    table
}

fn nodes(nodes: &[NodeResult]) -> Table {
    let mut table = Table::new(vec![
        Column::left("node"),
        Column::left("service"),
        Column::right("attempts"),
        Column::right("again"),
        Column::right("wait p95"),
        Column::right("TTFT p50"),
        Column::right("TTFT p95"),
        Column::right("TPOT p50"),
        Column::right("time p50"),
        Column::right("time p95"),
        Column::right("tokens in"),
        Column::right("out"),
        Column::right("cost"),
    ]);
    let of = |found: &Option<Percentiles>, at: fn(&Percentiles) -> f64| {
        found.as_ref().map_or_else(none, |found| seconds(at(found)))
    };
    for node in nodes {
        let asks = node.ttft_s.is_some() || node.output_tokens > 0;
        table.row(
            Role::Row,
            vec![
                clean(&node.node),
                node.service.as_deref().map_or_else(none, clean),
                figure::count(node.attempts),
                if node.retries == 0 { none() } else { figure::count(node.retries) },
                of(&node.wait_s, |it| it.p95),
                of(&node.ttft_s, |it| it.p50),
                of(&node.ttft_s, |it| it.p95),
                node.tpot_ms.as_ref().map_or_else(none, |it| format!("{:.1} ms", it.p50)),
                of(&node.duration_s, |it| it.p50),
                of(&node.duration_s, |it| it.p95),
                if asks { figure::count(node.input_tokens) } else { none() },
                if asks { figure::count(node.output_tokens) } else { none() },
                if asks { money(node.cost_usd, node.cost_complete) } else { none() },
            ],
        );
    }
    table
}

fn services(services: &[ServiceResult]) -> Table {
    let mut table = Table::new(vec![
        Column::left("service"),
        Column::left("kind"),
        Column::right("requests"),
        Column::right("429"),
        Column::right("failed"),
        Column::right("active"),
        Column::right("there"),
        Column::right("most"),
        Column::right("reserved"),
        Column::right("idle"),
        Column::left("times are"),
    ]);
    for service in services {
        table.row(
            Role::Row,
            vec![
                clean(&service.service),
                service.kind.to_owned(),
                figure::count(service.requests),
                if service.rate_limited == 0 { none() } else { figure::count(service.rate_limited) },
                if service.failed == 0 { none() } else { figure::count(service.failed) },
                service.utilization.map_or_else(none, percent),
                format!("{:.2}", service.mean_there),
                figure::count(service.most_there),
                reserved(service, service.reserved_usd),
                reserved(service, service.idle_usd),
                clean(&service.basis),
            ],
        );
    }
    table
}

/// What machines cost; nothing is said of what is paid by the token.
fn reserved(service: &ServiceResult, amount: Option<Usd>) -> String {
    match amount {
        Some(amount) => figure::money(amount),
        None if service.cost_complete => none(),
        None => figure::UNKNOWN.to_owned(),
    }
}

fn replicas(service: &ServiceResult) -> String {
    let Some(pool) = &service.replicas else { return String::new() };
    let preempted = match pool.preemptions {
        0 => "nobody lost their place".to_owned(),
        count => format!("{} lost their place in it", figure::count(count)),
    };
    format!(
        "{} {:.1} replicas (at most {}), {} of the time active with a batch of {:.1}, which takes {} of its places; \
         {:.2} waiting; KV cache {} full, at most {}, {preempted}; {} of prompt tokens from the prefix cache; {:.0} tokens/s\n",
        output::bold(&format!("{}:", clean(&service.service))),
        pool.mean_replicas,
        pool.most_replicas,
        service.utilization.map_or_else(none, percent),
        pool.mean_batch,
        percent(pool.batch_occupancy),
        pool.mean_waiting,
        percent(pool.kv_occupancy),
        percent(pool.peak_kv_occupancy),
        percent(pool.cache_hits),
        pool.output_tokens_per_s,
    )
}

fn sums(result: &Results) -> String {
    let mut text = format!(
        "{} {:.3} runs/s succeeded{}; {:.2} runs in the system on average, at most {}\n",
        output::bold("throughput:"),
        result.succeeded_per_s,
        if result.succeeded < result.runs {
            format!(" of {:.3} that ended", result.throughput_per_s)
        } else {
            String::new()
        },
        result.runs_in_system,
        figure::count(result.most_runs_in_system)
    );
    let ended = [("failed", result.failed), ("refused", result.refused), ("limited", result.limited)];
    if ended.iter().any(|(_, count)| *count > 0) {
        let listed: Vec<String> = ended
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{} {what}", figure::count(*count)))
            .collect();
        let succeeded = figure::count(result.succeeded);
        let _ = writeln!(text, "{} {succeeded} succeeded, {}", output::bold("ended:"), listed.join(", "));
    }
    if let Some(meets) = result.meets_slo {
        let word = if meets { "met" } else { "missed" };
        let good = match (result.good_share, result.goodput_per_s) {
            (Some(share), Some(goodput)) => {
                format!(": {} of runs are good, {goodput:.3} good runs/s", percent(share))
            }
            _ => ", because a queue grows without bound".to_owned(),
        };
        let _ = writeln!(text, "{} {word}{good}", output::bold("SLO:"));
    }
    if result.cost_complete && result.reserved_cost_usd.is_none() {
        let _ = writeln!(text, "{} nothing here has a price", output::bold("cost:"));
        return text;
    }
    let incomplete = if result.cost_complete { "" } else { "; prices of some backends are unknown and left out" };
    let said = |amount: String| if amount == figure::UNKNOWN { "unknown".to_owned() } else { amount };
    let per = |amount: Option<Usd>| said(per_success(result, amount));
    if result.succeeded == 0 {
        let all = said(money(result.reserved_cost_usd, result.cost_complete));
        let _ = writeln!(text, "{} {all} in all, and no run succeeded{incomplete}", output::bold("cost:"));
        return text;
    }
    let _ = writeln!(
        text,
        "{} {} per run that succeeded by busy time and tokens, {} with idle machines; {} in all{incomplete}",
        output::bold("cost:"),
        per(result.cost_per_succeeded_run_usd),
        per(result.reserved_cost_per_succeeded_run_usd),
        said(money(result.reserved_cost_usd, result.cost_complete)),
    );
    text
}

/// An amount per run that succeeded: none is too little to say what a success costs.
fn per_success(result: &Results, amount: Option<Usd>) -> String {
    if result.succeeded == 0 { none() } else { money(amount, result.cost_complete) }
}

fn none() -> String {
    figure::NONE.to_owned()
}

/// A time as people read it.
pub fn seconds(seconds: f64) -> String {
    figure::duration((seconds * 1e6).round() as u64)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// An amount of which nothing, or not all, is known is marked.
fn money(amount: Option<Usd>, complete: bool) -> String {
    match amount {
        // What has no price.
        None if complete => none(),
        None => figure::UNKNOWN.to_owned(),
        Some(amount) if !complete => format!("≥ {}", figure::money(amount)),
        Some(amount) => figure::money(amount),
    }
}
