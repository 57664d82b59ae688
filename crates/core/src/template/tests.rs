//! Templates: types kept, missing values refused, work bounded.

use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use super::*;

fn scope() -> IndexMap<String, Json> {
    let Json::Object(map) = json!({
        "plan": {"steps": ["a", "b"], "n": 2, "share": 0.5, "none": null},
        "inputs": {"question": "why <b>?", "big": 9_007_199_254_740_993_i64},
        "item": 3,
    }) else {
        unreachable!()
    };
    map.into_iter().collect()
}

fn evaluate(text: &str) -> Result<Json, TemplateError> {
    Template::parse(text)?.evaluate(&scope())
}

fn message(text: &str) -> String {
    match evaluate(text) {
        Ok(value) => panic!("{text} gives {value}"),
        Err(TemplateError { message, hint: None, .. }) => message,
        Err(TemplateError { message, hint: Some(hint), .. }) => format!("{message} | {hint}"),
    }
}

#[test]
fn an_expression_keeps_its_type() {
    for (text, value) in [
        ("{{ plan.steps }}", json!(["a", "b"])),
        (" {{- plan -}} ", scope()["plan"].clone()),
        ("{{ item }}", json!(3)),
        ("{{ item + 1 }}", json!(4)),
        ("{{ item / 2 }}", json!(1.5)),
        ("{{ plan.share }}", json!(0.5)),
        ("{{ plan.none }}", Json::Null),
        ("{{ inputs.big }}", json!(9_007_199_254_740_993_i64)),
        ("{{ item > 2 and 'a' in plan.steps }}", json!(true)),
        ("{{ {'x': [1, 2.0]} }}", json!({"x": [1, 2.0]})),
        ("{{ range(3) }}", json!([0, 1, 2])),
        ("{{ plan.steps | map('upper') }}", json!(["A", "B"])),
        ("{{ true }}", json!(true)),
    ] {
        assert!(Template::parse(text).unwrap().is_expression(), "{text}");
        assert_eq!(evaluate(text).unwrap(), value, "{text}");
    }
}

#[test]
fn anything_else_renders_to_text() {
    for (text, value) in [
        ("plain } text", "plain } text"),
        ("{{ item }}{{ item }}", "33"),
        ("n = {{ plan.n }}\n", "n = 2\n"),
        ("{{ inputs.question }} & {{ plan.steps | join(', ') }}", "why <b>? & a, b"),
        ("{% for step in plan.steps %}{{ loop.index }}{{ step }};{% endfor %}", "1a;2b;"),
        ("{{ plan.share }}{# note #}", "0.5"),
        ("{{ 1234567.891 | fixed(1) | thousands }}!", "1,234,567.9!"),
        ("{{ 12 | fixed }} {{ -0.001 | fixed }} {{ 7 | fixed(0) }} {{ -1234 | thousands }}", "12.00 0.00 7 -1,234"),
    ] {
        assert!(!Template::parse(text).unwrap().is_expression(), "{text}");
        assert_eq!(evaluate(text).unwrap(), json!(value), "{text}");
    }
}

#[test]
fn references_name_what_is_read_in_the_order_of_the_text() {
    let template = Template::parse(
        "{% for s in plan.steps %}{{ s }}{{ loop.index }}{{ range(2) }}{% endfor %}{{ inputs.question.length }}{{ a['b'] }}",
    )
    .unwrap();
    let written: Vec<String> = template.references().iter().map(ToString::to_string).collect();
    assert_eq!(written, ["plan.steps", "inputs.question.length", "a"]);
    assert_eq!(Template::parse("{{ plan.steps }}").unwrap().references()[0].path, ["steps"]);
    assert!(Template::parse("no braces").unwrap().references().is_empty());
}

#[test]
fn what_may_be_missing_can_be_asked_for() {
    assert_eq!(evaluate("{{ plan.stepz | default('none') }}").unwrap(), json!("none"));
    assert_eq!(evaluate("{{ plan.stepz is defined }}").unwrap(), json!(false));
    assert_eq!(evaluate("{{ previous is defined and previous.score > 1 }}").unwrap(), json!(false));
    assert_eq!(evaluate("{% if previous is defined %}x{% else %}y{% endif %}").unwrap(), json!("y"));
}

#[test]
fn errors_say_what_is_there() {
    insta::assert_snapshot!(
        [
            "{{ plan.stepz }}",
            "{{ plan.zzz }} text",
            "{{ plam.steps }}",
            "{{ item.name }}",
            "{{ plan.steps.first }}",
            "{{ not plan.zzz }}",
            "{% for x in plan.zzz %}{% endfor %}",
            "{% if plan.zzz %}{% endif %}",
            "{{ 1 / 0 }}",
            "{{ item + 'x' }}",
            "{{ plan.steps | fixed }}",
            "{{ 'x' | thousands }}",
            "{{ range }}",
            "{{ plan.steps | nofilter }}",
            "{% if plan.steps|lenght > 1 %}{% endif %}",
            "{{ 'a | b' | fixd(2) }}",
            "{{ plan.steps is sequnce }}",
            "{{ plan.steps is not zzz }}",
            "{{ plan.steps",
            "a\n{% if %}",
            "{% include 'x' %}",
            "{% extends 'x' %}",
            "{% from 'x' import y %}",
            "{{ }}",
            "{{ 99999999999999999999 }}",
            "{{ debug() }}",
        ]
        .map(|text| format!("{text:?}: {}", message(text)))
        .join("\n")
    );
}

#[test]
fn a_bomb_ends_in_an_error() {
    for bomb in [
        "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x{% endfor %}{% endfor %}{% endfor %}",
        "{{ 'x' * 1000000000000 }}",
        "{{ 'x' * 100000000 }}",
        "{{ 'x' * 5000000 }}",
        "a{{ 'x' * 5000000 }}",
        "{% for a in range(9999) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxx' * 99 }}{% endfor %}",
        "{{ range(100000000000) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set ns = namespace(x='x') %}{% for i in range(64) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=1) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
    ] {
        assert!(evaluate(bomb).is_err(), "{bomb}");
    }
}

#[test]
fn deep_nesting_ends_in_an_error_without_a_stack_overflow() {
    for (left, right) in [
        ("(", ")"),
        ("[", "]"),
        ("{'a':", "}"),
        ("not ", ""),
        ("-", ""),
        ("", ".a"),
        ("", "[0]"),
        ("", "|int"),
        ("", "+1"),
        ("", "~1"),
        ("", "**1"),
        ("1 if ", " else 2"),
        ("", " and 1"),
        ("", " is odd"),
        ("", " == 1"),
        ("", "()"),
    ] {
        for count in [100, 499, 3_000, 60_000] {
            for (before, after) in [("{{ ", " }}"), ("{% if ", " %}{% endif %}"), ("{% set x = ", " %}a")] {
                let deep = format!("{before}{}1{}{after}", left.repeat(count), right.repeat(count));
                let read = Template::parse(&deep).map(|template| template.render(&scope()));
                assert!(count < 500 || read.is_err(), "{before}{left}1{right}{after} × {count}");
            }
        }
    }
    for (left, right) in [
        ("{% if 1 %}", "{% endif %}"),
        ("{% for x in [1] %}", "{% endfor %}"),
        ("{% if 0 %}", "{% else %}{% endif %}"),
        ("{% filter upper %}", "{% endfilter %}"),
        ("{% set x = [x] %}", ""),
        ("{% with a = 1 %}", "{% endwith %}"),
        ("{% macro a() %}", "{% endmacro %}"),
        ("{% raw %}", "{% endraw %}"),
        ("{% set x %}", "{% endset %}"),
    ] {
        for count in [100, 1_000, 20_000] {
            let deep = format!("{{% set x = 1 %}}{}1{}", left.repeat(count), right.repeat(count));
            let _ = Template::parse(&deep).map(|template| template.render(&scope()));
        }
    }
    let chain = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(50_000));
    assert!(Template::parse(&chain).is_err());
    let rows = format!("{{{{ [{}] | length }}}}", "1, ".repeat(2_000));
    assert_eq!(evaluate(&rows).unwrap(), json!(2000));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "([{}%#. a-z()|\"'0-9\\[\\]-]|\\{\\{|\\}\\}|\\{%|%\\}|if |for |end|in ){0,40}") {
        if let Ok(template) = Template::parse(&text) {
            let _ = template.evaluate(&scope());
            let _ = template.render(&scope());
        }
    }

    #[test]
    fn json_survives_the_way_through_templates(n in proptest::num::i64::ANY, f in proptest::num::f64::NORMAL, s in ".*") {
        let value = json!({"n": n, "f": f, "list": [s.clone(), null, true], "map": {s: {}}});
        proptest::prop_assert_eq!(to_json(&from_json(&value)).unwrap(), value);
    }
}
