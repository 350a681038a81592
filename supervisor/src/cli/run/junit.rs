//! A run as a JUnit suite, for the dashboards of CI systems: the run itself, its limits and what it was
//! refused are test cases of classes of their own, so that none is taken for a test of the command's.
//!
//! Pure: from the report to text. What was refused fails its case only when the run failed, or when
//! refusals were to count; else it is told in a case that passed. What nobody watched is skipped, never
//! passed.

use std::{borrow::Cow, fmt::Write as _};

use plugbay_sandbox::{Held, Hit};

use super::report::Document;
use crate::output::{
    denial::Shown,
    neutral::{self, Lines},
};

/// The longest name of a case.
const MAX_NAME: usize = 200;

/// What came of a case.
#[derive(Debug)]
enum Verdict {
    Passed,
    /// Passed, and this is worth a line.
    Told(String),
    Skipped(String),
    Failed(String),
    /// The run itself could not be.
    Broken(String),
}

#[derive(Debug)]
struct Case {
    /// The class, after `plugbay.`, and the type of its failures.
    class: &'static str,
    name: String,
    time_ms: u64,
    verdict: Verdict,
}

impl Case {
    fn new(class: &'static str, name: impl Into<String>, verdict: Verdict) -> Self {
        Self { class, name: name.into(), time_ms: 0, verdict }
    }
}

/// The suite.
pub(super) fn suite(document: &Document) -> String {
    let cases = cases(document);
    let count = |is: fn(&Verdict) -> bool| cases.iter().filter(|case| is(&case.verdict)).count();
    let attributes = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\"",
        cases.len(),
        count(|verdict| matches!(verdict, Verdict::Failed(_))),
        count(|verdict| matches!(verdict, Verdict::Broken(_))),
        count(|verdict| matches!(verdict, Verdict::Skipped(_))),
        seconds(time_ms(document)),
    );
    let name = document.profile.as_ref().map_or("plugbay run", |profile| profile.name.as_str());
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a String cannot fail.
    let _infallible = writeln!(text, "<testsuites name=\"plugbay\" {attributes}>");
    let _infallible = writeln!(text, "  <testsuite name=\"{}\" {attributes}>", xml(name));
    text.push_str(&properties(document));
    cases.iter().for_each(|case| text.push_str(&element(case)));
    text.push_str("  </testsuite>\n</testsuites>");
    text
}

/// What each protection got, for who reads the suite without the report.
fn properties(document: &Document) -> String {
    let grades = document.enforcement.iter().flat_map(|enforcement| &enforcement.protections);
    let lines = grades.map(|grade| {
        let name = xml(grade.protection.name()).into_owned();
        let status = grade.hold.as_str();
        format!("      <property name=\"{name}\" value=\"{status}\"/>\n")
    });
    let lines: String = lines.collect();
    if lines.is_empty() { lines } else { format!("    <properties>\n{lines}    </properties>\n") }
}

fn cases(document: &Document) -> Vec<Case> {
    let mut cases = vec![run(document)];
    if document.outcome.error.is_some() {
        return cases;
    }
    let held = document.enforcement.iter().flat_map(|enforcement| &enforcement.limits);
    cases.extend(held.map(|held| limit(held, document)));
    let unheld = |hit: &&Hit| {
        let held = document.enforcement.iter().flat_map(|enforcement| &enforcement.limits);
        !held.into_iter().any(|held| held.limit == hit.limit)
    };
    let hits = document.outcome.limits.iter().filter(unheld);
    cases.extend(hits.map(|hit| Case::new("limit", hit.limit.name(), of_hit(hit, document))));
    cases.extend(denials(document));
    cases
}

/// The run itself.
fn run(document: &Document) -> Case {
    let outcome = &document.outcome;
    let verdict = match (&outcome.error, &outcome.why, outcome.code) {
        (Some(error), ..) => Verdict::Broken(error.clone()),
        (_, Some(why), _) => Verdict::Failed(why.clone()),
        (_, _, Some(0)) => Verdict::Passed,
        (_, _, Some(code)) => Verdict::Failed(format!("exit status {code}")),
        (_, _, None) => Verdict::Failed(outcome.signal.clone().unwrap_or_default()),
    };
    let name = document.command.join(" ");
    Case { time_ms: time_ms(document), ..Case::new("run", name, verdict) }
}

fn limit(held: &Held, document: &Document) -> Case {
    let name = format!("{} {}", held.limit.name(), held.limit.amount(held.value));
    let hit = document.outcome.limits.iter().find(|hit| hit.limit == held.limit);
    let verdict = match (hit, held.by) {
        (Some(hit), _) => of_hit(hit, document),
        (None, Some(_)) => Verdict::Passed,
        (None, None) => Verdict::Skipped("nobody can hold it here".to_owned()),
    };
    Case::new("limit", name, verdict)
}

fn of_hit(hit: &Hit, document: &Document) -> Verdict {
    told_or_failed(format!("it ran into {hit}"), document)
}

/// Something that may be why the run failed, if it failed.
fn told_or_failed(text: String, document: &Document) -> Verdict {
    if document.outcome.status == 0 { Verdict::Told(text) } else { Verdict::Failed(text) }
}

fn denials(document: &Document) -> Vec<Case> {
    let denials = &document.denials;
    let kinds = denials.kinds.iter().filter(|kind| !kind.is_limit());
    let mut cases: Vec<Case> = kinds.map(|kind| denial(kind, document)).collect();
    if denials.others > 0 {
        let text = format!("{} more, not told apart", denials.others);
        cases.push(Case::new("denial", "others", told_or_failed(text, document)));
    }
    let watched = |watched: bool, why: &str| match (watched, why) {
        (true, _) => Verdict::Passed,
        (false, "") => Verdict::Skipped("not watched".to_owned()),
        (false, why) => Verdict::Skipped(format!("not watched: {why}")),
    };
    let calls = watched(denials.watched.calls, &denials.watched.why);
    let why = if denials.watched.why.is_empty() { "run with --explain" } else { "" };
    let attempts = watched(denials.watched.attempts, why);
    cases.push(Case::new("denial", "system calls were watched", calls));
    cases.push(Case::new("denial", "files and addresses were watched", attempts));
    cases
}

fn denial(kind: &Shown, document: &Document) -> Case {
    Case::new("denial", kind.what(), told_or_failed(kind.line(), document))
}

fn element(case: &Case) -> String {
    let Case { class, name, time_ms, verdict } = case;
    let name: String = xml(name).chars().take(MAX_NAME).collect();
    let name = whole_entities(&name);
    let open = format!(
        "    <testcase classname=\"plugbay.{class}\" name=\"{name}\" time=\"{}\"",
        seconds(*time_ms)
    );
    let inside = match verdict {
        Verdict::Passed => return format!("{open}/>\n"),
        Verdict::Told(text) => format!("<system-out>{}</system-out>", xml(text)),
        Verdict::Skipped(why) => format!("<skipped message=\"{}\"/>", xml(why)),
        Verdict::Failed(why) => failure("failure", class, why),
        Verdict::Broken(why) => failure("error", "sandbox", why),
    };
    format!("{open}>{inside}</testcase>\n")
}

fn failure(element: &str, kind: &str, why: &str) -> String {
    let why = xml(why);
    format!("<{element} type=\"plugbay.{kind}\" message=\"{why}\">{why}</{element}>")
}

/// A text without the entity that was cut at its end.
fn whole_entities(text: &str) -> &str {
    match text.rfind('&') {
        Some(at) if !text.get(at..).unwrap_or_default().contains(';') => {
            text.get(..at).unwrap_or_default()
        }
        _ => text,
    }
}

fn time_ms(document: &Document) -> u64 {
    document.usage.as_ref().map_or(0, |usage| usage.wall_ms)
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Text for XML, where no control character may stand, not even escaped.
fn xml(text: &str) -> Cow<'_, str> {
    let text = neutral::text(text, Lines::Escape);
    let special = |c: char| "&<>\"'".contains(c) || matches!(c, '\u{fffe}' | '\u{ffff}');
    if !text.contains(special) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_neither_leave_its_attribute_nor_be_no_xml() {
        let case =
            Case::new("run", "a\"/><x>&\u{1b}[2J\u{ffff}", Verdict::Failed("<&>".to_owned()));
        insta::assert_snapshot!(element(&case).trim(), @r#"<testcase classname="plugbay.run" name="a&quot;/&gt;&lt;x&gt;&amp;\u{1b}[2J�" time="0.000"><failure type="plugbay.run" message="&lt;&amp;&gt;">&lt;&amp;&gt;</failure></testcase>"#);
        let long = Case::new("run", "&".repeat(1000), Verdict::Passed);
        let text = element(&long);
        assert!(text.len() < 400 && text.contains("&amp;\" time"), "{text}");
    }
}
