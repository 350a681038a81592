//! What is claimed of a start, and when a claim counts as proven. Pure: acts and answers are values.
//!
//! A claim is proven when the canary met a refusal inside *and* could do the same outside. Refused
//! in both places proves nothing. Done inside is a broken promise if a layer that should have stopped
//! it says `enforced`, and a known gap if the report had said so.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    canary::{Act, Met},
    enforcement::{Enforcement, Layer, Status},
};

/// One claim, the act that tests it and the layers that answer for it.
#[derive(Debug, Clone)]
pub struct Claim {
    /// What a plugin cannot do, or what holds for it.
    pub text: String,
    /// The layers of which at least one must stop it.
    pub layers: Vec<Layer>,
    /// The act.
    pub act: Act,
    /// What the canary must meet inside.
    pub expect: Expect,
}

/// What the canary must meet inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// A refusal, or the end of the canary by a limit; outside it must succeed.
    Refusal,
    /// Success: a grant that must work, or the sandbox is only a broken program.
    Success,
    /// These words.
    Words(&'static str),
    /// Other words than outside.
    Difference,
}

/// What came of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Seen to hold, and seen not to hold without the sandbox.
    Proven,
    /// It holds, but it would without the sandbox too, or the canary could not look (a container's
    /// masked `/proc`): nothing is shown.
    Unproven,
    /// It does not hold, as the report of the layers says.
    Gap,
    /// It does not hold although a layer says so.
    Broken,
}

/// What happened to the canary with one act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It answered.
    Met(Met),
    /// It was killed by this signal in the act.
    Killed(i32),
    /// It never came to it.
    Silent,
}

/// Judges a claim.
pub fn judge(claim: &Claim, inside: &Fate, outside: &Fate, enforcement: &Enforcement) -> Verdict {
    let holds = match (&claim.expect, inside) {
        (Expect::Refusal, Fate::Met(Met::Refused(_)) | Fate::Killed(_)) => true,
        (Expect::Success, Fate::Met(Met::Done)) => true,
        (Expect::Words(words), Fate::Met(Met::Told(told))) => told == words,
        (Expect::Difference, Fate::Met(Met::Told(_))) => inside != outside,
        _ => false,
    };
    let is_blind = matches!(claim.expect, Expect::Words(_) | Expect::Difference)
        && matches!(inside, Fate::Met(Met::Refused(_)));
    let promised = claim.layers.iter().any(|layer| enforcement.is_enforced(*layer));
    let shown = match claim.expect {
        Expect::Refusal => *outside == Fate::Met(Met::Done),
        Expect::Words(_) => inside != outside,
        Expect::Success | Expect::Difference => true,
    };
    match (holds, shown) {
        (true, true) => Verdict::Proven,
        (true, false) => Verdict::Unproven,
        (false, _) if is_blind => Verdict::Unproven,
        (false, _) if promised || claim.layers.is_empty() => Verdict::Broken,
        (false, _) => Verdict::Gap,
    }
}

/// Whether the layers of a claim are wanted at all in this start.
pub fn applies(claim: &Claim, enforcement: &Enforcement) -> bool {
    let status = |layer: &Layer| enforcement.layer(*layer).map(|report| report.status);
    claim.layers.is_empty()
        || claim.layers.iter().any(|layer| status(layer) != Some(Status::NotWanted))
}

/// What was put up for the canary to try its strength on.
#[derive(Debug, Clone)]
pub struct Scene {
    /// A file that is not granted.
    pub secret: PathBuf,
    /// A directory that is granted for reading, with a file in it.
    pub readable: PathBuf,
    /// A unix socket that is not granted.
    pub socket: PathBuf,
    /// An abstract unix socket.
    pub abstract_name: String,
    /// The TCP port of a listener that is not granted.
    pub closed_port: u16,
    /// The TCP port of a listener that is granted where ports are.
    pub open_port: u16,
    /// The process that put it up.
    pub supervisor: i32,
}

fn refusal(text: &str, layers: &[Layer], act: Act) -> Claim {
    let (text, layers) = (text.to_owned(), layers.to_vec());
    Claim { text, layers, act, expect: Expect::Refusal }
}

fn words(text: &str, layer: Layer, act: Act, words: &'static str) -> Claim {
    let expect = Expect::Words(words);
    Claim { text: text.to_owned(), layers: vec![layer], act, expect }
}

/// The claims on a start with nothing granted but one directory to read.
pub fn of_sealed(scene: &Scene) -> Vec<Claim> {
    let mut claims = vec![
        Claim {
            text: "a granted file can be read".to_owned(),
            layers: Vec::new(),
            act: Act::Read(scene.readable.join("file")),
            expect: Expect::Success,
        },
        refusal(
            "a file without a grant cannot be read",
            &[Layer::MountNamespace, Layer::LandlockFiles],
            Act::Read(scene.secret.clone()),
        ),
        refusal(
            "a grant to read is no grant to write",
            &[Layer::MountNamespace, Layer::LandlockFiles],
            Act::Create(scene.readable.clone()),
        ),
        refusal(
            "the mode of a file outside cannot be changed",
            &[Layer::MountNamespace],
            Act::Mode(scene.secret.clone()),
        ),
        refusal(
            "a unix socket without a grant cannot be reached",
            &[Layer::MountNamespace],
            Act::Unix(scene.socket.clone()),
        ),
        refusal(
            "an abstract unix socket cannot be reached",
            &[Layer::NetworkNamespace, Layer::LandlockScopes],
            Act::Abstract(scene.abstract_name.clone()),
        ),
        refusal(
            "this machine's TCP ports cannot be reached",
            &[Layer::NetworkNamespace, Layer::LandlockNetwork, Layer::Seccomp],
            Act::Tcp(scene.closed_port),
        ),
        refusal(
            "the supervisor cannot be signalled",
            &[Layer::PidNamespace, Layer::LandlockScopes],
            Act::Signal(scene.supervisor),
        ),
        refusal(
            "the supervisor's scheduling cannot be changed",
            &[Layer::PidNamespace, Layer::Seccomp],
            Act::Affinity(scene.supervisor),
        ),
        refusal("a netlink socket cannot be made", &[Layer::Seccomp], Act::Netlink),
        refusal(
            "the root directory cannot be changed",
            &[Layer::Capabilities, Layer::Seccomp],
            Act::Chroot,
        ),
        refusal("the plugin is not root", &[Layer::DedicatedUser], Act::Root),
        words(
            "the system call filter is on",
            Layer::Seccomp,
            Act::Status("Seccomp".to_owned()),
            "2",
        ),
        words(
            "no program gains rights by setuid",
            Layer::NoNewPrivileges,
            Act::Status("NoNewPrivs".to_owned()),
            "1",
        ),
        words(
            "no capability is left",
            Layer::Capabilities,
            Act::Status("CapPrm".to_owned()),
            "0000000000000000",
        ),
        words("no descriptor is inherited", Layer::ProcessHygiene, Act::Descriptors, ""),
    ];
    claims.extend(namespaces());
    // Last, because it changes the canary.
    claims.push(refusal("a user namespace cannot be made", &[Layer::Seccomp], Act::UserNamespace));
    claims
}

fn namespaces() -> impl Iterator<Item = Claim> {
    let kinds = [
        ("user", Layer::UserNamespace),
        ("pid", Layer::PidNamespace),
        ("mnt", Layer::MountNamespace),
        ("net", Layer::NetworkNamespace),
        ("ipc", Layer::IpcNamespace),
        ("uts", Layer::UtsNamespace),
        ("cgroup", Layer::CgroupNamespace),
    ];
    kinds.into_iter().map(|(kind, layer)| Claim {
        text: format!("the {} is its own", layer.name().replace('-', " ")),
        layers: vec![layer],
        act: Act::Namespace(kind.to_owned()),
        expect: Expect::Difference,
    })
}

/// The claims on a start that shares the host's network and was granted one port.
pub fn of_ports(scene: &Scene) -> Vec<Claim> {
    vec![
        Claim {
            text: "a granted TCP port can be reached".to_owned(),
            layers: Vec::new(),
            act: Act::Tcp(scene.open_port),
            expect: Expect::Success,
        },
        refusal(
            "a TCP port without a grant cannot be reached",
            &[Layer::LandlockNetwork],
            Act::Tcp(scene.closed_port),
        ),
        refusal(
            "an abstract unix socket cannot be reached from the host's network",
            &[Layer::LandlockScopes],
            Act::Abstract(scene.abstract_name.clone()),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        denial::Watched,
        enforcement::{LayerReport, TreeKill},
    };

    fn enforcement(status: Status) -> Enforcement {
        let report = LayerReport { layer: Layer::Seccomp, status, why: String::new() };
        Enforcement {
            layers: vec![report],
            protections: Vec::new(),
            tree_kill: TreeKill::Sweep,
            notes: Vec::new(),
            limits: Vec::new(),
            watched: Watched::default(),
            proven: crate::proof::Proven::default(),
        }
    }

    fn claim(expect: Expect) -> Claim {
        Claim { text: String::new(), layers: vec![Layer::Seccomp], act: Act::Netlink, expect }
    }

    const DONE: Fate = Fate::Met(Met::Done);
    const REFUSED: Fate = Fate::Met(Met::Refused(1));

    fn told(text: &str) -> Fate {
        Fate::Met(Met::Told(text.to_owned()))
    }

    fn verdict(expect: Expect, inside: &Fate, outside: &Fate, status: Status) -> Verdict {
        judge(&claim(expect), inside, outside, &enforcement(status))
    }

    #[test]
    fn a_refusal_counts_only_with_a_control_that_succeeds() {
        let judge = |inside, outside| verdict(Expect::Refusal, inside, outside, Status::Enforced);
        assert_eq!(judge(&REFUSED, &DONE), Verdict::Proven);
        assert_eq!(judge(&Fate::Killed(25), &DONE), Verdict::Proven);
        assert_eq!(judge(&REFUSED, &REFUSED), Verdict::Unproven);
        assert_eq!(judge(&REFUSED, &Fate::Silent), Verdict::Unproven);
    }

    #[test]
    fn a_promise_that_does_not_hold_is_broken_but_an_admitted_gap_is_a_gap() {
        assert_eq!(verdict(Expect::Refusal, &DONE, &DONE, Status::Enforced), Verdict::Broken);
        assert_eq!(verdict(Expect::Refusal, &DONE, &DONE, Status::Absent), Verdict::Gap);
        assert_eq!(
            verdict(Expect::Refusal, &Fate::Silent, &DONE, Status::Enforced),
            Verdict::Broken
        );
    }

    #[test]
    fn words_and_differences_are_compared() {
        let words = |inside: &str, outside: &str| {
            verdict(Expect::Words("2"), &told(inside), &told(outside), Status::Enforced)
        };
        assert_eq!(words("2", "0"), Verdict::Proven);
        assert_eq!(words("2", "2"), Verdict::Unproven);
        assert_eq!(words("0", "0"), Verdict::Broken);
        let differs = |one: &str, other: &str| {
            verdict(Expect::Difference, &told(one), &told(other), Status::Enforced)
        };
        assert_eq!(differs("net:[1]", "net:[2]"), Verdict::Proven);
        assert_eq!(differs("net:[1]", "net:[1]"), Verdict::Broken);
        for expect in [Expect::Words("2"), Expect::Difference] {
            let blind = verdict(expect, &REFUSED, &told("0"), Status::Enforced);
            assert_eq!(blind, Verdict::Unproven, "who could not look has seen nothing");
        }
    }

    #[test]
    fn a_grant_that_does_not_work_is_broken() {
        let grant = Claim { layers: Vec::new(), ..claim(Expect::Success) };
        assert_eq!(judge(&grant, &REFUSED, &DONE, &enforcement(Status::Enforced)), Verdict::Broken);
        assert_eq!(judge(&grant, &DONE, &DONE, &enforcement(Status::Enforced)), Verdict::Proven);
    }

    #[test]
    fn claims_on_layers_that_nobody_wants_are_left_out() {
        assert!(!applies(&claim(Expect::Refusal), &enforcement(Status::NotWanted)));
        assert!(applies(&claim(Expect::Refusal), &enforcement(Status::Absent)));
    }
}
