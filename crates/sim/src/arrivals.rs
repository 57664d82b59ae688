//! When runs, or sessions of runs, arrive.

use lumos_core::chance::combine;
use lumos_core::spec::ArrivalSpec;
use rand_distr::{Distribution, Gamma, Weibull};

use crate::chance::Stream;
use crate::trace::Arrival;

const HOUR_S: f64 = 3600.0;

/// What the draws of arrivals are for, beside the seeds of runs, which are counted from 0.
const ARRIVALS: u64 = 1 << 60;

/// Arrivals of an open loop in order of time; a closed loop has none of its own.
#[derive(Debug, Clone)]
pub struct Arrivals {
    stream: Stream,
    now_s: f64,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Poisson { gap_s: f64 },
    Constant { gap_s: f64, count: u64 },
    Gamma(Gamma<f64>),
    Weibull(Weibull<f64>),
    Diurnal { per_s: f64, peak: f64, peak_h: f64, day_h: f64 },
    OnOff { gap_s: f64, on_s: f64, off_s: f64, until_s: f64 },
    Trace { rows: std::vec::IntoIter<Arrival>, speed: f64 },
    Nobody,
}

/// The seed of the run of a number, from 0, under a load with `seed`.
pub fn run_seed(seed: u64, number: u64) -> u64 {
    combine(seed, number)
}

/// How many clients a closed loop has under a factor of its load: whole ones, and one at least.
pub fn clients(clients: u32, factor: f64) -> u64 {
    (f64::from(clients) * factor).round().max(1.0) as u64
}

/// What is said where that is not the factor that was asked for; `None` where it is.
pub fn clients_told(spec: &ArrivalSpec, factor: f64) -> Option<String> {
    let ArrivalSpec::Closed { clients: declared, .. } = spec else { return None };
    let made = clients(*declared, factor);
    let exact = made as f64 / f64::from(*declared);
    let counted = |count: u64| if count == 1 { "1 client".to_owned() } else { format!("{count} clients") };
    ((exact - factor).abs() > 1e-9 * factor).then(|| {
        format!(
            "a load factor of {factor} of {} makes {}, which is a factor of {}: clients are whole",
            counted(u64::from(*declared)),
            counted(made),
            (exact * 1e4).round() / 1e4
        )
    })
}

impl Arrivals {
    /// The arrivals of a load with `seed`: the same whether it is simulated or made for real.
    pub fn of_load(spec: &ArrivalSpec, factor: f64, rows: Vec<Arrival>, seed: u64) -> Self {
        Self::new(spec, factor, rows, combine(seed, ARRIVALS))
    }

    /// Arrivals `factor` times as often as the scenario says. `rows` are those of a trace.
    pub fn new(spec: &ArrivalSpec, factor: f64, rows: Vec<Arrival>, draw: u64) -> Self {
        let mut stream = Stream::new(draw);
        let gap = |per_s: &f64| 1.0 / (per_s * factor);
        let kind = match spec {
            ArrivalSpec::Poisson { per_s } => Kind::Poisson { gap_s: gap(per_s) },
            ArrivalSpec::Constant { per_s } => Kind::Constant { gap_s: gap(per_s), count: 0 },
            ArrivalSpec::Gamma { per_s, cv } => match Gamma::new(1.0 / (cv * cv), gap(per_s) * cv * cv) {
                Ok(gaps) => Kind::Gamma(gaps),
                Err(_) => Kind::Nobody,
            },
            ArrivalSpec::Weibull { per_s, shape } => {
                match Weibull::new(gap(per_s) / libm::tgamma(1.0 + 1.0 / shape), *shape) {
                    Ok(gaps) => Kind::Weibull(gaps),
                    Err(_) => Kind::Nobody,
                }
            }
            ArrivalSpec::Diurnal { per_s, peak, peak_h, day_h } => {
                Kind::Diurnal { per_s: per_s * factor, peak: *peak, peak_h: *peak_h, day_h: *day_h }
            }
            ArrivalSpec::OnOff { per_s, on_s, off_s } => {
                let until_s = on_s * stream.exponential();
                Kind::OnOff { gap_s: gap(per_s), on_s: *on_s, off_s: *off_s, until_s }
            }
            ArrivalSpec::Trace { speed, .. } => Kind::Trace { rows: rows.into_iter(), speed: speed * factor },
            ArrivalSpec::Closed { .. } => Kind::Nobody,
        };
        Self { stream, now_s: 0.0, kind }
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let stream = &mut self.stream;
        match &mut self.kind {
            Kind::Poisson { gap_s } => self.now_s += *gap_s * stream.exponential(),
            // Multiplied, because sums of rounded gaps drift.
            Kind::Constant { gap_s, count } => {
                self.now_s = *gap_s * *count as f64;
                *count += 1;
            }
            Kind::Gamma(gaps) => self.now_s += gaps.sample(stream),
            Kind::Weibull(gaps) => self.now_s += gaps.sample(stream),
            // Thinning (Lewis, Shedler 1979): those of the highest rate, of which as many stay as the rate at that time says.
            Kind::Diurnal { per_s, peak, peak_h, day_h } => loop {
                self.now_s += stream.exponential() / (*per_s * *peak);
                let phase = std::f64::consts::TAU * (self.now_s / HOUR_S - *peak_h) / *day_h;
                if stream.unit() * *peak < 1.0 + (*peak - 1.0) * phase.cos() {
                    break;
                }
            },
            Kind::OnOff { gap_s, on_s, off_s, until_s } => {
                self.now_s += *gap_s * stream.exponential();
                while self.now_s > *until_s {
                    // What is left of the gap is served in the next phase on: gaps have no memory.
                    let pause_s = *off_s * stream.exponential();
                    self.now_s += pause_s;
                    *until_s += pause_s + *on_s * stream.exponential();
                }
            }
            Kind::Trace { rows, speed } => {
                let row = rows.next()?;
                return Some(Arrival { at_us: (row.at_us as f64 / *speed).round() as u64, ..row });
            }
            Kind::Nobody => return None,
        }
        Some(Arrival { at_us: (self.now_s * 1e6).round() as u64, lengths: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arrivals per second over `seconds`, and the variance of their gaps over the square of the mean gap.
    fn measured(spec: &ArrivalSpec, factor: f64, seconds: u64) -> (f64, f64) {
        let times: Vec<u64> = Arrivals::new(spec, factor, Vec::new(), 7)
            .map(|arrival| arrival.at_us)
            .take_while(|at_us| *at_us < seconds * 1_000_000)
            .collect();
        assert!(times.is_sorted());
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        (times.len() as f64 / seconds as f64, variance / (mean * mean))
    }

    #[test]
    fn rates_and_burstiness_are_those_that_were_asked_for() {
        for (spec, rate, scv) in [
            (ArrivalSpec::Poisson { per_s: 10.0 }, 10.0, 1.0),
            (ArrivalSpec::Constant { per_s: 10.0 }, 10.0, 0.0),
            (ArrivalSpec::Gamma { per_s: 10.0, cv: 2.0 }, 10.0, 4.0),
            // Var/mean² of a Weibull distribution of shape 1/2: Γ(5)/Γ(3)² - 1 = 5.
            (ArrivalSpec::Weibull { per_s: 10.0, shape: 0.5 }, 10.0, 5.0),
        ] {
            let (got_rate, got_scv) = measured(&spec, 2.0, 20_000);
            assert!((got_rate / (2.0 * rate) - 1.0).abs() < 0.02, "{spec:?}: {got_rate}");
            assert!((got_scv - scv).abs() < 0.05 * (1.0 + scv), "{spec:?}: {got_scv}");
        }
        let on_off = ArrivalSpec::OnOff { per_s: 10.0, on_s: 5.0, off_s: 15.0 };
        assert!((measured(&on_off, 1.0, 400_000).0 / 2.5 - 1.0).abs() < 0.03);
    }

    #[test]
    fn a_day_has_its_peak_and_its_mean() {
        let spec = ArrivalSpec::Diurnal { per_s: 5.0, peak: 1.8, peak_h: 14.0, day_h: 24.0 };
        let mut hours = [0u32; 24];
        for arrival in Arrivals::new(&spec, 1.0, Vec::new(), 3) {
            let hour = arrival.at_us / 3_600_000_000;
            if hour >= 24 {
                break;
            }
            hours[hour as usize] += 1;
        }
        let total: u32 = hours.iter().sum();
        assert!((f64::from(total) / (5.0 * 86_400.0) - 1.0).abs() < 0.01, "{total}");
        assert!((f64::from(hours[13] + hours[14]) / (2.0 * 3600.0 * 5.0 * 1.8) - 1.0).abs() < 0.03, "{hours:?}");
        assert!(f64::from(hours[2]) < 3600.0 * 5.0 * 0.3);
    }
}
