//! What theory says.

/// Seconds in the queue.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// Mean, those who don't wait included.
    pub mean: f64,
    /// 95th percentile, where it is known.
    pub p95: Option<f64>,
}

/// M/M/c with services of a second (Erlang 1917): the chance to wait is Erlang's C, and the wait is exponential.
pub fn mmc(servers: u32, load: f64) -> Waits {
    let offered = load * f64::from(servers);
    // Erlang's B by its recursion, then C from B.
    let blocked =
        (1..=servers).fold(1.0, |blocked, server| offered * blocked / (f64::from(server) + offered * blocked));
    let waits = blocked / (1.0 - load * (1.0 - blocked));
    let rate = f64::from(servers) * (1.0 - load);
    let p95 = if waits > 0.05 { (waits / 0.05).ln() / rate } else { 0.0 };
    Waits { mean: waits / rate, p95: Some(p95) }
}

/// M/G/1 with services of a second on average (Pollaczek, Khinchine): the wait is a geometric number of residual services, of
/// which `residual` gives the distribution function. The 95th percentile is that of `F(t) = 1 − ρ + ρ ∫ F(t − x) dR(x)`,
/// solved on a grid.
pub fn mg1(load: f64, second_moment: f64, residual: impl Fn(f64) -> f64) -> Waits {
    let mean = load * second_moment / (2.0 * (1.0 - load));
    let step = mean / 400.0;
    let mut found = vec![1.0 - load];
    let mut steps: Vec<f64> = vec![0.0];
    loop {
        let at = found.len();
        steps.push(residual(at as f64 * step) - residual((at - 1) as f64 * step));
        // F between two points is their mean, so the newest stands on both sides.
        let known: f64 = (2..=at).map(|k| steps[k] * f64::midpoint(found[at - k], found[at - k + 1])).sum();
        let newest = (1.0 - load + load * (known + steps[1] * found[at - 1] / 2.0)) / (1.0 - load * steps[1] / 2.0);
        if newest >= 0.95 {
            let before = found[at - 1];
            let p95 = step * ((at - 1) as f64 + (0.95 - before) / (newest - before));
            return Waits { mean, p95: Some(p95) };
        }
        found.push(newest);
    }
}
