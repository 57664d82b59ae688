//! What people look at: tables of what happened in a run, and drawings of workflows. Everything here turns values into
//! texts without colour; nothing prints, and nothing depends on the terminal.

pub mod diagram;
pub mod figure;
mod steps;
mod table;

pub use diagram::Diagram;
pub use steps::{step_label, step_table};
pub use table::{Align, Column, Line, Role, Table, clean, fit};
