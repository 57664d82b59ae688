//! An agent's file: one value, whose name is the role.

use super::decode::one_of;
use super::raw::Raw;
use super::reader::{Decode, Fields, Reader, hint_of_names};
use super::workflow::version;
use crate::spec::{
    AgentSpec, Chunking, CsvColumns, DecodingSpec, Detector, ForecastModel, ForecasterSpec, GeneratorFormat,
    GeneratorSpec, GuardSpec, JudgeSpec, PlannerItems, PlannerSpec, PromptSpec, RetrievalMode, RetrieverSpec,
    RouterSpec, SeriesSource, ToolKind, ToolSpec,
};

/// The roles, as agent files write them.
pub(super) const ROLES: [&str; 8] =
    ["Retriever", "Planner", "Forecaster", "Guard", "Router", "Judge", "Generator", "Tool"];

/// Reads the whole file.
pub(super) fn agent(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<AgentSpec> {
    let found = raw.name().unwrap_or_default();
    let Some(role) = ROLES.iter().find(|role| **role == found).copied() else {
        let hint = match found {
            "Workflow" => "this is a workflow; run it with `lumos run`".to_owned(),
            "Deployment" => "this is a deployment; it goes after `-d`".to_owned(),
            found => hint_of_names(found, &ROLES),
        };
        reader.problem(raw, format!("expected an agent's role, found {}", raw.description()), Some(hint));
        return None;
    };
    let mut fields = match raw.body() {
        Some(body) => reader.body(body, role)?,
        None => Fields::none(role, reader.offset(raw.text)),
    };
    version(reader, &mut fields);
    let spec = self::role(reader, &mut fields, role);
    fields.unavailable(reader, "tools", "give a Tool node its own place in the workflow");
    fields.finish(reader);
    spec
}

fn role(reader: &mut Reader<'_>, fields: &mut Fields<'_>, role: &str) -> Option<AgentSpec> {
    // Every field is taken before the first `?`, so that all that is wrong is reported.
    Some(match role {
        "Retriever" => AgentSpec::Retriever(RetrieverSpec {
            model: fields.take(reader, "model").unwrap_or_else(|| "embedder".to_owned()),
            chunk: fields.take(reader, "chunk").unwrap_or_default(),
            mode: fields
                .take_with(reader, "mode", |reader, raw| {
                    use RetrievalMode::{Bm25, Dense, Hybrid};
                    one_of(reader, raw, &[("Hybrid", Hybrid), ("Bm25", Bm25), ("Dense", Dense)])
                })
                .unwrap_or_default(),
            rrf_k: fields.take(reader, "rrf_k"),
            bm25_weight: fields.take(reader, "bm25_weight"),
            csv_columns: fields.take(reader, "csv_columns").unwrap_or_default(),
            sources: fields.require(reader, "sources")?,
        }),
        "Planner" => AgentSpec::Planner(PlannerSpec {
            model: model(reader, fields),
            decoding: fields.take(reader, "decoding").unwrap_or_default(),
            field: fields.take(reader, "field").unwrap_or_else(|| "items".to_owned()),
            items: fields.take(reader, "items").unwrap_or_default(),
            prompt: fields.require(reader, "prompt")?,
        }),
        "Forecaster" => AgentSpec::Forecaster(ForecasterSpec {
            source: fields.take(reader, "source"),
            season: fields.take(reader, "season").unwrap_or(1),
            models: fields
                .take(reader, "models")
                .unwrap_or_else(|| vec![ForecastModel::SeasonalNaive, ForecastModel::Ets, ForecastModel::Mstl]),
            level: fields.take(reader, "level").unwrap_or(0.9),
            folds: fields.take(reader, "folds").unwrap_or(3),
            combine: fields.take(reader, "combine").unwrap_or_default(),
            min: fields.take(reader, "min"),
        }),
        "Guard" => AgentSpec::Guard(GuardSpec {
            detect: fields.take(reader, "detect").unwrap_or_default(),
            deny: fields.take(reader, "deny").unwrap_or_default(),
            max_chars: fields.take(reader, "max_chars"),
        }),
        "Router" => AgentSpec::Router(RouterSpec {
            model: model(reader, fields),
            decoding: fields.take(reader, "decoding").unwrap_or_default(),
            prompt: fields.require(reader, "prompt")?,
        }),
        "Judge" => AgentSpec::Judge(JudgeSpec {
            model: model(reader, fields),
            decoding: fields.take(reader, "decoding").unwrap_or_default(),
            min: fields.take(reader, "min").unwrap_or(0),
            max: fields.take(reader, "max").unwrap_or(10),
            reason_chars: fields.take(reader, "reason_chars").unwrap_or(0),
            prompt: fields.require(reader, "prompt")?,
        }),
        "Generator" => AgentSpec::Generator(GeneratorSpec {
            model: model(reader, fields),
            decoding: fields.take(reader, "decoding").unwrap_or_default(),
            format: fields.take(reader, "format").unwrap_or_default(),
            prompt: fields.require(reader, "prompt")?,
        }),
        _ => AgentSpec::Tool(ToolSpec { tool: fields.require(reader, "tool")? }),
    })
}

fn model(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> String {
    fields.take(reader, "model").unwrap_or_else(|| "small".to_owned())
}

impl Decode for PromptSpec {
    /// `(system: "…", user: "…")`, or the user message alone.
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        if raw.name().is_none() && raw.text.starts_with(['"', 'r']) {
            return String::decode(reader, raw).map(|user| Self { user, ..Self::default() });
        }
        let mut fields = reader.fields(raw, "prompt")?;
        let system = fields.take(reader, "system");
        let user: Option<String> = fields.take(reader, "user");
        let user_file: Option<String> = fields.take(reader, "user_file");
        if user.is_some() && user_file.is_some() {
            let hint = Some("keep one of them".to_owned());
            reader.problem(raw, "`user` and `user_file` both give the user message", hint);
        }
        fields.finish(reader);
        Some(Self { system: system.unwrap_or_default(), user: user.unwrap_or_default(), user_file })
    }
}

impl Decode for DecodingSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "decoding")?;
        let decoding = Self {
            temperature: fields.take(reader, "temperature"),
            top_p: fields.take(reader, "top_p"),
            top_k: fields.take(reader, "top_k"),
            repetition_penalty: fields.take(reader, "repetition_penalty"),
            max_tokens: fields.take(reader, "max_tokens"),
            stop: fields.take(reader, "stop").unwrap_or_default(),
        };
        fields.finish(reader);
        Some(decoding)
    }
}

impl Decode for PlannerItems {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "items")?;
        let default = Self::default();
        let items = Self {
            min: fields.take(reader, "min").unwrap_or(default.min),
            max: fields.take(reader, "max").unwrap_or(default.max),
            max_chars: fields.take(reader, "max_chars").unwrap_or(default.max_chars),
            choices: fields.take(reader, "choices").unwrap_or_default(),
        };
        fields.finish(reader);
        Some(items)
    }
}

impl Decode for GeneratorFormat {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let inner = raw.body().and_then(Raw::single);
        match (raw.name(), inner) {
            (Some("Text"), None) => Some(Self::Text),
            (Some("Json"), Some(schema)) => serde_json::Value::decode(reader, schema).map(Self::Json),
            (Some("Regex"), Some(pattern)) => String::decode(reader, pattern).map(Self::Regex),
            (name, _) => {
                let hint = match name {
                    Some("Json") => "Json({\"type\": \"object\", …}): a JSON Schema".to_owned(),
                    Some("Regex") => "Regex(\"[a-z]+\")".to_owned(),
                    name => hint_of_names(name.unwrap_or_default(), &["Text", "Json", "Regex"]),
                };
                let message = format!("expected Text, Json(…) or Regex(…), found {}", raw.description());
                reader.problem(raw, message, Some(hint));
                None
            }
        }
    }
}

impl Decode for Detector {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let names = [
            ("Email", Self::Email),
            ("Phone", Self::Phone),
            ("Card", Self::Card),
            ("Iban", Self::Iban),
            ("Ssn", Self::Ssn),
            ("Ip", Self::Ip),
        ];
        one_of(reader, raw, &names)
    }
}

impl Decode for ForecastModel {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        one_of(reader, raw, &[("SeasonalNaive", Self::SeasonalNaive), ("Ets", Self::Ets), ("Mstl", Self::Mstl)])
    }
}

impl Decode for Chunking {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "chunk")?;
        let default = Self::default();
        let chunking = Self {
            max_chars: fields.take(reader, "max_chars").unwrap_or(default.max_chars),
            overlap_chars: fields.take(reader, "overlap_chars").unwrap_or(default.overlap_chars),
        };
        fields.finish(reader);
        Some(chunking)
    }
}

impl Decode for SeriesSource {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "source")?;
        let (path, columns) = (fields.require(reader, "path"), fields.require(reader, "columns"));
        fields.finish(reader);
        Some(Self { path: path?, columns: columns? })
    }
}

impl Decode for CsvColumns {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "columns")?;
        let (series, time) = (fields.require(reader, "series"), fields.require(reader, "time"));
        let value = fields.require(reader, "value");
        fields.finish(reader);
        Some(Self { series: series?, time: time?, value: value? })
    }
}

impl Decode for ToolKind {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        match (raw.name(), raw.body()) {
            (Some("Calculator"), None) => Some(Self::Calculator),
            (Some("HttpGet"), Some(body)) => {
                let mut fields = reader.body(body, "HttpGet")?;
                let allow = fields.require(reader, "allow");
                let max_bytes = fields.take(reader, "max_bytes").unwrap_or(1 << 20);
                let timeout_s = fields.take(reader, "timeout_s").unwrap_or(10.0);
                fields.finish(reader);
                Some(Self::HttpGet { allow: allow?, max_bytes, timeout_s })
            }
            (name, _) => {
                let hint = match name {
                    Some("HttpGet") => "HttpGet(allow: [\"https://example.org/\"])".to_owned(),
                    name => hint_of_names(name.unwrap_or_default(), &["Calculator", "HttpGet"]),
                };
                let message = format!("expected Calculator or HttpGet(…), found {}", raw.description());
                reader.problem(raw, message, Some(hint));
                None
            }
        }
    }
}
