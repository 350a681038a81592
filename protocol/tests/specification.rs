//! Holds `docs/protocol.md` and the code to the same names, codes and numbers, both ways. What the
//! specification *means* is not tested here; the golden transcripts do that.

#![expect(
    clippy::unwrap_used,
    reason = "an integration test's helpers are not `in tests` for clippy"
)]

use plugbay_protocol::handshake::feature;
use plugbay_protocol::method::{self, Direction, Kind};
use plugbay_protocol::{Code, ErrorData, Origin, VERSION, limits, meta::Meta};
use std::collections::BTreeSet;

const SPECIFICATION: &str = include_str!("../../docs/protocol.md");

/// The text of the section with this number.
fn section(number: u32) -> &'static str {
    let begin = SPECIFICATION.find(&format!("\n## {number}. ")).unwrap();
    let rest = &SPECIFICATION[begin + 1..];
    rest.find("\n## ").map_or(rest, |end| &rest[..end])
}

/// The cells of the tables' rows whose first cell is one word in backticks, that word bare.
fn rows(text: &'static str) -> Vec<Vec<&'static str>> {
    text.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect()
        })
        .collect()
}

/// Every text in backticks, outside blocks of code.
fn quoted() -> BTreeSet<&'static str> {
    SPECIFICATION
        .split("\n```")
        .step_by(2)
        .flat_map(|prose| prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2)))
        .collect()
}

#[test]
fn the_table_of_methods_is_the_list_in_code() {
    let documented: Vec<_> =
        rows(section(10)).into_iter().map(|row| (row[0], row[1], row[2], row[3])).collect();
    let coded: Vec<_> = method::ALL
        .iter()
        .map(|method| {
            let direction = match method.direction {
                Direction::ToPlugin => "→",
                Direction::ToHost => "←",
                Direction::Both => "↔",
            };
            let kind = match method.kind {
                Kind::Request => "R",
                Kind::Notification => "N",
            };
            (method.name, direction, kind, method.feature.unwrap_or_default())
        })
        .collect();
    assert_eq!(documented, coded);
}

#[test]
fn every_reserved_name_in_the_text_is_a_method_and_each_is_explained() {
    let known: BTreeSet<_> = method::ALL.iter().map(|method| method.name).collect();
    for name in quoted() {
        let is_pattern = name.ends_with(['/', '*', '.']);
        if method::is_reserved(name) && !is_pattern && !name.contains([' ', ':', '"']) {
            assert!(known.contains(name), "`{name}` is in the text and not in the code");
        }
    }
    for group in ["host/", "plugin/", "event/", "stream/", "$/", "rpc."] {
        assert!(method::is_reserved(&format!("{group}x")) && quoted().contains(group), "{group}");
    }
}

#[test]
fn the_table_of_errors_is_the_list_in_code() {
    let documented: Vec<_> = rows(section(11))
        .into_iter()
        .filter(|row| row[1].parse::<i32>().is_ok())
        .map(|row| (row[0], row[1].parse::<i32>().unwrap()))
        .collect();
    let coded: Vec<_> = Code::ALL.iter().map(|code| (code.name(), code.value())).collect();
    assert_eq!(documented, coded);
}

#[test]
fn every_code_in_the_text_is_one_in_the_table() {
    let quoted = quoted();
    for code in Code::ALL {
        assert!(quoted.contains(code.name()), "{code}");
    }
    for name in quoted {
        let looks_like_a_code = name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphabetic())
            && name.chars().any(|c| c.is_ascii_lowercase());
        if looks_like_a_code && name != "NaN" {
            assert!(Code::ALL.iter().any(|code| code.name() == name), "`{name}`");
        }
    }
}

#[test]
fn the_table_of_features_is_the_list_in_code() {
    let documented: Vec<_> =
        rows(section(6)).into_iter().filter(|row| row.len() == 2).map(|row| row[0]).collect();
    assert_eq!(documented, feature::ALL);
}

/// The members that `value` is written with.
fn members(value: &impl serde::Serialize) -> Vec<String> {
    let value = serde_json::to_value(value).unwrap();
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_members_of_metadata_and_of_error_data_are_all_documented() {
    let meta = Meta {
        deadline_ms: Some(1),
        traceparent: Some(String::new()),
        call_id: Some(String::new()),
        idempotency_key: Some(String::new()),
        progress_token: Some(1.into()),
    };
    let documented: BTreeSet<_> =
        rows(section(7)).into_iter().map(|row| row[0].to_owned()).collect();
    assert_eq!(documented, members(&meta).into_iter().collect());

    let data = ErrorData {
        origin: Origin::Host,
        plugin: Some(String::new()),
        generation: Some(1),
        retryable: Some(true),
        retry_after_ms: Some(1),
        may_have_run: Some(true),
        cause: Some(String::new()),
        stderr_tail: Some(String::new()),
        capability: Some(String::new()),
        grant_hint: Some(String::new()),
        limit: Some(1),
        supported: Some(Vec::new()),
        chain: Some(Vec::new()),
    };
    let documented: BTreeSet<_> = rows(section(11))
        .into_iter()
        .filter(|row| row[1].parse::<i32>().is_err())
        .flat_map(|row| row[0].split("`, `").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(documented, members(&data).into_iter().collect());
}

#[test]
fn the_numbers_in_the_text_are_those_in_code() {
    assert!(SPECIFICATION.starts_with(&format!("# The Plugbay protocol, version {VERSION}\n")));
    let (framing, limits_section) = (section(2), section(3));
    for (text, said) in [
        (limits_section, format!("8 MiB ({} bytes)", limits::MAX_FRAME)),
        (limits_section, format!("up to {} MiB", limits::MAX_FRAME_CEILING >> 20)),
        (framing, format!("above {} MiB", limits::MAX_FRAME_CEILING >> 20)),
        (framing, format!("longer than {} bytes", limits::HEADER_BLOCK)),
        (limits_section, format!("| {} brackets", limits::MAX_DEPTH)),
        (
            limits_section,
            format!("| {} s from its first byte", limits::PARTIAL_FRAME_TIMEOUT.as_secs()),
        ),
        (limits_section, format!("handshake, {} |", limits::MAX_INFLIGHT)),
        (limits_section, format!("| {} bytes | cut", limits::STDERR_LINE)),
        (
            limits_section,
            format!("| {} s from the plugin's start", limits::HANDSHAKE_TIMEOUT.as_secs()),
        ),
        (limits_section, format!("| cancellation | {} s |", limits::CANCEL_GRACE.as_secs())),
        (section(8), format!("waits {} s", limits::CANCEL_GRACE.as_secs())),
        (section(13), format!("ahead by {} items or 1 MiB, or more", limits::STREAM_WINDOW_ITEMS)),
        (section(13), format!("taken {} items or 512 KiB", limits::STREAM_WINDOW_ITEMS / 2)),
        (section(13), format!("1 to {} values", limits::STREAM_FRAME_ITEMS)),
        (section(13), format!("at most {} times in one message", limits::STREAMS_PER_MESSAGE)),
    ] {
        assert!(text.contains(&said), "the text does not say `{said}`");
    }
    assert_eq!(limits::STREAM_WINDOW_BYTES, 1 << 20);
}

#[test]
fn the_examples_in_the_text_are_messages() {
    let mut seen = 0;
    for block in SPECIFICATION.split("```json\n").skip(1) {
        let example = block.split("```").next().unwrap();
        assert!(plugbay_protocol::Message::parse(example.as_bytes()).is_ok(), "{example}");
        seen += 1;
    }
    assert!(seen >= 5);
    let header = "Content-Length: 40";
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert!(SPECIFICATION.contains(header) && SPECIFICATION.contains(body) && body.len() == 40);
}
