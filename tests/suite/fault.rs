//! The fault catalogue, as users have it: `plugbay chaos` as root, as an ordinary user, and where
//! namespaces are refused. What a row requires is judged by the command; here is judged that every
//! row was played, and that nothing of all of it is left on the machine.

use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use plugbay_tests::{Setting, command, is_root};
use serde_json::Value;

/// Rows that cannot be shown everywhere: 78 takes the right to mount a file system.
const MAY_BE_SKIPPED: [u32; 1] = [78];
/// Held by the setting that is being played.
static ALONE: Mutex<()> = Mutex::new(());
/// Rows that are quick enough to be played again and again in one process.
const QUICK: &str = "2,3,4,5,6,10,11,12,16,17,18,20,25,26,27,29,35,42,55";

/// Has rows played in a setting, so many rounds each, and prints what came of them.
fn hold(setting: Setting, only: Option<&str>, rounds: u32) {
    if !setting.is_possible() {
        println!("skipped ({}): the tests do not run as root", setting.name());
        return;
    }
    // A few rows at once are enough for the processors.
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let env = crate::env();
    let temporary = env.directory("tmp", setting.uid());
    let mut chaos = command(&env.binaries().path("rung"));
    chaos.args(setting.rung_options()).arg("--").arg(env.binaries().path("plugbay"));
    chaos.args(["plugbay", "chaos", "--json", &format!("--rounds={rounds}")]);
    let named = std::env::var_os("FAULTS");
    if let Some(only) = only.map(Into::into).or(named) {
        chaos.arg("--only").arg(only);
    }
    chaos.env("TMPDIR", &temporary).env("PATH", path(setting));
    let output = chaos.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{}: {error}: {said}", setting.name()));
    let table = table(setting, &report);
    println!("{table}");
    let to = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("faults-{}.txt", setting.keeper_name()));
    fs::write(to, &table).unwrap();
    let broken: Vec<&str> = table.lines().filter(|line| line.starts_with("NOT")).collect();
    assert!(broken.is_empty(), "not contained ({}):\n{}", setting.name(), broken.join("\n"));
    assert!(output.status.success(), "{}: {said}", output.status);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "files are left");
}

/// Where the programs of a setting are; the tests' own may be below their home.
fn path(setting: Setting) -> std::ffi::OsString {
    let own = nix::unistd::geteuid().as_raw() == setting.uid();
    let usual = "/usr/local/bin:/usr/bin:/bin".into();
    if own { std::env::var_os("PATH").unwrap_or(usual) } else { usual }
}

fn table(setting: Setting, report: &Value) -> String {
    let mut table = format!("faults, as {}:\n", setting.name());
    for row in report["rows"].as_array().unwrap() {
        let word = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let mark = match row["outcome"].as_str().unwrap() {
            "held" => "   ",
            "skipped" => "-- ",
            _ => "NOT",
        };
        let number = row["number"].as_u64().unwrap();
        assert!(
            mark != "-- " || MAY_BE_SKIPPED.contains(&u32::try_from(number).unwrap()),
            "row {number} was not played: {}",
            word("observed")
        );
        let (fault, plugin, required) = (word("fault"), word("plugin"), word("required"));
        table += &format!(
            "{mark} {number:>3} {fault:<48} {plugin:<6} | {required:<64} | {}\n",
            word("observed")
        );
    }
    table
}

/// The setting that is the tests' own.
fn own() -> Setting {
    if is_root() { Setting::Root } else { Setting::User }
}

#[test]
fn every_fault_is_contained() {
    hold(own(), None, 1);
}

#[test]
fn hosts_hold_no_more_after_many_rounds() {
    hold(own(), Some(QUICK), 4);
}

#[test]
fn every_fault_is_contained_as_an_ordinary_user() {
    if is_root() {
        hold(Setting::User, None, 1);
    }
}

#[test]
fn every_fault_is_contained_where_namespaces_are_refused() {
    hold(Setting::UserWithoutNamespaces, None, 1);
}
