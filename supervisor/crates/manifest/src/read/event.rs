//! `[events]`: topics published and subscribed to.

use crate::{
    field::{Field, Section},
    key::EVENTS,
    manifest::Events,
    neutral::echo,
};

const TOPIC_RULE: &str = "segments of a-z, 0-9, _ and - joined by dots, as \"file.changed\"";
const PATTERN_RULE: &str = "a topic whose segments may be *, as \"file.*\" (segments of a-z, 0-9, _ and -, joined by dots)";

/// The longest topic, in bytes.
const MAX_TOPIC: usize = 256;

/// Whether `*` may stand for a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wildcard {
    Allowed,
    Refused,
}

pub(super) fn read(section: &Section<'_>) -> Events {
    section.refuse_unknown(&EVENTS.names().collect::<Vec<_>>());
    let topics = |name: &str, wildcard| {
        section.get(name).map(|field| read_topics(&field, wildcard)).unwrap_or_default()
    };
    Events {
        publishes: topics("publishes", Wildcard::Refused),
        subscribes: topics("subscribes", Wildcard::Allowed),
    }
}

fn read_topics(field: &Field<'_>, wildcard: Wildcard) -> Vec<String> {
    let fields = field.list("a list of topics").unwrap_or_default();
    let mut topics: Vec<String> = Vec::with_capacity(fields.len());
    for field in &fields {
        let Some(text) = field.text() else { continue };
        if is_topic(text, wildcard) {
            topics.push(text.to_owned());
        } else {
            let rule = match wildcard {
                Wildcard::Allowed => PATTERN_RULE,
                Wildcard::Refused => TOPIC_RULE,
            };
            field.wrong(format!("`{}` is not a topic", echo(text)), rule);
        }
    }
    topics.sort();
    topics.dedup();
    topics
}

fn is_topic(text: &str, wildcard: Wildcard) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    text.len() <= MAX_TOPIC
        && text.split('.').all(|segment| {
            (segment == "*" && wildcard == Wildcard::Allowed)
                || (!segment.is_empty() && segment.bytes().all(plain))
        })
}
