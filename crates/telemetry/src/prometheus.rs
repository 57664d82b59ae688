//! Metrics as Prometheus text, version 0.0.4: what the node exporter's textfile collector and Pushgateway read.

use std::fmt::Write;

use lumos_core::record::RunRecord;

use crate::measures::{Measures, Value};
use crate::settings::Conventions;

/// The metrics of runs as Prometheus text. Names are the OTLP ones with `_` for `.`, the unit and `_total` behind.
pub fn prometheus_text<'a>(records: impl IntoIterator<Item = &'a RunRecord>) -> String {
    let mut measures = Measures::default();
    for record in records {
        measures.record(record, 0, Conventions::Latest);
    }
    measures.prometheus()
}

impl Measures {
    /// As Prometheus text.
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        for ((name, unit), series) in &self.0 {
            let base = name.replace('.', "_");
            let is_spread = series.values().any(|value| matches!(value, Value::Spread { .. }));
            let base = match (*unit, is_spread) {
                ("s", _) => format!("{base}_seconds"),
                (_, true) => base,
                (_, false) => format!("{base}_total"),
            };
            let kind = if is_spread { "histogram" } else { "counter" };
            // Writing to a text cannot fail.
            let _ = writeln!(text, "# TYPE {base} {kind}");
            for (attributes, value) in series {
                let labels: Vec<String> = attributes
                    .iter()
                    .map(|(key, value)| format!("{}=\"{}\"", key.replace('.', "_"), escaped(value)))
                    .collect();
                let labels = labels.join(",");
                let _ = match value {
                    Value::Count(count) => writeln!(text, "{base}{{{labels}}} {count}"),
                    Value::Sum(sum) => writeln!(text, "{base}{{{labels}}} {sum}"),
                    Value::Spread { bounds, counts, sum } => {
                        let mut below = 0;
                        let comma = if labels.is_empty() { "" } else { "," };
                        for (index, count) in counts.iter().enumerate() {
                            below += count;
                            let bound = bounds.get(index).map_or_else(|| "+Inf".to_owned(), f64::to_string);
                            let _ = writeln!(text, "{base}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}");
                        }
                        let _ = writeln!(text, "{base}_sum{{{labels}}} {sum}");
                        writeln!(text, "{base}_count{{{labels}}} {below}")
                    }
                };
            }
        }
        text
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
