//! How fast the backends of a load are beside their profiles, before it and after.

use std::fmt::Write;
use std::sync::Arc;

use lumos::core::load::Scenario;
use lumos::core::spec::ServiceSpec;
use lumos::decide::calibrate::{CalibrateError, Recheck, recheck};
use lumos::engine::{BoundBackend, BoundProgram};
use lumos::sim::model::Model;
use lumos::sim::profile::Calibrated;
use lumos_report::clean;
use serde_json::{Value, json};

use super::calibrate;
use super::failure::Failure;
use super::output;
use super::session::Session;

/// The backends that have a profile, and what single requests of them showed.
#[derive(Default)]
pub struct Rechecks {
    of: Vec<(Arc<BoundBackend>, Calibrated, Recheck)>,
    /// Requests each time.
    requests: u32,
}

impl Rechecks {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// When there is no backend with a profile, or a profile cannot be read.
    pub fn new(scenario: &Scenario, program: &BoundProgram, requests: u32) -> Result<Self, Failure> {
        let mut of = Vec::new();
        for backend in program.backends() {
            let service = scenario.spec().services.get(&backend.reference.backend);
            let Some(ServiceSpec::Profile { file, .. }) = service else { continue };
            let unreadable = |error: String| Failure::failed(format!("the profile `{file}`: {error}"));
            let text = scenario.read(file).map_err(|error| unreadable(error.to_string()))?;
            of.push((backend, Calibrated::parse(&text).map_err(unreadable)?, Recheck::default()));
        }
        if of.is_empty() {
            let hint = Some("services: { \"BACKEND\": Profile(file: \"BACKEND\", replicas: 1) }".to_owned());
            let message = "no backend of the load has a profile, so there is nothing to check again";
            return Err(Failure::invalid(&scenario.parsed.file, message, hint));
        }
        Ok(Self { of, requests })
    }

    /// Asks each of them, one after the other.
    ///
    /// # Errors
    /// When one fails; when it is interrupted. What others showed is kept.
    pub fn ask(&mut self, session: &Session) -> Result<(), Unchecked> {
        for (backend, profile, known) in &mut self.of {
            let name = &backend.reference.backend;
            let bar = calibrate::progress();
            let told = |ended: u64, of: u64, what: &str| calibrate::show(&bar, ended, of, format!("{name}: {what}"));
            let clock = Arc::new(session.lumos.clock());
            let asked = recheck(&*backend.backend, clock, profile, self.requests, &session.cancel, &told);
            let found = session.finish(asked);
            bar.finish_and_clear();
            *known = known.and(found.map_err(|error| Unchecked { backend: name.clone(), error })?);
        }
        Ok(())
    }

    /// The model with services as fast as they are now.
    pub fn slow(&self, model: Model) -> Model {
        self.of
            .iter()
            .fold(model, |model, (backend, _, found)| model.slowed(&backend.reference.backend, found.factor()))
    }

    pub fn document(&self) -> Value {
        let of = self.of.iter().map(|(backend, _, found)| {
            json!({ "backend": backend.reference.backend, "requests": found.requests, "factor": found.factor() })
        });
        of.collect()
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for (backend, profile, found) in &self.of {
            let name = clean(&backend.reference.backend);
            let _ = writeln!(
                text,
                "{} takes {:.2} × as long as {} ({}; {} requests), and so it is simulated",
                output::bold(&name),
                found.factor(),
                if profile.recheck_factor.is_some() { "when it was calibrated" } else { "by its profile" },
                profile.measured_on,
                found.requests,
            );
        }
        text
    }
}

/// A backend that could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("backend `{backend}`: {error}")]
pub struct Unchecked {
    backend: String,
    error: CalibrateError,
}

impl Unchecked {
    /// As the end of a command.
    pub fn failure(self) -> Failure {
        calibrate::failure(&self.backend, self.error)
    }

    pub fn is_interrupted(&self) -> bool {
        matches!(self.error, CalibrateError::Cancelled)
    }
}
