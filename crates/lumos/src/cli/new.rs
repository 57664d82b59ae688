//! `lumos new`: a folder with a workflow that works, its agents, a deployment and some notes to ask about.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::arguments::{Format, New};
use super::failure::{COMMAND_LINE, Failure};
use super::output;

/// What stands for the name in the files.
const NAME: &str = "@NAME@";

/// What stands for the folder in the files.
const FOLDER: &str = "@FOLDER@";

/// The files of the folder.
const FILES: [(&str, &str); 10] = [
    ("workflow.ron", include_str!("new/workflow.ron")),
    ("scenario.ron", include_str!("new/scenario.ron")),
    ("agents/input_guard.ron", include_str!("new/agents/input_guard.ron")),
    ("agents/notes.ron", include_str!("new/agents/notes.ron")),
    ("agents/writer.ron", include_str!("new/agents/writer.ron")),
    ("deployments/local.ron", include_str!("new/deployments/local.ron")),
    ("deployments/hosted.ron", include_str!("new/deployments/hosted.ron")),
    ("notes/delivery.md", include_str!("new/notes/delivery.md")),
    ("notes/prices.md", include_str!("new/notes/prices.md")),
    ("notes/returns.md", include_str!("new/notes/returns.md")),
];

pub fn run(arguments: &New) -> Result<u8, Failure> {
    let folder = &arguments.name;
    let shown = folder.display().to_string();
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_plain = |c: char| c.is_alphanumeric() || "-_. ".contains(c);
    if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(is_plain) {
        let hint = "letters, digits, `-` and `_`, e.g. `lumos new support`".to_owned();
        return Err(Failure::invalid(COMMAND_LINE, format!("`{shown}` is no name for a workflow"), Some(hint)));
    }
    if folder.symlink_metadata().is_ok() {
        let hint = "choose another name; nothing is overwritten".to_owned();
        return Err(Failure::invalid(COMMAND_LINE, format!("`{shown}` already exists"), Some(hint)));
    }
    make(folder, name).map_err(|error| Failure::failed(format!("cannot make `{shown}`: {error}")))?;
    let files: Vec<PathBuf> = FILES.iter().map(|(file, _)| folder.join(file)).collect();
    match arguments.format {
        Format::Json => output::json(&json!({ "folder": folder, "files": files }))?,
        Format::Human => {
            let mut text = format!("made {shown}\n");
            text.extend(files.iter().map(|file| format!("  {}\n", file.display())));
            let workflow = folder.join("workflow.ron").display().to_string();
            let workflow = if workflow.contains(' ') { format!("'{workflow}'") } else { workflow };
            let next = output::bold("next:");
            text.extend([format!("\n{next}\n  lumos check {workflow}\n  lumos run {workflow}\n")]);
            output::styled(&text)?;
        }
    }
    Ok(0)
}

/// Makes the folder beside its place and moves it there when it is complete.
fn make(folder: &Path, name: &str) -> std::io::Result<()> {
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let unfinished = parent.join(format!(".{name}.{}.new", std::process::id()));
    let made = fill(&unfinished, name, folder).and_then(|()| fs::rename(&unfinished, folder));
    if made.is_err() {
        // What is left behind is hidden and says what it is.
        let _ = fs::remove_dir_all(&unfinished);
    }
    made
}

fn fill(into: &Path, name: &str, folder: &Path) -> std::io::Result<()> {
    for (file, text) in FILES {
        let path = into.join(file);
        fs::create_dir_all(path.parent().unwrap_or(into))?;
        fs::write(path, text.replace(NAME, name).replace(FOLDER, &lumos_report::clean(&folder.display().to_string())))?;
    }
    Ok(())
}
