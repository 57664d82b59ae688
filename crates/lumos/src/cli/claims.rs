//! Claims on a screen: the verdicts first, then what each rests on.

use std::fmt::Write;

use lumos::CheckedClaim;
use lumos::core::record::Status;
use lumos::decide::claims::{ClaimVerdict, JudgedPart};
use lumos_report::{Column, Role, Table, clean, figure, wrapped};

use super::output;

/// Widest lines of prose.
const WIDEST: usize = 110;

pub fn text(claims: &[CheckedClaim]) -> String {
    let mut text = String::new();
    let mut table = Table::new(vec![Column::left("claim"), Column::left("verdict"), Column::left("what lumos finds")]);
    for claim in claims {
        let verdict = claim.judged.verdict;
        let found = deciding(&claim.judged.parts).map(found).unwrap_or_default();
        table.row(role(verdict), vec![claim.judged.name.clone(), word(verdict).to_owned(), found]);
    }
    text.push_str(&output::lines(&table.lines()));
    for claim in claims {
        one(&mut text, claim);
    }
    text
}

/// The part that the verdict hangs on: the weakest.
fn deciding(parts: &[JudgedPart]) -> Option<&JudgedPart> {
    let weight = |part: &JudgedPart| match part.verdict {
        Some(ClaimVerdict::DoesNotHold) => 3,
        Some(ClaimVerdict::HoldsOnlyIf) => 2,
        Some(ClaimVerdict::Holds) => 1,
        None => 0,
    };
    // Of several that are as weak, the first.
    parts.iter().rev().max_by_key(|part| weight(part))
}

fn found(part: &JudgedPart) -> String {
    format!("{}: {}", part.says, part.shown.as_deref().unwrap_or(figure::UNKNOWN))
}

fn word(verdict: ClaimVerdict) -> &'static str {
    match verdict {
        ClaimVerdict::Holds => "holds",
        ClaimVerdict::HoldsOnlyIf => "holds only if",
        ClaimVerdict::DoesNotHold => "does not hold",
    }
}

fn role(verdict: ClaimVerdict) -> Role {
    match verdict {
        ClaimVerdict::Holds => Role::Ended(Status::Succeeded),
        ClaimVerdict::HoldsOnlyIf => Role::Ended(Status::Paused),
        ClaimVerdict::DoesNotHold => Role::Ended(Status::Failed),
    }
}

fn one(text: &mut String, claim: &CheckedClaim) {
    let judged = &claim.judged;
    let width = output::width().min(WIDEST);
    let prose = |text: &mut String, words: &str, role: Role| {
        text.push_str(&output::lines(&wrapped(&clean(words), width, role)));
    };
    let _ = writeln!(text, "\n{}", output::bold(&clean(&judged.name)));
    prose(text, &format!("“{}”", judged.claim), Role::Row);
    prose(text, &format!("source: {}", judged.source), Role::Note);
    prose(text, &judged.says, role(judged.verdict));
    text.push_str(&output::lines(&parts(&judged.parts).lines()));
    for part in &judged.parts {
        let unknown = part.measure.as_ref().map(|measure| format!("unknown here: measure it with `{measure}`"));
        let would = part.would_hold.as_ref().map(|would| format!("would hold if {would}"));
        let only = part.condition.as_ref().map(|condition| format!("only if {condition}"));
        let said = [unknown, would, only].into_iter().flatten();
        for said in said {
            prose(text, &format!("  {}: {said}", part.says), Role::Row);
        }
        if let Some((share, source)) = &part.off_by {
            prose(text, &format!("  {}: may be {} % off ({source})", part.says, share * 100.0), Role::Note);
        }
    }
    for value in &judged.given {
        let source = if value.source.is_empty() { String::new() } else { format!(" ({})", value.source) };
        prose(text, &format!("  left open: {}: {}{source}", value.says, value.values), Role::Row);
    }
    for assumed in &judged.assumes {
        prose(text, &format!("  assumed: {assumed}"), Role::Row);
    }
    for question in &judged.asked {
        let _ = writeln!(text, "{}", output::dim(&format!("  {} = {}", question.name, clean(&question.command))));
    }
}

fn parts(parts: &[JudgedPart]) -> Table {
    let columns = ["figure", "must be", "basis", "verdict"].map(Column::left);
    let [first, rest @ ..] = columns;
    let mut table = Table::new([first, Column::left("is")].into_iter().chain(rest).collect());
    for part in parts {
        let basis = part.basis.map(|basis| format!("{basis:?}").to_lowercase());
        let verdict = match (part.verdict, &part.measure) {
            (Some(verdict), _) => word(verdict),
            (None, Some(_)) => "unknown here",
            (None, None) => "",
        };
        table.row(
            part.verdict.map_or(Role::Row, role),
            vec![
                part.says.clone(),
                part.shown.clone().unwrap_or_else(|| figure::UNKNOWN.to_owned()),
                part.must_be.clone().unwrap_or_default(),
                basis.unwrap_or_default(),
                verdict.to_owned(),
            ],
        );
    }
    table
}
