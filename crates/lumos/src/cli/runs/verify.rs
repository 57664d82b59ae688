//! `lumos runs verify`: looks for damage, as `fsck` does.

use lumos::Home;
use lumos::core::Status;
use lumos_report::figure;

use super::arguments::VerifyRuns;
use crate::cli::arguments::Format;
use crate::cli::failure::{FAILED, Failure};
use crate::cli::output;

pub fn run(arguments: &VerifyRuns, home: &Home) -> Result<u8, Failure> {
    let verified = match super::store(home) {
        Some(store) => store.verify(arguments.id.as_deref())?,
        None => lumos::engine::Verified::default(),
    };
    match arguments.format {
        Format::Json => output::json(&verified)?,
        Format::Human => {
            for flaw in &verified.flaws {
                let of = flaw.run_id.as_deref().unwrap_or("the file");
                output::styled(&format!("{}: {}\n", output::ended(Status::Failed, of), output::shown(&flaw.message)))?;
            }
            let (runs, events) = (figure::count(verified.runs), figure::count(verified.events));
            let verdict = match verified.flaws.len() {
                0 => "all is well".to_owned(),
                1 => "1 flaw".to_owned(),
                flaws => format!("{flaws} flaws"),
            };
            let runs = if verified.runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") };
            output::styled(&format!("{runs} · {events} events · {}\n", output::bold(&verdict)))?;
        }
    }
    Ok(if verified.flaws.is_empty() { 0 } else { FAILED })
}
