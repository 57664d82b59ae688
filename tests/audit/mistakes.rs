//! What people are told who write it wrong.

use super::{CASE, Case};
use crate::cli::screens::redacted;

fn case() -> Case {
    Case { nodes: r#""ask": Generator(agent: "api", input: "{{ inputs.who }}"),"#, output: "{{ ask.text }}", ..CASE }
}

#[test]
fn mistakes_of_the_command_line() {
    let sandbox = case().sandbox();
    let screens = [
        &["audit"][..],
        &["audit", "w.ron", "-d", "d.ron", "--allow", "Pi"],
        &["audit", "w.ron", "-d", "d.ron", "--forbid", "Secrets"],
        &["audit", "w.ron", "-d", "d.ron", "--since", "7d"],
        &["audit", "w.ron", "d.ron"],
        &["audit", "none.ron"],
        &["audit", "01ABC"],
        &["audit", "01ABC", "--runs"],
        &["audit", "01ABC", "--format", "json"],
    ];
    let screens: Vec<String> = screens.iter().map(|arguments| sandbox.screen(arguments)).collect();
    redacted(|| insta::assert_snapshot!("audit-mistakes", screens.join("\n")));
}

#[test]
fn what_is_allowed_is_listed_and_no_finding() {
    let sandbox = case().sandbox();
    let (code, document) = sandbox.json(&["audit", "w.ron", "-d", "d.ron", "--allow", "Pii", "--format", "json"]);
    assert_eq!((code, &document["verdict"]), (0, &"nothing_found".into()));
    assert_eq!(document["static"]["leaks"][0]["is_forbidden"], false);
    assert!(sandbox.screen(&["audit", "w.ron", "-d", "d.ron", "--allow", "Pii"]).contains("may leave: "));
    let (code, _) = sandbox.json(&["audit", "w.ron", "-d", "d.ron", "--forbid", "Pii", "--format", "json"]);
    assert_eq!(code, 1);
}

#[test]
fn screens() {
    let sandbox = case().sandbox();
    sandbox.write("agents/home2.ron", "Generator(model: \"home\", prompt: \"{{ input }}\")");
    redacted(|| {
        insta::assert_snapshot!("audit", sandbox.screen(&["audit", "w.ron", "-d", "d.ron"]));
        insta::assert_snapshot!(
            "audit-mermaid",
            sandbox.screen(&["audit", "w.ron", "-d", "d.ron", "--format", "mermaid"])
        );
    });
    for (format, part) in [("dot", "penwidth=3"), ("svg", "tip-forbidden"), ("markdown", "## Files")] {
        let screen = sandbox.screen(&["audit", "w.ron", "-d", "d.ron", "--format", format]);
        assert!(screen.contains(part) && screen.ends_with("--- exit 1\n"), "{format}: {screen}");
    }
    let written = sandbox.screen(&["audit", "w.ron", "-d", "d.ron", "--format", "markdown", "-o", "audit.md"]);
    assert!(written.contains("1 thing was found"), "{written}");
    let markdown = std::fs::read_to_string(sandbox.folder().join("audit.md")).expect("the file");
    let stable = markdown.lines().filter(|line| !line.contains("| `") && !line.starts_with("| date"));
    insta::assert_snapshot!("audit-markdown", stable.collect::<Vec<_>>().join("\n"));
}
