//! Which backend for which node, as `lumos optimize` has it: the choices that nothing else is better than, and how far what
//! was composed is from what was measured.

use serde_json::{Value, json};

use super::comparison::ROWS;
use super::html::{Table, escape};
use super::plots::{Cloud, Spot, cloud};
use super::{Builder, Tone, digits, number, text, with_interval};

pub(super) fn show(page: &mut Builder, document: &Value) {
    let choices: Vec<&Value> = ["frontier", "apart"].into_iter().flat_map(|list| list_of(&document[list])).collect();
    let chosen = choices.iter().find(|choice| choice["name"] == document["chosen"] && !choice["name"].is_null());
    if let Some(chosen) = chosen {
        let how = if chosen["measured"].is_null() { "composed, not run for real" } else { "run for real" };
        let said = format!("best for {}: {} ({how})", text(&document["objective"]), bindings(chosen));
        page.verdict(Tone::Good, said);
    } else {
        let nearest = Some(bindings(&document["nearest"])).filter(|it| !it.is_empty());
        let nearest = nearest.map(|it| format!("; the nearest is {it}")).unwrap_or_default();
        let counts = counts(&document["nearest"]);
        let is_dead = counts["statuses"].is_object() && counts["statuses"]["succeeded"].is_null();
        let said = if is_dead { "no run of any choice of backends succeeds" } else { MISSED };
        page.verdict(Tone::Bad, format!("{said}{nearest}"));
    }
    if document["effort"]["is_complete"] == false {
        page.verdict(Tone::Plain, "there are too many combinations to leave out all others for sure");
    }
    let mut content = format!("<p>{}</p>", escape(&about(document)));
    content.push_str(&plots(page, document, &choices));
    content.push_str(&off(&choices));
    content.push_str(&fixed(document));
    for assumption in ASSUMED {
        page.assume(&Value::from(vec![*assumption]));
    }
    page.section(format!("Backends for the nodes of {}", text(&document["workflow"])), content);
}

const MISSED: &str = "no choice of backends meets the conditions";

const ASSUMED: &[&str] = &[
    "what is composed takes the changes of single nodes to act on times and costs by factors, and on scores by sums within \
     the ends of the scale; what was run for real assumes nothing",
];

fn list_of(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn about(document: &Value) -> String {
    let effort = &document["effort"];
    let count =
        |name: &str| effort[name].as_u64().map_or_else(|| crate::figure::UNKNOWN.to_owned(), crate::figure::count);
    let quality = if document["is_unscored"] == true { " Quality is the share of runs that succeed." } else { "" };
    format!(
        "From {} over {}, with the seed {}: {} runs of the base, {} with one node elsewhere and {} that verify, where every \
         combination would have taken {}.{quality}",
        text(&document["deployment"]),
        text(&document["dataset"]),
        document["seed"],
        count("base_runs"),
        count("changed_runs"),
        count("verifying_runs"),
        count("runs_of_all"),
    )
}

/// `plan on small, write on large`.
fn bindings(choice: &Value) -> String {
    let pairs = choice["bind"].as_object().into_iter().flatten();
    pairs.map(|(node, backend)| format!("{node} on {}", text(backend))).collect::<Vec<_>>().join(", ")
}

/// The figures that count: measured ones where there are any.
fn counts(choice: &Value) -> &Value {
    if choice["measured"].is_null() { &choice["composed"] } else { &choice["measured"] }
}

/// Quality; where nothing is scored, the share of runs that succeed.
fn quality(choice: &Value) -> Option<Spot> {
    let figures = counts(choice);
    let success = |end: &str| number(&figures["failures"][end]).map(|failures| 1.0 - failures);
    if figures["quality"].is_null() {
        return Some((success("value")?, success("high"), success("low")));
    }
    spot(&figures["quality"])
}

fn spot(figure: &Value) -> Option<Spot> {
    Some((number(&figure["value"])?, number(&figure["low"]), number(&figure["high"])))
}

fn plots(page: &mut Builder, document: &Value, choices: &[&Value]) -> String {
    let mut content = table(document, choices).html();
    let axes = [
        ("/cost_usd", "dollars a run", "$"),
        ("/latency_s/mean", "seconds", " s"),
        ("/bytes_outside", "bytes outside a run", ""),
    ];
    for (pointer, x, unit) in axes {
        let of = |is_measured: bool| {
            let meant = choices.iter().filter(|choice| choice["measured"].is_null() != is_measured);
            let points: Vec<(String, Spot, Spot)> = meant
                .filter_map(|choice| {
                    Some((bindings(choice), spot(counts(choice).pointer(pointer)?)?, quality(choice)?))
                })
                .collect();
            points
        };
        let name = |points: &(String, Spot, Spot)| {
            choices.iter().any(|it| is_chosen(document, it) && bindings(it) == points.0)
        };
        let (best, measured): (Vec<_>, Vec<_>) = of(true).into_iter().partition(name);
        let clouds = [("the choice", best), ("run for real", measured), ("composed", of(false))];
        let clouds: Vec<Cloud> = { clouds.into_iter() }
            .filter(|(_, points)| !points.is_empty())
            .map(|(name, points)| Cloud { name: name.to_owned(), points })
            .collect();
        let values = clouds.iter().flat_map(|cloud| cloud.points.iter().map(|(_, x, _)| x.0));
        let is_flat = values.clone().fold(f64::INFINITY, f64::min) >= values.fold(f64::NEG_INFINITY, f64::max);
        if clouds.is_empty() || is_flat {
            continue;
        }
        let mut table = Table::new(&["choice", x, "quality"]);
        for (name, across, up) in clouds.iter().flat_map(|cloud| &cloud.points) {
            let shown =
                |spot: &Spot, unit| with_interval(&json!({"value": spot.0, "low": spot.1, "high": spot.2}), unit);
            table.row([name.clone(), shown(across, unit), shown(up, "")]);
        }
        let caption = format!("The frontier: quality against {x}");
        content.push_str(&page.figure(&caption, &cloud(&clouds, (x, "quality")), &table));
    }
    content
}

fn is_chosen(document: &Value, choice: &Value) -> bool {
    !choice["name"].is_null() && choice["name"] == document["chosen"]
}

fn table(document: &Value, choices: &[&Value]) -> Table {
    let shown = [ROWS[0], ("latency mean", "/latency_s/mean", " s")];
    let rest = ROWS.iter().filter(|(_, pointer, _)| ["/cost_usd", "/bytes_outside", "/failures"].contains(pointer));
    let rows: Vec<_> = shown.iter().chain(rest).collect();
    let names = rows.iter().map(|(name, ..)| (*name).to_owned());
    let columns: Vec<String> = ["choice".to_owned()].into_iter().chain(names).chain(["figures".to_owned()]).collect();
    let mut table = Table::new(&columns);
    for choice in choices {
        let figures = counts(choice);
        let marks = [(is_chosen(document, choice), "the choice: "), (choice["is_base"] == true, "the base: ")];
        let mark: String = marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark).collect();
        let cells =
            rows.iter().map(|(_, pointer, unit)| with_interval(figures.pointer(pointer).unwrap_or(&Value::Null), unit));
        let how = if choice["measured"].is_null() { "composed" } else { "measured" };
        table.row([format!("{mark}{}", bindings(choice))].into_iter().chain(cells).chain([how.to_owned()]));
    }
    table
}

/// How far composed figures were off.
fn off(choices: &[&Value]) -> String {
    let mut table = Table::new(&["choice", "figure", "composed", "measured", "measured less composed", "as a share"]);
    let mut is_empty = true;
    for choice in choices.iter().filter(|choice| choice["is_base"] != true) {
        for off in list_of(&choice["off"]) {
            let shown = |value: &Value| number(value).map_or_else(|| "?".to_owned(), digits);
            let relative = &off["relative"];
            let percent =
                |end: &str| number(&relative[end]).map_or_else(|| "?".to_owned(), |it| format!("{:.1}", it * 100.0));
            let share = if relative.is_null() {
                String::new()
            } else {
                format!("{} % ({} to {})", percent("value"), percent("low"), percent("high"))
            };
            is_empty = false;
            table.row([
                bindings(choice),
                text(&off["figure"]).to_owned(),
                shown(&off["composed"]),
                shown(&off["measured"]),
                with_interval(&off["difference"], ""),
                share,
            ]);
        }
    }
    if is_empty { String::new() } else { format!("<h3>How far composition was off</h3>{}", table.html()) }
}

/// What was no matter of choice.
fn fixed(document: &Value) -> String {
    let mut table = Table::new(&["node", "backend", "why it is no matter of choice"]);
    let excluded = list_of(&document["space"]["nodes"]).flat_map(|node| list_of(&node["excluded"]));
    let mut is_empty = true;
    for it in list_of(&document["space"]["fixed"]).chain(excluded) {
        is_empty = false;
        table.row(["node", "backend", "why"].map(|field| text(&it[field]).to_owned()));
    }
    if is_empty { String::new() } else { table.html() }
}
