//! The keeper as a real process: starts, stops, kills, and never outlives its brain.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use plugbay_keeper::{Client, Event, Request, locate};
use plugbay_sandbox::{Access, FileGrant, Layer, Spec, Status, scrub};

const PATIENCE: u16 = 10_000;

fn client() -> Client {
    let program = locate(Some(Path::new(env!("CARGO_BIN_EXE_plugbay-keeper")))).unwrap();
    Client::start(&program).unwrap()
}

fn shell(script: &str) -> Box<Spec> {
    let mut spec = Spec::new("/bin/sh");
    spec.args = vec!["sh".into(), "-c".into(), script.into()];
    spec.env = scrub(&[], &[]);
    Box::new(spec)
}

fn next(client: &Client) -> (Event, Vec<OwnedFd>) {
    loop {
        if let Some(event) = client.receive().unwrap() {
            return event;
        }
        let mut polled = [PollFd::new(client.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut polled, PATIENCE), Ok(1), "no event in time");
    }
}

/// Starts a script: its ends of the pipes and its pidfd.
fn start(client: &Client, token: u64, script: &str) -> (File, File, OwnedFd) {
    client.send(&Request::Spawn { token, spec: shell(script) }).unwrap();
    let (event, fds) = next(client);
    let Event::Started { token: started, .. } = event else { panic!("{event:?}") };
    assert_eq!(started, token);
    let [input, output, _error, process] = <[OwnedFd; 4]>::try_from(fds).unwrap();
    (input.into(), output.into(), process)
}

fn ends_in_time(process: &OwnedFd) {
    let mut polled = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut polled, PollTimeout::from(PATIENCE)), Ok(1), "still alive");
}

#[test]
fn a_program_is_sealed_talks_over_its_pipes_and_its_exit_is_told() {
    let client = client();
    client
        .send(&Request::Spawn { token: 1, spec: shell("read line; echo got $line; exit 7") })
        .unwrap();
    let (event, fds) = next(&client);
    let Event::Started { enforcement, .. } = event else { panic!("{event:?}") };
    assert_eq!(enforcement.layer(Layer::Seccomp).unwrap().status, Status::Enforced);
    let [input, output, _error, _process] = <[OwnedFd; 4]>::try_from(fds).unwrap();
    File::from(input).write_all(b"hello\n").unwrap();
    let mut said = String::new();
    File::from(output).read_to_string(&mut said).unwrap();
    assert_eq!(said, "got hello\n");
    let (Event::Exited { exit, .. }, _) = next(&client) else { panic!("no exit") };
    assert_eq!((exit.code, exit.signal), (Some(7), None));
    assert!(exit.usage.is_some());
}

/// Every process below the keeper.
fn family(client: &Client) -> Vec<u32> {
    let mut found = vec![client.pid()];
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        let path = format!("/proc/{parent}/task/{parent}/children");
        let children = std::fs::read_to_string(path).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        next += 1;
    }
    found.split_off(1)
}

#[test]
fn a_start_made_ahead_is_sealed_like_any_other_and_has_what_was_granted() {
    let granted = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let client = client();
    let run = |token, script: &str| {
        let mut spec = shell(script);
        spec.files = vec![FileGrant::requested(granted.path(), Access::Write)];
        spec.workdir = granted.path().to_owned();
        client.send(&Request::Spawn { token, spec }).unwrap();
        let (event, fds) = next(&client);
        let Event::Started { pid, enforcement, .. } = event else { panic!("{event:?}") };
        let [_input, output, _error, _process] = <[OwnedFd; 4]>::try_from(fds).unwrap();
        let mut said = String::new();
        File::from(output).read_to_string(&mut said).unwrap();
        let (Event::Exited { .. }, _) = next(&client) else { panic!("no exit") };
        (pid.unwrap(), enforcement, said)
    };
    let script = "echo kept >>log && cat log; touch /left /etc/left; id -u; ls /home /root 2>&1; \
                  grep -c . /proc/self/mountinfo; grep -E 'Seccomp:|NoNewPrivs|Cap' /proc/self/status";
    let (_, ordinary, first) = run(1, script);
    if ordinary.layer(Layer::DedicatedUser).unwrap().status != Status::Enforced {
        // Only root makes starts ahead.
        return;
    }
    // Shim, stub and the program's own process of the next start.
    while family(&client).len() < 3 {
        std::thread::yield_now();
    }
    let ahead = family(&client);
    let (pid, same, second) = run(2, script);
    assert!(ahead.contains(&pid), "{pid} was not among {ahead:?}");
    assert_eq!(same, ordinary);
    let without_user = |said: &str| {
        let lines = said.lines().filter(|line| !line.starts_with("18"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(without_user(&second)[1..], without_user(&first)[..], "one more line in the log");
}

#[test]
fn what_cannot_be_executed_is_a_named_failure() {
    let client = client();
    client
        .send(&Request::Spawn { token: 1, spec: Box::new(Spec::new("/usr/bin/no-such-program")) })
        .unwrap();
    let (Event::Failed { failure, .. }, _) = next(&client) else { panic!("no failure") };
    assert_eq!(failure.errno, Some(libc::ENOENT));
    assert!(
        failure.message.contains("execute the program `/usr/bin/no-such-program`"),
        "{}",
        failure.message
    );
}

#[test]
fn a_kill_takes_daemons_along_and_others_stay() {
    let client = client();
    let (_input, mut output, _process) =
        start(&client, 1, "setsid sh -c 'echo ready; trap \"\" TERM; sleep 1000' & wait");
    let (mut other, mut answer, _other_process) = start(&client, 2, "read x; echo alive");
    let mut ready = [0; 6];
    output.read_exact(&mut ready).unwrap();
    client.send(&Request::Kill { token: 1 }).unwrap();
    let (Event::Exited { token, exit }, _) = next(&client) else { panic!("no exit") };
    assert_eq!((token, exit.signal), (1, Some(libc::SIGKILL)));
    // The daemon held the pipe open; its end means that the daemon is gone.
    assert_eq!(output.read(&mut ready).unwrap(), 0);
    other.write_all(b"x\n").unwrap();
    let mut said = String::new();
    answer.read_to_string(&mut said).unwrap();
    assert_eq!(said, "alive\n");
}

#[test]
fn a_signal_reaches_the_program() {
    let client = client();
    let (_input, mut output, _process) =
        start(&client, 1, "trap 'exit 3' USR1; echo ready; while :; do sleep 0.01; done");
    let mut ready = [0; 6];
    output.read_exact(&mut ready).unwrap();
    client.send(&Request::Signal { token: 1, signal: libc::SIGUSR1 }).unwrap();
    let (Event::Exited { exit, .. }, _) = next(&client) else { panic!("no exit") };
    assert_eq!(exit.code, Some(3));
}

#[test]
fn everything_goes_with_the_client() {
    let client = client();
    let (_input, _output, process) = start(&client, 1, "sleep 1000");
    drop(client);
    ends_in_time(&process);
}

#[test]
fn everything_goes_with_a_killed_keeper() {
    let client = client();
    let (_input, _output, process) = start(&client, 1, "sleep 1000");
    let keeper = nix::unistd::Pid::from_raw(i32::try_from(client.pid()).unwrap());
    nix::sys::signal::kill(keeper, nix::sys::signal::Signal::SIGKILL).unwrap();
    ends_in_time(&process);
}

#[test]
fn two_hundred_starts_leave_no_descriptor_and_no_cgroup_behind() {
    let client = client();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", client.pid())).unwrap().count();
    let mut first = 0;
    for token in 0..200 {
        let pipes = start(&client, token, "exit 0");
        let (Event::Exited { .. }, _) = next(&client) else { panic!("no exit") };
        drop(pipes);
        if token == 10 {
            first = open();
        }
    }
    // Give or take what is kept for the next start; a leak would be hundreds.
    assert!(open() <= first + 16, "{} after {first}", open());
}
