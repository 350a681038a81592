//! One door with all that stands behind it: a keeper, a sealed sibling that must not notice anything,
//! and what the kernel offers. Plays one row after the other.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::Path,
    process::{Output, Stdio},
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use plugbay_sandbox::{Access, Demand, FileGrant, Layer, Protection, Spec, scrub};
use serde::Serialize;

use super::{
    door::{self, Door, Ran, Unsealed},
    ground::{self, Ground, Helper},
    judge::{Verdict, came_through, control, expected, verdict},
    keeper::{Keeper, Sealed},
    layer::{self, Need, Shown, Weighed},
    offer::Offer,
    probe,
    row::{Concerns, Control, Row},
    scene::{Scene, Targets, has_core},
    table_calls::HELD,
};

/// What came of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// The attack failed, and the host is as it was.
    Held,
    /// No layer stops it here, and the report says so.
    Absent,
    /// It failed, but it would without a sandbox too: nothing is shown.
    Unproven,
    /// There is nothing here to attack with.
    Skipped,
    /// It came through, or nobody knows what stopped it.
    Broken,
}

/// The same, in full.
#[derive(Debug, Serialize)]
pub(crate) struct Played {
    pub(crate) outcome: Outcome,
    /// What became of the attack, or what is wrong.
    pub(crate) became: String,
    /// The layers that hold, of those of which each is enough.
    pub(crate) layers: Vec<Layer>,
    /// What the same attack does without a sandbox.
    pub(crate) control: String,
    /// The rules of the filter by which refusals were told.
    pub(crate) told: Vec<String>,
}

impl Played {
    fn nothing(outcome: Outcome, why: String) -> Self {
        Self { outcome, became: why, layers: Vec::new(), control: String::new(), told: Vec::new() }
    }
}

/// The stage.
#[derive(Debug)]
pub(crate) struct Stage {
    door: Door,
    offer: Offer,
    sibling: Sealed,
    asked: u32,
    /// Descriptors that a careless host leaves open for its children.
    _careless: Vec<OwnedFd>,
    // Dropped in this order: who runs there before where it is.
    keeper: Keeper,
    ground: Ground,
}

impl Stage {
    /// Puts everything up.
    pub(crate) fn set(door: Door) -> Result<Self, Unsealed> {
        let ground = Ground::new()?;
        let offer = Offer::of(&ground)?;
        let careless = careless_descriptors(ground.path())?;
        let mut keeper = Keeper::start()?;
        let sibling = keeper.spawn(&attacker(&ground, &offer, ["answer"]))?;
        Ok(Self { door, offer, sibling, asked: 0, _careless: careless, keeper, ground })
    }

    /// What the kernel offers.
    pub(crate) fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Lets one attack loose, sealed and unsealed.
    pub(crate) fn play(&mut self, row: &Row) -> Played {
        if let Some(why) = self.impossible(row) {
            return Played::nothing(Outcome::Skipped, why.to_owned());
        }
        let (verdict, told) = match self.attack(row) {
            Ok(attacked) => attacked,
            Err(why) => return Played::nothing(Outcome::Broken, why),
        };
        let shown = self.control(row).unwrap_or_else(|error| Err(error.to_string()));
        let outcome = match (&verdict, &shown) {
            (_, Err(_)) => Outcome::Unproven,
            (Verdict::Absent { .. } | Verdict::Refused { .. }, Ok(_)) => Outcome::Absent,
            (_, Ok(_)) => Outcome::Held,
        };
        let (became, layers) = (verdict.to_string(), verdict.layers());
        Played { outcome, became, layers, control: shown.unwrap_or_else(|why| why), told }
    }

    /// Shows what a layer is good for: the attack with it and without.
    pub(crate) fn weigh(&self, need: &Need) -> Weighed {
        let nothing = |outcome, why: String| Weighed::of(need, outcome, why, String::new());
        let Some(row) = need.row() else {
            return nothing(Shown::Broken, "there is no such attack".to_owned());
        };
        if let Some(why) = self.impossible(row) {
            return nothing(Shown::Skipped, why.to_owned());
        }
        let (ran, changes) = match self.attack_without(row, need.besides) {
            Ok(attacked) => attacked,
            Err(why) => return nothing(Shown::Broken, why),
        };
        if let Some(why) = layer::lacking(need.layer, &ran) {
            return nothing(Shown::Skipped, why);
        }
        let with = match expected(row, &ran, &self.offer.without(need.besides)) {
            Ok(verdict) if changes.is_empty() => verdict.to_string(),
            Ok(_) => return nothing(Shown::Broken, changes.join("; ")),
            Err(why) => return nothing(Shown::Broken, why),
        };
        let off = [need.besides, &[need.layer]].concat();
        match self.attack_without(row, &off) {
            Err(why) => Weighed::of(need, Shown::Broken, with, why),
            Ok((_, changes)) if !changes.is_empty() => {
                Weighed::of(need, Shown::Needed, with, changes.join("; "))
            }
            Ok((ran, _)) if came_through(&ran) => {
                Weighed::of(need, Shown::Needed, with, "it came through".to_owned())
            }
            Ok((ran, _)) => {
                let control = self.control(row).ok().and_then(Result::ok).unwrap_or_default();
                let behind = layer::behind(need.layer, &ran);
                match behind.or_else(|| control.starts_with("none").then_some(&control)) {
                    Some(why) => Weighed::of(need, Shown::Skipped, with, why.to_owned()),
                    None => Weighed::of(need, Shown::Broken, with, ran.output),
                }
            }
        }
    }

    /// The attack with layers left out: what it said, and how the host has changed.
    fn attack_without(&self, row: &Row, off: &[Layer]) -> Result<(Ran, Vec<String>), String> {
        let broken = |error: io::Error| format!("the attack could not be made: {error}");
        let targets = Targets { supervisor: self.keeper.pid(), sibling: self.sibling.pid };
        let scene = Scene::new(&self.ground, Some(targets)).map_err(broken)?;
        let before = scene.host().map_err(broken)?;
        let mut spec = self.spec(row, &scene);
        // What may come through here is not meant for the rest of the machine.
        spec.args.push("everybody=no".into());
        let ran = layer::run(spec, off).map_err(|why| match why {
            Unsealed::Refused(why) => format!("it was not started: {why}"),
            Unsealed::Broken(error) => broken(error),
        })?;
        let after = scene.host().map_err(broken)?;
        scene.clear();
        Ok((ran, changes(&before, &after)))
    }

    /// Why there is nothing here to attack with, if there is not.
    fn impossible(&self, row: &Row) -> Option<&'static str> {
        if row.concerns == Concerns::Root && !ground::is_root() {
            return Some("only root gives a program a user of its own");
        }
        let Control::UserWith(helper) = row.control else { return None };
        let missing = !self.ground.helper(helper).exists();
        missing.then_some("only root can make the program, where the file system lets it")
    }

    fn sibling_answers(&mut self) -> bool {
        self.asked += 1;
        let asked = self.sibling.write(&format!("{}\n", self.asked));
        asked.is_ok() && self.sibling.line() == Some(format!("answer to {}", self.asked))
    }

    /// The attack, sealed: the verdict and what was told, or all that is wrong.
    fn attack(&mut self, row: &Row) -> Result<(Verdict, Vec<String>), String> {
        let broken = |error: io::Error| format!("the attack could not be made: {error}");
        let targets = Targets { supervisor: self.keeper.pid(), sibling: self.sibling.pid };
        let scene = Scene::new(&self.ground, Some(targets)).map_err(broken)?;
        let spec = self.spec(row, &scene);
        let before = scene.host().map_err(broken)?;
        let ran = match self.run(&spec) {
            Ok(ran) => ran,
            Err(Unsealed::Broken(error)) => return Err(broken(error)),
            Err(Unsealed::Refused(why)) => {
                return refused(&self.offer, why).map(|verdict| (verdict, Vec::new()));
            }
        };
        let answers = self.sibling_answers();
        let after = scene.host().map_err(broken)?;
        scene.clear();
        let verdict = verdict(row, &ran, &self.offer)?;
        let allowed = matches!(verdict, Verdict::Absent { .. });
        let changes = changes(&before, &after);
        if !(allowed || changes.is_empty()) {
            return Err(format!("the host changed: {}\n{}", changes.join("; "), ran.output));
        }
        if !answers {
            return Err("the sibling does not answer".to_owned());
        }
        if has_core(&scene.work) {
            return Err("a core dump is in the work directory".to_owned());
        }
        Ok((verdict, ran.denied))
    }

    fn run(&mut self, spec: &Spec) -> Result<Ran, Unsealed> {
        match self.door {
            Door::Plugin => {
                let sealed = self.keeper.spawn(spec)?;
                let meanwhile = self.sibling_answers();
                let ran = self.keeper.finish(sealed)?;
                if meanwhile {
                    Ok(ran)
                } else {
                    Err(io::Error::other("the sibling is mute").into())
                }
            }
            Door::Run => door::run(&self.ground, spec),
        }
    }

    fn spec(&self, row: &Row, scene: &Scene) -> Spec {
        let words = std::iter::once(row.attack).chain(row.words.iter().copied());
        let mut spec = attacker(&self.ground, &self.offer, words.chain(scene.words()));
        spec.files.push(FileGrant::requested(&scene.work, Access::Write));
        for helper in Helper::ALL.map(|helper| self.ground.helper(helper)) {
            if helper.exists() {
                spec.files.push(FileGrant::requested(helper, Access::Exec));
            }
        }
        (row.shape)(&mut spec, scene);
        spec
    }

    /// The attack, unsealed and against doubles: what it shows, or why it shows nothing.
    fn control(&self, row: &Row) -> io::Result<Result<String, String>> {
        let none = match row.control {
            Control::None(why) => Some(why),
            Control::Root if !ground::is_root() => Some("this user is not root"),
            Control::Namespaces if !self.offer.namespaces => Some("no namespaces for this user"),
            Control::Root
            | Control::Namespaces
            | Control::UserWith(_)
            | Control::Same
            | Control::EndsVictims
            | Control::Stays
            | Control::Runs => None,
        };
        if let Some(why) = none {
            return Ok(Ok(format!("none: {why}")));
        }
        let scene = Scene::new(&self.ground, None)?;
        let output = self.unsealed(row, &scene)?;
        let stays = scene.clear();
        if matches!(row.control, Control::Stays) {
            let told = if stays { Ok("stays") } else { Err("nothing stayed") };
            return Ok(told.map(str::to_owned).map_err(str::to_owned));
        }
        if matches!(row.control, Control::EndsVictims) {
            let ended = scene.victims_end();
            let told = if ended { Ok("ends its victims") } else { Err("no victim ended") };
            return Ok(told.map(str::to_owned).map_err(str::to_owned));
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let shown = control(row, &String::from_utf8_lossy(&output.stdout));
        Ok(shown.map_err(|why| format!("{why}\n{said}")))
    }

    fn unsealed(&self, row: &Row, scene: &Scene) -> io::Result<Output> {
        let mut command = self.ground.unsealed(row.attack);
        // Nobody is awaited who would end it.
        command.args(row.words.iter().filter(|word| **word != HELD));
        command.args(scene.words()).env("TMPDIR", &scene.work);
        if matches!(row.control, Control::UserWith(_)) {
            ground::by_nobody(&mut command);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).output()
    }
}

/// A spec that runs a probe with these words. Its own file is all that is granted. Where there is no
/// Landlock, the files are left to the view, where there is one: else nothing would start.
fn attacker<'a>(ground: &Ground, offer: &Offer, words: impl IntoIterator<Item = &'a str>) -> Spec {
    let program = ground.program();
    let mut spec = Spec::new(&program);
    spec.files.push(FileGrant::requested(program, Access::Exec));
    spec.args = ["probe", probe::VERB].into_iter().chain(words).map(Into::into).collect();
    spec.env = scrub(&[], &[]);
    if offer.landlock == 0 && offer.namespaces {
        let files = [Protection::FilesRead, Protection::FilesWrite];
        spec.demands.extend(files.map(|protection| (protection, Demand::Prefer)));
    }
    spec
}

/// That nothing is started is right where the kernel lacks what must hold, and a fault elsewhere.
fn refused(offer: &Offer, why: String) -> Result<Verdict, String> {
    let known = [Layer::LandlockFiles, Layer::LandlockNetwork, Layer::Seccomp];
    let lacks = known.into_iter().any(|layer| !offer.has(layer)) && why.contains("required");
    let why = why.trim().to_owned();
    if lacks { Ok(Verdict::Refused { why }) } else { Err(format!("it was not started: {why}")) }
}

/// How the host differs from what it was.
fn changes(before: &[String], after: &[String]) -> Vec<String> {
    let mut changes: Vec<String> = before
        .iter()
        .zip(after)
        .filter(|(before, after)| before != after)
        .map(|(before, after)| format!("was `{before}`, is `{after}`"))
        .collect();
    if before.len() != after.len() {
        changes.push(format!("{} facts are {} now", before.len(), after.len()));
    }
    changes
}

/// Open files and a directory without the mark that closes them on exec.
fn careless_descriptors(directory: &Path) -> io::Result<Vec<OwnedFd>> {
    let opened = std::iter::once(directory).chain(std::iter::repeat_n(Path::new("/dev/null"), 100));
    opened
        .map(|path| {
            let file: OwnedFd = File::open(path)?.into();
            fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))?;
            Ok(file)
        })
        .collect()
}
