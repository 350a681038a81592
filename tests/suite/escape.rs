//! The attack table, as users have it: `plugbay doctor --attack` on every rung of the ladder. What became of
//! an attack is judged by the command; here is judged that all were made, that what a kernel offers is
//! used, and that nothing of all of it is left on the machine.

use std::{fs, path::Path, process::Command};

use plugbay_sandbox::Layer;
use plugbay_tests::{Offer, Setting, TestEnv, command, is_root, requires};
use serde_json::Value;

/// By which door the attackers come in.
const DOORS: [&str; 2] = ["plugin", "run"];

/// What is put around the doctor, besides the user and the refusals of its setting.
#[derive(Clone, Copy, PartialEq)]
enum Around {
    /// Nothing.
    Nothing,
    /// A filter by which the kernel seems to have no Landlock.
    NoLandlock,
    /// Bubblewrap: namespaces, a `/proc` and a `/dev` of its own, nothing to write to but one directory.
    Bubblewrap,
}

const BUBBLEWRAP: &str = "/usr/bin/bwrap";

impl Around {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::NoLandlock => ", no Landlock",
            Self::Bubblewrap => ", in bubblewrap",
        }
    }

    /// `plugbay`, started so.
    fn plugbay(self, env: &TestEnv, setting: Setting, temporary: &Path) -> Command {
        let mut command = command(&env.binaries().path("rung"));
        command.args(setting.rung_options());
        let program = env.binaries().path("plugbay");
        match self {
            Self::Nothing => command.arg("--").arg(program).arg("plugbay"),
            Self::NoLandlock => {
                command.args(["--refuse=landlock", "--"]).arg(program).arg("plugbay")
            }
            Self::Bubblewrap => {
                command.args(["--", BUBBLEWRAP, "bwrap", "--ro-bind", "/", "/"]);
                command.args(["--proc", "/proc", "--dev", "/dev", "--unshare-all"]);
                command.arg("--bind").args([temporary, temporary]).arg("--").arg(program)
            }
        };
        command.env("TMPDIR", temporary).env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command
    }
}

/// Makes all attacks in a setting, through one door.
fn hold(setting: Setting, door: &str) {
    hold_in(setting, Around::Nothing, door);
}

fn hold_in(setting: Setting, around: Around, door: &str) {
    if !setting.is_possible() {
        println!("skipped ({}): the tests do not run as root", setting.name());
        return;
    }
    let env = crate::env();
    require_layers(&Offer::of(env.binaries(), setting), setting);
    let mut words = vec!["--door".to_owned(), door.to_owned()];
    if let Some(only) = std::env::var_os("ATTACKS") {
        words.extend(["--only".to_owned(), only.into_string().unwrap()]);
    }
    let report = doctor(&env, setting, around, &words);
    let name = format!("escapes, {}{}, by {door}", setting.name(), around.name());
    let mut table = table(&name, setting, &report);
    if around == Around::Bubblewrap {
        // Memory that nobody holds is looked for; how soon it is found is the plain user's cell to say.
        table = table.replace("NOT  59", "--   59");
    }
    judge(&name, &table);
}

/// What the doctor tells in a setting; it must leave nothing in the file system.
fn doctor(env: &TestEnv, setting: Setting, around: Around, words: &[String]) -> Value {
    let temporary = env.directory("tmp", setting.uid());
    let mut doctor = around.plugbay(env, setting, &temporary);
    doctor.args(["doctor", "--attack", "--json"]).args(words);
    let output = doctor.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "files are left");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{}: {error}: {said}", setting.name()))
}

/// Prints and keeps a table; no line of it may begin with `NOT`.
fn judge(name: &str, table: &str) {
    println!("{table}");
    let to = format!("{}.txt", name.replace([',', ' '], "-"));
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(to), table).unwrap();
    let wrong: Vec<&str> = table.lines().filter(|line| line.starts_with("NOT")).collect();
    assert!(wrong.is_empty(), "{} rows do not hold ({name}):\n{}", wrong.len(), wrong.join("\n"));
}

/// Leaves out one layer after the other in a setting: what it alone held off must come through.
fn weigh(setting: Setting, missing: &[&str]) {
    if !setting.is_possible() {
        println!("skipped ({}): the tests do not run as root", setting.name());
        return;
    }
    let env = crate::env();
    let report = doctor(&env, setting, Around::Nothing, &["--layers".to_owned()]);
    let name = format!("layers, {}", setting.name());
    let mut table = format!("{name}\n");
    for layer in report["layers"].as_array().unwrap() {
        let word = |key: &str| layer[key].as_str().unwrap_or_default().to_owned();
        let known = missing.contains(&layer["layer"].as_str().unwrap());
        let mark = match layer["outcome"].as_str().unwrap() {
            "needed" => "   ",
            "skipped" if known || !required() => "-- ",
            _ => "NOT",
        };
        let [which, title, with, without] = ["layer", "title", "with", "without"].map(word);
        table += &format!("{mark} {which:<18} {title:<55} with: {with}  without: {without}\n");
    }
    judge(&name, &table);
}

/// Whether a layer that is not there is a failure.
fn required() -> bool {
    requires(Layer::LandlockScopes) && requires(Layer::MountNamespace)
}

/// `REQUIRE_LAYERS` says what this machine must offer where nothing was taken away on purpose.
fn require_layers(offer: &Offer, setting: Setting) {
    if !setting.may_have_namespaces() {
        return;
    }
    // Cgroups hang on what is delegated, which no offer can tell.
    let delegated = [Layer::Cgroup, Layer::Rlimits];
    let mut layers = Layer::ALL.into_iter().filter(|layer| !delegated.contains(layer));
    assert!(layers.all(|layer| !requires(layer) || offer.allows(layer, setting)));
}

/// One line for each attack; one that does not hold, or shows nothing, begins with `NOT`.
fn table(name: &str, setting: Setting, report: &Value) -> String {
    let mut table = format!("{name}\n");
    for row in report["attacks"].as_array().unwrap() {
        let word = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let mark = match row["outcome"].as_str().unwrap() {
            "held" => "   ",
            "absent" => " - ",
            // Some programs and users only root can make.
            "skipped" if !setting.as_root() => "-- ",
            _ => "NOT",
        };
        let (title, became, control) = (word("title"), word("became"), word("control"));
        table += &format!(
            "{mark} {:>3}  {title:<60} {became}  [control: {control}]\n",
            row["number"].as_u64().unwrap(),
        );
    }
    table
}

#[test]
fn attacks_fail_as_root() {
    hold(Setting::Root, DOORS[0]);
}

#[test]
fn attacks_fail_as_an_ordinary_user() {
    hold(Setting::User, DOORS[0]);
}

#[test]
fn attacks_fail_as_root_where_namespaces_are_refused() {
    hold(Setting::RootWithoutNamespaces, DOORS[0]);
}

#[test]
fn attacks_fail_as_an_ordinary_user_where_namespaces_are_refused() {
    hold(Setting::UserWithoutNamespaces, DOORS[0]);
}

#[test]
fn attacks_fail_through_the_command_line() {
    hold(if is_root() { Setting::Root } else { Setting::User }, DOORS[1]);
}

#[test]
fn attacks_fail_through_the_command_line_without_root_and_namespaces() {
    hold(Setting::UserWithoutNamespaces, DOORS[1]);
}

#[test]
fn every_layer_of_root_is_needed() {
    // Cgroups hang on what is delegated, and in a container there may be no path to learn.
    weigh(Setting::Root, &["user-namespace", "cgroup", "cgroup-namespace"]);
}

#[test]
fn every_layer_of_an_ordinary_user_is_needed() {
    let of_root = ["id-mapped-mounts", "dedicated-user", "capabilities", "no-new-privileges"];
    weigh(Setting::User, &[&of_root[..], &["cgroup", "cgroup-namespace"]].concat());
}

#[test]
fn attacks_fail_as_root_without_landlock() {
    hold_in(Setting::Root, Around::NoLandlock, DOORS[0]);
}

#[test]
fn attacks_fail_as_an_ordinary_user_without_landlock() {
    hold_in(Setting::User, Around::NoLandlock, DOORS[0]);
}

#[test]
fn nothing_is_started_without_landlock_and_namespaces() {
    let env = crate::env();
    let setting = Setting::UserWithoutNamespaces;
    let temporary = env.directory("tmp", setting.uid());
    let mut doctor = Around::NoLandlock.plugbay(&env, setting, &temporary);
    let output = doctor.args(["doctor", "--attack"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("files.read") && said.contains("required"), "{said}");
}

#[test]
fn attacks_fail_inside_bubblewrap() {
    if !Path::new(BUBBLEWRAP).exists() {
        assert!(!required(), "there is no {BUBBLEWRAP}");
        println!("skipped: there is no {BUBBLEWRAP}");
        return;
    }
    hold_in(Setting::User, Around::Bubblewrap, DOORS[0]);
}
