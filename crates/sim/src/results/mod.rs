//! What a simulation finds: sums and histograms that can be merged, whatever the number of runs.

mod measures;
mod series;
mod summary;
mod verdict;
mod watch;

pub use measures::{Measures, NodeMeasures, ServiceMeasures, WarmUp};
pub use series::{BATCHES, Interval, Series};
pub use summary::{NodeResult, Percentiles, PoolResult, Results, ServiceResult, summarize};
pub use verdict::{Bottleneck, Pattern, Span, Verdict, Watched, verdict, verdict_of_runs};
pub use watch::{Offered, Queue, Watch};
