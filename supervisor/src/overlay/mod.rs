//! What commands changed under `run --overlay`, kept apart in the state directory until somebody says
//! what shall become of it.
//!
//! ```text
//! STATE/overlays/ID/record.json     what it is of
//!                  /begun           locked while the command runs; its time is when it began
//!                  /layers/upper    overlayfs's, with an empty `work` beside it
//!                  /layers/tree     or a copy of the whole directory
//! ```
//! The layers are written by the command and belong to nobody's trust: they are read and kept by
//! `tree`, `change` and `keep`, and never by their paths.

pub(crate) mod change;
pub(crate) mod diff;
pub(crate) mod keep;
pub(crate) mod tree;

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown},
    path::{Path, PathBuf},
    time::SystemTime,
};

use plugbay_sandbox::Layering;
use serde::{Deserialize, Serialize};

use self::{
    change::{Changes, Sides},
    keep::Budget,
    tree::Tree,
};

/// What a copy may cost, where the kernel cannot layer.
const COPY: Budget = Budget { bytes: 1 << 30, entries: 100_000 };

/// What an overlay is of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The version of this shape.
    version: u32,
    /// The directory that stays as it is.
    pub(crate) directory: PathBuf,
    /// How the layers are to be read.
    pub(crate) way: Layering,
    /// The command, for people.
    pub(crate) command: Vec<String>,
    /// When it was started.
    pub(crate) started: SystemTime,
    /// What of the directory the command did not see, below it.
    pub(crate) denied: Vec<PathBuf>,
}

/// One overlay.
#[derive(Debug)]
pub(crate) struct Overlay {
    /// Its number.
    pub(crate) id: u32,
    /// What it is of.
    pub(crate) record: Record,
    place: PathBuf,
    /// Held while the command runs.
    running: Option<File>,
}

impl Overlay {
    /// A new one, for a command that is about to start.
    pub(crate) fn make(state: &Path, record: Record) -> io::Result<Self> {
        let all = state.join("overlays");
        DirBuilder::new().recursive(true).mode(0o700).create(&all)?;
        let (id, place) = number(&all)?;
        let owner = fs::metadata(&record.directory)?;
        let overlay = Self { id, record, place, running: None };
        let made = overlay.lay_out((owner.uid(), owner.gid())).and_then(|()| overlay.save());
        let begun = made.and_then(|()| overlay.begin());
        match begun {
            Ok(running) => Ok(Self { running: Some(running), ..overlay }),
            Err(error) => {
                // The first error is the one to tell.
                overlay.remove().ok();
                Err(error)
            }
        }
    }

    fn lay_out(&self, (uid, gid): (u32, u32)) -> io::Result<()> {
        for name in ["layers", "layers/upper", "layers/work"] {
            let path = self.place.join(name);
            DirBuilder::new().mode(0o700).create(&path)?;
            // The upper layer's own mode becomes that of the directory, as the command sees it.
            fs::set_permissions(&path, fs::metadata(&self.record.directory)?.permissions())?;
            if nix::unistd::geteuid().is_root() {
                chown(&path, Some(uid), Some(gid))?;
            }
        }
        Ok(())
    }

    fn save(&self) -> io::Result<()> {
        let text = serde_json::to_vec(&self.record).map_err(io::Error::from)?;
        fs::write(self.place.join("record.json"), text)
    }

    /// What is written from now on is the command's.
    fn begin(&self) -> io::Result<File> {
        let path = self.place.join("begun");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let begun = File::create_new(path)?;
        begun.try_lock().map_err(io::Error::from)?;
        Ok(begun)
    }

    /// Makes a copy of the directory to work on instead.
    pub(crate) fn fall_back_to_copy(&mut self) -> io::Result<()> {
        let from = Tree::open(&self.record.directory)?;
        let to = Tree::open(&self.layers())?;
        let owner = fs::metadata(&self.record.directory)?;
        let root = nix::unistd::geteuid().is_root();
        let name = std::ffi::OsStr::new("tree");
        let copy = to.make_directory(name, owner.mode())?;
        keep::copy(&from, &copy, &self.record.denied, &mut { COPY }, root)?;
        if root {
            to.give(name, (owner.uid(), owner.gid()))?;
        }
        self.record.way = Layering::Copy;
        self.save()?;
        self.running = Some(self.begin()?);
        Ok(())
    }

    /// Where the layers are.
    pub(crate) fn layers(&self) -> PathBuf {
        self.place.join("layers")
    }

    /// The layer that holds what is new.
    pub(crate) fn new_layer(&self) -> PathBuf {
        self.layers().join(match self.record.way {
            Layering::Kernel => "upper",
            Layering::Copy => "tree",
        })
    }

    /// All of a state directory, the oldest first. What is none of ours is passed over.
    pub(crate) fn all(state: &Path) -> io::Result<Vec<Self>> {
        let listed = match fs::read_dir(state.join("overlays")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed?,
        };
        let mut found: Vec<Self> =
            listed.flatten().filter_map(|entry| Self::at(entry.path())).collect();
        found.sort_by_key(|overlay| overlay.id);
        Ok(found)
    }

    fn at(place: PathBuf) -> Option<Self> {
        let id = place.file_name()?.to_str()?.parse().ok()?;
        let text = fs::read(place.join("record.json")).ok()?;
        let record: Record = serde_json::from_slice(&text).ok()?;
        (record.version == VERSION).then_some(Self { id, record, place, running: None })
    }

    /// Whether its command still runs.
    pub(crate) fn is_running(&self) -> bool {
        let begun = File::open(self.place.join("begun"));
        begun.is_ok_and(|begun| matches!(begun.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// What was changed.
    pub(crate) fn changes(&self) -> io::Result<Changes> {
        let (after, before) = self.sides()?;
        let begun = fs::metadata(self.place.join("begun"))?;
        Ok(change::compare(&Sides {
            after: &after,
            before: &before,
            way: self.record.way,
            begun: (begun.ctime(), begun.ctime_nsec()),
            denied: &self.record.denied,
        }))
    }

    /// The layer with what is new, and the directory.
    pub(crate) fn sides(&self) -> io::Result<(Tree, Tree)> {
        Ok((Tree::open(&self.new_layer())?, Tree::open(&self.record.directory)?))
    }

    /// Removes it with all that was changed.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let (Some(parent), Some(name)) = (self.place.parent(), self.place.file_name()) else {
            return Ok(());
        };
        Tree::open(parent)?.remove(name)
    }
}

const VERSION: u32 = 1;

impl Record {
    /// Of a command that starts now.
    pub(crate) fn new(directory: PathBuf, command: Vec<String>, denied: Vec<PathBuf>) -> Self {
        let started = crate::output::moment::now();
        Self { version: VERSION, directory, way: Layering::Kernel, command, started, denied }
    }
}

/// A directory with the next number.
fn number(all: &Path) -> io::Result<(u32, PathBuf)> {
    let names =
        fs::read_dir(all)?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut id = names.filter_map(|name| name.parse::<u32>().ok()).max().unwrap_or(0);
    loop {
        id += 1;
        let place = all.join(id.to_string());
        match DirBuilder::new().mode(0o700).create(&place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| (id, place)),
        }
    }
}
