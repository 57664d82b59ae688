//! Fetching assets with a progress bar on a terminal and a line per asset elsewhere.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use lumos::assets::{AssetError, AssetStore, Progress};
use lumos::engine::CancellationToken;
use lumos_report::figure;

use super::output;

/// Fetches an asset; a cancellation ends it, and what can be resumed stays.
///
/// # Errors
/// As for [`AssetStore::pull`].
pub fn pull(store: &AssetStore, name: &str, cancel: &CancellationToken) -> Result<std::path::PathBuf, AssetError> {
    let watcher = Watcher { bar: Mutex::new(None), cancel };
    let result = store.pull(name, &watcher);
    if let Some(bar) = watcher.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
        bar.finish_and_clear();
        if let (Ok(_), Some(asset)) = (&result, store.catalog().get(name)) {
            output::log(&format!("fetched {name} ({})\n", figure::bytes(asset.size())));
        }
    }
    result
}

struct Watcher<'a> {
    bar: Mutex<Option<ProgressBar>>,
    cancel: &'a CancellationToken,
}

impl Watcher<'_> {
    fn with_bar(&self, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            act(bar);
        }
    }
}

impl Progress for Watcher<'_> {
    fn started(&self, name: &str, total_bytes: u64) {
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = bar.as_ref() {
            bar.reset();
            return;
        }
        if !output::shows_progress() {
            output::log(&format!("fetching {name} ({})\n", figure::bytes(total_bytes)));
        }
        let style = ProgressStyle::with_template(
            "fetching {prefix} {bar:24} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {wide_msg}",
        );
        // Draws nothing when stderr is no terminal.
        let new = ProgressBar::new(total_bytes).with_prefix(name.to_owned());
        new.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        *bar = Some(new);
    }

    fn advanced(&self, bytes: u64) {
        self.with_bar(|bar| bar.inc(bytes));
    }

    fn message(&self, text: &str) {
        self.with_bar(|bar| bar.set_message(lumos_report::clean(text)));
    }

    fn cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}
