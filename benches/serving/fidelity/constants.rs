//! The global constants: which there are, and how they are chosen on measured rows.

use lumos_sim::profile::{Engine, Engines};

use crate::protocol::Internal;

/// How many constants there are.
pub const COUNT: usize = 9;

/// A constant: its name, where a fit begins, its first step and its bounds.
pub struct Constant {
    pub name: &'static str,
    pub start: f64,
    step: f64,
    bounds: (f64, f64),
}

/// The constants, in order. They begin where a model without them would be, but for the launches: a step from nothing
/// hides behind the kernels.
pub const CONSTANTS: [Constant; COUNT] = [
    Constant { name: "sustained", start: 1.0, step: 0.1, bounds: (1.0, 1.5) },
    Constant { name: "trtllm.launch_us", start: 30_000.0, step: 10_000.0, bounds: (0.0, 100_000.0) },
    Constant { name: "trtllm.experts_us", start: 0.0, step: 10.0, bounds: (0.0, 60.0) },
    Constant { name: "trtllm.decode_attention", start: 1.0, step: 0.1, bounds: (0.4, 1.2) },
    Constant { name: "trtllm.launch_experts_us", start: 700.0, step: 300.0, bounds: (0.0, 3000.0) },
    Constant { name: "vllm-sync.iteration_us", start: 500.0, step: 500.0, bounds: (0.0, 5000.0) },
    Constant { name: "vllm-sync.sequence_us", start: 5.0, step: 10.0, bounds: (0.0, 100.0) },
    Constant { name: "independent_routing", start: 1.0, step: -0.1, bounds: (0.1, 1.0) },
    Constant { name: "internal.ratio", start: 0.8, step: 0.05, bounds: (0.5, 1.0) },
];

/// Values of the constants.
pub type Values = [f64; COUNT];

/// Those that ship in the catalog.
pub fn shipped(engines: &Engines) -> Option<Values> {
    let engine = |name| engines.get(name).ok();
    let (vllm, trtllm, sync) = (engine("vllm")?, engine("trtllm")?, engine("vllm-sync")?);
    Some([
        vllm.sustained,
        trtllm.launch_us,
        trtllm.experts_us,
        trtllm.decode_attention,
        trtllm.launch_experts_us,
        sync.iteration_us,
        sync.sequence_us,
        vllm.independent_routing,
        SHIPPED_RATIO,
    ])
}

/// The shortest length of rows whose protocol isn't documented, against the nominal one.
pub const SHIPPED_RATIO: f64 = 0.95;

/// An engine under these constants.
pub fn engine(base: &Engine, values: &Values) -> Engine {
    let mut engine = base.clone();
    engine.sustained = values[0];
    engine.independent_routing = values[7];
    match engine.name.as_str() {
        "trtllm-1.0" => (engine.launch_us, engine.launch_experts_us) = (values[1], values[4]),
        "trtllm" => {
            engine.experts_us = values[2];
            engine.decode_attention = values[3];
            (engine.launch_us, engine.launch_experts_us) = (values[1], values[4]);
        }
        "vllm-sync" => {
            engine.iteration_us = values[5];
            engine.sequence_us = values[6];
        }
        _ => {}
    }
    engine
}

/// The protocol of rows that document none.
pub fn internal(values: &Values) -> Internal {
    Internal { waves: 10, ratio: values[8] }
}

/// The values with the least `loss`, one constant at a time, with steps that halve.
pub fn choose(loss: impl Fn(&Values) -> f64) -> (Values, f64) {
    let mut values: Values = std::array::from_fn(|at| CONSTANTS[at].start);
    let mut steps: Values = std::array::from_fn(|at| CONSTANTS[at].step);
    let mut best = loss(&values);
    for _ in 0..6 {
        for at in 0..COUNT {
            let (low, high) = CONSTANTS[at].bounds;
            let mut moved = false;
            for direction in [1.0, -1.0] {
                let mut step = steps[at] * direction;
                loop {
                    let mut next = values;
                    next[at] = (values[at] + step).clamp(low, high);
                    let found = if next[at] == values[at] { f64::INFINITY } else { loss(&next) };
                    if found >= best {
                        break;
                    }
                    (values, best, moved) = (next, found, true);
                    step *= 1.5;
                }
                if moved {
                    break;
                }
            }
            steps[at] *= if moved { 1.0 } else { 0.5 };
        }
    }
    (values, best)
}
