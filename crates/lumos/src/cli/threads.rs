//! How many threads a local model computes with, unless the environment says so.

/// Names of the variables by which people choose it themselves.
const CHOICES: [&str; 2] = ["CANDLE_NUM_THREADS", "RAYON_NUM_THREADS"];

/// Leaves one core free: candle's workers spin while they wait for each other, so that one worker more than there are
/// free cores makes everything many times slower. Must be called before any thread is started.
pub fn choose() {
    if CHOICES.iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    set(CHOICES[1], &cores.saturating_sub(1).max(1).to_string());
}

#[allow(unsafe_code)]
fn set(name: &str, value: &str) {
    // SAFETY: `main` calls this first, so that no other thread can be reading the environment.
    unsafe { std::env::set_var(name, value) };
}
