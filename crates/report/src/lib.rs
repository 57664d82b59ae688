//! What people and other programs read of runs: tables, a timeline and exports of what happened, and drawings of
//! workflows. Everything here turns values into texts without colour or into bytes; nothing prints, and nothing depends
//! on the terminal.

pub mod diagram;
mod exchange;
mod export;
pub mod figure;
mod label;
#[cfg(feature = "html")]
mod page;
#[cfg(test)]
mod sample;
mod steps;
mod table;
mod timeline;
mod tornado;

pub use diagram::{Diagram, Mark};
pub use exchange::exchange;
#[cfg(feature = "parquet")]
pub use export::SimulatedExport;
pub use export::{Export, ExportColumn, ExportError, ExportFormat, ExportKind, ExportTable, Simulation};
pub use label::{StepError, find_attempt, find_step, step_label, step_names};
#[cfg(feature = "html")]
pub use page::{Drawing, Page, PageError, Source};
pub use steps::step_table;
pub use table::{Align, Column, Line, Role, Table, clean, fit, wrapped};
pub use timeline::timeline;
pub use tornado::{Tornado, TornadoBar, tornado_svg};
