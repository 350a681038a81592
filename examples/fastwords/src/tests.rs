//! The plugin in memory, on a real text.

use super::*;
use plugbay_sdk::testing::Host;
use plugbay_sdk::{CallError, Code, Value, json};
use std::io::Write as _;

const TEXT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/declaration.txt");

fn words(found: &Value) -> Vec<&str> {
    found.as_array().unwrap().iter().map(|entry| entry["word"].as_str().unwrap()).collect()
}

#[test]
fn a_real_text_has_as_many_words_as_wc_says() {
    let counted: Value = Host::new(plugin()).call("count", &json!({"path": TEXT})).unwrap();
    assert_eq!(counted, json!({"lines": 160, "words": 1335, "bytes": 8148}));
}

#[test]
fn the_most_frequent_words_come_first() {
    let host = Host::new(plugin());
    let found: Value = host.call("top", &json!({"path": TEXT, "limit": 3})).unwrap();
    let expected = [("of", 78), ("the", 78), ("to", 65)];
    assert_eq!(found, json!(expected.map(|(word, count)| json!({"word": word, "count": count}))));
    let found: Value = host.call("top", &json!({"path": TEXT})).unwrap();
    assert_eq!(words(&found).len(), 10);
}

#[test]
fn the_configuration_says_what_counts() {
    let config = json!({"ignore": ["their", "people"], "shortest": 5});
    let host = Host::new(plugin()).config(config);
    let found: Value = host.call("top", &json!({"path": TEXT, "limit": 4})).unwrap();
    assert_eq!(words(&found), ["these", "which", "states", "right"]);
    let host = Host::new(plugin()).config(json!({"longest": 5}));
    let refused = host.hello().unwrap_err();
    assert_eq!(refused.known_code(), Some(Code::InvalidParams));
}

#[test]
fn progress_and_a_log_line_tell_how_it_goes() {
    let host = Host::new(plugin());
    let call = host.start("top", &json!({"path": TEXT})).unwrap();
    call.result::<Value>().unwrap();
    let read = json!({"value": 8148, "total": 8148, "message": "read"});
    assert_eq!(call.progress().last(), Some(&read));
    let logs = host.logs();
    assert_eq!(logs[0].message, "text read");
    assert!(logs[0].fields["words"].as_u64() > Some(1300));
}

#[test]
fn a_large_text_can_be_cancelled_on_the_way() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all("all the king's men\n".repeat(3_000_000).as_bytes()).unwrap();
    let host = Host::new(plugin());
    let call = host.start("top", &json!({"path": file.path()})).unwrap();
    call.wait_progress(1).unwrap();
    call.cancel().unwrap();
    let cancelled: CallError = call.result::<Value>().unwrap_err();
    assert_eq!(cancelled.known_code(), Some(Code::RequestCancelled));
}

#[test]
fn what_is_wrong_is_said() {
    let host = Host::new(plugin());
    let refused = |params: Value| host.call::<Value>("count", &params).unwrap_err();
    assert_eq!(refused(json!({})).known_code(), Some(Code::InvalidParams));
    assert_eq!(refused(json!({"path": "a", "text": "b"})).known_code(), Some(Code::InvalidParams));
    assert_eq!(refused(json!({"file": "a"})).known_code(), Some(Code::InvalidParams));
    assert_eq!(refused(json!({"path": "/"})).known_code(), Some(Code::PluginError));
    let message = refused(json!({"path": "/nonexistent"})).message().to_owned();
    assert_eq!(message, "/nonexistent: No such file or directory (os error 2)");
}
