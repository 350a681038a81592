//! Replays a golden transcript over any two ends of a wire.

use plugbay_protocol::golden::{Action, Replay, Transcript};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::path::Path;

pub(crate) fn transcripts() -> Vec<Transcript> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/golden");
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

pub(crate) fn replay(
    transcript: &Transcript,
    mut to_plugin: impl Write,
    from_plugin: impl Read,
    hang_up: impl FnOnce(),
) {
    let mut lines = BufReader::new(from_plugin);
    let mut hang_up = Some(hang_up);
    let mut replay = Replay::new(transcript);
    loop {
        match replay.advance() {
            Action::Send(bytes) => to_plugin.write_all(&bytes).unwrap(),
            Action::Close => hang_up.take().unwrap()(),
            Action::Done => return,
            Action::Await => {
                let mut line = String::new();
                let stepped = match lines.read_line(&mut line) {
                    Ok(0) => replay.ended(),
                    Ok(_) => replay.received(&serde_json::from_str(&line).unwrap()),
                    Err(error) => panic!("{}: {error}", transcript.name),
                };
                stepped.unwrap_or_else(|deviation| panic!("{deviation}"));
            }
        }
    }
}
