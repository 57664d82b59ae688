//! Forecasts against what came.

use serde_json::Value;

use super::{parsed, short};

fn numbers(value: &Value) -> Option<Vec<f64>> {
    value.as_array()?.iter().map(Value::as_f64).collect()
}

/// What came: a list of numbers, or that of `actual`.
pub(super) fn actual(expected: &Value) -> Option<Vec<f64>> {
    numbers(expected).or_else(|| numbers(expected.get("actual")?))
}

/// Whether there is a history whose naive forecasts err: what an error can be held against.
pub(super) fn has_scale(expected: &Value, season: usize) -> bool {
    let history = expected.get("history").and_then(numbers).unwrap_or_default();
    actual(expected).is_some_and(|actual| !actual.is_empty())
        && scale(&history, season).is_some_and(|scale| scale > 0.0)
}

/// The mean absolute error of the seasonal naive forecast within the history.
fn scale(history: &[f64], season: usize) -> Option<f64> {
    let errors: Vec<f64> = history.iter().skip(season).zip(history).map(|(now, before)| (now - before).abs()).collect();
    (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64)
}

/// The forecast: a list of numbers, or a forecaster's `mean`.
fn forecast(output: &Value, length: usize) -> Result<Vec<f64>, String> {
    let found = parsed(output);
    let found = found.as_ref().and_then(|value| numbers(value).or_else(|| numbers(value.get("mean")?)));
    let found = found.ok_or_else(|| format!("{} is no list of numbers", short(output)))?;
    if found.len() < length {
        return Err(format!("the forecast has {} values for {length}", found.len()));
    }
    Ok(found)
}

/// 200 · mean of |a − f| / (|a| + |f|), where both are 0 none.
pub(super) fn smape(output: &Value, expected: &Value) -> Result<f64, String> {
    let actual = actual(expected).unwrap_or_default();
    let forecast = forecast(output, actual.len())?;
    let errors = actual.iter().zip(&forecast).map(|(actual, forecast)| {
        let size = actual.abs() + forecast.abs();
        if size == 0.0 { 0.0 } else { (actual - forecast).abs() / size }
    });
    Ok(200.0 * errors.sum::<f64>() / actual.len().max(1) as f64)
}

pub(super) fn mase(output: &Value, expected: &Value, season: usize) -> Result<f64, String> {
    let actual = actual(expected).unwrap_or_default();
    let history = expected.get("history").and_then(numbers).unwrap_or_default();
    let scale =
        scale(&history, season).filter(|scale| *scale > 0.0).ok_or("the history is too short or does not move")?;
    let forecast = forecast(output, actual.len())?;
    let errors = actual.iter().zip(&forecast).map(|(actual, forecast)| (actual - forecast).abs());
    Ok(errors.sum::<f64>() / actual.len().max(1) as f64 / scale)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_by_hand() {
        // |100 - 110| / 210 and |200 - 180| / 380.
        let found = smape(&json!({"mean": [110, 180, 7]}), &json!([100, 200])).unwrap();
        assert!((found - 100.0 * (10.0 / 210.0 + 20.0 / 380.0)).abs() < 1e-12, "{found}");
        assert_eq!(smape(&json!([0, 0]), &json!([0, 0])), Ok(0.0));
        // History 1, 3, 2, 6: naive errors 2, 1, 4 (mean 7/3); with a season of 2: 1, 3 (mean 2).
        let expected = json!({"actual": [5, 5], "history": [1, 3, 2, 6]});
        assert!((mase(&json!("[6, 3]"), &expected, 1).unwrap() - 1.5 / (7.0 / 3.0)).abs() < 1e-12);
        assert_eq!(mase(&json!([6, 3]), &expected, 2), Ok(0.75));
        assert!(smape(&json!([1]), &json!([1, 2])).unwrap_err().contains("1 values for 2"));
        assert!(!has_scale(&json!({"actual": [1], "history": [4, 4, 4]}), 1) && !has_scale(&json!([1]), 1));
    }
}
