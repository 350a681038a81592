//! The new root: everything is opened and copied first, then the old root is left, then the view is
//! built with ordinary paths, so that no link in a granted tree can lead a mount astray.
//!
//! Uses the mount calls of Linux 5.12 (`open_tree`, `mount_setattr`, `move_mount`): one call sets
//! read-only, nosuid and nodev on a tree with all its submounts.

use std::{
    collections::HashSet,
    ffi::CString,
    fs,
    io::Write as _,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{
            ffi::OsStrExt as _,
            fs::{DirBuilderExt as _, OpenOptionsExt as _},
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{Mode, fstat},
    unistd::{chdir, pivot_root},
};

use crate::{
    enforcement::Layer,
    layers::idmap::Mapper,
    record::{Failure, Stage},
    spec::{Layering, Overlay},
    sys::{self, MountChange},
    view::{Bind, BindKind, Step, View},
};

const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;

/// Directories of which at least one exists on any Linux, to hang the new root on for a moment.
const PLACES: [&str; 6] = ["/tmp", "/dev", "/etc", "/usr", "/run", "/var"];

/// Builds the view and makes it the root of this process. Returns what could not be had although the
/// level allows to go on.
pub(crate) fn enter(
    view: &View,
    mapper: &mut Mapper,
    own_line: OwnLine,
) -> Result<Vec<(Layer, String)>, Failure> {
    let failed = Failure::at(Stage::Mount);
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .map_err(&failed)?;
    let mut lost = Vec::new();
    let mut prepared = Vec::with_capacity(view.steps.len());
    for (step, nested) in view.steps.iter().zip(&view.nested) {
        prepared.push(Prepared { step, mount: prepare(step, mapper, &mut lost)?, nested: *nested });
    }
    mask(&mut prepared)?;
    let root = new_root(view, mapper, &mut lost)?;
    leave_old_root(&root).map_err(&failed)?;
    build(view, &prepared, &root, own_line)?;
    Ok(lost)
}

/// A step with what the old root was needed for.
struct Prepared<'a> {
    step: &'a Step,
    mount: Option<OwnedFd>,
    /// Whether it lies on a mount of another step, and so can only be made after that.
    nested: bool,
}

/// First everything that lies directly in the new root, with the system's trees; one call then makes
/// all of that read-only; last what has rights of its own, and what lies inside.
fn build(
    view: &View,
    prepared: &[Prepared<'_>],
    root: &OwnedFd,
    own_line: OwnLine,
) -> Result<(), Failure> {
    let mut skeleton = Skeleton::default();
    for Prepared { step, mount, .. } in prepared.iter().filter(|prepared| !prepared.nested) {
        skeleton.place(step, mount.as_ref(), own_line).map_err(at_step(step))?;
        if step.is_base() {
            attach(step, mount.as_ref())?;
        }
    }
    if view.host_root.is_none() {
        let change =
            MountChange { set: RDONLY | NOSUID | NODEV, recursive: true, ..MountChange::default() };
        sys::change_mount(root.as_fd(), change).map_err(Failure::at(Stage::Mount))?;
    }
    put_on_top(prepared, &mut skeleton, own_line)
}

fn at_step(step: &Step) -> impl FnOnce(std::io::Error) -> Failure {
    |error| Failure {
        stage: Stage::Mount,
        errno: errno(&error),
        subject: step.at().display().to_string(),
    }
}

fn attach(step: &Step, mount: Option<&OwnedFd>) -> Result<(), Failure> {
    let Some(mount) = mount else { return Ok(()) };
    let at = step.at();
    sys::attach_mount(mount.as_fd(), at.as_os_str().as_bytes())
        .map_err(Failure::about(Stage::Mount, at.display().to_string()))
}

/// The user's own lines in `/etc/passwd` and `/etc/group`, so that programs find a name and a home.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnLine {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl OwnLine {
    fn for_file(self, path: &Path) -> String {
        let Self { uid, gid } = self;
        if path.ends_with("passwd") {
            format!("plugin:x:{uid}:{gid}:plugin:/tmp:/bin/sh\n")
        } else if path.ends_with("group") {
            format!("plugin:x:{gid}:\n")
        } else {
            String::new()
        }
    }
}

/// Everything that needs the old root: copies of trees and new file systems, not yet attached.
fn prepare(
    step: &Step,
    mapper: &mut Mapper,
    lost: &mut Vec<(Layer, String)>,
) -> Result<Option<OwnedFd>, Failure> {
    let failed = Failure::at(Stage::Mount);
    match step {
        Step::Directory { .. } | Step::Link { .. } | Step::File { .. } => Ok(None),
        Step::Bind(bind) => copy(bind, mapper, lost).map(Some),
        Step::Overlay(overlay) => lay(overlay, mapper, lost).map(Some),
        Step::Mask { at } => covered(at),
        Step::Memory { bytes, mode, .. } => memory(*bytes, *mode).map(Some).map_err(failed),
        Step::Processes => {
            match sys::new_filesystem(c"proc", &[], RDONLY | NOSUID | NODEV | NOEXEC) {
                Ok(mount) => Ok(Some(mount)),
                // Inside a container that masks parts of /proc the kernel refuses a fresh one.
                Err(Errno::EPERM) => {
                    lost.push((
                        Layer::MountNamespace,
                        "there is no /proc (the outer container masks it)".to_owned(),
                    ));
                    Ok(None)
                }
                Err(errno) => Err(failed(errno)),
            }
        }
        Step::Terminals => {
            let options = [(c"ptmxmode", c"0666"), (c"mode", c"0620")];
            match sys::new_filesystem(c"devpts", &options, NOSUID | NOEXEC) {
                Ok(mount) => Ok(Some(mount)),
                Err(errno) => {
                    let why = format!("there are no pseudo terminals ({})", errno.desc());
                    lost.push((Layer::MountNamespace, why));
                    Ok(None)
                }
            }
        }
    }
}

/// A tree that can be changed and stays as it is.
fn lay(
    overlay: &Overlay,
    mapper: &mut Mapper,
    lost: &mut Vec<(Layer, String)>,
) -> Result<OwnedFd, Failure> {
    let mut granted = |path: &Path, writable| {
        let path = path.to_owned();
        copy(&Bind { path, writable, kind: BindKind::Grant }, mapper, lost)
    };
    match overlay.way {
        Layering::Copy => granted(&overlay.layers.join("tree"), true),
        Layering::Kernel => {
            let lower = granted(&overlay.path, false)?;
            let layers = granted(&overlay.layers, true)?;
            stack(&lower, &layers)
                .map_err(Failure::about(Stage::Overlay, overlay.path.display().to_string()))
        }
    }
}

/// Both by overlayfs as one tree. Its layers must have paths while it is made; it holds them afterwards.
/// Its marks are ordinary attributes (`userxattr`), so that an ordinary user can make and read them.
fn stack(lower: &OwnedFd, layers: &OwnedFd) -> Result<OwnedFd, Errno> {
    let hanger = memory(64 << 10, 0o700)?;
    let place = hang(&hanger)?;
    let made = stacked(place, lower, layers);
    umount2(place, MntFlags::MNT_DETACH)?;
    made
}

fn stacked(place: &str, lower: &OwnedFd, layers: &OwnedFd) -> Result<OwnedFd, Errno> {
    for (name, mount) in [("lower", lower), ("layers", layers)] {
        let at = Path::new(place).join(name);
        fs::create_dir(&at).map_err(|error| errno(&error))?;
        sys::attach_mount(mount.as_fd(), at.as_os_str().as_bytes())?;
    }
    let path = |name| CString::new(format!("{place}/{name}")).map_err(|_nul| Errno::EINVAL);
    let (lower, upper, work) = (path("lower")?, path("layers/upper")?, path("layers/work")?);
    let options = [
        (c"lowerdir", lower.as_c_str()),
        (c"upperdir", upper.as_c_str()),
        (c"workdir", work.as_c_str()),
        (c"userxattr", c""),
    ];
    sys::new_filesystem(c"overlay", &options, NOSUID | NODEV)
}

/// What is to be masked. That it is gone since somebody looked leaves nothing to hide; that it has
/// become a link would lead the mask astray.
fn covered(at: &Path) -> Result<Option<OwnedFd>, Failure> {
    let failed = Failure::about(Stage::OpenGrant, at.display().to_string());
    match open(at, OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty()) {
        Ok(found) if is_kind(&found, libc::S_IFLNK) => Err(failed(Errno::ELOOP)),
        Ok(found) => Ok(Some(found)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(failed(errno)),
    }
}

/// Puts in the place of each thing that is to be masked a copy of a file or directory that nobody may
/// open. They lie in a file system of their own, which hangs in the old root for as long as it takes.
fn mask(prepared: &mut [Prepared<'_>]) -> Result<(), Failure> {
    let is_mask = |prepared: &&mut Prepared<'_>| matches!(prepared.step, Step::Mask { .. });
    let mut masked = prepared.iter_mut().filter(is_mask).peekable();
    if masked.peek().is_none() {
        return Ok(());
    }
    let failed = Failure::at(Stage::Mount);
    let hanger = memory(64 << 10, 0o700).map_err(&failed)?;
    let place = hang(&hanger).map_err(&failed)?;
    let path = |name| Path::new(place).join(name);
    fs::DirBuilder::new()
        .mode(0o000)
        .create(path("directory"))
        .and_then(|()| {
            fs::OpenOptions::new().write(true).create_new(true).mode(0o000).open(path("file"))
        })
        .map_err(|error| failed(errno(&error)))?;
    let read_only = MountChange { set: RDONLY | NOEXEC, ..MountChange::default() };
    sys::change_mount(hanger.as_fd(), read_only).map_err(&failed)?;
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let [directory, file] =
        ["directory", "file"].map(|name| open(&path(name), flags, Mode::empty()));
    let (directory, file) = (directory.map_err(&failed)?, file.map_err(&failed)?);
    for prepared in masked {
        if let Some(found) = &prepared.mount {
            let stand_in = if is_kind(found, libc::S_IFDIR) { &directory } else { &file };
            prepared.mount = Some(sys::clone_tree(stand_in.as_fd()).map_err(&failed)?);
        }
    }
    drop((directory, file));
    umount2(place, MntFlags::MNT_DETACH).map_err(failed)
}

fn is_kind(found: &OwnedFd, kind: libc::mode_t) -> bool {
    fstat(found).is_ok_and(|found| found.st_mode & libc::S_IFMT == kind)
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

fn memory(bytes: u64, mode: u32) -> Result<OwnedFd, Errno> {
    // One inode per 4 KiB, so that a flood of empty files meets the same bound.
    let inodes = (bytes / 4096).max(64);
    let text = |value: String| CString::new(value).map_err(|_nul| Errno::EINVAL);
    let size = text(bytes.max(4096).to_string())?;
    let mode = text(format!("{mode:o}"))?;
    let inodes = text(inodes.to_string())?;
    let options =
        [(c"size", size.as_c_str()), (c"mode", mode.as_c_str()), (c"nr_inodes", inodes.as_c_str())];
    sys::new_filesystem(c"tmpfs", &options, NOSUID | NODEV)
}

/// Copies the tree and makes of it what the step wants.
fn copy(
    bind: &Bind,
    mapper: &mut Mapper,
    lost: &mut Vec<(Layer, String)>,
) -> Result<OwnedFd, Failure> {
    let tree = take(bind)?;
    if bind.kind != BindKind::Base {
        restrict(tree.as_fd(), bind, mapper, lost)?;
    }
    Ok(tree)
}

/// A detached copy of the host's tree.
fn take(bind: &Bind) -> Result<OwnedFd, Failure> {
    let name = || bind.path.display().to_string();
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let source =
        open(&bind.path, flags, Mode::empty()).map_err(Failure::about(Stage::OpenGrant, name()))?;
    sys::clone_tree(source.as_fd()).map_err(Failure::about(Stage::Mount, name()))
}

/// The rights of a tree that is not of the base (that is made read-only as a whole), and its owner.
fn restrict(
    tree: BorrowedFd<'_>,
    bind: &Bind,
    mapper: &mut Mapper,
    lost: &mut Vec<(Layer, String)>,
) -> Result<(), Failure> {
    let name = || bind.path.display().to_string();
    let mut set = NOSUID;
    if !bind.writable {
        set |= RDONLY;
    }
    if bind.kind != BindKind::Device {
        set |= NODEV;
    }
    let change = MountChange { set, recursive: true, ..MountChange::default() };
    sys::change_mount(tree, change).map_err(Failure::about(Stage::Mount, name()))?;
    if bind.kind == BindKind::HostRoot && mapper.is_needed() {
        let why = "`/` keeps its owners: usable as far as its modes allow others".to_owned();
        lost.push((Layer::IdMappedMounts, why));
    }
    if bind.kind == BindKind::Grant {
        let owner = fstat(tree).map_err(Failure::about(Stage::OpenGrant, name()))?;
        if let Err(reason) = mapper.apply(tree, owner.st_uid, owner.st_gid) {
            lost.push((Layer::IdMappedMounts, format!("`{}`: {reason}", name())));
        }
    }
    Ok(())
}

/// Detached copies of the trees of `steps`, taken where the host's paths mean something. `None` when a
/// step is something else than a tree.
pub(crate) fn trees(steps: &[Step]) -> Option<Vec<OwnedFd>> {
    let take = |step: &Step| match step {
        Step::Bind(bind) => take(bind).ok(),
        Step::Directory { .. }
        | Step::Link { .. }
        | Step::File { .. }
        | Step::Memory { .. }
        | Step::Overlay(_)
        | Step::Mask { .. }
        | Step::Processes
        | Step::Terminals => None,
    };
    steps.iter().map(take).collect()
}

/// Adds the last steps of `view`, whose trees were taken already, to a root that has all the others.
/// For a process that nothing untrusted runs beside yet: the root is writable for a moment.
pub(crate) fn add(
    view: &View,
    trees: Vec<OwnedFd>,
    mapper: &mut Mapper,
    own_line: OwnLine,
) -> Result<Vec<(Layer, String)>, Failure> {
    let failed = Failure::at(Stage::Mount);
    let first = view.steps.len().saturating_sub(trees.len());
    let steps = view.steps.iter().zip(&view.nested).skip(first);
    let (mut lost, mut prepared) = (Vec::new(), Vec::with_capacity(trees.len()));
    for ((step, nested), tree) in steps.zip(trees) {
        if let Step::Bind(bind) = step {
            restrict(tree.as_fd(), bind, mapper, &mut lost)?;
        }
        prepared.push(Prepared { step, mount: Some(tree), nested: *nested });
    }
    let mut skeleton = Skeleton::default();
    if prepared.iter().any(|prepared| !prepared.nested) {
        let root = open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(&failed)?;
        let writable = MountChange { clear: RDONLY, ..MountChange::default() };
        sys::change_mount(root.as_fd(), writable).map_err(&failed)?;
        for Prepared { step, mount, .. } in prepared.iter().filter(|prepared| !prepared.nested) {
            skeleton.place(step, mount.as_ref(), own_line).map_err(at_step(step))?;
        }
        let read_only = MountChange { set: RDONLY, ..MountChange::default() };
        sys::change_mount(root.as_fd(), read_only).map_err(&failed)?;
    }
    put_on_top(&prepared, &mut skeleton, own_line)?;
    Ok(lost)
}

/// What has rights of its own, and what lies inside of that, in order.
fn put_on_top(
    prepared: &[Prepared<'_>],
    skeleton: &mut Skeleton,
    own_line: OwnLine,
) -> Result<(), Failure> {
    for Prepared { step, mount, nested } in
        prepared.iter().filter(|prepared| !prepared.step.is_base())
    {
        if *nested {
            skeleton.place(step, mount.as_ref(), own_line).map_err(at_step(step))?;
        }
        attach(step, mount.as_ref())?;
    }
    Ok(())
}

/// The mount that becomes `/`: a small memory file system, or the host's root where `/` was granted.
fn new_root(
    view: &View,
    mapper: &mut Mapper,
    lost: &mut Vec<(Layer, String)>,
) -> Result<OwnedFd, Failure> {
    let failed = Failure::at(Stage::Mount);
    let root = match view.host_root {
        Some(writable) => {
            copy(&Bind { path: "/".into(), writable, kind: BindKind::HostRoot }, mapper, lost)?
        }
        None => memory(1 << 20, 0o755).map_err(&failed)?,
    };
    hang(&root).map_err(&failed)?;
    Ok(root)
}

/// Attaches a mount somewhere in the old root, where it can be used but not seen by anybody else.
fn hang(mount: &OwnedFd) -> Result<&'static str, Errno> {
    let place = PLACES.into_iter().find(|place| Path::new(place).is_dir()).ok_or(Errno::ENOENT)?;
    sys::attach_mount(mount.as_fd(), place.as_bytes())?;
    Ok(place)
}

fn leave_old_root(root: &OwnedFd) -> Result<(), Errno> {
    nix::unistd::fchdir(root)?;
    pivot_root(".", ".")?;
    // Both roots now sit at "/", the old one on top of the new: take it off with all below it.
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")
}

/// What is made of plain directories, files and links; remembers which directories are there.
#[derive(Debug, Default)]
struct Skeleton {
    made: HashSet<PathBuf>,
}

impl Skeleton {
    /// Makes the thing itself, or something of the right kind to mount it on.
    fn place(
        &mut self,
        step: &Step,
        mount: Option<&OwnedFd>,
        own_line: OwnLine,
    ) -> std::io::Result<()> {
        let at = step.at();
        match (step, mount) {
            (Step::Link { target, .. }, _) => {
                self.parents(at)?;
                std::os::unix::fs::symlink(target, at)
            }
            (Step::File { bytes, .. }, _) => {
                self.parents(at)?;
                let mut file = fs::File::create(at)?;
                file.write_all(bytes)?;
                file.write_all(own_line.for_file(at).as_bytes())
            }
            (Step::Bind(_) | Step::Overlay(_), Some(mount)) => self.mount_point(at, mount),
            // It is there, or nothing is.
            (Step::Mask { .. }, _) => Ok(()),
            _ => self.directory(at),
        }
    }

    fn directory(&mut self, at: &Path) -> std::io::Result<()> {
        if self.made.contains(at) {
            return Ok(());
        }
        self.parents(at)?;
        match fs::DirBuilder::new().mode(0o755).create(at) {
            Ok(()) => {}
            // Someone else's: a granted tree, or the host's root.
            Err(error) if at.is_dir() => drop(error),
            Err(error) => return Err(error),
        }
        self.made.insert(at.to_owned());
        Ok(())
    }

    fn parents(&mut self, at: &Path) -> std::io::Result<()> {
        match at.parent() {
            Some(parent) if parent != Path::new("/") => self.directory(parent),
            _ => Ok(()),
        }
    }

    fn mount_point(&mut self, at: &Path, mount: &OwnedFd) -> std::io::Result<()> {
        if is_kind(mount, libc::S_IFDIR) {
            return self.directory(at);
        }
        self.parents(at)?;
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o444).open(at) {
            Ok(_made) => Ok(()),
            Err(error) if fs::symlink_metadata(at).is_ok() => {
                drop(error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
