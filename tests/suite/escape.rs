//! The attack table, as users have it: `plugbay doctor --attack` on every rung of the ladder. What became of
//! an attack is judged by the command; here is judged that all were made, that what a kernel offers is
//! used, and that nothing of all of it is left on the machine.

use std::{fs, path::Path};

use plugbay_sandbox::Layer;
use plugbay_tests::{Offer, Setting, command, is_root, requires};
use serde_json::Value;

/// By which door the attackers come in.
const DOORS: [&str; 2] = ["plugin", "run"];

/// Makes all attacks in a setting, through one door.
fn hold(setting: Setting, door: &str) {
    if !setting.is_possible() {
        println!("skipped ({}): the tests do not run as root", setting.name());
        return;
    }
    let env = crate::env();
    require_layers(&Offer::of(env.binaries(), setting), setting);
    let temporary = env.directory("tmp", setting.uid());
    let mut doctor = command(&env.binaries().path("rung"));
    doctor.args(setting.rung_options()).arg("--").arg(env.binaries().path("plugbay"));
    doctor.args(["plugbay", "doctor", "--attack", "--json", "--door", door]);
    if let Some(only) = std::env::var_os("ATTACKS") {
        doctor.arg("--only").arg(only);
    }
    doctor.env("TMPDIR", &temporary).env("PATH", "/usr/local/bin:/usr/bin:/bin");
    let output = doctor.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{}: {error}: {said}", setting.name()));
    let name = format!("escapes, {}, by {door}", setting.name());
    let table = table(&name, &report);
    println!("{table}");
    let to = format!("{}.txt", name.replace([',', ' '], "-"));
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(to), &table).unwrap();
    let wrong: Vec<&str> = table.lines().filter(|line| line.starts_with("NOT")).collect();
    assert!(wrong.is_empty(), "{} rows do not hold ({name}):\n{}", wrong.len(), wrong.join("\n"));
    assert!(output.status.success(), "{}: {said}", output.status);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "files are left");
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
fn table(name: &str, report: &Value) -> String {
    let mut table = format!("{name}\n");
    for row in report["attacks"].as_array().unwrap() {
        let word = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let mark = match row["outcome"].as_str().unwrap() {
            "held" => "   ",
            "absent" => " - ",
            "skipped" => "-- ",
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
