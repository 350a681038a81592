//! Whole trees: whatever a program leaves behind goes with it, with its keeper, and with its brain.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plugbay_tests::{PATIENCE, Sealed, Setting, TestEnv, Within, ends};

/// How long a tree may outlive what it belongs to.
const AT_ONCE: Duration = Duration::from_secs(1);

fn nothing_outlives(env: &TestEnv, setting: Setting) {
    let left = env.outliving(AT_ONCE);
    assert!(left.is_empty(), "{}: {}", setting.name(), env.redact(&left.join("\n")));
}

/// A program with ten daemons: in sessions of their own, orphaned, deaf, without a death signal.
fn with_daemons(env: &TestEnv, keeper: &mut plugbay_tests::Keeper, then: &str) -> Sealed {
    let words = ["daemons", "count=5", then];
    let mut sealed = keeper.spawn(&env.probe(words)).unwrap();
    assert_eq!(sealed.line(PATIENCE).as_deref(), Some("ready 10"));
    sealed
}

#[test]
fn a_kill_takes_daemons_along() {
    for setting in Setting::possible() {
        let env = crate::env();
        let mut keeper = env.keeper(setting);
        let sealed = with_daemons(&env, &mut keeper, "then=wait");
        keeper.kill(sealed.token);
        let exit = keeper.exit(sealed.token, PATIENCE);
        assert_eq!(exit.signal, Some(libc::SIGKILL), "{}: {exit:?}", setting.name());
        assert_eq!(env.outliving(Duration::ZERO), [""; 0], "told of the end too early");
    }
}

#[test]
fn an_end_takes_daemons_along() {
    for setting in Setting::possible() {
        let env = crate::env();
        let mut keeper = env.keeper(setting);
        let sealed = with_daemons(&env, &mut keeper, "then=end");
        let exit = keeper.exit(sealed.token, PATIENCE);
        assert_eq!(exit.code, Some(0), "{}: {exit:?}", setting.name());
        assert_eq!(env.outliving(Duration::ZERO), [""; 0], "told of the end too early");
    }
}

#[test]
fn a_killed_keeper_takes_everything_along() {
    for setting in Setting::possible() {
        let env = crate::env();
        let mut keeper = env.keeper(setting);
        let one = with_daemons(&env, &mut keeper, "then=wait");
        let two = with_daemons(&env, &mut keeper, "then=wait");
        kill(Pid::from_raw(keeper.pid()), Signal::SIGKILL).unwrap();
        nothing_outlives(&env, setting);
        drop((one, two, keeper));
        // What only a keeper can remove is removed by the next one.
        drop(env.keeper(setting).run(&env.shell("exit 0")).unwrap());
    }
}

#[test]
fn processes_that_keep_moving_are_caught() {
    for setting in Setting::possible() {
        let env = crate::env();
        let mut keeper = env.keeper(setting);
        let mut sealed = keeper.spawn(&env.probe(["movers", "count=2"])).unwrap();
        assert_eq!(sealed.line(PATIENCE).as_deref(), Some("moving"));
        keeper.kill(sealed.token);
        keeper.exit(sealed.token, PATIENCE);
        assert_eq!(env.outliving(Duration::ZERO), [""; 0], "{}", setting.name());
        let mut sealed = keeper.spawn(&env.probe(["movers", "count=2"])).unwrap();
        assert_eq!(sealed.line(PATIENCE).as_deref(), Some("moving"));
        kill(Pid::from_raw(keeper.pid()), Signal::SIGKILL).unwrap();
        nothing_outlives(&env, setting);
        drop((sealed, keeper));
        // What only a keeper can remove is removed by the next one.
        drop(env.keeper(setting).run(&env.shell("exit 0")).unwrap());
    }
}

/// A host of our own, so that it can be killed.
fn brain(env: &TestEnv, setting: Setting) -> Child {
    let mut command = env.unsealed(setting, "brain");
    command.arg(env.binaries().path(setting.keeper_name())).arg(env.binaries().path("prober"));
    command.arg(format!("of={}", env.root().display())).arg("3");
    let mut brain = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(brain.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let keeper = line.trim().strip_prefix("ready ").and_then(|pid| pid.parse().ok());
    env.watch_keeper(keeper.expect("the brain does not start"));
    brain
}

#[test]
fn a_killed_brain_takes_everything_along() {
    for setting in Setting::possible() {
        let env = crate::env();
        let mut brain = brain(&env, setting);
        brain.kill().unwrap();
        brain.wait().unwrap();
        nothing_outlives(&env, setting);
    }
}

#[test]
fn a_brain_that_ends_takes_everything_along() {
    for setting in Setting::possible() {
        let env = crate::env();
        let mut brain = brain(&env, setting);
        drop(brain.stdin.take());
        assert!(brain.wait().unwrap().success());
        nothing_outlives(&env, setting);
    }
}

#[test]
fn a_child_that_holds_the_output_open_does_not_delay_the_end() {
    for setting in Setting::possible() {
        let env = crate::env();
        let mut keeper = env.keeper(setting);
        let ran = keeper.run(&env.shell("sleep 1000 & sleep 1000 & echo said; exit 3")).unwrap();
        assert_eq!((ran.output.as_str(), ran.exit.code), ("said\n", Some(3)), "{}", setting.name());
    }
}

#[test]
fn a_stopped_program_can_be_killed() {
    for setting in Setting::possible() {
        let env = crate::env();
        let mut keeper = env.keeper(setting);
        let mut sealed = keeper.spawn(&env.shell("echo ready; kill -STOP $$")).unwrap();
        assert_eq!(sealed.line(PATIENCE).as_deref(), Some("ready"));
        keeper.kill(sealed.token);
        assert!(ends(sealed.process(), Within::of(PATIENCE)), "{}", setting.name());
        assert_eq!(keeper.exit(sealed.token, PATIENCE).signal, Some(libc::SIGKILL));
    }
}

#[test]
fn a_fork_bomb_is_killed_whole() {
    for setting in Setting::possible() {
        let env = crate::env();
        let mut keeper = env.keeper(setting);
        let mut sibling = keeper.spawn(&env.probe(["answer"])).unwrap();
        let mut spec = env.probe(["fork-bomb", "count=200", "then=wait"]);
        spec.limits.pids = Some(50);
        let mut bomb = keeper.spawn(&spec).unwrap();
        assert!(bomb.line(PATIENCE).is_some(), "{}", setting.name());
        sibling.write("still there?\n");
        assert_eq!(sibling.line(PATIENCE).as_deref(), Some("answer to still there?"));
        keeper.kill(bomb.token);
        keeper.exit(bomb.token, PATIENCE);
        drop(sibling.input.take());
        keeper.finish(sibling);
        assert_eq!(env.outliving(Duration::ZERO), [""; 0], "{}", setting.name());
    }
}
