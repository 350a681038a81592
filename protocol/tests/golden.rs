//! The golden transcripts are sound: they parse, every message in them reads as the crate reads it, and
//! what a host says wrongly is answered with what [`plugbay_protocol::ParseError`] prescribes. The files
//! are read here, in the test: the crate itself does no I/O.

#![expect(
    clippy::unwrap_used,
    reason = "an integration test's helpers are not `in tests` for clippy"
)]

use plugbay_protocol::golden::{Said, Speaker, Step, Transcript};
use plugbay_protocol::handshake::{Hello, Initialize};
use plugbay_protocol::{Code, Decoded, Decoder, Framing, Message, limits};
use serde_json::Value;
use std::path::Path;

fn transcripts() -> Vec<Transcript> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut transcripts: Vec<Transcript> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            Transcript::parse(name, &std::fs::read_to_string(&path).unwrap()).unwrap()
        })
        .collect();
    transcripts.sort_by(|left, right| left.name.cmp(&right.name));
    assert!(transcripts.len() >= 14, "transcripts are missing");
    transcripts
}

#[test]
fn every_transcript_is_listed_in_the_readme() {
    let readme = include_str!("../golden/README.md");
    for transcript in transcripts() {
        assert!(readme.contains(&format!("`{}`", transcript.name)), "{}", transcript.name);
    }
}

#[test]
fn every_transcript_ends_with_the_plugins_end() {
    for transcript in transcripts() {
        let last = transcript.steps.last().unwrap();
        assert_eq!(
            (last.speaker, &last.said),
            (Speaker::Plugin, &Said::Eof),
            "{}",
            transcript.name
        );
    }
}

#[test]
fn every_frame_is_a_message() {
    for transcript in transcripts() {
        for Step { line, said, .. } in &transcript.steps {
            let Said::Frame(frame) = said else { continue };
            // Wildcards for codes do not occur, those for ids are strings: all of it parses as it is.
            let text = frame.to_string();
            if let Err(error) = Message::parse(text.as_bytes()) {
                panic!("{}:{line}: {error}", transcript.name);
            }
        }
    }
}

#[test]
fn every_error_code_is_one_of_the_protocol() {
    for transcript in transcripts() {
        for Step { line, speaker, said, .. } in &transcript.steps {
            let Said::Frame(frame) = said else { continue };
            let Some(code) = frame.pointer("/error/code").and_then(Value::as_i64) else { continue };
            let known = i32::try_from(code).ok().and_then(Code::from_value);
            assert!(known.is_some(), "{}:{line}: {speaker:?} says {code}", transcript.name);
        }
    }
}

#[test]
fn every_handshake_reads_as_its_types() {
    for transcript in transcripts() {
        for Step { line, said, .. } in &transcript.steps {
            let Said::Frame(frame) = said else { continue };
            if frame["method"] == "initialize" {
                let read: Result<Initialize, _> = serde_json::from_value(frame["params"].clone());
                assert!(read.is_ok(), "{}:{line}: {read:?}", transcript.name);
            }
            if frame["result"].get("methods").is_some() {
                let mut hello = frame["result"].clone();
                hello["features"] = Value::Array(Vec::new());
                let read: Result<Hello, _> = serde_json::from_value(hello);
                assert!(read.is_ok(), "{}:{line}: {read:?}", transcript.name);
            }
        }
    }
}

/// Raw bytes are where an SDK's parser is tested, so here is what ours makes of them: for each line
/// that is no message, the answer the transcript expects next is the one the error prescribes.
#[test]
fn broken_lines_are_answered_as_prescribed() {
    let mut checked = 0;
    for transcript in transcripts() {
        let mut decoder = Decoder::new(Framing::Line, limits::MAX_FRAME);
        for (index, step) in transcript.steps.iter().enumerate() {
            let Said::Raw(bytes) = &step.said else { continue };
            decoder.push(bytes);
            let mut expected = transcript.steps[index + 1..]
                .iter()
                .take_while(|step| step.speaker == Speaker::Plugin);
            while let Some(decoded) = decoder.next() {
                let Decoded::Frame(frame) = decoded else { panic!("{decoded:?}") };
                let place = format!("{}:{}", transcript.name, step.line);
                match Message::parse(frame) {
                    Ok(message) => {
                        let answer = expected.next().expect(&place);
                        let Said::Frame(answer) = &answer.said else { panic!("{place}") };
                        assert_eq!(answer["id"], serde_json::json!(message.id()), "{place}");
                    }
                    Err(error) if error.is_answerable() => {
                        let answer = expected.next().expect(&place);
                        let Said::Frame(answer) = &answer.said else { panic!("{place}") };
                        assert_eq!(
                            answer["error"]["code"],
                            error.to_error_object().code,
                            "{place}"
                        );
                        assert_eq!(answer["id"], serde_json::json!(error.answer_id()), "{place}");
                        checked += 1;
                    }
                    Err(_) => assert!(expected.next().is_none(), "{place}"),
                }
            }
        }
    }
    assert!(checked >= 25, "only {checked} broken lines were seen");
}
