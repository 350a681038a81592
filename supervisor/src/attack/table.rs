//! The rows: attacks on files, processes and the host (catalogue numbers 1 to 35).
//!
//! The errnos differ by rung because different layers answer first: a name that is not in the view is
//! ENOENT or ESRCH, a refusal by Landlock EACCES or EPERM, one by the filter EPERM or ENOSYS.

use libc::{
    EACCES, EAGAIN, EBUSY, EFBIG, EINVAL, ENODEV, ENOENT, ENOSPC, ENOSYS, EPERM, EROFS, ESRCH,
    EXDEV, SIGABRT, SIGILL, SIGSEGV, SIGXFSZ,
};
use plugbay_sandbox::{Cause, Demand, Layer, Limit, Protection};

use super::{
    ground::Helper,
    row::{Control, Expect, Row, denied, denied_or_reported},
    table_calls::HELD,
};

/// `openat2` is refused whole, since its mode cannot be read by a filter.
const UNREAD: &[i32] = &[EACCES, ENOENT, ENOSYS];
const UNSEEN: &[i32] = &[EACCES, ENOENT];
const NO_CHANGE: &[i32] = &[EACCES, ENOENT, EROFS, EPERM, EXDEV];
const NO_SUCH: &[i32] = &[EPERM, ESRCH];
const NO_LOOK: &[i32] = &[EPERM, ESRCH, EACCES, ENOENT];
const NO_CALL: &[i32] = &[EPERM, ENOSYS];

const FILES: &[Layer] = &[Layer::LandlockFiles, Layer::MountNamespace];
const VIEW: &[Layer] = &[Layer::MountNamespace];
const FILTER: &[Layer] = &[Layer::Seccomp];
const LIMITS: &[Layer] = &[Layer::Rlimits];
const SIGNALS: &[Layer] = &[Layer::LandlockScopes, Layer::PidNamespace];

/// Numbers 1 to 16.
pub(crate) const FILE_ROWS: &[Row] = &[
    Row::new(1, "read a file that was not granted", "read-secret", denied(FILES, UNREAD)),
    Row::new(
        1,
        "read a granted file that its mode closes",
        "read-foreign",
        denied(&[Layer::DedicatedUser, Layer::Capabilities], &[EACCES]),
    )
    .of_root(),
    Row::new(
        2,
        "reach it by /proc, dot-dot and inherited descriptors",
        "read-around",
        denied(FILES, &[EACCES, ENOENT, libc::EBADF, EPERM]),
    )
    .excused(&[
        ("init-root", "only root may look there"),
        ("parent-root", "another user may have started it"),
    ]),
    Row::new(
        3,
        "create, change, rename, remove outside",
        "change-outside",
        denied(FILES, NO_CHANGE),
    ),
    Row::new(3, "write into system directories", "change-system", denied(FILES, NO_CHANGE))
        .control(Control::Root)
        .excused(&[
            ("/proc", "nobody can"),
            ("/", "may be read-only"),
            ("/usr", "may be read-only"),
        ]),
    Row::new(
        4,
        "link or rename a foreign file into the work directory",
        "carry-in",
        denied(FILES, NO_CHANGE),
    )
    .excused(&[("rename-out", "replaced by the link made before"), ("rename-in", "the same")]),
    Row::new(
        5,
        "follow an own link out of the work directory",
        "follow-own-link",
        denied(FILES, UNSEEN),
    ),
    Row::new(
        7,
        "change mode, owner, times, attributes outside",
        "change-metadata",
        denied_or_reported(
            &[Layer::MountNamespace, Layer::DedicatedUser],
            NO_CHANGE,
            "metadata changed by their owner",
        ),
    )
    .excused(&[("setxattr", "this file system has no user attributes")]),
    Row::new(
        7,
        "the same where that is required to hold",
        "change-metadata",
        denied(&[Layer::MountNamespace, Layer::Seccomp], NO_CHANGE),
    )
    .shape(|spec, _| {
        spec.demands.insert(Protection::FilesMetadata, Demand::Require);
    })
    .excused(&[("setxattr", "this file system has no user attributes")]),
    Row::new(
        8,
        "stat, readlink, chdir, watch outside",
        "look-outside",
        denied_or_reported(VIEW, UNSEEN, "can be seen by name"),
    ),
    Row::new(
        8,
        "learn the name of the host",
        "learn-host-name",
        denied_or_reported(&[Layer::UtsNamespace], &[ENOENT], "not isolated"),
    ),
    Row::new(
        8,
        "learn the place among the host's cgroups",
        "learn-cgroups",
        denied_or_reported(&[Layer::CgroupNamespace], &[ENOENT], "not isolated"),
    ),
    Row::new(9, "open by file handle", "file-handles", denied(FILTER, &[EPERM]))
        .told("file-handles")
        .control(Control::Root)
        .excused(&[("open_by_handle_at", "a guessed handle may be stale")]),
    Row::new(10, "make device nodes", "device-nodes", denied(FILTER, &[EPERM]))
        .told("device-nodes-mknodat")
        .control(Control::Root),
    Row::new(10, "open devices of the host", "open-devices", denied(FILES, UNSEEN))
        .control(Control::Root)
        .excused(&[
            ("vda", "a container's device rules"),
            ("kvm", "may be closed to this machine"),
            ("port", "locked down"),
            ("mem", "locked down"),
            ("snapshot", "in use"),
            ("console", "no console here"),
            ("tty0", "no terminal here"),
            ("hpet", "in use"),
            ("uinput", "not built in"),
            ("net/tun", "not built in"),
        ]),
    Row::new(11, "mount, bind, pivot, chroot", "mounts", denied(FILTER, &[EPERM]))
        .told("mounts")
        .control(Control::Namespaces)
        .excused(&[
            ("pivot_root", "the first root file system cannot be left"),
            ("bind", "a locked mount"),
            ("remount", "a locked mount"),
        ]),
    Row::new(11, "mount by descriptors", "new-mount-calls", denied(FILTER, &[ENOSYS]))
        .told("new-mount-interface")
        .control(Control::Namespaces)
        .excused(&[
            ("fspick", "needs the namespace that owns the mount"),
            ("mount_setattr", "a locked mount"),
            ("open_tree", "a locked mount"),
            ("move_mount", "a locked mount"),
        ]),
    Row::new(12, "write kernel settings", "kernel-settings", denied(FILES, NO_CHANGE))
        .control(Control::Root)
        .excused(&[("uevent-helper", "not built in"), ("kernel-memory", "locked down")]),
    Row::new(12, "write files of cgroups", "cgroup-files", denied(FILES, NO_CHANGE))
        .control(Control::Root),
    Row::new(
        12,
        "lower the own out-of-memory score",
        "out-of-memory-score",
        denied(&[Layer::LandlockFiles, Layer::Capabilities], &[EACCES, EROFS]),
    )
    .control(Control::Root)
    .excused(&[("lower", "this root lacks CAP_SYS_RESOURCE")]),
    Row::new(13, "write user and group maps", "user-maps", denied(FILES, &[EACCES, EROFS, EPERM]))
        .control(Control::Namespaces),
    Row::new(
        14,
        "a flood of files in /tmp",
        "flood-tmp-with-files",
        Expect::Limited { limit: Limit::Disk, errnos: &[ENOSPC] },
    )
    .words(&["files=400", HELD])
    .shape(|spec, _| spec.limits.tmp_size = 1 << 20),
    Row::new(
        14,
        "fill /tmp",
        "fill-tmp",
        Expect::Limited { limit: Limit::Disk, errnos: &[ENOSPC] },
    )
    .words(&["bytes=4194304", HELD])
    .shape(|spec, _| spec.limits.tmp_size = 1 << 20),
    Row::new(14, "a file beyond the limit", "big-file", denied(LIMITS, &[EFBIG, EPERM]))
        .words(&["bytes=2097152"])
        .shape(|spec, _| spec.limits.file_size = Some(1 << 20)),
    Row::new(
        14,
        "the same, without handling the warning",
        "big-file-unwarned",
        Expect::Killed { signal: SIGXFSZ, cause: Some(Cause::FileSize), by: Layer::Rlimits },
    )
    .words(&["bytes=2097152"])
    .shape(|spec, _| spec.limits.file_size = Some(1 << 20)),
    Row::new(
        15,
        "plant a setuid program in the work directory",
        "plant-setuid",
        denied(FILTER, NO_CALL),
    ),
    Row::new(
        15,
        "leave pipes, sockets and links behind",
        "leave-behind",
        Expect::Contained { step: "leave", detail: "", by: Layer::LandlockFiles },
    )
    .control(Control::Runs),
    Row::new(
        15,
        "leave files that nobody of the host owns",
        "leave-strange-files",
        denied_or_reported(&[Layer::IdMappedMounts], &[EPERM], "as far as its mode allows others"),
    )
    .of_root()
    .control(Control::None("without a user of its own a program's files are its user's")),
    Row::new(16, "io_uring", "io-uring", denied(FILTER, &[ENOSYS]))
        .told("io-uring")
        .excused(&[("setup", "kernel.io_uring_disabled is set")]),
];

/// Numbers 17 to 35.
pub(crate) const PROCESS_ROWS: &[Row] = &[
    Row::new(
        17,
        "signal supervisor, victim, sibling, everybody",
        "signal-others",
        denied(SIGNALS, NO_SUCH),
    ),
    Row::new(
        17,
        "stop the process that waits for its end",
        "stop-parent",
        denied_or_reported(&[Layer::LandlockScopes], NO_SUCH, "has no "),
    )
    .control(Control::None("it would stop whoever makes this attack")),
    Row::new(
        17,
        "signal as owner of a pipe",
        "signal-by-owner",
        Expect::Contained { step: "victim", detail: "", by: Layer::LandlockScopes },
    )
    .control(Control::EndsVictims),
    Row::new(19, "trace, read and write other processes", "trace-others", denied(FILTER, NO_LOOK))
        .told("other-processes")
        .excused(TRACE),
    Row::new(
        19,
        "read environment, maps, files of other processes",
        "spy-on-others",
        denied(&[Layer::LandlockFiles, Layer::PidNamespace], NO_LOOK),
    )
    .excused(TRACE),
    Row::new(
        19,
        "see command lines of other processes",
        "see-others",
        denied_or_reported(&[Layer::PidNamespace], NO_LOOK, "other processes can be seen"),
    ),
    Row::new(20, "prlimit on others", "limit-others", denied(FILTER, &[EPERM]))
        .told("limits-of-others"),
    Row::new(21, "priority, scheduler, cores of others", "slow-others", denied(FILTER, &[EPERM])),
    Row::new(
        23,
        "stay when the program has ended",
        "stay-behind",
        Expect::Contained { step: "left", detail: "", by: Layer::ProcessHygiene },
    )
    .control(Control::Stays),
    Row::new(
        26,
        "fork bomb",
        "fork-bomb",
        Expect::Limited { limit: Limit::Processes, errnos: &[EAGAIN] },
    )
    .words(&["count=120", HELD])
    .shape(|spec, _| spec.limits.pids = Some(40)),
    Row::new(
        26,
        "thread bomb",
        "thread-bomb",
        Expect::Limited { limit: Limit::Processes, errnos: &[EAGAIN] },
    )
    .words(&["count=120", HELD])
    .shape(|spec, _| spec.limits.pids = Some(40)),
    crash("die by SIGSEGV", SIGSEGV, &["signal=11"]),
    crash("die by SIGABRT", SIGABRT, &["signal=6"]),
    crash("die by SIGILL", SIGILL, &["signal=4"]),
    Row::new(
        28,
        "gain rights by a setuid program",
        "gain-by-setuid",
        denied(&[Layer::NoNewPrivileges], &[EPERM, EACCES]),
    )
    .control(Control::UserWith(Helper::Setuid)),
    Row::new(
        28,
        "gain rights by file capabilities",
        "gain-by-file-capability",
        denied(&[Layer::NoNewPrivileges], &[EPERM, EACCES]),
    )
    .control(Control::UserWith(Helper::Capable)),
    Row::new(
        29,
        "hide from the supervisor, then do it",
        "undumpable",
        denied(FILTER, &[EPERM, EACCES, ENOENT]),
    )
    .control(Control::Namespaces),
    Row::new(30, "new namespaces", "new-namespaces", denied(FILTER, NO_CALL))
        .told("namespaces")
        .control(Control::Namespaces),
    Row::new(32, "raise hard limits", "raise-limits", denied(LIMITS, &[EPERM]))
        .control(Control::Root)
        .excused(&[
            ("files", NO_RESOURCE),
            ("core", NO_RESOURCE),
            ("locked", NO_RESOURCE),
            ("queues", NO_RESOURCE),
            ("priority", NO_RESOURCE),
        ]),
    Row::new(
        32,
        "leave a core dump",
        "leave-core",
        Expect::Killed { signal: SIGABRT, cause: None, by: Layer::Rlimits },
    )
    .control(Control::None("a core dump goes where this machine's core_pattern says")),
    Row::new(34, "type into a terminal", "type-into-terminal", denied(FILTER, &[EPERM]))
        .told("terminal-injection")
        .excused(&[
            ("type", "dev.tty.legacy_tiocsti is off"),
            ("type-high-bits", "dev.tty.legacy_tiocsti is off"),
        ]),
    Row::new(35, "the keyrings of the user", "keyrings", denied(FILTER, &[EPERM])).told("keyrings"),
];

const NO_RESOURCE: &str = "this root lacks CAP_SYS_RESOURCE";

const TRACE: &[(&str, &str)] =
    &[("-parent", "another user may have started it"), ("-init", "only root may, and not always")];

const fn crash(title: &'static str, signal: i32, words: &'static [&'static str]) -> Row {
    Row::new(27, title, "crash", Expect::Killed { signal, cause: None, by: Layer::ProcessHygiene })
        .words(words)
        .control(Control::Runs)
}

/// Answers by which a kernel says that it does not have the thing at all: no control, no attack.
pub(crate) const NOT_HERE: &[i32] = &[
    ENOSYS,
    ENODEV,
    ENOENT,
    libc::ENXIO,
    libc::EAFNOSUPPORT,
    libc::EPROTONOSUPPORT,
    libc::ESOCKTNOSUPPORT,
    libc::EOPNOTSUPP,
];

/// Answers that an excuse may explain.
pub(crate) const EXCUSABLE: &[i32] =
    &[EACCES, EPERM, EBUSY, EINVAL, ENOENT, EXDEV, libc::EIO, libc::ESTALE, EROFS];
