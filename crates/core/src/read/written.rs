//! Deployments as files say them.

use ron::extensions::Extensions;
use ron::ser::{PrettyConfig, to_string_pretty};

use super::read_deployment;
use crate::spec::DeploymentSpec;

/// The text of a deployment's file; what it does not say stands in none of its lines. `None` when it would not be read as
/// what it is.
pub fn write_deployment(spec: &DeploymentSpec) -> Option<String> {
    let config = PrettyConfig::new()
        .struct_names(true)
        .extensions(Extensions::IMPLICIT_SOME | Extensions::UNWRAP_VARIANT_NEWTYPES);
    let full = to_string_pretty(spec, config).ok()?;
    let full: Vec<&str> = full.lines().filter(|line| !line.starts_with("#![")).collect();
    let mut lines: Vec<String> = Vec::new();
    for line in full {
        let said = line.trim();
        let last = lines.last().map(|last| last.trim()).unwrap_or_default();
        // What is absent or empty need not be said.
        if said.ends_with(": None,") || said.ends_with(": {},") || said.ends_with(": [],") {
            continue;
        }
        let is_empty = said == ")," && (last.ends_with(": (") || last.contains(": ") && last.ends_with("Spec("));
        if is_empty {
            lines.pop();
        } else {
            lines.push(unnamed(line));
        }
    }
    let text = format!("{}\n", lines.join("\n"));
    read_deployment("", &text).is_ok_and(|parsed| parsed.spec == *spec).then_some(text)
}

/// A line without the name of the type, which files don't say of what they hold.
fn unnamed(line: &str) -> String {
    let Some(before) = line.strip_suffix('(') else { return line.to_owned() };
    let start = before.rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |at| at + 1);
    match &before[start..] {
        "DeploymentSpec" => "Deployment(".to_owned(),
        "Boundary" | "LimitSpec" | "TimeoutSpec" | "BreakerSpec" | "CascadeSpec" | "ScalingSpec" => {
            format!("{}(", &before[..start])
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"Deployment(
    name: "mixed",
    backends: {
        "small": Local(model: "smollm2-135m-instruct", device: Cuda(1), cost: PerHour(usd: "0.20")),
        "large": Remote(provider: Anthropic, model: "claude", limits: (rpm: 50), api_key: Env("KEY"), breaker: (failures: 3)),
        "vllm": Remote(
            provider: OpenAiCompatible, base_url: "http://127.0.0.1:8000/v1", model: "a \"b\"", api_key: File("k.txt"),
            timeouts: (first_token_s: 5), extra: {"reasoning": {"effort": "low", "n": [1, null]}}, omit: ["temperature"],
            cost: PerMillionTokens(input: "1", output: "2.5"), prompt_cache: OneHour, embedder: true,
        ),
        "nemo": Simulated(model: "mistral-nemo-12b", hardware: "h100-sxm", replicas: 4, quantization: Fp8),
        "own": Custom(name: "x", cost: Unknown),
    },
    bind: { "planner": "large", "*": "small" },
    escalate: { "writer": (accept: "{{ output.ok }}", to: "large") },
    boundary: (inside: ["vllm"], forbid_outside: [Pii]),
    durability: Normal,
)"#;

    #[test]
    fn what_is_written_is_read_again() {
        let spec = read_deployment("d.ron", TEXT).unwrap().spec;
        let text = write_deployment(&spec).unwrap();
        insta::assert_snapshot!(text);
        assert_eq!(read_deployment("d.ron", &text).unwrap().spec, spec);
    }

    #[test]
    fn the_least_is_little() {
        let text = "Deployment(name: \"a\", backends: { \"b\": Local(model: \"m\") }, bind: { \"*\": \"b\" })";
        let spec = read_deployment("d.ron", text).unwrap().spec;
        assert!(write_deployment(&spec).unwrap().lines().count() < 15);
    }
}
