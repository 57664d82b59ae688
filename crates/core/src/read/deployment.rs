//! `Deployment(…)`: backends, bindings and the boundary.

use super::raw::Raw;
use super::reader::{Decode, Reader, hint_of_names};
use super::workflow::{top, version};
use crate::spec::{BackendSpec, Boundary, Cost, DeploymentSpec, Device, LocalSpec};

/// Reads the whole file; what can't be read is left out of the result.
pub(super) fn deployment(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<DeploymentSpec> {
    let mut fields = top(reader, raw, "Deployment")?;
    version(reader, &mut fields);
    let name: Option<String> = fields.require(reader, "name");
    let backends = fields.require(reader, "backends");
    let bind = fields.require(reader, "bind");
    let boundary = fields.take(reader, "boundary");
    fields.unavailable(reader, "durability", "remove it; records are always kept");
    fields.unavailable(reader, "content", "remove it");
    fields.finish(reader);
    Some(DeploymentSpec {
        name: name.unwrap_or_default(),
        backends: backends.unwrap_or_default(),
        bind: bind.unwrap_or_default(),
        boundary: boundary.unwrap_or_default(),
    })
}

impl Decode for BackendSpec {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let name = raw.name().unwrap_or_default();
        match (name, raw.body()) {
            ("Local", Some(body)) => {
                let mut fields = reader.body(body, "Local")?;
                let model = fields.require(reader, "model");
                let device = fields.take(reader, "device").unwrap_or_default();
                let cost = fields.take(reader, "cost");
                let context = fields.take(reader, "context");
                fields.finish(reader);
                Some(Self::Local(LocalSpec { model: model?, device, cost, context }))
            }
            ("Custom", Some(body)) => {
                let mut fields = reader.body(body, "Custom")?;
                let (name, cost) = (fields.require(reader, "name"), fields.require(reader, "cost"));
                fields.finish(reader);
                Some(Self::Custom { name: name?, cost: cost? })
            }
            ("Remote" | "Simulated", _) => {
                let hint = Some("use Local(…), or Custom(…) from an embedding program".to_owned());
                reader.problem(raw, format!("backend {name}(…) is not available in this version"), hint);
                None
            }
            ("Local" | "Custom", None) => {
                reader.problem(raw, format!("{name} needs its fields"), Some(format!("{name}(…)")));
                None
            }
            _ => {
                let hint = hint_of_names(name, &["Local", "Custom"]);
                reader.problem(raw, format!("expected a kind of backend, found {}", raw.description()), Some(hint));
                None
            }
        }
    }
}

impl Decode for Device {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        match (raw.name(), raw.body().and_then(Raw::single)) {
            (Some("Auto"), None) => Some(Self::Auto),
            (Some("Cpu"), None) => Some(Self::Cpu),
            (Some("Metal"), None) => Some(Self::Metal),
            (Some("Cuda"), Some(number)) => u32::decode(reader, number).map(Self::Cuda),
            (name, _) => {
                let hint = match name {
                    Some("Cuda") => "Cuda(0) is the first CUDA device".to_owned(),
                    Some("Gpu" | "gpu" | "GPU") => "Auto takes a GPU where there is one".to_owned(),
                    name => hint_of_names(name.unwrap_or_default(), &["Auto", "Cpu", "Cuda(0)", "Metal"]),
                };
                let message = format!("expected Auto, Cpu, Cuda(n) or Metal, found {}", raw.description());
                reader.problem(raw, message, Some(hint));
                None
            }
        }
    }
}

impl Decode for Cost {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        match (raw.name(), raw.body()) {
            (Some("Unknown"), None) => Some(Self::Unknown),
            (Some("PerHour"), Some(body)) if body.fields().is_some() => {
                let mut fields = reader.body(body, "PerHour")?;
                let usd = fields.require(reader, "usd");
                fields.finish(reader);
                Some(Self::PerHour { usd: usd? })
            }
            _ => {
                let hint = Some("PerHour(usd: \"0.20\") or Unknown".to_owned());
                reader.problem(raw, format!("expected a cost, found {}", raw.description()), hint);
                None
            }
        }
    }
}

impl Decode for Boundary {
    fn decode(reader: &mut Reader<'_>, raw: Raw<'_>) -> Option<Self> {
        let mut fields = reader.fields(raw, "boundary")?;
        let boundary = Self {
            inside: fields.take(reader, "inside").unwrap_or_default(),
            forbid_outside: fields.take(reader, "forbid_outside").unwrap_or_default(),
        };
        fields.finish(reader);
        Some(boundary)
    }
}
