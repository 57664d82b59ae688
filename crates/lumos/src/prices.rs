//! The prices that hold in a home: the built-in catalog, overridden entry by entry by the home's `prices.ron`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lumos_core::Problem;
use lumos_core::price::{Catalog, Change, Date, Entry, Imported, Skipped, from_genai_prices};
use lumos_core::read::read_file_up_to;

use crate::{Error, Home};

/// Largest file of prices that is read.
const MAX_BYTES: u64 = 32 << 20;

/// What a file that is too large is told.
const SIZE_HINT: &str = "files of prices are at most 32 MiB";

/// The prices that hold in a home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prices {
    file: PathBuf,
    /// The entries of the home's file.
    own: Catalog,
    /// All entries.
    catalog: Catalog,
}

/// Newer prices, read and found to fit, that nothing depends on yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    newer: Catalog,
    /// The home's file as it is to be.
    own: Catalog,
    /// Models of the source without a price that a catalog can hold.
    pub skipped: Vec<Skipped>,
}

impl Prices {
    /// The prices of a home; the built-in ones when it has none of its own.
    ///
    /// # Errors
    /// Everything that is wrong with the home's `prices.ron`.
    pub fn load(home: &Home) -> Result<Self, Error> {
        let file = home.folder().join("prices.ron");
        // A file that cannot be looked at is not taken for one that isn't there.
        let own = if matches!(file.try_exists(), Ok(false)) {
            Catalog::default()
        } else {
            let text = read(&file).map_err(Error::Problems)?;
            Catalog::parse(&file.display().to_string(), &text).map_err(Error::Problems)?
        };
        let catalog = whole(&own, &file).map_err(Error::Problems)?;
        Ok(Self { file, own, catalog })
    }

    /// All prices.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The home's file, which need not be there.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether an entry is of the home's file, and not built in.
    pub fn is_own(&self, entry: &Entry) -> bool {
        self.own.entries().contains(entry)
    }

    /// Reads newer prices, of one provider or of all: a catalog in RON, or the `data.json` of genai-prices. `as_of` is the
    /// day on which they were right where the file doesn't say so. Nothing is written.
    ///
    /// # Errors
    /// Everything that is wrong with the file, or with what it would make of the prices.
    pub fn read_update(&self, path: &Path, provider: Option<&str>, as_of: Date) -> Result<Update, Error> {
        let update = || {
            let shown = path.display().to_string();
            let text = read(path)?;
            let Imported { mut entries, mut skipped } = if text.trim_start().starts_with(['[', '{']) {
                from_genai_prices(&shown, &text, &self.catalog, as_of)?
            } else {
                Imported { entries: Catalog::parse(&shown, &text)?.entries().to_vec(), skipped: Vec::new() }
            };
            let problems = |messages: Vec<String>| -> Vec<Problem> {
                messages.into_iter().map(|message| Problem::of_file(&shown, message, None)).collect()
            };
            if let Some(provider) = provider {
                let all = Catalog::new(entries.clone()).map_err(problems)?;
                let provider = all.provider_called(provider).map_err(|error| {
                    let message = format!("in this file, {error}");
                    vec![Problem::of_file(&shown, message, error.hint())]
                })?;
                entries.retain(|entry| entry.provider == provider);
                skipped.retain(|skipped| skipped.provider == provider);
            }
            let newer = Catalog::new(entries).map_err(problems)?;
            let own = self.own.clone().overridden(newer.clone()).map_err(problems)?;
            // What is built in need not be repeated: a later lumos may know better.
            let builtin = Catalog::builtin();
            let own = own.entries().iter().filter(|entry| !builtin.entries().contains(entry)).cloned().collect();
            let own = Catalog::new(own).map_err(problems)?;
            whole(&own, path)?;
            Ok(Update { newer, own, skipped })
        };
        update().map_err(Error::Problems)
    }

    /// What an update adds and changes.
    pub fn changes<'a>(&'a self, update: &'a Update) -> Vec<Change<'a>> {
        self.catalog.changes(&update.newer)
    }

    /// Writes an update to the home's file: whoever reads it meanwhile sees the old file or the new one, and a failure
    /// leaves the old one. Gives the prices as they then are.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(self, update: Update) -> io::Result<Self> {
        let mut text = String::from("// Prices that override the built-in ones; written by `lumos prices update`.\n");
        text.push_str(&update.own.to_ron());
        replace(&self.file, text.as_bytes())?;
        let catalog =
            whole(&update.own, &self.file).map_err(|_| io::Error::other("the prices contradict each other"))?;
        Ok(Self { file: self.file, own: update.own, catalog })
    }
}

fn read(path: &Path) -> Result<String, Vec<Problem>> {
    read_file_up_to(path, MAX_BYTES, SIZE_HINT).map_err(|problem| vec![*problem])
}

/// The built-in prices with those of a file.
fn whole(own: &Catalog, file: &Path) -> Result<Catalog, Vec<Problem>> {
    let shown = file.display().to_string();
    let problem = |message: String| {
        let hint = "names are those of the built-in prices: `lumos prices list` shows them".to_owned();
        Problem::of_file(&shown, message, Some(hint))
    };
    Catalog::builtin().overridden(own.clone()).map_err(|messages| messages.into_iter().map(problem).collect())
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let result = (|| {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&beside);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWER: &str = "Prices(version: 1, prices: [\
        (provider: \"openai\", model: \"gpt-4o-mini\", input: \"0.1\", output: \"0.4\", as_of: \"2026-11-20\", source: \"s\"),\
        (provider: \"here\", model: \"ours\", input: \"1\", output: \"2\", as_of: \"2026-11-20\", source: \"contract\")])";

    fn day() -> Date {
        "2026-11-24".parse().unwrap()
    }

    #[test]
    fn an_update_overrides_entry_by_entry_and_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().join("home"));
        let file = folder.path().join("newer.ron");
        fs::write(&file, NEWER).unwrap();
        let prices = Prices::load(&home).unwrap();
        let update = prices.read_update(&file, None, day()).unwrap();
        assert_eq!(prices.changes(&update).len(), 2);
        assert!(!prices.file().exists(), "reading writes nothing");
        let written = prices.clone().write(update).unwrap();
        let loaded = Prices::load(&home).unwrap();
        assert_eq!(written, loaded);
        let found = loaded.catalog().lookup("openai", "gpt-4o-mini", day()).unwrap();
        assert_eq!(found.price.standard.rates.input.to_string(), "0.1");
        assert!(loaded.is_own(found));
        assert!(!loaded.is_own(loaded.catalog().lookup("openai", "gpt-4o", day()).unwrap()));
        assert_eq!(loaded.catalog().entries().len(), prices.catalog().entries().len() + 1);
        let left: Vec<_> = fs::read_dir(home.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["prices.ron"]);
    }

    #[test]
    fn what_is_built_in_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path());
        let file = folder.path().join("newer.ron");
        fs::write(&file, NEWER).unwrap();
        let prices = Prices::load(&home).unwrap();
        let update = prices.read_update(&file, Some("openai"), day()).unwrap();
        let prices = prices.write(update).unwrap();
        assert_eq!(prices.own.entries().len(), 1);
        // Back to the built-in prices.
        fs::write(&file, Catalog::builtin().to_ron()).unwrap();
        let update = prices.read_update(&file, None, day()).unwrap();
        assert_eq!(prices.changes(&update).len(), 1);
        assert!(prices.write(update).unwrap().own.entries().is_empty());
    }

    #[test]
    fn a_bad_file_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().join("home"));
        let file = folder.path().join("newer.ron");
        let prices = Prices::load(&home).unwrap();
        for text in ["", "Prices(version: 1)", "[{\"id\": 3}]", &NEWER.replace("\"0.1\"", "0.1")] {
            fs::write(&file, text).unwrap();
            assert!(matches!(prices.read_update(&file, None, day()), Err(Error::Problems(_))), "{text}");
        }
        // A name that is already another model's.
        fs::write(&file, NEWER.replace("gpt-4o-mini", "new\", aliases: [\"gpt-4o\"], note: \"")).unwrap();
        let error = prices.read_update(&file, None, day()).unwrap_err().to_string();
        assert!(error.contains("`gpt-4o` of openai means both `gpt-4o` and `new`"), "{error}");
        assert!(prices.read_update(&file, Some("nobody"), day()).is_err());
        assert!(!home.folder().exists());
    }
}
