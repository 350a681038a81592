//! Links in Markdown lead somewhere: to a file that is there, and to a heading that is in it.

use std::{collections::BTreeMap, path::Path};

use crate::{catches, hold, source::Source, told};

/// A link: where it leads, and the line it is on.
struct Link<'s> {
    target: &'s str,
    line: usize,
}

/// Every link to a file of the tree resolves.
fn links(sources: &[Source]) -> Vec<String> {
    let headings: BTreeMap<&str, Vec<String>> = sources
        .iter()
        .filter(|source| source.is("md"))
        .map(|source| (source.path.as_str(), headings(&source.text)))
        .collect();
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.is("md")) {
        for Link { target, line } in found(&source.text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let place = format!("{}:{line}: `{target}`", source.path);
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() {
                Some(source.path.clone())
            } else {
                beside(&source.path, path)
            };
            let Some(path) = path.filter(|path| exists(path, sources)) else {
                complaints.push(format!("{place} leads nowhere"));
                continue;
            };
            let known = headings.get(path.as_str());
            if !heading.is_empty() && known.is_some_and(|known| !known.iter().any(|h| h == heading))
            {
                complaints.push(format!("{place} names no heading of {path}"));
            }
        }
    }
    complaints
}

/// Whether a path is in the tree, or on disk beside it (directories, pictures).
fn exists(path: &str, sources: &[Source]) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    sources.iter().any(|source| source.path == path)
        || root.is_some_and(|root| root.join(path).exists())
}

/// The path that a relative link means; `None` when it leaves the tree.
fn beside(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The lines outside fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((index + 1, line))
    })
}

/// Every `](target)` outside code.
fn found(text: &str) -> Vec<Link<'_>> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        for (at, _) in line.match_indices("](") {
            let in_code = line[..at].matches('`').count() % 2 == 1;
            let target = line[at + 2..].split([')', ' ']).next().unwrap_or_default();
            if !in_code && !target.is_empty() {
                links.push(Link { target, line: number });
            }
        }
    }
    links
}

/// The anchors of a file's headings, as hosting sites make them.
fn headings(text: &str) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = Vec::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let slug: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let count = seen.entry(slug.clone()).or_insert(0);
        anchors.push(if *count == 0 { slug } else { format!("{slug}-{count}") });
        *count += 1;
    }
    anchors
}

#[test]
fn links_lead_somewhere() {
    hold(links);
}

#[test]
fn a_link_that_leads_nowhere_is_caught() {
    let right = "[a](main.rs) [b](./../Cargo.toml#x) [c](https://example.org/none) `[d](none)`\n```\n[e](none)\n```\n";
    catches(links, "tests/tidy/x.md", "[a](none.md)\n", right);
    catches(links, "tests/tidy/x.md", "[a](../../../none)\n", right);
}

#[test]
fn a_link_to_no_heading_is_caught() {
    let right = "# `[methods.NAME]`, and so on\n## Twice\n## Twice\n[a](#methodsname-and-so-on) [b](#twice-1)\n";
    catches(links, "x.md", "# One\n[a](#two)\n", right);
    let other = Source::new("docs/other.md", "# There\n");
    let from = Source::new("docs/x.md", "[a](other.md#there) [b](other.md#nowhere)\n");
    assert_eq!(
        links(&[other, from]),
        ["docs/x.md:1: `other.md#nowhere` names no heading of docs/other.md"]
    );
    assert_eq!(told(links, "x.md", "# A\n[a](#a)\n"), [""; 0]);
}
