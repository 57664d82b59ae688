//! What an optimization found, for people.

use std::fmt::Write;
use std::path::Path;

use lumos::decide::optimize::{Chosen, Off, Optimization};
use lumos::decide::statistics::Estimate;
use lumos_report::{Column, Role, Table, clean, figure};

use crate::cli::eval::screen;
use crate::cli::{home, output};

/// Everything that an optimization found.
pub fn text(found: &Optimization, written: Option<&Path>) -> String {
    let effort = &found.effort;
    let mut text = format!(
        "{} {}\n\n",
        output::bold(&format!("{} from {}", clean(&found.workflow), clean(&found.deployment))),
        output::dim(&format!("over {}, seed {}; intervals hold 95 %", clean(&found.dataset), found.seed))
    );
    text.push_str(&verdict(found));
    text.push('\n');
    text.push_str(&output::lines(&table(found).lines()));
    if found.is_unscored {
        let _ = writeln!(text, "{}", output::dim("nothing scores the rows: quality is the share of runs that succeed"));
    }
    if !found.apart.is_empty() {
        let note = "of unknown cost, so that nobody can say how they compare with the others";
        let names: Vec<String> = found.apart.iter().map(|it| clean(&it.name)).collect();
        let _ = writeln!(text, "{} {}; {note}", output::bold("kept apart:"), names.join(", "));
    }
    text.push('\n');
    text.push_str(&off(found));
    text.push_str(&fixed(found));
    let all = effort.runs_of_all.map_or_else(|| "more than can be counted".to_owned(), figure::count);
    let cost = effort.cost_usd.map_or_else(|| "an unknown amount".to_owned(), figure::money);
    let _ = writeln!(
        text,
        "{} {} runs of the base, {} with one node elsewhere, {} that verify: {} attempts, answers that were given again among them, {cost}; every combination would \
         have taken {all} runs",
        output::bold("took"),
        figure::count(effort.base_runs),
        figure::count(effort.changed_runs),
        figure::count(effort.verifying_runs),
        figure::count(effort.attempts),
    );
    if !effort.is_complete {
        let note = "there are too many combinations to leave out all others for sure: something better may be left";
        let _ = writeln!(text, "{} {note}", output::bold("not complete:"));
    }
    if effort.left_out > 0 {
        let _ = writeln!(text, "{} {} runs of which a part is missing", output::bold("left out:"), effort.left_out);
    }
    if let (Some(path), Some(_)) = (written, &found.chosen) {
        let _ = writeln!(text, "{} is the chosen deployment", home::short(path));
    }
    text
}

fn verdict(found: &Optimization) -> String {
    let all = || found.frontier.iter().chain(&found.apart);
    let chosen = all().find(|it| found.chosen.as_ref() == Some(&it.name));
    let Some(chosen) = chosen else {
        let is_dead = found.nearest.as_ref().is_some_and(|nearest| !nearest.succeeds());
        let said = if is_dead { "no run of any choice succeeds" } else { "no choice meets the conditions" };
        let mut text = format!("{}\n", output::bold(said));
        if let Some(nearest) = &found.nearest {
            let _ = writeln!(text, "the nearest is {}", bindings(nearest));
            text.push_str(&screen::gate(&nearest.conditions));
        }
        return text;
    };
    let how = if chosen.measured.is_some() { "verified" } else { "composed, not run for real" };
    let mut text = format!(
        "{} {}\n",
        output::bold(&format!("best for {}: {}", found.objective, bindings(chosen))),
        output::dim(&format!("({how})"))
    );
    text.push_str(&screen::gate(&chosen.conditions));
    text
}

/// `plan on small, write on large`.
fn bindings(choice: &Chosen) -> String {
    let parts: Vec<String> = choice.bind.iter().map(|(node, backend)| format!("{node} on {backend}")).collect();
    clean(&parts.join(", "))
}

fn table(found: &Optimization) -> Table {
    let mut columns = vec![Column::left("")];
    columns.extend(found.space.nodes.iter().map(|choice| Column::left(clean(&choice.node))));
    let figures = ["quality", "cost per run", "latency", "bytes outside per run"];
    columns.extend(figures.iter().map(|name| Column::right(*name)));
    columns.push(Column::left("figures"));
    let mut table = Table::new(columns);
    let nearest = found.nearest.as_ref().filter(|nearest| found.frontier.iter().all(|it| it.name != nearest.name));
    let mut row = |choice: &Chosen| {
        let is_chosen = found.chosen.as_ref() == Some(&choice.name);
        let is_nearest = found.nearest.as_ref().is_some_and(|nearest| nearest.name == choice.name);
        let marks = [(is_chosen, "best"), (is_nearest, "nearest"), (choice.is_base, "base")];
        let mark = marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark).collect::<Vec<_>>().join(", ");
        let summary = choice.summary();
        let quality = match summary.quality {
            Some(quality) => screen::cell_of(&quality, &|value| format!("{value:.3}")),
            None => summary.failures.value.map_or_else(unknown, |failed| format!("{:.3}", 1.0 - failed)),
        };
        let seconds = |value: f64| figure::duration((value.max(0.0) * 1e6).round() as u64);
        let latency = summary.latency_s.map_or_else(unknown, |times| screen::cell_of(&times.mean, &seconds));
        let bytes = |value: f64| figure::bytes(value.max(0.0).round() as u64);
        let mut cells = vec![mark];
        cells.extend(choice.bind.values().map(|backend| clean(backend)));
        cells.extend([
            quality,
            screen::amount_of(&summary.cost_usd),
            latency,
            screen::cell_of(&summary.bytes_outside, &bytes),
        ]);
        cells.push(if choice.measured.is_some() { "measured" } else { "composed" }.to_owned());
        table.row(Role::Row, cells);
    };
    nearest.into_iter().chain(&found.frontier).for_each(&mut row);
    found.apart.iter().for_each(&mut row);
    table
}

/// How far composition was off, of what was run for real.
fn off(found: &Optimization) -> String {
    let verified: Vec<&Chosen> = { found.frontier.iter().chain(&found.apart) }
        .filter(|choice| !choice.is_base && !choice.off.is_empty())
        .collect();
    if verified.is_empty() {
        return String::new();
    }
    let mut columns = vec![Column::left("measured − composed")];
    columns.extend(["quality", "cost per run", "latency", "bytes outside per run"].map(Column::right));
    let mut table = Table::new(columns);
    for choice in verified {
        let find = |name: &str| choice.off.iter().find(|off| off.figure == name);
        let share = |name: &str| find(name).map_or_else(unknown, relative);
        let quality = if found.is_unscored {
            find("failures").and_then(|off| off.difference).map_or_else(unknown, |it| signed(&negated(it), &score))
        } else {
            find("quality").and_then(|off| off.difference).map_or_else(unknown, |it| signed(&it, &score))
        };
        let cells = vec![bindings(choice), quality, share("cost_usd"), share("latency_s"), share("bytes_outside")];
        table.row(Role::Row, cells);
    }
    output::lines(&table.lines()) + "\n"
}

fn relative(off: &Off) -> String {
    match (&off.relative, &off.difference) {
        (Some(relative), _) => signed(relative, &|value| format!("{:.1} %", value * 100.0)),
        (None, Some(difference)) if difference.value == 0.0 => "0".to_owned(),
        (None, Some(difference)) => signed(difference, &|value| format!("{value:.3}")),
        (None, None) => unknown(),
    }
}

fn score(value: f64) -> String {
    format!("{value:.3}")
}

fn negated(it: Estimate) -> Estimate {
    Estimate { value: -it.value, low: it.high.map(|end| -end), high: it.low.map(|end| -end) }
}

fn signed(estimate: &Estimate, shown: &dyn Fn(f64) -> String) -> String {
    let of = |value: f64| if value > 0.0 { format!("+{}", shown(value)) } else { shown(value).replace('-', "−") };
    let end = |end: Option<f64>| end.map_or_else(unknown, of);
    format!("{} ({} – {})", of(estimate.value), end(estimate.low), end(estimate.high))
}

/// What was no matter of choice.
fn fixed(found: &Optimization) -> String {
    let excluded = found.space.nodes.iter().flat_map(|choice| &choice.excluded);
    let mut text = String::new();
    for it in &found.space.fixed {
        let (node, backend, why) = (clean(&it.node), clean(&it.backend), clean(&it.why));
        let _ = writeln!(text, "{} {node} stays on {backend}: {why}", output::bold("fixed:"));
    }
    for it in excluded {
        let (node, backend, why) = (clean(&it.node), clean(&it.backend), clean(&it.why));
        let _ = writeln!(text, "{} {node} on {backend}: {why}", output::bold("not offered:"));
    }
    text
}

fn unknown() -> String {
    figure::UNKNOWN.to_owned()
}
