//! The store as its users meet it: what was written is read, what is too much is forgotten, and a
//! file that is not as it was left is refused by name and left alone.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use plugbay_store::{
    Call, Change, Death, Denial, Hit, InFlight, Keep, Next, Reader, Record, Run, RunId, Standing,
    StoreError, Usage, Writer,
};
use proptest::prelude::*;

/// A directory for a store, and where the store is.
fn place() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state/store.db");
    (root, path)
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn run() -> Run {
    Run { at: at(1), host: "plugbay".into(), version: "0.1.0".into(), pid: 7 }
}

/// A store with nothing in it but a run.
fn opened(path: &Path, keep: Keep) -> (Writer, RunId) {
    let mut writer = Writer::open(path, keep).unwrap();
    let run = writer.begin(&run()).unwrap();
    (writer, run)
}

fn death(plugin: &str, instance: u64) -> Death {
    Death {
        plugin: plugin.into(),
        version: "1.2.3".into(),
        generation: 1,
        instance,
        at: at(100 + instance),
        pid: Some(4321),
        cause: "limit(memory)".into(),
        words: "ran into its memory limit".into(),
        requested: false,
        before_hello: false,
        uptime: Duration::from_millis(61_500),
        in_flight: vec![InFlight { method: "count".into(), age: Duration::from_millis(1_500) }],
        calls_lost: 3,
        limits: vec![Hit {
            limit: "memory".into(),
            value: 1 << 30,
            peak: Some(1 << 30),
            times: 2,
            by: "cgroup-v2".into(),
            words: "its memory limit of 1GiB".into(),
        }],
        usage: Some(Usage {
            user: Duration::from_micros(1_500),
            system: Duration::from_micros(2),
            max_rss: 1 << 30,
        }),
        denials: vec![Denial {
            layer: "files".into(),
            rule: "grants".into(),
            syscall: Some("openat".into()),
            path: Some("/etc/shadow".into()),
            times: 3,
            details: "{}".into(),
        }],
        denied_more: 2,
        memory_peak: Some(1 << 30),
        next: Some(Next { state: "backoff".into(), after: Some(Duration::from_millis(250)) }),
        stderr: "Traceback\nMemoryError\n".into(),
    }
}

fn call(plugin: &str, seconds: u64) -> Call {
    Call {
        plugin: plugin.into(),
        method: "count".into(),
        at: at(seconds),
        duration: Duration::from_micros(1_234),
        waited: Duration::ZERO,
        attempts: 1,
        outcome: "plugin".into(),
        error: Some("no such book".into()),
        traceback: Some("line 3".into()),
        instance: Some(2),
        generation: Some(1),
        bytes_in: 10,
        bytes_out: 20,
        progress: 1,
        cpu: Some(Duration::from_micros(77)),
        callers: Some("a → b".into()),
        traceparent: Some("00-1-2-01".into()),
    }
}

fn change(plugin: &str, seconds: u64) -> Change {
    Change {
        plugin: plugin.into(),
        instance: None,
        at: at(seconds),
        from: "idle".into(),
        to: "starting".into(),
        why: "a call came".into(),
    }
}

#[test]
fn what_was_written_is_read_back_newest_first() {
    let (_root, path) = place();
    let (mut writer, id) = opened(&path, Keep::default());
    let records = [
        Record::Death(Box::new(death("a", 1))),
        Record::Death(Box::new(death("b", 1))),
        Record::Death(Box::new(death("a", 2))),
        Record::Call(Box::new(call("a", 5))),
        Record::Change(change("a", 6)),
        Record::Loss { at: at(50), records: 4 },
    ];
    writer.write(id, &records).unwrap();
    let reader = Reader::open(&path).unwrap().unwrap();
    assert_eq!(reader.deaths("a", 9).unwrap(), [(id, death("a", 2)), (id, death("a", 1))]);
    assert_eq!(reader.deaths("a", 1).unwrap().len(), 1);
    assert_eq!(reader.calls("a", 9).unwrap(), [(id, call("a", 5))]);
    assert_eq!(reader.changes("a", 9).unwrap(), [(id, change("a", 6))]);
    assert_eq!(reader.plugins().unwrap(), ["a", "b"]);
    assert_eq!(reader.run(id).unwrap(), Some(run()));
    assert_eq!((reader.lost_since(at(50)).unwrap(), reader.lost_since(at(51)).unwrap()), (4, 0));
    assert!(reader.deaths("stranger", 9).unwrap().is_empty());
}

#[test]
fn nothing_kept_is_not_an_error() {
    let (_root, path) = place();
    assert!(Reader::open(&path).unwrap().is_none());
    assert!(!path.exists(), "reading makes nothing");
}

#[test]
fn only_the_user_can_read_it() {
    let (_root, path) = place();
    let (mut writer, id) = opened(&path, Keep::default());
    writer.write(id, &[Record::Change(change("a", 1))]).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for file in fs::read_dir(path.parent().unwrap()).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[test]
fn two_write_at_once_and_a_third_reads() {
    let (_root, path) = place();
    let (mut one, first) = opened(&path, Keep::default());
    let (mut other, second) = opened(&path, Keep::default());
    for instance in 0..20 {
        one.write(first, &[Record::Death(Box::new(death("a", instance)))]).unwrap();
        other.write(second, &[Record::Death(Box::new(death("a", instance)))]).unwrap();
    }
    let deaths = Reader::open(&path).unwrap().unwrap().deaths("a", 99).unwrap();
    assert_eq!(deaths.iter().filter(|(run, _)| *run == first).count(), 20);
    assert_eq!(deaths.len(), 40);
}

#[test]
fn many_that_begin_at_once_make_one_store() {
    let (_root, path) = place();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| opened(&path, Keep::default()));
        }
    });
    let names: Vec<_> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".new"))
        .collect();
    assert_eq!(names, [""; 0], "drafts are left behind");
    assert!(Reader::open(&path).unwrap().is_some());
}

#[test]
fn what_is_old_is_forgotten() {
    let (_root, path) = place();
    let keep = Keep { age: Duration::from_secs(10), ..Keep::default() };
    let (mut writer, id) = opened(&path, keep);
    let records: Vec<Record> = (0..20).map(|s| Record::Call(Box::new(call("a", s)))).collect();
    writer.write(id, &records).unwrap();
    let pruned = writer.prune(at(20)).unwrap();
    assert_eq!((pruned.old, pruned.over, pruned.large), (10, 0, 0));
    let calls = Reader::open(&path).unwrap().unwrap().calls("a", 99).unwrap();
    assert_eq!(calls.last().unwrap().1.at, at(10));
}

#[test]
fn one_plugin_cannot_push_out_what_is_known_of_another() {
    let (_root, path) = place();
    let keep = Keep { deaths: 3, calls: 4, changes: 5, age: Duration::MAX, ..Keep::default() };
    let (mut writer, id) = opened(&path, keep);
    writer.write(id, &[Record::Death(Box::new(death("quiet", 1)))]).unwrap();
    for round in 1..50 {
        let asked = Death { requested: true, ..death("loud", round) };
        writer
            .write(
                id,
                &[
                    Record::Death(Box::new(death("loud", round))),
                    Record::Death(Box::new(asked)),
                    Record::Call(Box::new(call("loud", round))),
                    Record::Change(change("loud", round)),
                ],
            )
            .unwrap();
    }
    assert_eq!(writer.prune(at(50)).unwrap().over, 46 + 46 + 45 + 44);
    let reader = Reader::open(&path).unwrap().unwrap();
    let kept = |plugin: &str| {
        let deaths = reader.deaths(plugin, 99).unwrap();
        (deaths.len(), reader.calls(plugin, 99).unwrap().len())
    };
    assert_eq!((kept("loud"), kept("quiet")), ((6, 4), (1, 0)));
    let newest = reader.deaths("loud", 99).unwrap();
    assert!(newest.iter().all(|(_, death)| death.instance >= 47), "the newest are kept");
    assert!(newest.iter().all(|(_, death)| death.in_flight.len() == 1));
}

#[test]
fn the_file_does_not_outgrow_its_bound() {
    let (_root, path) = place();
    let keep = Keep { size: 1 << 20, age: Duration::MAX, ..Keep::default() };
    let (mut writer, id) = opened(&path, keep);
    for plugin in 0..60 {
        let mut fat = death(&format!("p{plugin}"), 1);
        fat.stderr = "x".repeat(64 << 10);
        writer.write(id, &[Record::Death(Box::new(fat))]).unwrap();
    }
    let pruned = writer.prune(at(200)).unwrap();
    assert!(pruned.large >= 44, "{pruned:?}");
    drop(writer);
    assert!(fs::metadata(&path).unwrap().len() <= 1 << 20);
    let reader = Reader::open(&path).unwrap().unwrap();
    assert_eq!(reader.deaths("p59", 1).unwrap().len(), 1, "the newest is kept");
}

#[test]
fn texts_are_cut_to_their_bound() {
    let (_root, path) = place();
    let (mut writer, id) = opened(&path, Keep::default());
    let long = "ü".repeat(100_000);
    let mut wordy = death("a", 1);
    (wordy.words, wordy.cause, wordy.stderr) = (long.clone(), long.clone(), format!("{long}end"));
    wordy.in_flight = vec![InFlight { method: long.clone(), age: Duration::ZERO }; 1_000];
    let mut wordy_call = call("a", 1);
    (wordy_call.error, wordy_call.traceback) = (Some(long.clone()), Some(long));
    let records = [Record::Death(Box::new(wordy)), Record::Call(Box::new(wordy_call))];
    writer.write(id, &records).unwrap();
    let reader = Reader::open(&path).unwrap().unwrap();
    let (_, death) = reader.deaths("a", 1).unwrap().remove(0);
    assert_eq!((death.words.len(), death.cause.len()), (4 << 10, 256));
    assert!(death.stderr.len() <= 64 << 10 && death.stderr.ends_with("üend"));
    assert_eq!((death.in_flight.len(), death.in_flight[0].method.len()), (32, 256));
    let (_, call) = reader.calls("a", 1).unwrap().remove(0);
    assert_eq!(call.error.unwrap().len(), 4 << 10);
    assert_eq!(call.traceback.unwrap().len(), 16 << 10);
}

#[test]
fn a_name_is_never_taken_for_a_question() {
    let (_root, path) = place();
    let (mut writer, id) = opened(&path, Keep::default());
    let name = "a' OR 1=1; DROP TABLE death; --";
    writer.write(id, &[Record::Death(Box::new(death(name, 1)))]).unwrap();
    writer.write(id, &[Record::Death(Box::new(death("b", 1)))]).unwrap();
    let reader = Reader::open(&path).unwrap().unwrap();
    assert_eq!(reader.deaths(name, 9).unwrap().len(), 1);
    assert_eq!(reader.deaths("b", 9).unwrap().len(), 1);
}

/// Both doors of the store, on a file as it is.
fn refusals(path: &Path) -> [StoreError; 2] {
    [
        Reader::open(path).and_then(|reader| reader.unwrap().plugins()).unwrap_err(),
        Writer::open(path, Keep::default())
            .and_then(|mut writer| writer.begin(&run()))
            .unwrap_err(),
    ]
}

#[test]
fn what_is_no_database_is_damaged_and_left_alone() {
    let (_root, path) = place();
    fs::create_dir(path.parent().unwrap()).unwrap();
    for bytes in [&b""[..], b"SQLite format", b"what is this?\n", &[0; 8192]] {
        fs::write(&path, bytes).unwrap();
        for error in refusals(&path) {
            let named = matches!(error, StoreError::Damaged { .. } | StoreError::Foreign { .. });
            assert!(named, "{error:?}");
        }
        assert_eq!(fs::read(&path).unwrap(), bytes, "left as it is");
    }
}

#[test]
fn a_store_that_was_cut_off_is_damaged() {
    let (_root, path) = place();
    let (mut writer, id) = opened(&path, Keep::default());
    for instance in 0..50 {
        writer.write(id, &[Record::Death(Box::new(death("a", instance)))]).unwrap();
    }
    drop(writer);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    for error in refusals(&path) {
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    }
    assert_eq!(fs::read(&path).unwrap(), &whole[..whole.len() / 2], "left as it is");
}

#[test]
fn a_lost_file_whose_log_is_there_is_damaged() {
    let (_root, path) = place();
    let (writer, _) = opened(&path, Keep::default());
    fs::remove_file(&path).unwrap();
    for error in refusals(&path) {
        assert!(error.to_string().ends_with("it is gone, but its log is there"), "{error}");
    }
    drop(writer);
}

fn edited(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[test]
fn a_newer_store_is_refused_with_both_versions() {
    let (_root, path) = place();
    drop(opened(&path, Keep::default()));
    edited(&path, "PRAGMA user_version = 99");
    for error in refusals(&path) {
        assert!(matches!(error, StoreError::Newer { found: 99, known: 3, .. }), "{error:?}");
        assert!(error.to_string().ends_with("is of version 99, this program knows up to 3"));
    }
}

#[test]
fn a_database_of_somebody_else_is_not_ours_to_write() {
    let (_root, path) = place();
    fs::create_dir(path.parent().unwrap()).unwrap();
    edited(&path, "CREATE TABLE recipes (name TEXT)");
    let before = fs::read(&path).unwrap();
    for error in refusals(&path) {
        assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn what_somebody_planted_in_the_schema_does_not_run() {
    let (_root, path) = place();
    drop(opened(&path, Keep::default()));
    edited(
        &path,
        "CREATE TRIGGER planted AFTER INSERT ON call BEGIN DELETE FROM call; END;
         DROP TABLE change; CREATE VIEW change AS SELECT * FROM call;",
    );
    let (mut writer, id) = opened(&path, Keep::default());
    writer.write(id, &[Record::Call(Box::new(call("a", 1)))]).unwrap();
    let reader = Reader::open(&path).unwrap().unwrap();
    assert_eq!(reader.calls("a", 9).unwrap().len(), 1, "the trigger ran");
    reader.changes("a", 9).unwrap_err();
}

#[test]
fn a_link_in_place_of_the_file_is_not_followed() {
    let (root, path) = place();
    let other = root.path().join("other.db");
    drop(opened(&other, Keep::default()));
    fs::create_dir(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    for error in refusals(&path) {
        assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let (root, _) = place();
    fs::write(root.path().join("file"), "").unwrap();
    let path = root.path().join("file/state/store.db");
    let error = Writer::open(&path, Keep::default()).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever a disk does to a file, the answer is records or a named error.
    #[test]
    fn a_damaged_file_never_panics(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let (_root, path) = place();
        let (mut writer, id) = opened(&path, Keep::default());
        for instance in 0..20 {
            let records =
                [Record::Death(Box::new(death("a", instance))), Record::Call(Box::new(call("a", 1)))];
            writer.write(id, &records).unwrap();
        }
        drop(writer);
        let mut bytes = fs::read(&path).unwrap();
        for (place, byte) in flips {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        fs::write(&path, &bytes).unwrap();
        if let Ok(Some(reader)) = Reader::open(&path) {
            drop(reader.deaths("a", 99));
            drop(reader.calls("a", 99));
        }
        if let Ok(mut writer) = Writer::open(&path, Keep::default()) {
            drop(writer.write(id, &[Record::Death(Box::new(death("a", 99)))]));
            drop(writer.prune(at(1_000)));
        }
    }
}

fn standing(plugin: &str, failures: u32) -> Standing {
    Standing {
        plugin: plugin.into(),
        version: "1.2.3".into(),
        at: at(100),
        failures,
        passing: 1,
        last_delay: Duration::from_millis(500),
        quarantines: 2,
        on_trial: true,
        slow_level_milli: 7_250,
        rest: Duration::from_secs(300),
        quarantined: true,
        restarts: 41,
    }
}

#[test]
fn of_each_plugin_of_a_host_the_last_standing_is_kept() {
    let (_root, path) = place();
    let (mut writer, run) = opened(&path, Keep::default());
    let stand = |plugin, failures| Record::Standing(Box::new(standing(plugin, failures)));
    writer.write(run, &[stand("p", 1), stand("q", 1), stand("p", 8)]).unwrap();
    let other = writer.begin(&Run { host: "another".into(), ..self::run() }).unwrap();
    writer.write(other, &[stand("p", 3)]).unwrap();
    let reader = Reader::open(&path).unwrap().unwrap();
    assert_eq!(reader.standings("plugbay").unwrap(), [standing("p", 8), standing("q", 1)]);
    assert_eq!(reader.standings("another").unwrap(), [standing("p", 3)]);
    assert_eq!(reader.standings("nobody").unwrap(), []);
    let month = Duration::from_secs(31 * 24 * 3600);
    assert_eq!(writer.prune(at(100) + month).unwrap().old, 3);
    assert_eq!(reader.standings("plugbay").unwrap(), []);
}
