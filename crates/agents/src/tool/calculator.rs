//! The calculator: arithmetic in double precision. Its value is `{result, expression}`.
//!
//! `+ - * / % ^` with the usual precedence (`^` binds to the right and tighter than a minus before it), parentheses,
//! `pi`, `e`, and `abs, ceil, exp, floor, ln, log10, log2, max, min, round, sqrt, trunc`; `round(x, d)` keeps `d`
//! decimals. Results are rounded to 15 digits, so that `0.1 + 0.2` is `0.3`; whole ones come without a point.

use async_trait::async_trait;
use lumos_core::{Agent, AgentCall, AgentError, AgentOutput, Arguments, Prepared, SharedBackend};
use serde_json::{Value, json};

use crate::arguments;

/// Most characters of an expression.
const MOST_CHARS: usize = 10_000;
/// Most parentheses, signs and powers within each other.
const MOST_DEPTH: usize = 64;

/// Evaluates `expression`.
pub(super) struct Calculator;

#[async_trait]
impl Agent for Calculator {
    fn prepare(&self, arguments: &Arguments, _: Option<&SharedBackend>) -> Result<Prepared, AgentError> {
        arguments::check_text(arguments, "expression")?;
        Ok(Prepared::default())
    }

    async fn run(&self, call: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        let expression = arguments::text(call.arguments, "expression")?;
        let expression = expression.trim();
        let result = evaluate(expression).map_err(|why| {
            AgentError::fatal(why).with_hint("e.g. `(2 + 3) * 4 ^ 2 / 10`, `round(sqrt(2), 3)`, `max(1, 2)`")
        })?;
        Ok(json!({"result": number(result), "expression": expression}).into())
    }
}

/// Whole numbers that a double holds exactly become integers.
fn number(value: f64) -> Value {
    let rounded: f64 = format!("{value:.14e}").parse().unwrap_or(value);
    if rounded.fract() == 0.0 && rounded.abs() < 9e15 { json!(rounded as i64) } else { json!(rounded) }
}

fn evaluate(expression: &str) -> Result<f64, String> {
    if expression.is_empty() {
        return Err("the expression is empty".to_owned());
    }
    if expression.chars().count() > MOST_CHARS {
        return Err(format!("the expression has more than {MOST_CHARS} characters"));
    }
    let mut parser = Parser { text: expression, at: 0, depth: 0 };
    let value = parser.sum()?;
    parser.space();
    match parser.rest().chars().next() {
        None => Ok(value),
        Some(_) => Err(parser.unexpected("an operator or the end")),
    }
}

/// A recursive descent over the text; `at` is always on a character border.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Takes `symbol` if it is next.
    fn take(&mut self, symbol: &str) -> bool {
        self.space();
        let there = self.rest().starts_with(symbol);
        if there {
            self.at += symbol.len();
        }
        there
    }

    fn unexpected(&self, wanted: &str) -> String {
        let place = self.text[..self.at].chars().count() + 1;
        match self.rest().chars().next() {
            Some(found) => format!("{found:?} at character {place}, wanted {wanted}"),
            None => format!("the expression ends at character {place}, wanted {wanted}"),
        }
    }

    fn sum(&mut self) -> Result<f64, String> {
        let mut value = self.product()?;
        loop {
            if self.take("+") {
                value = finite(value + self.product()?)?;
            } else if self.take("-") {
                value = finite(value - self.product()?)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<f64, String> {
        let mut value = self.signed()?;
        loop {
            if self.take("*") {
                value = finite(value * self.signed()?)?;
            } else if self.take("/") {
                value = finite(value / nonzero(self.signed()?)?)?;
            } else if self.take("%") {
                value = finite(value % nonzero(self.signed()?)?)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn signed(&mut self) -> Result<f64, String> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(format!("the expression nests deeper than {MOST_DEPTH}"));
        }
        let value = if self.take("-") {
            -self.signed()?
        } else if self.take("+") {
            self.signed()?
        } else {
            let base = self.atom()?;
            // The exponent may carry a sign of its own and powers of its own: 2^-3, 2^3^2.
            if self.take("^") { power(base, self.signed()?)? } else { base }
        };
        self.depth -= 1;
        Ok(value)
    }

    fn atom(&mut self) -> Result<f64, String> {
        self.space();
        match self.rest().chars().next() {
            Some('(') => {
                self.at += 1;
                let value = self.sum()?;
                if self.take(")") { Ok(value) } else { Err(self.unexpected("`)`")) }
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_ascii_alphabetic() => self.named(),
            _ => Err(self.unexpected("a number")),
        }
    }

    fn number(&mut self) -> Result<f64, String> {
        let bytes = self.rest().as_bytes();
        let digits = |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let mut end = digits(0);
        if bytes.get(end) == Some(&b'.') {
            end = digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits((end + 1 + sign).min(bytes.len()));
            if exponent > end + 1 + sign {
                end = exponent;
            }
        }
        let text = &self.rest()[..end];
        let value = text.parse().map_err(|_| format!("{text:?} is no number"))?;
        self.at += end;
        finite(value)
    }

    fn named(&mut self) -> Result<f64, String> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let name = &rest[..end];
        self.at += end;
        match name {
            "pi" => return Ok(std::f64::consts::PI),
            "e" => return Ok(std::f64::consts::E),
            _ => {}
        }
        if !self.take("(") {
            return Err(format!("`{name}` is neither a constant nor a function that is called"));
        }
        let mut values = vec![self.sum()?];
        while self.take(",") {
            values.push(self.sum()?);
        }
        if !self.take(")") {
            return Err(self.unexpected("`,` or `)`"));
        }
        call(name, &values)
    }
}

fn call(name: &str, values: &[f64]) -> Result<f64, String> {
    let value = match (name, values) {
        ("abs", [x]) => x.abs(),
        ("ceil", [x]) => x.ceil(),
        ("exp", [x]) => x.exp(),
        ("floor", [x]) => x.floor(),
        ("ln", [x]) if *x > 0.0 => x.ln(),
        ("log10", [x]) if *x > 0.0 => x.log10(),
        ("log2", [x]) if *x > 0.0 => x.log2(),
        ("ln" | "log10" | "log2", [x]) => return Err(format!("{name}({x}) has no value: logarithms need more than 0")),
        ("round", [x]) => x.round(),
        ("round", [x, d]) if d.fract() == 0.0 && (0.0..=15.0).contains(d) => {
            format!("{x:.*}", *d as usize).parse().map_err(|_| format!("cannot round {x}"))?
        }
        ("round", [_, d]) => return Err(format!("round to {d} decimals: wanted a whole number from 0 to 15")),
        ("sqrt", [x]) if *x >= 0.0 => x.sqrt(),
        ("sqrt", [x]) => return Err(format!("sqrt({x}) has no value: roots need at least 0")),
        ("trunc", [x]) => x.trunc(),
        ("max", values) => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ("min", values) => values.iter().copied().fold(f64::INFINITY, f64::min),
        ("abs" | "ceil" | "exp" | "floor" | "ln" | "log10" | "log2" | "round" | "sqrt" | "trunc", _) => {
            return Err(format!("`{name}` takes another number of values than {}", values.len()));
        }
        _ => return Err(format!("there is no function `{name}`")),
    };
    finite(value)
}

fn power(base: f64, exponent: f64) -> Result<f64, String> {
    if base == 0.0 && exponent < 0.0 {
        return Err("division by zero".to_owned());
    }
    let value = base.powf(exponent);
    if value.is_nan() {
        return Err(format!("{base} ^ {exponent} has no value: a root of a negative number"));
    }
    finite(value)
}

fn nonzero(value: f64) -> Result<f64, String> {
    if value == 0.0 { Err("division by zero".to_owned()) } else { Ok(value) }
}

fn finite(value: f64) -> Result<f64, String> {
    if value.is_finite() { Ok(value) } else { Err("the result is too large for a number".to_owned()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::script::attempt;

    #[test]
    fn arithmetic_has_its_usual_precedence() {
        for (expression, wanted) in [
            ("1 + 2 * 3", json!(7)),
            ("(1 + 2) * 3", json!(9)),
            ("2 ^ 3 ^ 2", json!(512)),
            ("-2 ^ 2", json!(-4)),
            ("2 ^ -1", json!(0.5)),
            ("10 - 4 - 3", json!(3)),
            ("7 % 4", json!(3)),
            ("8 / 4 / 2", json!(1)),
            ("--3", json!(3)),
            ("0.1 + 0.2", json!(0.3)),
            ("1e3 + .5", json!(1000.5)),
            ("max(1, 5, 3) - min(2, 1)", json!(4)),
            ("round(2.345, 1)", json!(2.3)),
            ("sqrt(16) + abs(-2) + floor(1.9) + ceil(1.1) + trunc(-1.5)", json!(8)),
            ("3 * pi", json!(9.42477796076938)),
            ("ln(e)", json!(1)),
            ("9007199254740993", json!(9.00719925474099e15)),
        ] {
            assert_eq!(evaluate(expression).map(number), Ok(wanted), "{expression}");
        }
    }

    #[test]
    fn what_has_no_value_says_why() {
        for (expression, why) in [
            ("1 / 0", "division by zero"),
            ("1 % (2 - 2)", "division by zero"),
            ("0 ^ -1", "division by zero"),
            ("9 ^ 999", "too large"),
            ("1e999", "too large"),
            ("exp(1000)", "too large"),
            ("sqrt(-1)", "at least 0"),
            ("ln(0)", "more than 0"),
            ("(-8) ^ 0.5", "negative number"),
            ("", "empty"),
            ("1 +", "ends at character 4"),
            ("(1", "wanted `)`"),
            ("1 2", "'2' at character 3"),
            ("2e", "'e' at character 2"),
            ("1)", "')' at character 2"),
            ("é", "'é' at character 1"),
            ("1 + é", "'é' at character 5"),
            ("x + 1", "`x` is neither"),
            ("system(1)", "no function `system`"),
            ("sqrt(1, 2)", "another number of values"),
            ("round(1, 99)", "from 0 to 15"),
            ("1..2", "wanted an operator"),
            (".", "is no number"),
        ] {
            let error = evaluate(expression).unwrap_err();
            assert!(error.contains(why), "{expression}: {error}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        for expression in ["(".repeat(9000), "-".repeat(9000) + "1", "2^".repeat(4000) + "2", "abs(".repeat(2000)] {
            assert!(evaluate(&expression).unwrap_err().contains("deeper"));
        }
        assert!(evaluate(&"1+".repeat(6000)).unwrap_err().contains("characters"));
        assert_eq!(evaluate(&("1+".repeat(4000) + "1")).unwrap(), 4001.0);
    }

    #[tokio::test]
    async fn the_value_shows_the_expression() {
        let value = attempt(&Calculator, None, &[("expression", json!(" 6 * 7 "))]).await.unwrap().value;
        assert_eq!(value, json!({"result": 42, "expression": "6 * 7"}));
        assert_eq!(attempt(&Calculator, None, &[("expression", json!(5))]).await.unwrap().value["result"], 5);
        assert!(attempt(&Calculator, None, &[]).await.is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-+*/%^(). 0-9a-eé,]{0,40}") {
            if let Ok(value) = evaluate(&text) {
                prop_assert!(value.is_finite());
            }
        }
    }
}
