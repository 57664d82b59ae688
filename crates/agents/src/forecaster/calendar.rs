//! Days, and what is regular about a list of them.

/// Days since 1970-01-01 of `YYYY-MM-DD` (a midnight after it is accepted), in the proleptic Gregorian calendar.
pub(super) fn day(text: &str) -> Option<i64> {
    let text = text.trim();
    let date = text.get(..10)?;
    if !matches!(&text[10..], "" | "T00:00:00" | " 00:00:00" | "T00:00:00Z") {
        return None;
    }
    let bytes = date.as_bytes();
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = date.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    };
    if bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let days = day_of(year, month, day);
    // A day that does not exist, such as 30 February, comes back as another one.
    (date_of(days) == (year, month, day)).then_some(days)
}

/// `YYYY-MM-DD` of a day.
pub(super) fn text(day: i64) -> String {
    let (year, month, day) = date_of(day);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Howard Hinnant, chrono-compatible low-level date algorithms, `days_from_civil`.
fn day_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The same, `civil_from_days`.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days - era * 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// Looks for a rhythm in sorted, distinct days: every so many days, working days, or every so many months (on the
/// same day, or on the last). The error says where it breaks.
pub(super) fn check_rhythm(days: &[i64]) -> Result<(), String> {
    let steps: Vec<_> = days.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let Some(&least) = steps.iter().min() else { return Ok(()) };
    if steps.iter().all(|step| *step == least) {
        return Ok(());
    }
    if least >= 28 {
        return check_months(days);
    }
    // 1970-01-01 was a Thursday: 4 days before the next Monday.
    let weekday = |day: i64| (day + 3).rem_euclid(7);
    let expected = |day: i64| if least == 1 && weekdays_only(days) && weekday(day) == 4 { 3 } else { least };
    let gaps: Vec<_> = days.windows(2).filter(|pair| pair[1] - pair[0] != expected(pair[0])).collect();
    let Some(first) = gaps.first() else { return Ok(()) };
    let rhythm = match least {
        1 if weekdays_only(days) => "on working days".to_owned(),
        1 => "daily".to_owned(),
        7 => "weekly".to_owned(),
        days => format!("every {days} days"),
    };
    Err(gap_message(&rhythm, gaps.len(), first[0] + expected(first[0]), first[1]))
}

fn weekdays_only(days: &[i64]) -> bool {
    days.iter().all(|day| (day + 3).rem_euclid(7) < 5)
}

fn check_months(days: &[i64]) -> Result<(), String> {
    let dates: Vec<_> = days.iter().map(|day| date_of(*day)).collect();
    let last_day = |year: i64, month: i64| {
        let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        day_of(next_year, next, 1) - day_of(year, month, 1)
    };
    let wanted = dates.iter().map(|date| date.2).max().unwrap_or(1);
    if let Some(odd) = dates.iter().position(|(year, month, day)| *day != wanted.min(last_day(*year, *month))) {
        return Err(format!(
            "the dates follow no rhythm: {} is neither so many days nor months after the one before",
            text(days[odd])
        ));
    }
    let months: Vec<_> = dates.iter().map(|(year, month, _)| year * 12 + month - 1).collect();
    let least = months.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(1);
    let gaps: Vec<_> = (1..months.len()).filter(|&at| months[at] - months[at - 1] != least).collect();
    let Some(&first) = gaps.first() else { return Ok(()) };
    let missing = months[first - 1] + least;
    let (year, month) = (missing.div_euclid(12), missing.rem_euclid(12) + 1);
    let missing = day_of(year, month, wanted.min(last_day(year, month)));
    let rhythm = match least {
        1 => "monthly".to_owned(),
        3 => "quarterly".to_owned(),
        12 => "yearly".to_owned(),
        months => format!("every {months} months"),
    };
    Err(gap_message(&rhythm, gaps.len(), missing, days[first]))
}

fn gap_message(rhythm: &str, gaps: usize, missing: i64, next: i64) -> String {
    let gaps = if gaps == 1 { "a gap".to_owned() } else { format!("{gaps} gaps") };
    format!(
        "there {} {gaps} in data that come {rhythm}: {} is missing, {} is next",
        if gaps == "a gap" { "is" } else { "are" },
        text(missing),
        text(next)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dates: &[&str]) -> Result<(), String> {
        let days: Vec<_> = dates.iter().map(|date| day(date).unwrap()).collect();
        check_rhythm(&days)
    }

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        assert_eq!(day("1970-01-01"), Some(0));
        assert_eq!(day("2000-03-01 00:00:00"), Some(11_017));
        for text_in in ["2024-02-29", "1900-03-01", "0001-01-01", "9999-12-31", "2023-12-31"] {
            assert_eq!(text(day(text_in).unwrap()), text_in);
        }
        for bad in [
            "2023-02-29",
            "2023-13-01",
            "2023-00-10",
            "01/02/2023",
            "2023-1-1",
            "2023-01-01T05:00:00",
            "",
            "x",
            "2023-01-0é",
        ] {
            assert_eq!(day(bad), None, "{bad}");
        }
    }

    #[test]
    fn rhythms_are_recognised() {
        for dates in [
            &["2012-02-03", "2012-02-10", "2012-02-17"][..],
            &["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09"],
            &["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"],
            &["2024-01-15", "2024-02-15", "2024-03-15"],
            &["2023-01-01", "2023-04-01", "2023-07-01", "2023-10-01", "2024-01-01"],
            &["2020-02-29", "2021-02-28", "2022-02-28"],
            &["2024-01-01"],
        ] {
            assert_eq!(check(dates), Ok(()), "{dates:?}");
        }
    }

    #[test]
    fn gaps_are_named() {
        let weekly = check(&["2012-02-03", "2012-02-10", "2012-02-24", "2012-03-02"]).unwrap_err();
        assert_eq!(weekly, "there is a gap in data that come weekly: 2012-02-17 is missing, 2012-02-24 is next");
        let daily = check(&["2024-01-05", "2024-01-06", "2024-01-08", "2024-01-10"]).unwrap_err();
        assert_eq!(daily, "there are 2 gaps in data that come daily: 2024-01-07 is missing, 2024-01-08 is next");
        let working = check(&["2024-01-04", "2024-01-05", "2024-01-09", "2024-01-10"]).unwrap_err();
        assert!(working.contains("on working days: 2024-01-08 is missing"), "{working}");
        let monthly = check(&["2024-01-31", "2024-02-29", "2024-04-30"]).unwrap_err();
        assert!(monthly.contains("monthly: 2024-03-31 is missing"), "{monthly}");
        assert!(check(&["2024-01-31", "2024-02-28", "2024-03-31"]).unwrap_err().contains("no rhythm"));
    }
}
