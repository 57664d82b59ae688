//! Which addresses may be fetched: those below a listed scheme, host, port and path.

use url::Url;

use crate::build::BuildError;

/// The allowed prefixes, parsed.
pub(super) struct AllowList(Vec<Url>);

impl AllowList {
    pub(super) fn new(prefixes: &[String]) -> Result<Self, BuildError> {
        if prefixes.is_empty() {
            return Err(BuildError::new("tool.allow", "the list is empty, so nothing may be fetched")
                .with_hint("e.g. `allow: [\"https://example.com/data/\"]`"));
        }
        let parse = |(at, prefix): (usize, &String)| {
            let fail = |why: String| {
                BuildError::new(format!("tool.allow[{at}]"), format!("{prefix:?} {why}"))
                    .with_hint("wanted scheme, host and path, e.g. `https://example.com/data/`")
            };
            let url = parse(prefix).map_err(fail)?;
            if url.query().is_some() || url.fragment().is_some() {
                return Err(fail("holds a query or a fragment".to_owned()));
            }
            Ok(url)
        };
        Ok(Self(prefixes.iter().enumerate().map(parse).collect::<Result<_, _>>()?))
    }

    /// The address in `text` if it is below one of the prefixes; the error says why not.
    pub(super) fn admit(&self, text: &str) -> Result<Url, String> {
        let url = parse(text)?;
        if self.0.iter().any(|prefix| is_below(&url, prefix)) {
            return Ok(url);
        }
        let allowed: Vec<_> = self.0.iter().map(Url::as_str).collect();
        Err(format!("is not below {}", allowed.join(" or ")))
    }
}

/// An address without tricks: `http` or `https`, a host, no user, and a path that no server reads in another way.
fn parse(text: &str) -> Result<Url, String> {
    let text = text.trim();
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err("holds white space, control characters or backslashes".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("is no address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("has the scheme `{}`, only http and https are fetched", url.scheme()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("names no host".to_owned());
    }
    // `https://allowed.example@other.example/` goes to the other host.
    if !url.username().is_empty() || url.password().is_some() || authority(text).contains('@') {
        return Err("holds a user name or password".to_owned());
    }
    // Some servers decode these and climb out of the allowed folder.
    let path = url.path().to_ascii_lowercase();
    if ["%2f", "%5c", "%2e", "%00", "%25"].iter().any(|code| path.contains(code)) || path.contains("//") {
        return Err("holds an encoded slash, dot or percent sign, or an empty segment, in its path".to_owned());
    }
    Ok(url)
}

/// What stands between `//` and the path.
fn authority(text: &str) -> &str {
    let after = text.split_once("//").map_or(text, |(_, after)| after);
    after.split(['/', '?', '#']).next().unwrap_or(after)
}

fn is_below(url: &Url, prefix: &Url) -> bool {
    let place = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    let inside = url.path().strip_prefix(prefix.path()).is_some_and(|rest| {
        // `/data` allows `/data` and `/data/x`, not `/database`.
        rest.is_empty() || prefix.path().ends_with('/') || rest.starts_with('/')
    });
    place(url) == place(prefix) && inside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(prefixes: &[&str]) -> Result<AllowList, BuildError> {
        AllowList::new(&prefixes.iter().map(|&prefix| prefix.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_below_a_prefix_may_be_fetched() {
        let allow = list(&["https://example.com/data", "http://127.0.0.1:8080/"]).unwrap();
        for text in [
            "https://example.com/data",
            "https://example.com/data/x?y=/../z#f",
            "https://EXAMPLE.com:443/data/x",
            "http://127.0.0.1:8080/any/thing",
            "https://example.com/data/a/../b",
        ] {
            assert!(allow.admit(text).is_ok(), "{text}: {:?}", allow.admit(text));
        }
    }

    #[test]
    fn tricks_are_refused() {
        let allow = list(&["https://example.com/data", "http://127.0.0.1:8080/"]).unwrap();
        for text in [
            "https://example.com/database",
            "https://example.com/",
            "https://example.com/data/../secret",
            "https://example.com/data/%2e%2e/secret",
            "https://example.com/data/..%2fsecret",
            "https://example.com/data/%252e%252e/secret",
            "https://example.com/data\\..\\secret",
            "https://example.com/data//secret",
            "http://example.com/data",
            "https://example.com:8443/data",
            "https://example.com.evil.org/data",
            "https://example.com@evil.org/data",
            "https://evil.org@example.com/data",
            "https://@example.com/data",
            "https://evil.org/https://example.com/data",
            "https://evil.org/#https://example.com/data",
            "https://sub.example.com/data",
            "ftp://example.com/data",
            "file:///data",
            "javascript:alert(1)",
            "//example.com/data",
            "example.com/data",
            "https://",
            "https://example.com/data\r\nHost: evil.org",
            "http://127.0.0.1/",
            "http://localhost:8080/",
            "",
        ] {
            assert!(allow.admit(text).is_err(), "{text}");
        }
        // Other spellings of an allowed address are that address.
        assert_eq!(allow.admit("http://2130706433:8080/x").unwrap().as_str(), "http://127.0.0.1:8080/x");
    }

    #[test]
    fn a_list_must_hold_addresses() {
        assert_eq!(list(&[]).map(drop).unwrap_err().field, "tool.allow");
        for prefix in ["example.com", "https://u:p@example.com/", "https://example.com/?q", "ftp://example.com/", "*"] {
            assert_eq!(list(&["https://example.com/", prefix]).map(drop).unwrap_err().field, "tool.allow[1]");
        }
    }
}
