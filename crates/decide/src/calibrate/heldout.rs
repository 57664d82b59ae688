//! A measured load beside its prediction.

use lumos_sim::profile::{Calibrated, HeldOut};

use super::predict;
use super::probe::Sample;
use crate::statistics::mean;

/// How far off the profile is on a closed loop of so many clients, each with its requests in order.
pub(super) fn compare(profile: &Calibrated, clients: u32, measured: &[Vec<Sample>]) -> HeldOut {
    let lengths: Vec<Vec<(u32, u32)>> =
        measured.iter().map(|samples| samples.iter().map(Sample::lengths).collect()).collect();
    let predicted = predict::closed_loop(profile, &lengths);
    let measured: Vec<&Sample> = measured.iter().flatten().collect();
    let ttft: (Vec<f64>, Vec<f64>) = (
        predicted.iter().map(|request| (request.first_us - request.asked_us) as f64).collect(),
        measured.iter().map(|sample| sample.ttft_us()).collect(),
    );
    let latency: (Vec<f64>, Vec<f64>) = (
        predicted.iter().map(|request| (request.done_us - request.asked_us) as f64).collect(),
        measured.iter().map(|sample| sample.latency_us()).collect(),
    );
    let tpot: (Vec<f64>, Vec<f64>) = (
        predicted
            .iter()
            .filter(|request| request.output > 1)
            .map(|request| (request.done_us - request.first_us) as f64 / f64::from(request.output - 1))
            .collect(),
        measured.iter().filter_map(|sample| sample.tpot_us()).collect(),
    );
    let off = |found: f64, measured: f64| ((found / measured.max(1.0) - 1.0) * 1000.0).round() / 10.0;
    let at = |(found, seen): &(Vec<f64>, Vec<f64>), share: f64| off(quantile(found, share), quantile(seen, share));
    let plural = if clients == 1 { "" } else { "s" };
    HeldOut {
        load: format!("{clients} client{plural}, one request after the other, {} in all", measured.len()),
        ttft_p50_percent: at(&ttft, 0.5),
        ttft_p95_percent: at(&ttft, 0.95),
        tpot_percent: off(mean(&tpot.0).unwrap_or(0.0), mean(&tpot.1).unwrap_or(0.0)),
        latency_p50_percent: at(&latency, 0.5),
        latency_p95_percent: at(&latency, 0.95),
    }
}

/// Between the two nearest values, in proportion.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = share * last as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_the_nearest_values() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert!((quantile(&[0.0, 10.0], 0.95) - 9.5).abs() < 1e-12);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
