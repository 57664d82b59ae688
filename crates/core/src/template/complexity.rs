//! A bound on how deep a template may be nested, checked before it is parsed: `minijinja` parses, compiles and drops
//! long chains of operators by recursion, so a chain without a bound would overflow the stack.

use super::TemplateError;

/// Most operators, brackets and keywords between one pair of braces.
const MAX_OPERATORS: usize = 500;

/// Most statements (`{% … %}`) in a template.
const MAX_STATEMENTS: usize = 1_000;

/// Most `elif` in a template; each nests in the one before.
const MAX_ELIFS: usize = 100;

/// Refuses a template that could nest too deep.
pub(super) fn check(text: &str) -> Result<(), TemplateError> {
    let (mut statements, mut elifs) = (0, 0);
    for code in codes(text) {
        if operators(code.text) > MAX_OPERATORS {
            return Err(too_complex(format!("an expression has more than {MAX_OPERATORS} operators and brackets")));
        }
        if code.is_statement {
            statements += 1;
            elifs += usize::from(code.text.trim_start_matches(['-', '+', ' ']).starts_with("elif"));
        }
        if statements > MAX_STATEMENTS || elifs > MAX_ELIFS {
            return Err(too_complex("the template has too many statements".to_owned()));
        }
    }
    Ok(())
}

/// What stands between one pair of braces.
pub(super) struct Code<'a> {
    pub(super) text: &'a str,
    /// `{% … %}` rather than `{{ … }}`.
    pub(super) is_statement: bool,
}

/// Everything between braces, in order; comments are left out.
pub(super) fn codes(text: &str) -> impl Iterator<Item = Code<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let after = &rest[rest.find('{')? + 1..];
            let is_statement = match after.as_bytes().first() {
                Some(b'{') => false,
                Some(b'%') => true,
                Some(b'#') => {
                    rest = after.split_once("#}").map_or("", |(_, rest)| rest);
                    continue;
                }
                _ => {
                    rest = after;
                    continue;
                }
            };
            let (code, remaining) = code_until(&after[1..], if is_statement { "%}" } else { "}}" });
            rest = remaining;
            return Some(Code { text: code, is_statement });
        }
    })
}

fn too_complex(message: String) -> TemplateError {
    TemplateError::new(message).with_hint(format!(
        "at most {MAX_STATEMENTS} statements, {MAX_ELIFS} `elif` and {MAX_OPERATORS} operators each"
    ))
}

/// Splits at the closing braces that stand outside quotes.
fn code_until<'a>(text: &'a str, close: &str) -> (&'a str, &'a str) {
    let end = outside_quotes(text).find(|(index, _)| text[*index..].starts_with(close));
    end.map_or((text, ""), |(index, _)| (&text[..index], &text[index + close.len()..]))
}

/// What can nest an expression: every sign outside quotes but commas and colons, and every keyword operator.
fn operators(code: &str) -> usize {
    let mut count = 0;
    let mut word = 0;
    for (index, c) in outside_quotes(code).filter(|(_, c)| !c.is_alphanumeric() && *c != '_') {
        let keyword = matches!(&code[word..index], "not" | "and" | "or" | "is" | "in" | "if" | "else");
        count += usize::from(keyword) + usize::from(!c.is_whitespace() && c != ',' && c != ':');
        word = index + c.len_utf8();
    }
    count
}

/// The characters of a code that stand in no string.
pub(super) fn outside_quotes(code: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quote = None;
    let mut escaped = false;
    code.char_indices().filter(move |(_, c)| {
        let inside = quote.is_some();
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if *c == '\\' => escaped = true,
            Some(open) if *c == open => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(*c),
            _ => {}
        }
        !inside && quote.is_none()
    })
}
