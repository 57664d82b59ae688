//! Where lumos keeps things: `--home`, else `LUMOS_HOME`, else the platform's data folder.

use std::path::{Path, PathBuf};

use lumos::Home;

use super::failure::{COMMAND_LINE, Failure};

/// The home to use; nothing is made.
pub fn resolve(given: Option<&Path>) -> Result<Home, Failure> {
    let named = given.map(Path::to_owned).or_else(|| std::env::var_os("LUMOS_HOME").map(PathBuf::from));
    let folder = named.filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.or_else(|| dirs::data_dir().map(|data| data.join("lumos"))).ok_or_else(|| {
        let hint = Some("name a folder with --home or LUMOS_HOME".to_owned());
        Failure::Failed { message: "this system names no folder for data".to_owned(), hint }
    })?;
    if folder.exists() && !folder.is_dir() {
        let message = format!("the home {} is no folder", folder.display());
        let hint = Some("name a folder with --home or LUMOS_HOME".to_owned());
        return Err(Failure::invalid(COMMAND_LINE, message, hint));
    }
    // Relative folders must not depend on where a path is used.
    Ok(Home::new(std::path::absolute(&folder).unwrap_or(folder)))
}

/// `~/…` for paths in the person's home folder.
pub fn short(path: &Path) -> String {
    let below = dirs::home_dir().and_then(|home| path.strip_prefix(home).map(Path::to_owned).ok());
    below.map_or_else(|| path.display().to_string(), |below| format!("~/{}", below.display()))
}
