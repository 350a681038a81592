//! From the registers of a refused call to a [`Denial`]. Pure: reads no memory of the process.

use super::{Barrier, Denial, Fix};
use crate::{
    protection::{Demand, Protection},
    seccomp::{self, Ruling, Variant, Verdict, constant},
    spec::{NetworkMode, Profile},
};

/// One refusal, by the call's name and registers.
pub(super) fn denial(name: &str, args: &[u64; 6], ruling: Ruling<'_>, variant: &Variant) -> Denial {
    let rule = ruling.rule.unwrap_or("unknown-calls");
    let errno = match ruling.verdict {
        Verdict::Errno(number) => Some(i32::from(number)),
        Verdict::Allow | Verdict::Notify | Verdict::KillProcess => None,
    };
    let network = matches!(name, "socket" | "listen");
    Denial {
        syscall: Some(name.to_owned()),
        detail: detail(name, args),
        errno,
        fix: fix(name, args, variant),
        ..Denial::new(if network { Barrier::Network } else { Barrier::Seccomp }, rule)
    }
}

/// What tells this use of a call from others, by the names of its arguments.
fn detail(name: &str, args: &[u64; 6]) -> Option<String> {
    let [first, second, ..] = *args;
    let named = |prefixes: &[&str], value: u64| {
        let low = u32::try_from(value & 0xffff_ffff).unwrap_or(0);
        constant::name(prefixes, low).map_or_else(|| format!("{low:#x}"), str::to_owned)
    };
    match name {
        "socket" => {
            let kind = named(&["SOCK_STREAM", "SOCK_DGRAM"], second & 0xf);
            Some(format!("{} {kind}", named(&["AF_"], first)))
        }
        "socketpair" => Some(named(&["AF_"], first)),
        "ioctl" => Some(named(&["TIOC"], second)),
        "clone" => {
            let low = u32::try_from(first & 0xffff_ffff).unwrap_or(0);
            let set = constant::bits("CLONE_", low);
            (!set.is_empty()).then(|| set.join("|"))
        }
        _ => None,
    }
}

/// What every refusal that depends on the variant is open in.
const OPEN: Variant = Variant {
    profile: Profile::Default,
    network: NetworkMode::Full,
    ipc_namespace: true,
    listen: true,
    unix: true,
    attributes: true,
};

/// The least change under which the filter would let this very call pass, found by asking the filter.
/// Networks from least to most; but a socket of the internet is rarely meant for oneself.
fn fix(name: &str, args: &[u64; 6], variant: &Variant) -> Option<Fix> {
    let passes = |variant: &Variant| {
        seccomp::ruling(variant, name, args).is_ok_and(|ruling| ruling.verdict == Verdict::Allow)
    };
    match variant.profile {
        Profile::Default if passes(&Variant { profile: Profile::Ci, ..*variant }) => {
            return Some(Fix::Profile(Profile::Ci));
        }
        Profile::Strict(calls) if !calls.contains(name) => {
            // Its arguments may need a network beside; the next run tells.
            let profile = Profile::Strict(calls.and(name));
            let wide = Variant { profile, network: NetworkMode::Full, listen: true, ..OPEN };
            return passes(&wide).then(|| Fix::Call(name.to_owned()));
        }
        Profile::Default | Profile::Ci | Profile::Strict(_) => {}
    }
    for (protection, demand, open) in [
        (Protection::SocketsUnix, Demand::Off, Variant { unix: true, ..*variant }),
        (Protection::FilesMetadata, Demand::Prefer, Variant { attributes: true, ..*variant }),
    ] {
        if passes(&open) {
            return Some(Fix::Demand(protection, demand));
        }
    }
    let internet = name == "socket" && matches!(args[0] & 0xffff_ffff, 2 | 10);
    let modes = [NetworkMode::Loopback, NetworkMode::Full];
    let mut wider = modes
        .into_iter()
        .filter(|mode| *mode > variant.network && !(internet && *mode == NetworkMode::Loopback));
    wider.find(|mode| passes(&Variant { network: *mode, ..*variant })).map(Fix::Network)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::Calls;

    const NONE: Variant =
        Variant { profile: Profile::Default, network: NetworkMode::None, listen: false, ..OPEN };

    fn refused(variant: &Variant, name: &str, args: [u64; 6]) -> Denial {
        let ruling = seccomp::ruling(variant, name, &args).unwrap();
        assert_ne!(ruling.verdict, Verdict::Allow, "{name}");
        denial(name, &args, ruling, variant)
    }

    #[test]
    fn a_socket_without_network_is_fixed_by_a_network() {
        let tcp = refused(&NONE, "socket", [2, 1 | 0o2_000_000, 0, 0, 0, 0]);
        assert_eq!(tcp.rule, "no-network");
        assert_eq!(tcp.detail.as_deref(), Some("AF_INET SOCK_STREAM"));
        assert_eq!((tcp.errno, tcp.layer), (Some(libc::EACCES), Barrier::Network));
        assert_eq!(tcp.fix, Some(Fix::Network(NetworkMode::Full)));
        let routes = refused(&NONE, "socket", [16, 3, 0, 0, 0, 0]);
        assert_eq!(routes.fix, Some(Fix::Network(NetworkMode::Loopback)));
    }

    #[test]
    fn a_port_list_is_widened_where_it_cannot_name_what_was_refused() {
        let ports = Variant { network: NetworkMode::Ports, ..NONE };
        let datagram = refused(&ports, "socket", [2, 2, 17, 0, 0, 0]);
        assert_eq!(datagram.rule, "no-datagrams");
        assert_eq!(datagram.fix, Some(Fix::Network(NetworkMode::Full)));
        let listen = refused(&ports, "listen", [3, 128, 0, 0, 0, 0]);
        assert_eq!(listen.fix, Some(Fix::Network(NetworkMode::Full)));
    }

    #[test]
    fn what_the_build_profile_allows_is_fixed_by_it() {
        for (name, args) in [("ptrace", [0; 6]), ("setpriority", [0, 0, 5, 0, 0, 0])] {
            assert_eq!(refused(&NONE, name, args).fix, Some(Fix::Profile(Profile::Ci)), "{name}");
        }
        let of_others = refused(&NONE, "setpriority", [0, 1, 5, 0, 0, 0]);
        assert_eq!(of_others.fix, None);
    }

    #[test]
    fn what_a_list_does_not_name_is_fixed_by_its_name() {
        let python = Profile::Strict(Calls::of(["@python"]).unwrap());
        let strict = Variant { profile: python, ..NONE };
        let refused = |name: &str| refused(&strict, name, [2, 1, 0, 0, 0, 0]);
        let link = refused("symlink");
        assert_eq!((link.rule.as_str(), link.errno), ("not-listed", Some(libc::EPERM)));
        for name in ["symlink", "socket", "ptrace"] {
            assert_eq!(refused(name).fix, Some(Fix::Call(name.to_owned())), "{name}");
        }
        assert_eq!(refused("mount").fix, None);
    }

    #[test]
    fn what_is_closed_for_want_of_a_view_is_fixed_by_the_demand() {
        let bare = Variant { unix: false, attributes: false, ..NONE };
        let socket = refused(&bare, "socket", [1, 1, 0, 0, 0, 0]);
        assert_eq!((socket.rule.as_str(), socket.errno), ("no-unix-sockets", Some(libc::EACCES)));
        assert_eq!(socket.fix, Some(Fix::Demand(Protection::SocketsUnix, Demand::Off)));
        let flags = [0, 0x4008_6602, 0, 0, 0, 0];
        for (name, args) in [("chmod", [0; 6]), ("fsetxattr", [0; 6]), ("ioctl", flags)] {
            let fix = refused(&bare, name, args).fix;
            assert_eq!(fix, Some(Fix::Demand(Protection::FilesMetadata, Demand::Prefer)), "{name}");
        }
        let pair = seccomp::ruling(&bare, "socketpair", &[1, 1, 0, 0, 0, 0]).unwrap();
        assert_eq!(pair.verdict, Verdict::Allow);
    }

    #[test]
    fn what_nothing_allows_has_no_fix() {
        for name in ["mount", "keyctl", "bpf", "unshare", "io_uring_setup"] {
            assert_eq!(refused(&NONE, name, [0; 6]).fix, None, "{name}");
        }
        let typing = refused(&NONE, "ioctl", [0, 0xf_0000_5412, 0, 0, 0, 0]);
        assert_eq!(typing.detail.as_deref(), Some("TIOCSTI"));
        let namespaces = refused(&NONE, "clone", [0x1002_0011, 0, 0, 0, 0, 0]);
        assert_eq!(namespaces.detail.as_deref(), Some("CLONE_NEWNS|CLONE_NEWUSER"));
    }
}
