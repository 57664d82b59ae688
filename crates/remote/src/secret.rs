//! A text that must not be seen: no formatting shows it, and whatever quotes a server is scrubbed of it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// What is shown instead.
const HIDDEN: &str = "[secret]";
/// Shorter texts are no secrets, and removing them would garble messages.
const SHORTEST: usize = 4;

/// A key, a password or a token. Its memory is overwritten when it goes.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps `text` out of sight.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Removes secrets from texts that will be shown.
pub(crate) struct Scrubber {
    /// Every form in which a secret may be echoed, longest first.
    forms: Vec<Zeroizing<String>>,
}

impl Scrubber {
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms = Vec::new();
        for secret in secrets.into_iter().map(str::trim).filter(|secret| secret.len() >= SHORTEST) {
            forms.push(secret.to_owned());
            forms.push(percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC).to_string());
            forms.push(serde_json::Value::from(secret).to_string().trim_matches('"').to_owned());
            forms.extend(encoded(secret));
        }
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        Self { forms: forms.into_iter().map(Zeroizing::new).collect() }
    }

    /// `text` without the secrets.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for form in &self.forms {
            if clean.contains(form.as_str()) {
                clean = clean.replace(form.as_str(), HIDDEN);
            }
        }
        clean
    }
}

/// The parts of Base64 that `secret` alone determines, wherever in a longer text it may stand.
fn encoded(secret: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for offset in 0..3_usize {
        let mut bytes = vec![0; offset];
        bytes.extend_from_slice(secret.as_bytes());
        let (from, to) = ((offset * 8).div_ceil(6), bytes.len() * 8 / 6);
        for text in [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
            forms.extend(text.get(from..to).filter(|form| form.len() >= SHORTEST).map(str::to_owned));
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_formatting_shows_a_secret() {
        let secret = Secret::new("sk-very-secret");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "[secret] [secret] Some([secret])");
    }

    #[test]
    fn every_form_of_a_secret_is_removed() {
        let secret = "sk-a+b/c=d\"e";
        let scrubber = Scrubber::new([secret]);
        let forms = [
            secret.to_owned(),
            "sk%2Da%2Bb%2Fc%3Dd%22e".to_owned(),
            r#"sk-a+b/c=d\"e"#.to_owned(),
            STANDARD_NO_PAD.encode(secret),
            STANDARD_NO_PAD.encode(format!("user:{secret}")),
            URL_SAFE_NO_PAD.encode(format!("Bearer {secret} and more")),
        ];
        for form in forms {
            let shown = scrubber.scrub(&format!("you sent {form}, which is wrong"));
            assert!(shown.contains(HIDDEN) && !shown.contains(&form), "{form}: {shown}");
        }
    }

    #[test]
    fn what_is_too_short_for_a_secret_garbles_nothing() {
        assert_eq!(Scrubber::new(["a", "", " "]).scrub("a banana"), "a banana");
    }
}
