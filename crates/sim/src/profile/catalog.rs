//! How the catalogs of models, hardware and engines are read: RON, strictly, and looked up by name.

use lumos_core::problem::nearest;
use serde::de::DeserializeOwned;

/// Why there is nothing of a name, or no catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// The file cannot be read as what it should be.
    #[error("{origin}:{line}:{column}: {message}")]
    Syntax {
        /// The file as the caller named it.
        origin: String,
        /// Line from 1.
        line: usize,
        /// Column from 1.
        column: usize,
        /// A lowercase fragment.
        message: String,
    },
    /// An entry contradicts itself.
    #[error("{origin}: {message}")]
    Invalid {
        /// The file as the caller named it.
        origin: String,
        /// A lowercase fragment.
        message: String,
    },
    /// Nothing has this name.
    #[error("there is no {what} `{name}`")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// The name as asked for.
        name: String,
        /// What would be found.
        hint: String,
    },
}

impl CatalogError {
    /// What would be found.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Unknown { hint, .. } => Some(hint),
            Self::Syntax { .. } | Self::Invalid { .. } => None,
        }
    }

    pub(super) fn invalid(origin: &str, message: impl Into<String>) -> Self {
        Self::Invalid { origin: origin.to_owned(), message: message.into() }
    }
}

/// What has a name and other names.
pub(super) trait Named {
    /// What it is, for messages.
    const WHAT: &'static str;

    fn name(&self) -> &str;
    fn aliases(&self) -> &[String];
}

/// Reads one RON value.
pub(super) fn read<T: DeserializeOwned>(origin: &str, text: &str) -> Result<T, CatalogError> {
    let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    options.from_str(text).map_err(|error| CatalogError::Syntax {
        origin: origin.to_owned(),
        line: error.span.start.line,
        column: error.span.start.col,
        message: error.code.to_string(),
    })
}

/// The entry that is called so, by its name or an alias; case doesn't matter.
pub(super) fn find<'a, T: Named>(entries: &'a [T], name: &str) -> Result<&'a T, CatalogError> {
    let wanted = name.to_lowercase();
    let is_called =
        |entry: &&T| entry.name() == wanted || entry.aliases().iter().any(|alias| alias.to_lowercase() == wanted);
    entries.iter().find(is_called).ok_or_else(|| {
        let names = || entries.iter().map(Named::name);
        let hint = nearest(&wanted, names()).map_or_else(
            || format!("there are {}", names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
            |near| format!("the nearest name is `{near}`"),
        );
        CatalogError::Unknown { what: T::WHAT, name: name.to_owned(), hint }
    })
}

/// Holds every name of a catalog against every other.
pub(super) fn unambiguous<T: Named>(origin: &str, entries: &[T]) -> Result<(), CatalogError> {
    let mut names: Vec<String> = Vec::new();
    for entry in entries {
        names.push(entry.name().to_lowercase());
        names.extend(entry.aliases().iter().map(|alias| alias.to_lowercase()));
    }
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(CatalogError::invalid(origin, format!("`{}` is there twice", pair[0]))),
        None => Ok(()),
    }
}
