//! `lumos graph`: draws a workflow.

use lumos::core::load::Bundle;
use lumos_report::Diagram;

use super::arguments::{Drawing, Graph};
use super::failure::{self, Failure};
use super::output;

pub fn run(arguments: &Graph) -> Result<u8, Failure> {
    let (bundle, warnings) = Bundle::open(&arguments.workflow, None).map_err(Failure::Invalid)?;
    failure::warn(&warnings);
    let file = &bundle.workflow.parsed.file;
    let diagram = Diagram::new(&bundle.workflows()).map_err(|error| Failure::invalid(file, error.to_string(), None))?;
    output::data(&match arguments.format {
        Drawing::Text => diagram.text(),
        Drawing::Mermaid => diagram.mermaid(),
        Drawing::Dot => diagram.dot(),
        Drawing::Svg => diagram.svg(),
    })?;
    Ok(0)
}
