//! Deployments of an optimization: the one that is begun with and the backends of the others, nodes bound otherwise, and the
//! chosen one as a file.

use std::io::Write;
use std::path::{Path, PathBuf};

use lumos::core::load::{Bundle, DeploymentSource};
use lumos::core::problem::nearest;
use lumos::core::read::write_deployment;
use lumos::core::spec::{BackendSpec, Durability, NodeSpec, SecretSource};
use lumos::decide::optimize::Space;

use crate::cli::failure::{self, COMMAND_LINE, Failure};
use crate::cli::{file, home};

/// The workflow with the first deployment, to which the others add their backends.
pub fn open(workflow: &Path, deployments: &[PathBuf]) -> Result<Bundle, Failure> {
    let first = deployments.first().map(PathBuf::as_path);
    let (mut bundle, warnings) = Bundle::open(workflow, first).map_err(Failure::Invalid)?;
    // Backends that nothing is bound to yet are what is chosen from.
    let warnings: Vec<_> = warnings.into_iter().filter(|it| !it.message.starts_with("nothing is bound to ")).collect();
    failure::warn(&warnings);
    let folder = bundle.workflow.folder.clone();
    let Some(base) = &mut bundle.deployment else {
        let hint = Some("name one with -d, or put one in `deployments/local.ron`".to_owned());
        return Err(Failure::invalid(COMMAND_LINE, "there is no deployment to begin with", hint));
    };
    for named in deployments.iter().skip(1) {
        let other = DeploymentSource::load(named, &folder).map_err(Failure::Invalid)?;
        add(base, other)?;
    }
    // What is asked again is read from logs.
    if base.parsed.spec.durability == Durability::Off {
        base.parsed.spec.durability = Durability::Normal;
    }
    base.text = None;
    Ok(bundle)
}

/// Adds the backends of a deployment to another.
fn add(base: &mut DeploymentSource, other: DeploymentSource) -> Result<(), Failure> {
    let spec = &mut base.parsed.spec;
    for (name, mut backend) in other.parsed.spec.backends {
        if other.folder != base.folder {
            move_paths(&mut backend, &other.folder);
        }
        match spec.backends.get(&name) {
            Some(known) if *known != backend => {
                let message = format!("backend `{name}` is another one in {}", base.parsed.file);
                let hint = Some("give one of them another name".to_owned());
                return Err(Failure::invalid(&other.parsed.file, message, hint));
            }
            Some(_) => {}
            None => {
                if other.parsed.spec.boundary.inside.contains(&name) {
                    spec.boundary.inside.push(name.clone());
                }
                spec.backends.insert(name, backend);
            }
        }
    }
    for label in other.parsed.spec.boundary.forbid_outside {
        if !spec.boundary.forbid_outside.contains(&label) {
            spec.boundary.forbid_outside.push(label);
        }
    }
    Ok(())
}

/// The backends to choose from, each once.
pub fn over(names: &[String], bundle: &Bundle) -> Result<Vec<String>, Failure> {
    let Some(source) = &bundle.deployment else { return Ok(Vec::new()) };
    let known = || source.parsed.spec.backends.keys().map(String::as_str);
    let mut found: Vec<String> = Vec::new();
    let mut problems = Vec::new();
    for name in names.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        if source.parsed.spec.backends.contains_key(name) {
            if !found.iter().any(|it| it == name) {
                found.push(name.to_owned());
            }
            continue;
        }
        let hint = match nearest(name, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "there are {}; -d adds those of other deployments",
                known().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            ),
        };
        let message = format!("--over: no deployment has a backend `{name}`");
        problems.push(lumos::core::Problem::of_file(COMMAND_LINE, message, Some(hint)));
    }
    if found.is_empty() && problems.is_empty() {
        problems.push(lumos::core::Problem::of_file(COMMAND_LINE, "--over names no backend", None));
    }
    if problems.is_empty() { Ok(found) } else { Err(Failure::Invalid(problems)) }
}

/// The bundle with nodes bound as an assignment says. Every node is bound by its name, so that no other key has a say.
pub fn assigned(bundle: &Bundle, space: &Space, assignment: &[usize], name: &str) -> Bundle {
    let mut bundle = bundle.clone();
    if let Some(source) = &mut bundle.deployment {
        let spec = &mut source.parsed.spec;
        name.clone_into(&mut spec.name);
        let is_alone = |node: &str| space.fixed.iter().filter(|it| it.node == node).count() == 1;
        let fixed = space.fixed.iter().filter(|it| is_alone(&it.node) && !it.node.contains('.'));
        for (node, backend) in fixed.map(|it| (it.node.as_str(), it.backend.as_str())).chain(space.named(assignment)) {
            spec.bind.insert(node.to_owned(), backend.to_owned());
        }
    }
    bundle
}

/// Writes the deployment of a bundle, without the backends that nothing is bound to.
pub fn write(bundle: &Bundle, path: &Path) -> Result<(), Failure> {
    let Some(source) = &bundle.deployment else { return Ok(()) };
    let mut spec = source.parsed.spec.clone();
    let names: Vec<&str> = bundle.sources().flat_map(|it| it.parsed.spec.nodes.keys()).map(String::as_str).collect();
    // Keys that only stood for nodes that are now bound by their names would bind nothing; judges of cascades are bound by others.
    let is_bound = |node: &str| spec.bind.contains_key(node);
    let is_judged = || bundle.sources().flat_map(|it| it.parsed.spec.nodes.values()).any(|it| it.judged_by().is_some());
    if names.iter().all(|node| is_bound(node)) && !is_judged() {
        spec.bind.retain(|key, _| names.contains(&key.as_str()));
    }
    let named = bundle.sources().flat_map(|it| it.parsed.spec.nodes.values()).flat_map(NodeSpec::named_backends);
    let mut used: Vec<String> = named.map(str::to_owned).collect();
    used.extend(spec.bind.values().cloned());
    used.extend(spec.escalate.values().map(|cascade| cascade.to.clone()));
    spec.backends.retain(|name, _| used.contains(name));
    spec.boundary.inside.retain(|name| used.contains(name));
    let is_there = |folder: &Path| folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let of = |path: &Path| match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let from = if source.folder.as_os_str().is_empty() { PathBuf::from(".") } else { source.folder.clone() };
    if is_there(&from) != is_there(&of(path)) {
        for backend in spec.backends.values_mut() {
            move_paths(backend, &is_there(&from));
        }
    }
    let text =
        write_deployment(&spec).ok_or_else(|| Failure::failed("the chosen deployment cannot be written as RON"))?;
    file::to_file(path, |mut file| {
        let written = write!(file, "// Written by `lumos optimize`.\n{text}");
        written.map_err(|error| Failure::failed(format!("cannot write to {}: {error}", home::short(path))))
    })
}

/// Makes relative paths of a backend those that they are from `folder`.
fn move_paths(backend: &mut BackendSpec, folder: &Path) {
    let moved = |path: &str| folder.join(path).display().to_string();
    match backend {
        BackendSpec::Local(local) => {
            let is_gguf = Path::new(&local.model).extension().is_some_and(|it| it.eq_ignore_ascii_case("gguf"));
            if (is_gguf || local.model.contains('/')) && Path::new(&local.model).is_relative() {
                local.model = moved(&local.model);
            }
        }
        BackendSpec::Remote(remote) => {
            if let Some(SecretSource::File(path)) = &mut remote.api_key {
                *path = moved(path);
            }
            if let Some(path) = &mut remote.ca_file {
                *path = moved(path);
            }
        }
        BackendSpec::Simulated(_) | BackendSpec::Custom { .. } => {}
    }
}
