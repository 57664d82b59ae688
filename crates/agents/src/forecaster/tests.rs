//! The forecaster on made-up series.

use std::sync::Arc;

use lumos_core::spec::SeriesSource;
use serde_json::{Value, json};

use super::*;
use crate::script::attempt;

fn spec(season: u32) -> ForecasterSpec {
    ForecasterSpec {
        source: None,
        season,
        models: vec![ForecastModel::SeasonalNaive, ForecastModel::Ets, ForecastModel::Mstl],
        level: 0.9,
        folds: 3,
        combine: false,
        min: None,
    }
}

fn context(base: &std::path::Path) -> BuildContext {
    BuildContext {
        base: base.to_owned(),
        asset: Arc::new(|name| Err(format!("no asset {name}"))),
        index_dir: base.into(),
    }
}

fn forecaster(spec: &ForecasterSpec) -> Result<Forecaster, BuildError> {
    Forecaster::new(spec, context(std::path::Path::new(".")))
}

async fn forecast(season: u32, values: &[f64], horizon: usize) -> Result<Value, AgentError> {
    let arguments = [("series", json!(values)), ("horizon", json!(horizon))];
    attempt(&forecaster(&spec(season)).unwrap(), None, &arguments).await.map(|output| output.value)
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|entry| entry.as_f64().unwrap()).collect()
}

/// Noise in `-1..1` that is the same every time.
fn noise(t: usize) -> f64 {
    let hash = (t as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((hash ^ (hash >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f64 / f64::from(1 << 23) - 1.0
}

fn wave(t: usize) -> f64 {
    500.0 + 3.0 * t as f64 + 80.0 * (t as f64 * std::f64::consts::TAU / 12.0).sin()
}

#[tokio::test]
async fn a_trend_with_a_season_beats_repeating_the_last_one() {
    let values: Vec<_> = (0..72).map(|t| wave(t) + 5.0 * noise(t)).collect();
    let value = forecast(12, &values, 6).await.unwrap();
    assert_eq!(value["model"], "mstl");
    let (mean, lower, upper) = (numbers(&value["mean"]), numbers(&value["lower"]), numbers(&value["upper"]));
    for step in 0..6 {
        assert!((mean[step] - wave(72 + step)).abs() < 15.0, "{step}: {} {}", mean[step], wave(72 + step));
        assert!(lower[step] < mean[step] && mean[step] < upper[step]);
    }
    let backtest = &value["backtest"];
    assert_eq!((&backtest["metric"], &backtest["folds"], &backtest["horizon"]), (&json!("mase"), &json!(3), &json!(6)));
    let errors = &backtest["errors"];
    assert!(errors["mstl"].as_f64() < errors["seasonal_naive"].as_f64(), "{errors}");
    assert_eq!(backtest["error"], errors["mstl"]);
    assert!((value["total"].as_f64().unwrap() - mean.iter().sum::<f64>()).abs() < 0.01);
    assert_eq!((&value["observations"], &value["series"], &value["start"]), (&json!(72), &Value::Null, &Value::Null));
}

#[tokio::test]
async fn models_are_averaged_by_how_well_they_did() {
    let values: Vec<_> = (0..72).map(|t| wave(t) + 40.0 * noise(t)).collect();
    let arguments = [("series", json!(values)), ("horizon", json!(6))];
    let value = async |models: &[ForecastModel], combine| {
        let agent = forecaster(&ForecasterSpec { models: models.to_vec(), combine, ..spec(12) }).unwrap();
        attempt(&agent, None, &arguments).await.unwrap().value
    };
    let all = [ForecastModel::SeasonalNaive, ForecastModel::Ets, ForecastModel::Mstl];
    let combined = value(&all, true).await;
    assert_eq!(combined["model"], "combined");
    let (errors, weights) = (&combined["backtest"]["errors"], &combined["weights"]);
    let of = |of: &Value, model: &str| of[model].as_f64().unwrap();
    let words = ["seasonal_naive", "ets", "mstl"];
    assert!((words.iter().map(|model| of(weights, model)).sum::<f64>() - 1.0).abs() < 1e-3, "{weights}");
    let ratio = of(weights, "mstl") / of(weights, "seasonal_naive");
    let wanted = (of(errors, "seasonal_naive") / of(errors, "mstl")).powi(4);
    assert!((ratio / wanted - 1.0).abs() < 0.05, "{weights} {errors}");
    let mut mean = [0.0; 6];
    for (model, word) in all.iter().zip(words) {
        let alone = value(&[*model], false).await;
        assert!(alone.get("weights").is_none());
        for (sum, value) in mean.iter_mut().zip(numbers(&alone["mean"])) {
            *sum += of(weights, word) * value;
        }
    }
    for (found, wanted) in numbers(&combined["mean"]).into_iter().zip(mean) {
        assert!((found - wanted).abs() < 0.5, "{found} is not {wanted}");
    }
    let error = combined["backtest"]["error"].as_f64().unwrap();
    assert!(of(errors, "mstl") <= error && error <= of(errors, "ets").max(of(errors, "seasonal_naive")));
}

#[test]
fn a_model_without_errors_counts_for_all() {
    assert_eq!(weights(0.0, [0.0, 0.0, 2.0].into_iter()), [0.5, 0.5, 0.0]);
    assert_eq!(weights(1.0, [1.0, 2.0, f64::INFINITY].into_iter()), [16.0 / 17.0, 1.0 / 17.0, 0.0]);
}

#[tokio::test]
async fn intervals_hold_about_as_often_as_they_say() {
    let mut inside = 0;
    for start in 0..40 {
        let values: Vec<_> = (0..60).map(|t| 100.0 + 10.0 * noise(start * 100 + t)).collect();
        let value = forecast(1, &values[..56], 4).await.unwrap();
        let (lower, upper) = (numbers(&value["lower"]), numbers(&value["upper"]));
        inside += (0..4).filter(|&step| (lower[step]..=upper[step]).contains(&values[56 + step])).count();
    }
    assert!((136..=160).contains(&inside), "{inside} of 160 at 90%");
}

#[tokio::test]
async fn nothing_goes_below_the_least_possible_value() {
    let values: Vec<_> = (0..40).map(|t| (2.0 + 6.0 * noise(t)).max(0.0)).collect();
    let arguments = [("series", json!(values)), ("horizon", json!(4))];
    let value = async |min| {
        let agent = forecaster(&ForecasterSpec { min, ..spec(1) }).unwrap();
        attempt(&agent, None, &arguments).await.unwrap().value
    };
    let (free, sales) = (value(None).await, value(Some(0.0)).await);
    assert!(numbers(&free["lower"]).iter().all(|bound| *bound < 0.0), "{free}");
    assert_eq!(numbers(&sales["lower"]), [0.0; 4]);
    assert_eq!((&free["mean"], &free["upper"]), (&sales["mean"], &sales["upper"]));
    let raised = value(Some(100.0)).await;
    assert_eq!((&raised["mean"], &raised["total"]), (&json!(vec![100.0; 4]), &json!(400.0)));
}

#[tokio::test]
async fn the_last_observations_are_added_up_over_the_same_span() {
    let values: Vec<_> = (0..12).map(|t| f64::from(t) + 0.25).collect();
    assert_eq!(forecast(1, &values, 3).await.unwrap()["last_total"], 30.75);
    assert_eq!(forecast(1, &values, 13).await.unwrap()["last_total"], Value::Null);
}

#[tokio::test]
async fn a_constant_series_is_forecast_with_certainty() {
    for season in [1, 4] {
        let value = forecast(season, &[7.0; 20], 3).await.unwrap();
        for bound in ["mean", "lower", "upper"] {
            assert_eq!(value[bound], json!([7.0, 7.0, 7.0]));
        }
        assert_eq!(value["backtest"], Value::Null);
    }
}

#[tokio::test]
async fn odd_series_give_finite_numbers() {
    let spike: Vec<_> = (0..30).map(|t| if t == 15 { 1e9 } else { 0.0 }).collect();
    let zeros_then_one: Vec<_> = (0..24).map(|t| if t == 23 { 1.0 } else { 0.0 }).collect();
    let alternating: Vec<_> = (0..40).map(|t| if t % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let tiny: Vec<_> = (0..40).map(|t| 1e-9 * (1.0 + noise(t))).collect();
    let large: Vec<_> = (0..40).map(|t| 1e14 + 1e10 * noise(t)).collect();
    let steep: Vec<_> = (0..40).map(|t| 1.5f64.powi(t)).collect();
    let repeating: Vec<_> = (0..40).map(|t| f64::from(t % 4)).collect();
    for (name, values) in [
        ("spike", spike),
        ("one", zeros_then_one),
        ("alternating", alternating),
        ("tiny", tiny),
        ("large", large),
        ("steep", steep),
        ("repeating", repeating),
    ] {
        for season in [1, 4, 12] {
            let value = forecast(season, &values, 5).await.unwrap();
            for bound in ["mean", "lower", "upper"] {
                let numbers: Vec<_> = value[bound].as_array().unwrap().iter().map(Value::as_f64).collect();
                assert!(numbers.len() == 5 && numbers.iter().all(Option::is_some), "{name} {season}: {value}");
            }
        }
    }
}

#[tokio::test]
async fn small_values_keep_their_digits() {
    let values: Vec<_> = (0..20).map(|t| 0.001 + 0.0001 * noise(t)).collect();
    let value = forecast(1, &values, 1).await.unwrap();
    assert!(numbers(&value["mean"])[0] > 0.0005, "{value}");
    let cents: Vec<_> = (0..20).map(|t| 1_643_690.9 + f64::from(t % 3)).collect();
    let mean = numbers(&forecast(1, &cents, 1).await.unwrap()["mean"])[0];
    assert_eq!(mean, (mean * 100.0).round() / 100.0);
}

#[tokio::test]
async fn too_little_history_is_refused() {
    let error = forecast(52, &[1.0; 103], 8).await.unwrap_err();
    assert_eq!(error.message, "the series has 103 observations, wanted at least 104");
    assert!(forecast(1, &[1.0, 2.0, 3.0], 1).await.is_err());
    assert!(forecast(1, &[], 1).await.is_err());
    let values: Vec<_> = (0..104).map(|t| 10.0 + noise(t)).collect();
    assert!(forecast(52, &values, 8).await.is_ok());
}

#[tokio::test]
async fn bad_arguments_are_named() {
    let agent = forecaster(&spec(1)).unwrap();
    let fails = async |arguments: &[(&str, Value)]| attempt(&agent, None, arguments).await.unwrap_err();
    let values = json!([1, 2, 3, 4, 5, 6, 7, 8, 9.5]);
    assert!(fails(&[("series", values.clone())]).await.message.contains("`horizon` is missing"));
    assert!(fails(&[("series", values), ("horizon", json!(0))]).await.message.contains("from 1 to 1000"));
    assert!(fails(&[("horizon", json!(1))]).await.message.contains("`series` is missing"));
    assert!(fails(&[("series", json!([1, "x"])), ("horizon", json!(1))]).await.message.contains("list of numbers"));
    assert!(fails(&[("series", json!("a")), ("horizon", json!(1))]).await.hint.unwrap().contains("source"));
}

#[tokio::test]
async fn named_series_come_from_the_table_and_follow_its_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sales.csv");
    let write = |weeks: usize| {
        let row = |week| format!("1,{},{:.2}", calendar::text(14_000 + 7 * week as i64), wave(week));
        let rows: Vec<_> = (0..weeks).map(row).collect();
        std::fs::write(&path, format!("store,date,sales\n{}\n", rows.join("\n"))).unwrap();
    };
    write(30);
    let columns = CsvColumns { series: "store".into(), time: "date".into(), value: "sales".into() };
    let source = SeriesSource { path: "sales.csv".into(), columns };
    let spec = ForecasterSpec { source: Some(source), ..spec(12) };
    let agent = Forecaster::new(&spec, context(folder.path())).unwrap();
    let arguments = [("series", json!(1)), ("horizon", json!("4"))];
    let value = attempt(&agent, None, &arguments).await.unwrap().value;
    assert_eq!(
        (&value["series"], &value["start"], &value["observations"]),
        (&json!("1"), &json!("2008-05-01"), &json!(30))
    );
    write(31);
    assert_eq!(attempt(&agent, None, &arguments).await.unwrap().value["observations"], 31);
    let unknown = [("series", json!("9")), ("horizon", json!(4))];
    assert!(attempt(&agent, None, &unknown).await.unwrap_err().message.contains("no series `9`"));
}

#[test]
fn what_makes_no_forecaster_is_refused() {
    let fails = |spec: ForecasterSpec| forecaster(&spec).map(drop).unwrap_err().field;
    assert_eq!(fails(spec(0)), "season");
    assert_eq!(fails(ForecasterSpec { level: 1.0, ..spec(1) }), "level");
    assert_eq!(fails(ForecasterSpec { level: f64::NAN, ..spec(1) }), "level");
    assert_eq!(fails(ForecasterSpec { folds: 0, ..spec(1) }), "folds");
    assert_eq!(fails(ForecasterSpec { min: Some(f64::INFINITY), ..spec(1) }), "min");
    assert_eq!(fails(ForecasterSpec { models: vec![], ..spec(1) }), "models");
    assert_eq!(fails(ForecasterSpec { models: vec![ForecastModel::Mstl], ..spec(1) }), "models");
    let columns = CsvColumns { series: "a".into(), time: "b".into(), value: "c".into() };
    let source = Some(SeriesSource { path: "nowhere.csv".into(), columns });
    assert_eq!(fails(ForecasterSpec { source, ..spec(1) }), "source.path");
}
