//! The forecaster: the best of several models by backtest, or all of them by their weights.
//!
//! Its value is `{series, model, season, horizon, level, last, last_total, mean, lower, upper, total, backtest,
//! observations, start, end}`. `total` is the sum of `mean`, `last_total` that of as many observations, the latest
//! ones; `null` when there are fewer. `backtest` is `{metric, folds, horizon, error, errors, smape}`: `errors` holds every model's error in
//! the metric that chose, `null` where a model could not be fitted. With `combine` the model is `combined`, `weights` says how much
//! each counts, and `error` is the mean of their errors by weight, which its own MASE there cannot exceed. Figures are rounded to at least two decimals, to
//! more for small values. A series that is too short, has gaps, or holds anything but finite numbers is refused.

mod backtest;
mod calendar;
mod models;
mod table;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lumos_core::spec::{CsvColumns, ForecastModel, ForecasterSpec};
use lumos_core::{Agent, AgentCall, AgentError, AgentOutput, Arguments, Prepared, SharedBackend};
use serde_json::{Map, Value, json};

use crate::arguments;
use crate::build::{BuildContext, BuildError};
use backtest::{Backtest, Scores};
use models::Forecast;
use table::Table;

/// Most steps ahead.
const MOST_HORIZON: u64 = 1000;
/// Most observations of a series.
const MOST_OBSERVATIONS: usize = 20_000;
/// Fewest observations, however short the season: what exponential smoothing and one held-out value need.
const FEWEST_OBSERVATIONS: usize = 8;
/// Longest season.
const MOST_SEASON: u32 = 2000;

/// Forecasts series.
pub struct Forecaster(Arc<Plan>);

/// What the agent's file says.
struct Plan {
    source: Option<Source>,
    season: usize,
    models: Vec<ForecastModel>,
    level: f64,
    folds: usize,
    combine: bool,
    min: Option<f64>,
}

/// What a forecast was made with.
enum Made {
    /// The best model alone.
    By(ForecastModel),
    /// Models by their weights, the best first.
    Of(Vec<(ForecastModel, f64)>),
}

/// Where named series come from.
struct Source {
    written: String,
    columns: CsvColumns,
    context: BuildContext,
    /// The table as it was when its file had that stamp.
    read: Mutex<Option<(String, Arc<Table>)>>,
}

/// A series to forecast.
struct Series {
    name: Option<String>,
    values: Vec<f64>,
    span: Option<(String, String)>,
}

impl Forecaster {
    pub(crate) fn new(spec: &ForecasterSpec, context: BuildContext) -> Result<Self, BuildError> {
        if spec.season == 0 || spec.season > MOST_SEASON {
            return Err(BuildError::new("season", format!("{} is no length of a season", spec.season))
                .with_hint(format!("from 1 (none) to {MOST_SEASON}, e.g. 52 for weekly data")));
        }
        if !(spec.level > 0.0 && spec.level < 1.0) {
            return Err(BuildError::new("level", format!("{} is no coverage", spec.level))
                .with_hint("above 0 and below 1, e.g. 0.9"));
        }
        if spec.folds == 0 || spec.folds > 100 {
            return Err(BuildError::new("folds", format!("{} is out of range", spec.folds)).with_hint("from 1 to 100"));
        }
        if let Some(min) = spec.min.filter(|min| !min.is_finite()) {
            return Err(BuildError::new("min", format!("{min} is no number")).with_hint("e.g. 0"));
        }
        let mut models = Vec::new();
        for &model in &spec.models {
            if !models.contains(&model) {
                models.push(model);
            }
        }
        if models.is_empty() {
            return Err(
                BuildError::new("models", "there is no model to choose from").with_hint("SeasonalNaive, Ets, Mstl")
            );
        }
        if models == [ForecastModel::Mstl] && spec.season == 1 {
            return Err(BuildError::new("models", "Mstl needs a season").with_hint("set `season`, or add a model"));
        }
        let source = match &spec.source {
            None => None,
            Some(source) => {
                let path = context.base.join(&source.path);
                if !source.path.starts_with("asset:") && !path.is_file() {
                    return Err(BuildError::new("source.path", format!("there is no file {}", path.display()))
                        .with_hint("paths are relative to the agent's file"));
                }
                Some(Source {
                    written: source.path.clone(),
                    columns: source.columns.clone(),
                    context,
                    read: Mutex::default(),
                })
            }
        };
        let (season, level, folds) = (spec.season as usize, spec.level, spec.folds as usize);
        let (combine, min) = (spec.combine, spec.min);
        Ok(Self(Arc::new(Plan { source, season, models, level, folds, combine, min })))
    }
}

#[async_trait]
impl Agent for Forecaster {
    fn prepare(&self, arguments: &Arguments, _: Option<&SharedBackend>) -> Result<Prepared, AgentError> {
        horizon(arguments)?;
        self.0.check(arguments)?;
        Ok(Prepared::default())
    }

    async fn run(&self, call: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        let horizon = horizon(call.arguments)?;
        self.0.check(call.arguments)?;
        let wanted = call.arguments["series"].clone();
        let plan = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || plan.forecast(&plan.series(&wanted)?, horizon))
            .await
            .unwrap_or_else(|error| Err(AgentError::fatal(format!("the forecast stopped: {error}"))))
            .map(AgentOutput::from)
    }
}

fn horizon(arguments: &Arguments) -> Result<usize, AgentError> {
    Ok(arguments::whole(arguments, "horizon", None, 1..=MOST_HORIZON)? as usize)
}

impl Plan {
    /// Checks the argument `series` as far as that is possible without reading anything.
    fn check(&self, arguments: &Arguments) -> Result<(), AgentError> {
        match arguments.get("series") {
            None | Some(Value::Null) => Err(arguments::missing(arguments, "series")),
            Some(Value::Array(entries)) if entries.iter().all(Value::is_number) => Ok(()),
            Some(Value::String(_) | Value::Number(_)) if self.source.is_some() => Ok(()),
            Some(Value::String(name)) => {
                Err(AgentError::fatal(format!("series `{name}` is a name, but there is no source"))
                    .with_hint("pass a list of numbers, or give the agent a `source`"))
            }
            Some(value) => Err(arguments::wrong("series", value, "a series' name or a list of numbers")),
        }
    }

    fn series(&self, wanted: &Value) -> Result<Series, AgentError> {
        if let Value::Array(entries) = wanted {
            let values = entries
                .iter()
                .map(|entry| entry.as_f64().filter(|value| value.is_finite()))
                .collect::<Option<_>>()
                .ok_or_else(|| arguments::wrong("series", wanted, "a list of finite numbers"))?;
            return Ok(Series { name: None, values, span: None });
        }
        let name = wanted.as_str().map_or_else(|| wanted.to_string(), str::to_owned);
        let name = name.trim();
        let source = self.source.as_ref().ok_or_else(|| AgentError::fatal("the forecaster has no source"))?;
        let (values, span) = source.table()?.series(name)?;
        Ok(Series { name: Some(name.to_owned()), values, span: Some(span) })
    }

    fn forecast(&self, series: &Series, horizon: usize) -> Result<Value, AgentError> {
        let values = &series.values;
        let name = series.name.as_ref().map_or_else(|| "the series".to_owned(), |name| format!("series `{name}`"));
        let fewest = FEWEST_OBSERVATIONS.max(2 * self.season);
        if values.len() < fewest {
            return Err(AgentError::fatal(format!(
                "{name} has {} observations, wanted at least {fewest}",
                values.len()
            ))
            .with_hint(match self.season {
                1 => "a forecast needs some history to be tested on".to_owned(),
                season => format!("that is two seasons of {season}; pass more history or a shorter `season`"),
            }));
        }
        if values.len() > MOST_OBSERVATIONS {
            return Err(AgentError::fatal(format!("{name} has more than {MOST_OBSERVATIONS} observations"))
                .with_hint("pass the recent ones, or sums of several"));
        }
        if values.iter().any(|value| value.abs() > 1e15) {
            return Err(AgentError::fatal(format!("{name} holds values beyond 1e15")).with_hint("choose a larger unit"));
        }
        let (made, forecast, backtest) = self
            .choose(values, horizon)
            .map_err(|error| AgentError { message: format!("{name}: {}", error.message), ..error })?;
        Ok(self.value(series, horizon, &made, &forecast, backtest.as_ref()))
    }

    /// The model with the least error and its forecast, or all of them by weight; a constant series needs no test.
    fn choose(&self, values: &[f64], horizon: usize) -> Result<(Made, Forecast, Option<Backtest>), AgentError> {
        if values.iter().all(|value| *value == values[0]) {
            let forecast = Forecast::constant(values[0], horizon).at_least(self.min);
            return Ok((Made::By(ForecastModel::SeasonalNaive), forecast, None));
        }
        let backtest = backtest::run(&self.models, values, self.season, horizon, self.folds, self.level);
        let mut parts = Vec::new();
        for (model, scores) in backtest.ranking() {
            match models::forecast(model, values, self.season, horizon, self.level) {
                Ok(forecast) => {
                    let forecast = forecast.widened(&scores, self.level);
                    if !self.combine {
                        return Ok((Made::By(model), forecast.at_least(self.min), Some(backtest)));
                    }
                    parts.push((model, backtest.metric()(&scores), forecast));
                }
                Err(why) => tracing::debug!(model = word(model), why, "a model that passed its test cannot be fitted"),
            }
        }
        let Some((_, least, _)) = parts.first() else {
            return Err(AgentError::fatal("none of the models can be fitted")
                .with_hint("add `SeasonalNaive` to `models`, it fits every series"));
        };
        let weights = weights(*least, parts.iter().map(|(_, error, _)| *error));
        let models = parts.iter().zip(&weights).map(|((model, ..), weight)| (*model, *weight)).collect();
        let parts: Vec<_> = weights.into_iter().zip(parts).map(|(weight, (.., forecast))| (weight, forecast)).collect();
        let forecast = Forecast::mean_of(&parts, horizon).at_least(self.min);
        Ok((Made::Of(models), forecast, Some(backtest)))
    }

    fn value(
        &self,
        series: &Series,
        horizon: usize,
        made: &Made,
        forecast: &Forecast,
        backtest: Option<&Backtest>,
    ) -> Value {
        let decimals = decimals(&series.values);
        let rounded = |values: &[f64]| -> Vec<f64> { values.iter().map(|value| round(*value, decimals)).collect() };
        let mean = rounded(&forecast.mean);
        let latest = series.values.len().checked_sub(horizon).map(|from| series.values[from..].iter().sum());
        let tested = |pick: fn(&Scores) -> f64, backtest: &Backtest| -> Value {
            let entry = |&(model, ref scores): &(ForecastModel, Option<Scores>)| {
                (word(model).to_owned(), scores.as_ref().map_or(Value::Null, |scores| json!(round(pick(scores), 4))))
            };
            Value::Object(backtest.scores.iter().map(entry).collect::<Map<_, _>>())
        };
        let backtest = backtest.map(|backtest| {
            let errors = tested(backtest.metric(), backtest);
            json!({
                "metric": backtest.metric_word(),
                "folds": backtest.folds,
                "horizon": backtest.horizon,
                "error": made.error(backtest),
                "errors": errors,
                "smape": tested(|scores| scores.smape, backtest),
            })
        });
        let mut value = json!({
            "series": series.name,
            "model": made.word(),
            "season": self.season,
            "horizon": horizon,
            "level": self.level,
            "last": series.values.last(),
            "last_total": latest.map(|sum: f64| round(sum, decimals)),
            "mean": mean,
            "lower": rounded(&forecast.lower),
            "upper": rounded(&forecast.upper),
            "total": round(mean.iter().sum(), decimals),
            "backtest": backtest,
            "observations": series.values.len(),
            "start": series.span.as_ref().map(|span| &span.0),
            "end": series.span.as_ref().map(|span| &span.1),
        });
        if let Made::Of(models) = made {
            let weights = models.iter().map(|(model, weight)| (word(*model).to_owned(), json!(round(*weight, 4))));
            value["weights"] = Value::Object(weights.collect());
        }
        value
    }
}

impl Made {
    fn word(&self) -> &'static str {
        match self {
            Self::By(model) => word(*model),
            Self::Of(_) => "combined",
        }
    }

    /// Its error in the metric that chose: of several models, the mean of theirs by weight.
    fn error(&self, backtest: &Backtest) -> Value {
        let metric = backtest.metric();
        let of = |wanted: ForecastModel| {
            let found = backtest.scores.iter().find(|(model, _)| *model == wanted);
            found.and_then(|(_, scores)| scores.as_ref()).map(metric)
        };
        let error = match self {
            Self::By(model) => of(*model),
            Self::Of(models) => models.iter().map(|(model, weight)| Some(of(*model)? * weight)).sum(),
        };
        error.map_or(Value::Null, |error| json!(round(error, 4)))
    }
}

/// How much models count that have these errors, of which `least` is the least: the fourth power of the inverse, so that a model
/// that is half as good counts for a sixteenth. Models that made no error share all.
fn weights(least: f64, errors: impl Iterator<Item = f64>) -> Vec<f64> {
    let raw: Vec<f64> = errors
        .map(|error| if error == least { 1.0 } else { (least / error).powi(4) })
        .map(|weight| if weight.is_finite() { weight } else { 0.0 })
        .collect();
    let sum: f64 = raw.iter().sum();
    raw.into_iter().map(|weight| weight / sum).collect()
}

impl Source {
    /// The table, read again when its file has changed.
    fn table(&self) -> Result<Arc<Table>, AgentError> {
        let path: PathBuf = self
            .context
            .locate(&self.written)
            .map_err(|why| AgentError::fatal(format!("source `{}`: {why}", self.written)))?;
        let stamp = table::stamp(&path)?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, table)) = read.as_ref().filter(|(known, _)| *known == stamp) {
            return Ok(Arc::clone(table));
        }
        let table = Arc::new(Table::read(&path, &self.columns)?);
        *read = Some((stamp, Arc::clone(&table)));
        Ok(table)
    }
}

/// The model's name in values.
fn word(model: ForecastModel) -> &'static str {
    match model {
        ForecastModel::SeasonalNaive => "seasonal_naive",
        ForecastModel::Ets => "ets",
        ForecastModel::Mstl => "mstl",
    }
}

/// Decimals that keep at least five digits of the largest value, and at least two.
fn decimals(values: &[f64]) -> i32 {
    let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    if largest == 0.0 { 2 } else { (4 - largest.log10().floor() as i32).clamp(2, 12) }
}

fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    let rounded = (value * scale).round() / scale;
    // No `-0.0`, which JSON would show.
    if rounded == 0.0 { 0.0 } else { rounded }
}

#[cfg(test)]
mod tests;
