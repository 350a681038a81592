//! The escape table: every attack of the catalogue that applies, on every rung of the ladder.
//!
//! Each attack is let loose twice: sealed, where it must fail and leave the host as it was while a
//! sealed sibling goes on answering; and unsealed against doubles, where it must succeed (the control).
//! Where no layer of a rung can stop it, the report must say so, and the row is printed as absent.

mod face;
mod judge;
mod row;
mod scene;
mod table;
mod table_calls;

use std::{
    fmt::Write as _,
    fs::{self, File},
    os::fd::OwnedFd,
    path::Path,
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use plugbay_sandbox::{Access, FileGrant, Spec};
use plugbay_tests::{Keeper, Offer, PATIENCE, Sealed, Setting, TestEnv, is_root};

use self::{
    judge::{Verdict, control, verdict},
    row::{Control, Row},
    scene::{Scene, Targets, has_core},
};

fn rows() -> Vec<&'static Row> {
    let tables = [
        table::FILE_ROWS,
        table::PROCESS_ROWS,
        table_calls::FILTER_ROWS,
        table_calls::NETWORK_ROWS,
        table_calls::BELONGING_ROWS,
    ];
    tables.into_iter().flatten().collect()
}

/// By which door an attack comes in.
#[derive(Clone, Copy, PartialEq)]
enum Face {
    /// Spawned by a keeper, as plugins are.
    Keeper,
    /// As the command of `plugbay run`.
    CommandLine,
}

/// One setting with its keeper and a sealed sibling that must not notice anything.
struct Stage<'a> {
    env: &'a TestEnv,
    setting: Setting,
    face: Face,
    offer: Offer,
    keeper: Keeper,
    sibling: Sealed,
    asked: u32,
    /// Descriptors that a careless host leaves open for its children.
    _careless: Vec<OwnedFd>,
}

impl<'a> Stage<'a> {
    fn new(env: &'a TestEnv, setting: Setting, face: Face) -> Self {
        let careless = careless_descriptors(env.root());
        let offer = Offer::of(env.binaries(), setting);
        let mut keeper = env.keeper(setting);
        let sibling = keeper.spawn(&env.probe(["answer"])).unwrap();
        Self { env, setting, face, offer, keeper, sibling, asked: 0, _careless: careless }
    }

    fn sibling_answers(&mut self) -> bool {
        self.asked += 1;
        self.sibling.write(&format!("{}\n", self.asked));
        self.sibling.line(PATIENCE).is_some_and(|line| line == format!("answer to {}", self.asked))
    }

    /// The attack, sealed: the verdict, or all that is wrong.
    fn attack(&mut self, row: &Row) -> Result<Verdict, String> {
        let targets = Targets { supervisor: self.keeper.pid(), sibling: self.sibling.pid };
        let scene = Scene::new(self.env, self.setting, Some(targets));
        let mut spec = self.spec(row, &scene);
        (row.shape)(&mut spec, &scene);
        let before = scene.host();
        let (ran, meanwhile) = match self.face {
            Face::Keeper => {
                let mut sealed = self.keeper.spawn(&spec).map_err(|failure| failure.message)?;
                drop(sealed.input.take());
                let meanwhile = self.sibling_answers();
                (self.keeper.finish(sealed), meanwhile)
            }
            Face::CommandLine => (face::run(self.env, self.setting, &spec)?, true),
        };
        let afterwards = self.sibling_answers();
        let after = scene.host();
        let changes: Vec<String> = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after)
            .map(|(before, after)| format!("was `{before}`, is `{after}`"))
            .collect();
        let verdict = verdict(row, &ran, &self.offer)?;
        let allowed = matches!(verdict, Verdict::Absent { .. });
        if !(allowed || changes.is_empty() && before.len() == after.len()) {
            return Err(format!("the host changed: {}\n{}", changes.join("; "), ran.output));
        }
        if !(meanwhile && afterwards) {
            return Err("the sibling does not answer".to_owned());
        }
        if has_core(&scene.work) {
            return Err("a core dump is in the work directory".to_owned());
        }
        Ok(verdict)
    }

    fn spec(&self, row: &Row, scene: &Scene) -> Spec {
        let words = std::iter::once(row.attack).chain(row.words.iter().copied());
        let mut spec = self.env.probe(words.chain(scene.words()));
        spec.files.push(FileGrant::requested(&scene.work, Access::Write));
        for helper in ["setuid", "capable"] {
            let helper = self.env.binaries().path(helper);
            if helper.exists() {
                spec.files.push(FileGrant::requested(helper, Access::Exec));
            }
        }
        spec
    }

    /// The attack, unsealed and against doubles: what it shows, or why it shows nothing.
    fn control(&self, row: &Row) -> Result<String, String> {
        let setting = match row.control {
            Control::None(why) => return Ok(format!("none: {why}")),
            Control::Root if !is_root() => {
                return Ok("none: the tests do not run as root".to_owned());
            }
            Control::Root => Setting::Root,
            Control::UserWith(_) => Setting::User,
            Control::Same | Control::EndsVictims | Control::Runs => self.setting,
        };
        let scene = Scene::new(self.env, setting, None);
        let mut command = self.env.unsealed(setting, "prober");
        command.arg(row.attack).args(row.words).args(scene.words());
        command.envs(table_calls::secrets()).env_remove("LD_PRELOAD").env("LD_PRELOAD", "");
        command.env("TMPDIR", &scene.work).stdin(std::process::Stdio::null());
        let output = command.output().unwrap();
        if matches!(row.control, Control::EndsVictims) {
            let ended = scene.victims_end();
            return if ended {
                Ok("ends its victims".to_owned())
            } else {
                Err("no victim ended".to_owned())
            };
        }
        control(row, &String::from_utf8_lossy(&output.stdout))
            .map_err(|why| format!("{why}\n{}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// Open files and a directory without the mark that closes them on exec.
fn careless_descriptors(directory: &Path) -> Vec<OwnedFd> {
    let opened = std::iter::once(directory).chain(std::iter::repeat_n(Path::new("/dev/null"), 100));
    opened
        .map(|path| {
            let file: OwnedFd = File::open(path).unwrap().into();
            fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
            file
        })
        .collect()
}

/// The whole table in one setting.
fn hold(setting: Setting, face: Face) {
    if !setting.is_possible() {
        println!("skipped ({}): the tests do not run as root", setting.name());
        return;
    }
    let env = crate::env();
    let mut stage = Stage::new(&env, setting, face);
    let by = if face == Face::Keeper { "keeper" } else { "plugbay run" };
    let name = format!("escapes, {}, {by}", setting.name());
    let mut table = format!("{name}\n");
    let mut wrong = Vec::new();
    for row in rows() {
        let title = format!("{:>3}  {:<58}", row.number, row.title);
        if matches!(row.control, Control::UserWith(tool) if !env.binaries().path(tool).exists()) {
            writeln!(table, "{title} skipped: only root (with setcap) can make the program")
                .unwrap();
            continue;
        }
        let outcome = stage.attack(row);
        // What the attack does unsealed does not depend on the door.
        let control = if face == Face::Keeper {
            stage.control(row).map(|shown| format!("control: {shown}"))
        } else {
            Ok("control: with the keeper".to_owned())
        };
        match (&outcome, &control) {
            (Ok(verdict), Ok(control)) => {
                writeln!(table, "{title} {verdict}  [{control}]").unwrap();
            }
            (Err(why), _) => wrong.push(format!("{title} HOLE: {}", env.redact(why))),
            (Ok(_), Err(why)) => wrong.push(format!("{title} void control: {}", env.redact(why))),
        }
    }
    println!("{table}");
    fs::write(face::table(&name), &table).unwrap();
    assert!(wrong.is_empty(), "{} rows do not hold ({name}):\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn attacks_fail_as_root() {
    hold(Setting::Root, Face::Keeper);
}

#[test]
fn attacks_fail_as_an_ordinary_user() {
    hold(Setting::User, Face::Keeper);
}

#[test]
fn attacks_fail_as_root_where_namespaces_are_refused() {
    hold(Setting::RootWithoutNamespaces, Face::Keeper);
}

#[test]
fn attacks_fail_as_an_ordinary_user_where_namespaces_are_refused() {
    hold(Setting::UserWithoutNamespaces, Face::Keeper);
}

#[test]
fn attacks_fail_through_the_command_line() {
    hold(if is_root() { Setting::Root } else { Setting::User }, Face::CommandLine);
}

#[test]
fn attacks_fail_through_the_command_line_without_root_and_namespaces() {
    hold(Setting::UserWithoutNamespaces, Face::CommandLine);
}

#[test]
fn every_attack_of_the_prober_is_in_the_table() {
    let env = crate::env();
    let output = env.unsealed(Setting::User, "prober").arg("list").output().unwrap();
    let helpers = ["answer", "victim", "daemons", "movers", "identity", "offers"];
    let listed = String::from_utf8(output.stdout).unwrap();
    let known = rows();
    let unused: Vec<&str> = listed
        .lines()
        .filter(|name| !helpers.contains(name) && !known.iter().any(|row| row.attack == *name))
        .collect();
    assert_eq!(unused, Vec::<&str>::new());
    assert!(known.len() >= 45, "{} rows", known.len());
}
