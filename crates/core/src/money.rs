//! Money as an integer number of nano-dollars, read and printed as a plain decimal.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Nano-dollars in one dollar.
const NANOS: i128 = 1_000_000_000;

/// An amount of US dollars, held as integer nano-dollars (1e-9 USD); never a float.
///
/// Serialises as a plain decimal string with at most nine decimals and no exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
// Runs wait in great numbers and hold many amounts: 16 bytes of alignment would be mostly padding.
#[repr(Rust, packed(8))]
pub struct Usd(i128);

/// Why a text is not an amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an amount in dollars: {reason}")]
pub struct ParseUsdError {
    text: String,
    reason: &'static str,
}

impl Usd {
    /// No money at all. Not the same as an unknown amount, which is `None`.
    pub const ZERO: Self = Self(0);

    /// An amount of `nanos` nano-dollars.
    pub const fn from_nanos(nanos: i128) -> Self {
        Self(nanos)
    }

    /// The amount in nano-dollars.
    pub const fn nanos(self) -> i128 {
        self.0
    }

    /// `self × numerator / denominator`, rounded half to even once.
    ///
    /// Used for prices: `price_per_hour.scaled(busy_us, 3_600_000_000)`. Returns `None` when `denominator` is zero
    /// or the product leaves the range of `i128`.
    pub fn scaled(self, numerator: u64, denominator: u64) -> Option<Self> {
        let denominator = i128::from(denominator);
        if denominator == 0 {
            return None;
        }
        let product = self.0.checked_mul(i128::from(numerator))?;
        let quotient = product.div_euclid(denominator);
        let twice = product.rem_euclid(denominator) * 2;
        let up = twice > denominator || (twice == denominator && quotient % 2 != 0);
        Some(Self(quotient + i128::from(up)))
    }

    /// The sum, or the largest amount where it would overflow.
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Add for Usd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Usd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::saturating_add)
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        let nanos = NANOS.unsigned_abs();
        let decimals = format!("{:09}", magnitude % nanos);
        let decimals = decimals.trim_end_matches('0');
        let point = if decimals.is_empty() { "" } else { "." };
        f.pad(&format!("{sign}{}{point}{decimals}", magnitude / nanos))
    }
}

impl FromStr for Usd {
    type Err = ParseUsdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason| ParseUsdError { text: text.chars().take(40).collect(), reason };
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || !whole.bytes().chain(decimals.bytes()).all(|b| b.is_ascii_digit()) {
            return Err(fail("write a plain decimal such as \"0.05\""));
        }
        if digits.ends_with('.') {
            return Err(fail("digits must follow the point"));
        }
        if decimals.len() > 9 {
            return Err(fail("at most nine decimals"));
        }
        let whole: i128 = whole.parse().map_err(|_| fail("too large"))?;
        let fraction: i128 = format!("{decimals:0<9}").parse().map_err(|_| fail("too large"))?;
        let nanos = whole.checked_mul(NANOS).and_then(|n| n.checked_add(fraction)).ok_or_else(|| fail("too large"))?;
        Ok(Self(if negative { -nanos } else { nanos }))
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn half_rounds_to_even() {
        let amount = Usd::from_nanos(5);
        assert_eq!(amount.scaled(1, 2), Some(Usd::from_nanos(2)));
        assert_eq!(Usd::from_nanos(7).scaled(1, 2), Some(Usd::from_nanos(4)));
        assert_eq!(Usd::from_nanos(7).scaled(1, 0), None);
    }

    #[test]
    fn rejects_what_is_not_a_plain_decimal() {
        for text in ["", ".", "1.", ".5", "1e3", "NaN", "inf", "1_000", "+1", "0.0000000001", "9".repeat(40).as_str()] {
            assert!(text.parse::<Usd>().is_err(), "{text} was read");
        }
    }

    proptest! {
        #[test]
        fn printing_and_reading_agree(nanos in -(1i128 << 90)..(1i128 << 90)) {
            let amount = Usd::from_nanos(nanos);
            prop_assert_eq!(amount.to_string().parse::<Usd>(), Ok(amount));
        }
    }
}
