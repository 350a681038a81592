//! Attacks on files, catalogue numbers 1 to 16.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::{MetadataExt as _, PermissionsExt as _},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, open},
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::{
        resource::{Resource, setrlimit},
        stat::{Mode, SFlag, mknod},
    },
};

use super::{
    Attack, Scene,
    call::{self, address, raw, word},
};

pub(crate) const ATTACKS: &[Attack] = &[
    ("read-secret", read_secret),
    ("read-foreign", read_foreign),
    ("read-around", read_around),
    ("change-outside", change_outside),
    ("change-system", change_system),
    ("carry-in", carry_in),
    ("follow-own-link", follow_own_link),
    ("change-metadata", change_metadata),
    ("look-outside", look_outside),
    ("learn-host-name", learn_host_name),
    ("learn-cgroups", learn_cgroups),
    ("file-handles", file_handles),
    ("device-nodes", device_nodes),
    ("open-devices", open_devices),
    ("mounts", mounts),
    ("new-mount-calls", new_mount_calls),
    ("kernel-settings", kernel_settings),
    ("cgroup-files", cgroup_files),
    ("out-of-memory-score", out_of_memory_score),
    ("user-maps", user_maps),
    ("flood-tmp-with-files", flood_tmp_with_files),
    ("fill-tmp", fill_tmp),
    ("big-file", big_file),
    ("big-file-unwarned", big_file_unwarned),
    ("plant-setuid", plant_setuid),
    ("leave-behind", leave_behind),
    ("leave-strange-files", leave_strange_files),
    ("io-uring", io_uring),
];

fn read(path: impl AsRef<Path>) -> io::Result<()> {
    let mut first = [0];
    File::open(path)?.read_exact(&mut first)
}

fn read_secret(scene: &Scene) {
    scene.step("read", read(scene.path("secret")));
    scene.step("list", fs::read_dir(scene.path("secret").parent().unwrap()));
    let how = [libc::O_RDONLY.cast_unsigned().into(), 0_u64, 0];
    let path = call::text(scene.path("secret"));
    let arguments = [word(libc::AT_FDCWD), path.as_ptr().addr(), address(&how), size_of_val(&how)];
    scene.step("openat2", raw(libc::SYS_openat2, &arguments));
}

/// A file in a granted directory that another user keeps to itself.
fn read_foreign(scene: &Scene) {
    scene.step("read", read(scene.path("foreign")));
}

fn read_around(scene: &Scene) {
    let secret = scene.path("secret");
    let inside = secret.strip_prefix("/").unwrap();
    scene.step("own-root", read(Path::new("/proc/self/root").join(inside)));
    let up: PathBuf = std::iter::repeat_n("..", 40).collect();
    scene.step("dot-dot", read(Path::new("/proc/self/cwd").join(&up).join(inside)));
    for whose in ["1", &nix::unistd::getppid().to_string()] {
        let step = if whose == "1" { "init-root" } else { "parent-root" };
        scene.step(step, read(Path::new("/proc").join(whose).join("root").join(inside)));
    }
    let below = secret.strip_prefix(scene.path("ground")).unwrap();
    let mut outcome = Err(Errno::EBADF);
    for number in 3..1100 {
        let path = call::text(below);
        let opened = raw(libc::SYS_openat, &[number, path.as_ptr().addr(), 0]);
        outcome = outcome.or(opened.map(call::adopt));
    }
    scene.step("inherited-descriptor", outcome);
}

fn change_outside(scene: &Scene) {
    let place = scene.path("outside");
    let file = place.join("open");
    scene.step("create", File::create_new(place.join("new")));
    scene.step("write", OpenOptions::new().append(true).open(&file));
    scene.step("truncate", nix::unistd::truncate(&file, 1));
    scene.step("make-directory", fs::create_dir(place.join("directory")));
    scene.step("make-link", std::os::unix::fs::symlink("file", place.join("link")));
    scene.step("make-pipe", nix::unistd::mkfifo(&place.join("pipe"), Mode::S_IRWXU));
    scene.step("make-socket", UnixListener::bind(place.join("socket")));
    scene.step("rename", fs::rename(&file, place.join("renamed")));
    scene.step("unlink", fs::remove_file(place.join("other")));
}

fn change_system(scene: &Scene) {
    for directory in ["/", "/etc", "/usr", "/run", "/proc"] {
        let path = Path::new(directory).join(format!(".probe-{}", std::process::id()));
        let made = File::create_new(&path);
        if made.is_ok() {
            fs::remove_file(&path).ok();
        }
        scene.step(directory, made);
    }
    scene.step("passwd", OpenOptions::new().append(true).open("/etc/passwd"));
}

fn carry_in(scene: &Scene) {
    let (file, work) = (scene.path("outside").join("open"), scene.path("work"));
    scene.step("hard-link", fs::hard_link(&file, work.join("linked")));
    scene.step("rename-in", fs::rename(&file, work.join("renamed")));
    fs::write(work.join("mine"), "mine").unwrap();
    scene.step("rename-out", fs::rename(work.join("mine"), scene.path("outside").join("mine")));
}

fn follow_own_link(scene: &Scene) {
    let link = scene.path("work").join("link");
    std::os::unix::fs::symlink(scene.path("secret"), &link).unwrap();
    scene.step("read", read(&link));
    let file = scene.path("work").join("other-link");
    std::os::unix::fs::symlink(scene.path("outside").join("open"), &file).unwrap();
    scene.step("write", OpenOptions::new().write(true).open(&file));
}

fn change_metadata(scene: &Scene) {
    let file = scene.path("outside").join("file");
    let path = call::text(&file);
    scene.step("chmod", fs::set_permissions(&file, fs::Permissions::from_mode(0o640)));
    let own = [nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw()];
    scene.step("chown", std::os::unix::fs::chown(&file, Some(own[0]), Some(own[1])));
    let old = [libc::timespec { tv_sec: 1, tv_nsec: 0 }; 2];
    let times = [word(libc::AT_FDCWD), path.as_ptr().addr(), address(&old), 0];
    scene.step("utimensat", raw(libc::SYS_utimensat, &times));
    let attribute = [path.as_ptr().addr(), c"user.probe".as_ptr().addr(), address(&1_u8), 1];
    scene.step("setxattr", raw(libc::SYS_setxattr, &attribute));
}

fn look_outside(scene: &Scene) {
    let place = scene.path("outside");
    scene.step("stat", fs::metadata(place.join("file")));
    scene.step("readlink", fs::read_link(place.join("to-file")));
    scene.step("open-as-path", open(&place, OFlag::O_PATH, Mode::empty()));
    let watch = raw(libc::SYS_inotify_init1, &[0]).unwrap();
    let path = call::text(place.join("file"));
    let arguments = [usize::try_from(watch).unwrap(), path.as_ptr().addr(), 2];
    scene.step("inotify", raw(libc::SYS_inotify_add_watch, &arguments));
    scene.step("statfs", nix::sys::statvfs::statvfs(&place));
    scene.step("chdir", nix::unistd::chdir(&place));
}

fn learned(is_known: bool) -> Result<(), Errno> {
    if is_known { Ok(()) } else { Err(Errno::ENOENT) }
}

fn learn_host_name(scene: &Scene) {
    let name = nix::unistd::gethostname().unwrap();
    scene.step("name", learned(name.to_string_lossy() == scene.text("host")));
}

fn learn_cgroups(scene: &Scene) {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut paths = scene.text("cgroups").split(',').filter(|path| !path.is_empty());
    scene.step("path", learned(paths.any(|path| own.contains(path))));
}

#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    data: [u8; 128],
}

fn file_handles(scene: &Scene) {
    let path = call::text(scene.path("outside").join("file"));
    let mut handle = Handle { bytes: 128, kind: 0, data: [0; 128] };
    let mut mount_id = 0_i32;
    let to = [call::address_mut(&mut handle), call::address_mut(&mut mount_id)];
    let named = [word(libc::AT_FDCWD), path.as_ptr().addr(), to[0], to[1], 0];
    scene.step("name_to_handle_at", raw(libc::SYS_name_to_handle_at, &named));
    if handle.kind == 0 {
        // A guess: inode 2, the root of most file systems.
        handle.bytes = 8;
        handle.kind = 1;
        handle.data[0] = 2;
    }
    let beside = File::open("/").or_else(|_| File::open(scene.path("work"))).unwrap();
    let beside = File::open(scene.path("outside")).unwrap_or(beside);
    let opened = [word(beside.as_raw_fd()), address(&handle), 0];
    scene.step("open_by_handle_at", raw(libc::SYS_open_by_handle_at, &opened));
}

fn device_nodes(scene: &Scene) {
    let memory = nix::sys::stat::makedev(1, 1);
    let work = scene.path("work");
    let made = mknod(&work.join("mem"), SFlag::S_IFCHR, Mode::S_IRUSR, memory);
    scene.step("character", made);
    scene.step("block", mknod(&work.join("ram"), SFlag::S_IFBLK, Mode::S_IRUSR, memory));
    let path = call::text(work.join("mem2"));
    let high_bits = usize::try_from(libc::S_IFCHR | 0o600).unwrap() | 1 << 32;
    let arguments = [word(libc::AT_FDCWD), path.as_ptr().addr(), high_bits, 257];
    scene.step("high-bits", raw(libc::SYS_mknodat, &arguments));
}

fn open_devices(scene: &Scene) {
    let devices = [
        "mem",
        "kmsg",
        "port",
        "kvm",
        "fuse",
        "net/tun",
        "sda",
        "vda",
        "nvme0n1",
        "vhost-net",
        "loop-control",
        "uinput",
        "snapshot",
        "hpet",
        "userfaultfd",
        "vsock",
        "console",
        "tty0",
    ];
    for device in devices {
        let path = Path::new("/dev").join(device);
        scene.step(device, open(&path, OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty()));
    }
}

/// Gets the rights to mount where a kernel gives them to anybody: the usual first move.
fn own_namespaces() {
    let (user, group) = (nix::unistd::getuid(), nix::unistd::getgid());
    if unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).is_ok() {
        fs::write("/proc/self/setgroups", "deny").ok();
        fs::write("/proc/self/uid_map", format!("0 {user} 1")).ok();
        fs::write("/proc/self/gid_map", format!("0 {group} 1")).ok();
    }
}

fn mounts(scene: &Scene) {
    own_namespaces();
    let nothing: Option<&str> = None;
    let work = scene.path("work");
    let kind = Some("tmpfs");
    scene.step("mount", mount(kind, &work, kind, MsFlags::empty(), nothing));
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    scene.step("bind", mount(Some("/"), &work, nothing, flags, nothing));
    let remount = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    scene.step("remount", mount(nothing, &work, nothing, remount, nothing));
    let path = call::text(&work);
    let same = [path.as_ptr().addr(), path.as_ptr().addr()];
    scene.step("pivot_root", raw(libc::SYS_pivot_root, &same));
    scene.step("umount", umount2(&work, MntFlags::MNT_DETACH));
    scene.step("chroot", nix::unistd::chroot(&work));
}

fn new_mount_calls(scene: &Scene) {
    own_namespaces();
    let work = call::text(scene.path("work"));
    let here = word(libc::AT_FDCWD);
    let context = raw(libc::SYS_fsopen, &[c"tmpfs".as_ptr().addr(), 0]);
    scene.step("fsopen", context);
    let context = usize::try_from(context.unwrap_or(-1)).unwrap_or(usize::MAX);
    scene.step("fsconfig", raw(libc::SYS_fsconfig, &[context, 6, 0, 0, 0]));
    scene.step("fsmount", raw(libc::SYS_fsmount, &[context, 0, 0]));
    // OPEN_TREE_CLONE, AT_RECURSIVE: locked mounts can be taken along only whole.
    let tree = raw(libc::SYS_open_tree, &[here, work.as_ptr().addr(), 0x8001]);
    scene.step("open_tree", tree);
    let tree = usize::try_from(tree.unwrap_or(-1)).unwrap_or(usize::MAX);
    let empty = c"".as_ptr().addr();
    let moved = raw(libc::SYS_move_mount, &[tree, empty, here, work.as_ptr().addr(), 4]);
    scene.step("move_mount", moved);
    let attributes = [libc::MOUNT_ATTR_NOSUID, 0, 0, 0_u64];
    let change = [here, work.as_ptr().addr(), 0, address(&attributes), 32];
    scene.step("mount_setattr", raw(libc::SYS_mount_setattr, &change));
    scene.step("fspick", raw(libc::SYS_fspick, &[here, work.as_ptr().addr(), 0]));
}

fn open_to_write(path: impl AsRef<Path>) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

fn kernel_settings(scene: &Scene) {
    for setting in
        ["kernel/core_pattern", "kernel/modprobe", "kernel/domainname", "vm/overcommit_memory"]
    {
        scene.step(setting, open_to_write(Path::new("/proc/sys").join(setting)));
    }
    scene.step("sysrq", open_to_write("/proc/sysrq-trigger"));
    scene.step("uevent-helper", open_to_write("/sys/kernel/uevent_helper"));
    scene.step("kernel-memory", File::open("/proc/kcore"));
}

fn cgroup_files(scene: &Scene) {
    for (step, file) in
        [("members", "cgroup.procs"), ("memory", "memory.max"), ("processes", "pids.max")]
    {
        let mut outcome = Err(io::Error::from(Errno::ENOENT));
        for place in ["", "unified", "memory", "pids", "systemd"] {
            let path = Path::new("/sys/fs/cgroup").join(place).join(file);
            outcome = match (outcome, open_to_write(path)) {
                (Ok(file), _) | (Err(_), Ok(file)) => Ok(file),
                (Err(one), Err(other)) if other.kind() == io::ErrorKind::NotFound => Err(one),
                (Err(_), Err(other)) => Err(other),
            };
        }
        scene.step(step, outcome);
    }
}

fn out_of_memory_score(scene: &Scene) {
    scene.step(
        "lower",
        open_to_write("/proc/self/oom_score_adj").and_then(|mut file| file.write(b"-500")),
    );
}

fn user_maps(scene: &Scene) {
    unshare(CloneFlags::CLONE_NEWUSER).ok();
    let write = |file: &str, text: &str| {
        open_to_write(Path::new("/proc/self").join(file))
            .and_then(|mut file| file.write(text.as_bytes()))
    };
    scene.step("setgroups", write("setgroups", "deny"));
    let own = scene.number("uid");
    scene.step("uid_map", write("uid_map", &format!("0 {own} 1\n")));
}

fn temporary() -> PathBuf {
    std::env::temp_dir()
}

fn flood_tmp_with_files(scene: &Scene) {
    let flood = || -> io::Result<()> {
        for number in 0..scene.number("files") {
            File::create_new(temporary().join(format!("flood-{number}")))?;
        }
        Ok(())
    };
    scene.held_step("create", flood());
}

fn fill_tmp(scene: &Scene) {
    let bytes = vec![1_u8; usize::try_from(scene.number("bytes")).unwrap()];
    scene.held_step("write", fs::write(temporary().join("fill"), &bytes));
    scene.step("preallocate", {
        let file = File::create(temporary().join("claim")).unwrap();
        let arguments = [word(file.as_raw_fd()), 0, 0, bytes.len()];
        raw(libc::SYS_fallocate, &arguments)
    });
}

fn big_file(scene: &Scene) {
    call::ignore(libc::SIGXFSZ);
    let bytes = vec![1_u8; usize::try_from(scene.number("bytes")).unwrap()];
    scene.step("write", fs::write(scene.path("work").join("big"), &bytes));
    let file = File::create(scene.path("work").join("sparse")).unwrap();
    scene.step("sparse", nix::unistd::ftruncate(&file, 100 << 30));
    let (_, hard) = nix::sys::resource::getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    scene.step(
        "raise",
        setrlimit(Resource::RLIMIT_FSIZE, hard.saturating_add(1), hard.saturating_add(1)),
    );
}

fn big_file_unwarned(scene: &Scene) {
    call::default_action(libc::SIGXFSZ);
    let bytes = vec![1_u8; usize::try_from(scene.number("bytes")).unwrap()];
    scene.step("write", fs::write(scene.path("work").join("big"), &bytes));
}

/// A file with the setuid bit, owned by whoever owns the granted directory, is a way to become them.
fn plant_setuid(scene: &Scene) {
    let work = scene.path("work");
    let plain = work.join("plain");
    fs::write(&plain, "#!/bin/sh\n").unwrap();
    let path = call::text(&plain);
    let file = File::open(&plain).unwrap();
    let here = word(libc::AT_FDCWD);
    for (bit, name) in [(0o4755, "user"), (0o2755, "group")] {
        let in_plain = path.as_ptr().addr();
        #[cfg(target_arch = "x86_64")]
        scene.step(&format!("chmod-{name}"), raw(libc::SYS_chmod, &[in_plain, bit]));
        let fchmod = raw(libc::SYS_fchmod, &[word(file.as_raw_fd()), bit]);
        scene.step(&format!("fchmod-{name}"), fchmod);
        scene.step(&format!("fchmodat-{name}"), raw(libc::SYS_fchmodat, &[here, in_plain, bit]));
        let fchmodat2 = raw(libc::SYS_fchmodat2, &[here, in_plain, bit, 0]);
        scene.step(&format!("fchmodat2-{name}"), fchmodat2);
        let fresh = |by: &str| call::text(work.join(format!("{by}-{name}")));
        let flags = word(libc::O_CREAT | libc::O_WRONLY);
        let new = fresh("openat");
        let opened = raw(libc::SYS_openat, &[here, new.as_ptr().addr(), flags, bit]);
        scene.step(&format!("openat-{name}"), opened);
        let new = fresh("openat2");
        let how = [flags as u64, bit as u64, 0];
        let arguments = [here, new.as_ptr().addr(), address(&how), size_of_val(&how)];
        scene.step(&format!("openat2-{name}"), raw(libc::SYS_openat2, &arguments));
        let new = fresh("mknodat");
        let kind = usize::try_from(libc::S_IFREG).unwrap();
        let made = raw(libc::SYS_mknodat, &[here, new.as_ptr().addr(), kind | bit]);
        scene.step(&format!("mknodat-{name}"), made);
    }
}

/// What whoever collects the work directory must not follow, wait for, or keep.
fn leave_behind(scene: &Scene) {
    let work = scene.path("work");
    nix::unistd::mkfifo(&work.join("pipe"), Mode::S_IRWXU).unwrap();
    // By name only: where no view hides sockets, none can be bound.
    mknod(&work.join("socket"), SFlag::S_IFSOCK, Mode::S_IRWXU, 0).unwrap();
    std::os::unix::fs::symlink("/etc", work.join("to-etc")).unwrap();
    std::os::unix::fs::symlink("loop", work.join("loop")).unwrap();
    fs::create_dir_all(work.join("deep/".repeat(50))).unwrap();
    fs::write(work.join("locked"), "").unwrap();
    fs::set_permissions(work.join("locked"), fs::Permissions::from_mode(0o0)).unwrap();
    nix::unistd::linkat(
        AT_FDCWD,
        &work.join("locked"),
        AT_FDCWD,
        &work.join("twice"),
        nix::fcntl::AtFlags::empty(),
    )
    .unwrap();
    scene.tried("leave");
}

/// Files belong to whoever makes them. Where that is a user of the sandbox's alone, the granted directory
/// must seem to be its own too, or they belong to nobody outside.
fn leave_strange_files(scene: &Scene) {
    let work = scene.path("work");
    File::create_new(work.join("mine")).ok();
    let owner = fs::metadata(&work).unwrap().uid();
    let is_own = owner == nix::unistd::geteuid().as_raw();
    scene.step("strange", if is_own { Err(Errno::EPERM) } else { Ok(()) });
}

fn io_uring(scene: &Scene) {
    let parameters = [0_u64; 15];
    scene.step("setup", raw(libc::SYS_io_uring_setup, &[4, address(&parameters)]));
}
