//! The words of `why`, to the letter, and that nothing hostile gets through them.

use std::time::{Duration, UNIX_EPOCH};

use plugbay::{
    Cause,
    lifecycle::pulse::Stuck,
    store::{Hit, InFlight, Next, Usage},
};

use super::{
    sheet::{Style, sheet},
    *,
};
use crate::output::Brush;

/// 2026-11-21 03:14:07 UTC.
fn night() -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_230_847)
}

fn style() -> Style {
    Style { brush: Brush::plain(), lines: 3, now: night() + Duration::from_secs(125) }
}

fn death() -> Death {
    Death {
        plugin: "prices".into(),
        version: "1.2.3".into(),
        generation: 1,
        instance: 3,
        at: night(),
        pid: Some(4321),
        cause: "limit(memory)".into(),
        words: "ran into its memory limit of 256MiB (peak 256MiB, held by cgroup v2)".into(),
        requested: false,
        before_hello: false,
        uptime: Duration::from_secs(3_725),
        in_flight: vec![
            InFlight { method: "quote".into(), age: Duration::from_millis(1_500) },
            InFlight { method: "load".into(), age: Duration::from_millis(20) },
        ],
        calls_lost: 5,
        limits: vec![Hit {
            limit: "memory".into(),
            value: 256 << 20,
            peak: Some(256 << 20),
            times: 1,
            by: "cgroup v2".into(),
            words: "its memory limit of 256MiB (peak 256MiB, held by cgroup v2)".into(),
        }],
        denials: Vec::new(),
        denied_more: 0,
        usage: Some(Usage {
            user: Duration::from_millis(5_250),
            system: Duration::from_millis(310),
            max_rss: 250 << 20,
        }),
        memory_peak: Some(256 << 20),
        next: Some(Next { state: "quarantined".into(), after: Some(Duration::from_secs(300)) }),
        stderr:
            "loading\nTraceback (most recent call last):\n  File \"main.py\", line 7\nMemoryError\n"
                .into(),
    }
}

fn change(seconds_before: u64, from: &str, to: &str, why: &str) -> Change {
    Change {
        plugin: "prices".into(),
        instance: Some(3),
        at: night() - Duration::from_secs(seconds_before),
        from: from.into(),
        to: to.into(),
        why: why.into(),
    }
}

fn case(death: Death) -> Case {
    let host = Run { at: night(), host: "plugbay".into(), version: "0.1.0".into(), pid: 77 };
    let failed = Failed {
        host: Some(host),
        before: vec![
            change(3_725, "backoff", "starting", ""),
            change(3_724, "starting", "running", ""),
            change(0, "running", "crashed", ""),
        ],
        since: vec![change(0, "crashed", "quarantined", &death.words)],
        skipped: 0,
        failures: 8,
        lost: 0,
        death,
    };
    Case {
        plugin: "prices".into(),
        last: Some(failed.death.clone()),
        failure: Some(failed),
        obstacle: None,
    }
}

#[test]
fn the_whole_story_is_told_in_order() {
    insta::assert_snapshot!(sheet(&case(death()), &style()), @r#"
    prices 1.2.3: ran into its memory limit of 256MiB (peak 256MiB, held by cgroup v2)
      2 minutes ago, at 2026-11-21 03:14:07 UTC; after 1h 2m as pid 4321, instance 3
      hosted by plugbay 0.1.0, pid 77
      8 failures of it are kept: `plugbay history prices --of ends`

    What it was doing
      quote  for 1.5s
      load   for 20ms
      and 3 more calls

    Its last words (of 4 lines; --lines shows more)
      Traceback (most recent call last):
        File "main.py", line 7
      MemoryError

    What it used
      processor  5.2s user, 310ms system
      memory     256MiB at most, all its processes together

    Before
      02:12:02  backoff → starting
      02:12:03  starting → running
      03:14:07  running → crashed

    What happens next
      It failed too often and is left alone. One trial is made by itself, at 2026-11-21 03:19:07
      UTC, in 2m 55s; starting it by hand ends that at once.

    Since
      03:14:07  crashed → quarantined  ran into its memory limit of 256MiB (peak 256MiB, held by cgroup v2)

    What you can do
      Raise `memory` in [limits] of its plugin.toml, or let it do with less.
      It ran well for a while: look for a leak before raising anything.
    "#);
}

#[test]
fn a_plugin_that_never_ran_is_told_so() {
    let never = Death {
        pid: None,
        cause: "launch(exec, 2)".into(),
        words: "could not be started at step `exec`: no such file (errno 2)".into(),
        before_hello: true,
        in_flight: Vec::new(),
        calls_lost: 0,
        limits: Vec::new(),
        usage: None,
        memory_peak: None,
        next: Some(Next { state: "failed".into(), after: None }),
        stderr: String::new(),
        ..death()
    };
    let mut case = case(never);
    if let Some(failed) = &mut case.failure {
        (failed.failures, failed.before, failed.since) = (1, Vec::new(), Vec::new());
        failed.lost = 7;
    }
    insta::assert_snapshot!(sheet(&case, &style()), @"
    prices 1.2.3: could not be started at step `exec`: no such file (errno 2)
      2 minutes ago, at 2026-11-21 03:14:07 UTC; it never ran
      hosted by plugbay 0.1.0, pid 77

    What it was doing
      It was starting.

    Its last words
      None: it wrote nothing to standard error.

    What happens next
      It stays down: starting it again as it is cannot help. Start it by hand when something has
      changed.

    What you can do
      `plugbay check` looks for the command as a start does, and says what is missing.

    Take care
      7 records of that time could not be kept.
    ");
}

#[test]
fn a_plugin_without_a_failure_is_said_to_be_well() {
    let asked = Death { requested: true, ..death() };
    let case = Case { plugin: "prices".into(), failure: None, last: Some(asked), obstacle: None };
    insta::assert_snapshot!(sheet(&case, &style()), @"
    prices: no failure is known. Its last process ended 2 minutes ago, as it was asked to.
    ");
}

#[test]
fn nothing_that_a_plugin_wrote_can_move_a_cursor_or_forge_a_line() {
    let bad = "\x1b[2J\rx\u{9b}31m\u{202e}\nerror: forged";
    let hostile = Death {
        version: bad.into(),
        words: bad.into(),
        cause: format!("limit({bad})"),
        in_flight: vec![InFlight { method: bad.into(), age: Duration::ZERO }],
        limits: vec![Hit {
            limit: "x".into(),
            value: 1,
            peak: None,
            times: 1,
            by: bad.into(),
            words: bad.into(),
        }],
        next: Some(Next { state: bad.into(), after: None }),
        stderr: format!("{bad}{}", "y".repeat(100_000)),
        ..death()
    };
    let mut case = case(hostile);
    if let Some(failed) = &mut case.failure {
        failed.before = vec![change(1, bad, bad, bad)];
    }
    let told = sheet(&case, &Style { lines: usize::MAX, ..style() });
    assert!(!told.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{told}");
    assert!(!told.lines().any(|line| line.starts_with("error:")), "{told}");
    assert!(told.lines().all(|line| line.chars().count() < 600), "{told}");
}

#[test]
fn every_cause_that_somebody_can_do_something_about_has_advice() {
    let launch =
        |stage: &str| Cause::Launch { stage: stage.into(), errno: 2, message: String::new() };
    for cause in [
        Cause::Code(0),
        Cause::Code(1),
        Cause::Code(78),
        Cause::Code(127),
        Cause::Signal(9),
        Cause::Signal(11),
        Cause::Signal(15),
        Cause::Signal(35),
        Cause::Seccomp,
        Cause::Limit(plugbay::Limit::Memory),
        Cause::Limit(plugbay::Limit::FileSize),
        Cause::Protocol(String::new()),
        Cause::Mute { after: Duration::ZERO },
        Cause::CancelIgnored,
        Cause::NotReady { after: Duration::ZERO },
        Cause::Watchdog { stuck: Stuck::Hang, after: Duration::ZERO },
        Cause::Watchdog { stuck: Stuck::Busy, after: Duration::ZERO },
        Cause::Watchdog { stuck: Stuck::Deaf, after: Duration::ZERO },
        Cause::Host(String::new()),
        Cause::Handshake(String::new()),
        launch("exec"),
        launch("mount"),
        Cause::KeeperLost,
    ] {
        let death = Death { cause: cause.token(), limits: Vec::new(), ..death() };
        assert!(!advice::advice(&death).is_empty(), "{cause:?}");
    }
}

#[test]
fn a_limit_that_did_not_end_it_is_named_as_a_possible_reason() {
    let death = Death { cause: "exit(1)".into(), ..death() };
    let last = advice::advice(&death).pop().unwrap();
    assert!(last.contains("also ran into its memory limit of 256MiB"), "{last}");
    assert_eq!(advice::advice(&super::tests::death()).len(), 2, "not for the one that did");
}

#[test]
fn what_it_was_refused_is_told_with_what_would_allow_it() {
    let mut denial = plugbay_sandbox::Denial::new(plugbay_sandbox::Barrier::Files, "grants");
    denial.path = Some("/srv/book\u{1b}[2J.txt".into());
    denial.count = 3;
    denial.fix = Some(plugbay_sandbox::Fix::File {
        path: "/srv/book.txt".into(),
        access: plugbay_sandbox::Access::Read,
    });
    let kept = plugbay::store::Denial {
        layer: "files".into(),
        rule: "grants".into(),
        syscall: None,
        path: None,
        times: 3,
        details: serde_json::to_string(&denial).unwrap(),
    };
    let details = "{\"of\": \"a later version\"}".to_owned();
    let strange = plugbay::store::Denial { details, ..kept.clone() };
    let refused = Death { denials: vec![kept, strange], denied_more: 4, ..death() };
    let told = sheet(&case(refused), &style());
    let section = told.split("\nWhat it was refused\n").nth(1).unwrap();
    insta::assert_snapshot!(section.split("\n\n").next().unwrap(), @r#"
    grants `/srv/book\u{1b}[2J.txt`, 3 times; to allow it: [permissions.filesystem] read =
    ["/srv/book.txt"]
    and 4 more
    "#);
}

#[test]
fn what_keeps_a_plugin_down_without_a_failure_is_told() {
    let why = "its configuration does not fit: `top`: 3 is no string";
    let obstacle = Some(change(60, "idle", "failed", why));
    let case = Case { plugin: "prices".into(), failure: None, last: None, obstacle };
    insta::assert_snapshot!(sheet(&case, &style()), @"
    prices: failed
      3 minutes ago, at 2026-11-21 03:13:07 UTC
      its configuration does not fit: `top`: 3 is no string
    ");
}
