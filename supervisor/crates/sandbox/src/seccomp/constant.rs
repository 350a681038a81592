//! The names that profiles may use for numbers: flags, families, requests, errors.
//!
//! All have the same value on every architecture that has a table; a test compares them with
//! `libc`.

use super::Verdict;

/// Names of argument values.
pub(super) const VALUES: &[(&str, u32)] = &[
    ("AF_UNIX", 1),
    ("AF_INET", 2),
    ("AF_INET6", 10),
    ("AF_NETLINK", 16),
    ("SOCK_STREAM", 1),
    ("SOCK_DGRAM", 2),
    ("SOCK_TYPE_MASK", 0xf),
    ("NETLINK_ROUTE", 0),
    ("IPPROTO_IP", 0),
    ("IPPROTO_ICMP", 1),
    ("IPPROTO_TCP", 6),
    ("IPPROTO_UDP", 17),
    ("IPPROTO_ICMPV6", 58),
    ("IPPROTO_MPTCP", 262),
    ("MSG_FASTOPEN", 0x2000_0000),
    ("TCP_FASTOPEN_CONNECT", 30),
    ("CLONE_NEWNS", 0x0002_0000),
    ("CLONE_NEWCGROUP", 0x0200_0000),
    ("CLONE_NEWUTS", 0x0400_0000),
    ("CLONE_NEWIPC", 0x0800_0000),
    ("CLONE_NEWUSER", 0x1000_0000),
    ("CLONE_NEWPID", 0x2000_0000),
    ("CLONE_NEWNET", 0x4000_0000),
    ("TIOCSTI", 0x5412),
    ("TIOCLINUX", 0x541c),
    ("TIOCSETD", 0x5423),
    ("FS_IOC_SETFLAGS", 0x4008_6602),
    ("FS_IOC_FSSETXATTR", 0x401c_5820),
    ("PER_LINUX32", 0x0008),
    ("UNAME26", 0x0002_0000),
    ("ADDR_NO_RANDOMIZE", 0x0004_0000),
    ("AT_EMPTY_PATH", 0x1000),
    ("AT_EXECVE_CHECK", 0x0001_0000),
    ("S_IFMT", 0xf000),
    ("S_IFCHR", 0x2000),
    ("S_IFBLK", 0x6000),
    ("S_ISUID", 0o4000),
    ("S_ISGID", 0o2000),
    ("O_CREAT", 0o100),
    // O_TMPFILE without O_DIRECTORY, whose value differs by architecture.
    ("O_TMPFILE_BIT", 0o2000_0000),
    ("PRIO_PROCESS", 0),
    ("IOPRIO_WHO_PROCESS", 1),
];

/// The name of a value, out of those with one of these beginnings.
pub(crate) fn name(beginnings: &[&str], value: u32) -> Option<&'static str> {
    let mut named =
        VALUES.iter().filter(|(name, _)| beginnings.iter().any(|it| name.starts_with(it)));
    named.find(|(_, known)| *known == value).map(|(name, _)| *name)
}

/// The names of the bits that are set, out of those with this beginning.
pub(crate) fn bits(beginning: &str, value: u32) -> Vec<&'static str> {
    let named = VALUES.iter().filter(|(name, _)| name.starts_with(beginning));
    named.filter(|(_, bit)| value & bit == *bit).map(|(name, _)| *name).collect()
}

/// Names of the errors that a profile may answer with.
pub(super) const ERRORS: &[(&str, u16)] = &[
    ("EPERM", 1),
    ("EACCES", 13),
    ("ENOSYS", 38),
    ("EPROTONOSUPPORT", 93),
    ("EOPNOTSUPP", 95),
    ("EAFNOSUPPORT", 97),
];

/// The value of `NAME`, `0x1f`, `31`, or several of these joined by `|`.
pub(super) fn value(expression: &str) -> Option<u32> {
    expression.split('|').try_fold(0, |bits, part| Some(bits | single(part.trim())?))
}

fn single(text: &str) -> Option<u32> {
    if let Some((_, value)) = VALUES.iter().find(|(name, _)| *name == text) {
        return Some(*value);
    }
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The verdict of `allow` or the name of an error.
pub(super) fn verdict(text: &str) -> Option<Verdict> {
    if text == "allow" {
        return Some(Verdict::Allow);
    }
    ERRORS.iter().find(|(name, _)| *name == text).map(|(_, number)| Verdict::Errno(*number))
}
