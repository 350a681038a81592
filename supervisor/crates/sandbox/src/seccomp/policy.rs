//! Profiles as rules: read from their files, checked, laid over one another.
//!
//! A policy knows names only; `Policy::decisions` turns it into numbers for one architecture and
//! one variant. Nothing here knows BPF.

use std::{
    collections::{BTreeSet, HashMap},
    sync::OnceLock,
};

use super::{Arch, Variant, Verdict, constant, source, strict, table};
use crate::{denial::Watch, spec::Profile};

/// The profiles' own texts, built in: name and content.
const SOURCES: [(&str, &str); 2] = [
    ("default", include_str!("../../profiles/default.json")),
    ("ci", include_str!("../../profiles/ci.json")),
];

/// What is wrong with a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is not JSON of the right shape.
    #[error("the profile `{profile}` cannot be read: {problem}")]
    Shape {
        /// The profile.
        profile: String,
        /// What the JSON reader says, with line and column.
        problem: String,
    },
    /// One of its rules makes no sense.
    #[error("the rule `{rule}` of the profile `{profile}` {problem}")]
    Rule {
        /// The profile.
        profile: String,
        /// The rule's name.
        rule: String,
        /// What is wrong with it, as the sentence goes on.
        problem: String,
    },
}

/// A checked policy.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    calls: HashMap<&'static str, Named>,
    checks: Vec<Check>,
    /// The names of the groups.
    groups: Vec<String>,
}

/// A call that some group lists.
#[derive(Debug, Clone)]
struct Named {
    verdict: Verdict,
    quiet: bool,
    /// The group that lists it, by position.
    group: usize,
    /// The checks that look at it, by position.
    checks: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Check {
    name: String,
    calls: Vec<&'static str>,
    only: source::Only,
    test: Test,
}

/// A verdict that counts when all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Test {
    pub(super) conditions: Vec<Condition>,
    pub(super) verdict: Verdict,
}

/// A question about the low 32 bits of one argument.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Condition {
    pub(super) argument: u8,
    pub(super) question: Question,
}

/// What is asked of these bits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    /// With only the bits of `mask`, are they one of `values`?
    Is { mask: u32, values: Vec<u32> },
    /// With only the bits of `mask`, are they none of `values`?
    IsNot { mask: u32, values: Vec<u32> },
    /// Is any of these bits set?
    HasAny(u32),
}

/// What becomes of one call: the first test that holds decides, else the last word.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Decision<'p> {
    pub(super) tests: Vec<&'p Test>,
    pub(super) otherwise: Verdict,
    /// Which of these verdicts become a question to the listener.
    pub(super) asked: Asked,
}

/// What the listener of a filter is asked about one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    /// Nothing.
    Never,
    /// To answer its refusals.
    Refusals,
    /// Every use of it that does not kill.
    Always,
}

/// The rule that decides about one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ruling<'p> {
    /// The name of a check or group; `None` for a call that no group lists.
    pub rule: Option<&'p str>,
    /// What it says.
    pub verdict: Verdict,
}

/// The calls that reach for a file or an address by name, which an observer of attempts looks at.
pub const REACHING: [&str; 52] = [
    "open",
    "openat",
    "creat",
    "access",
    "faccessat",
    "faccessat2",
    "execve",
    "execveat",
    "stat",
    "lstat",
    "newfstatat",
    "statx",
    "statfs",
    "readlink",
    "readlinkat",
    "getxattr",
    "lgetxattr",
    "listxattr",
    "llistxattr",
    "inotify_add_watch",
    "chdir",
    "mkdir",
    "mkdirat",
    "rmdir",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "truncate",
    "mknod",
    "mknodat",
    "chmod",
    "fchmodat",
    "fchmodat2",
    "chown",
    "lchown",
    "fchownat",
    "utime",
    "utimes",
    "futimesat",
    "utimensat",
    "setxattr",
    "lsetxattr",
    "removexattr",
    "lremovexattr",
    "connect",
    "bind",
];

/// The calls that a program makes all the time, or while it is being started: to learn from each would
/// take longer than the program itself. Whoever makes a list of what was learned adds them.
pub const INCESSANT: [&str; 32] = [
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "close",
    "fcntl",
    "lseek",
    "fstat",
    "getdents64",
    "mmap",
    "munmap",
    "mprotect",
    "mremap",
    "madvise",
    "brk",
    "futex",
    "poll",
    "ppoll",
    "epoll_wait",
    "epoll_pwait",
    "recvmsg",
    "sendmsg",
    "clock_gettime",
    "clock_nanosleep",
    "sched_yield",
    "rt_sigprocmask",
    "rt_sigaction",
    "rt_sigreturn",
    "getpid",
    "exit_group",
];

/// The policy of a built-in profile, read once per process; of a strict one, that of the calls which
/// its list does not name.
pub(crate) fn of(profile: Profile) -> Result<&'static Policy, PolicyError> {
    static DEFAULT: OnceLock<Policy> = OnceLock::new();
    static CI: OnceLock<Policy> = OnceLock::new();
    let (cell, name) = match profile {
        Profile::Default | Profile::Strict(_) => (&DEFAULT, "default"),
        Profile::Ci => (&CI, "ci"),
    };
    match cell.get() {
        Some(policy) => Ok(policy),
        None => Policy::named(name, &SOURCES).map(|policy| cell.get_or_init(|| policy)),
    }
}

/// The policy that decides about one call: a strict list may name calls of more than one profile.
/// `None` where the list alone refuses it.
fn deciding(profile: Profile, name: &str) -> Result<Option<&'static Policy>, PolicyError> {
    let Profile::Strict(calls) = profile else { return of(profile).map(Some) };
    let default = of(Profile::Default)?;
    let rules = if calls.contains(name) { strict::rules_of(name) } else { None };
    match rules {
        Some(rules) => of(rules).map(Some),
        None if default.lists(name) => Ok(None),
        None => Ok(Some(default)),
    }
}

/// What becomes of one call, and by which rule. The same answer as that of the compiled filter.
pub(super) fn ruling(
    name: &str,
    args: &[u64; 6],
    variant: &Variant,
) -> Result<Ruling<'static>, PolicyError> {
    Ok(match deciding(variant.profile, name)? {
        Some(policy) => policy.ruling(name, args, variant),
        None => Ruling { rule: Some(strict::NOT_LISTED), verdict: strict::REFUSED },
    })
}

/// Every named call of an architecture, in the order of the numbers, with what becomes of it.
pub(super) fn decisions(
    arch: Arch,
    variant: &Variant,
    watch: Watch,
) -> Result<Vec<(u32, Decision<'static>)>, PolicyError> {
    let mut decisions = Vec::with_capacity(arch.calls().len());
    for (number, name) in arch.calls() {
        let decision = match deciding(variant.profile, name)? {
            Some(policy) => policy.decision(name, variant, watch),
            None => Some(not_listed(name, watch)),
        };
        decisions.extend(decision.map(|decision| (*number, decision)));
    }
    Ok(decisions)
}

/// The decision on a call that is only refused because a strict list does not name it.
fn not_listed(name: &str, watch: Watch) -> Decision<'static> {
    let mut decision =
        Decision { tests: Vec::new(), otherwise: strict::REFUSED, asked: Asked::Never };
    decision.asked = asked(name, false, &decision, watch);
    decision
}

impl Policy {
    /// Reads the profile `name`, and what it extends, out of the given texts.
    ///
    /// # Errors
    /// The text is not JSON of the right shape, or a rule makes no sense; both name the place.
    pub fn named(name: &str, sources: &[(&str, &str)]) -> Result<Self, PolicyError> {
        let mut chain = Vec::new();
        let mut wanted = Some(name);
        while let Some(name) = wanted {
            let profile = read(name, sources)?;
            if chain.len() >= sources.len() {
                return Err(shape(name, "it extends itself"));
            }
            wanted = profile.extends;
            chain.push(profile);
        }
        let mut policy = Self::default();
        for profile in chain.iter().rev() {
            policy.lay_over(profile)?;
        }
        for (at, check) in policy.checks.iter().enumerate() {
            for call in &check.calls {
                if let Some(named) = policy.calls.get_mut(call) {
                    named.checks.push(at);
                }
            }
        }
        Ok(policy)
    }

    fn lay_over(&mut self, profile: &source::Profile<'_>) -> Result<(), PolicyError> {
        let mut names = BTreeSet::new();
        let mut decided = HashMap::new();
        for group in &profile.groups {
            let rule = Rule { profile: profile.name, name: group.name };
            rule.named_once(&group.comment, &mut names)?;
            let verdict = rule.verdict(group.verdict)?;
            let (quiet, at) = (group.quiet, self.groups.len());
            self.groups.push(group.name.to_owned());
            for call in rule.calls(&group.calls)? {
                if let Some(other) = decided.insert(call, group.name) {
                    return rule.fails(format!("lists `{call}`, which `{other}` lists already"));
                }
                self.calls.insert(call, Named { verdict, quiet, group: at, checks: Vec::new() });
            }
        }
        for check in &profile.checks {
            let rule = Rule { profile: profile.name, name: check.name };
            rule.named_once(&check.comment, &mut names)?;
            let check = rule.check(check)?;
            for call in &check.calls {
                if self.calls.get(call).is_none_or(|named| named.verdict != Verdict::Allow) {
                    return rule.fails(format!("looks at `{call}`, which no group allows"));
                }
            }
            match self.checks.iter_mut().find(|old| old.name == check.name) {
                Some(old) => *old = check,
                None => self.checks.push(check),
            }
        }
        Ok(())
    }

    /// What becomes of one call in a variant.
    pub(super) fn decision(
        &self,
        name: &str,
        variant: &Variant,
        watch: Watch,
    ) -> Option<Decision<'_>> {
        let named = self.calls.get(name)?;
        let mut decision =
            Decision { tests: Vec::new(), otherwise: named.verdict, asked: Asked::Never };
        let checks = named.checks.iter().filter_map(|at| self.checks.get(*at));
        for check in checks.filter(|check| check.only.has(variant)) {
            if check.test.conditions.is_empty() {
                decision.otherwise = check.test.verdict;
                break;
            }
            decision.tests.push(&check.test);
        }
        decision.asked = asked(name, named.quiet, &decision, watch);
        Some(decision)
    }

    /// What becomes of one call, and by which rule. The same answer as that of the compiled filter.
    #[must_use]
    pub fn ruling(&self, name: &str, args: &[u64; 6], variant: &Variant) -> Ruling<'_> {
        let Some(named) = self.calls.get(name) else {
            return Ruling { rule: None, verdict: Verdict::UNKNOWN_CALL };
        };
        let checks = named.checks.iter().filter_map(|at| self.checks.get(*at));
        let mut of_variant = checks.filter(|check| check.only.has(variant));
        match of_variant.find(|check| check.test.holds(args)) {
            Some(check) => Ruling { rule: Some(&check.name), verdict: check.test.verdict },
            None => Ruling {
                rule: self.groups.get(named.group).map(String::as_str),
                verdict: named.verdict,
            },
        }
    }

    /// Whether a group allows a call, as far as no check says otherwise.
    pub(super) fn lists(&self, call: &str) -> bool {
        self.calls.get(call).is_some_and(|named| named.verdict == Verdict::Allow)
    }

    /// The groups of calls that are allowed, by name.
    pub(super) fn allowed_groups(&self) -> impl Iterator<Item = (&str, Vec<&'static str>)> {
        let listed = |at: usize| {
            let calls = self.calls.iter().filter(move |(_, named)| named.group == at);
            calls.filter(|(_, named)| named.verdict == Verdict::Allow).map(|(name, _)| *name)
        };
        let groups = self.groups.iter().enumerate();
        let groups = groups.map(move |(at, name)| (name.as_str(), listed(at).collect::<Vec<_>>()));
        groups.filter(|(_, calls)| !calls.is_empty())
    }

    /// The names of the checks that look at a call in some variant.
    pub fn checks_of(&self, call: &str) -> impl Iterator<Item = &str> {
        let positions = self.calls.get(call).map(|named| named.checks.as_slice());
        let checks = positions.unwrap_or_default().iter().filter_map(|at| self.checks.get(*at));
        checks.map(|check| check.name.as_str())
    }
}

/// Who is asked about a call, as far as there is something to ask.
fn asked(name: &str, quiet: bool, decision: &Decision<'_>, watch: Watch) -> Asked {
    let always_allowed = decision.tests.is_empty() && decision.otherwise == Verdict::Allow;
    match watch {
        Watch::Nothing => Asked::Never,
        Watch::Attempts if REACHING.contains(&name) => Asked::Always,
        Watch::Lessons if !quiet && !INCESSANT.contains(&name) => Asked::Always,
        Watch::Denials | Watch::Attempts | Watch::Lessons if quiet || always_allowed => {
            Asked::Never
        }
        Watch::Denials | Watch::Attempts | Watch::Lessons => Asked::Refusals,
    }
}

impl Asked {
    /// What the filter says in the place of a verdict.
    pub(super) fn instead_of(self, verdict: Verdict) -> Verdict {
        match (self, verdict) {
            (Self::Refusals | Self::Always, Verdict::Errno(_)) | (Self::Always, Verdict::Allow) => {
                Verdict::Notify
            }
            (_, verdict) => verdict,
        }
    }
}

impl Test {
    fn holds(&self, args: &[u64; 6]) -> bool {
        self.conditions.iter().all(|condition| {
            // The low half only, as in `instruction::argument`.
            let word = args.get(usize::from(condition.argument)).map_or(0, |arg| arg & 0xffff_ffff);
            let word = u32::try_from(word).unwrap_or(0);
            match &condition.question {
                Question::Is { mask, values } => values.contains(&(word & mask)),
                Question::IsNot { mask, values } => !values.contains(&(word & mask)),
                Question::HasAny(bits) => word & bits != 0,
            }
        })
    }
}

impl source::Only {
    fn has(&self, variant: &Variant) -> bool {
        self.network.as_ref().is_none_or(|modes| modes.contains(&variant.network))
            && self.listen.is_none_or(|listen| listen == variant.listen)
            && self.ipc_namespace.is_none_or(|own| own == variant.ipc_namespace)
            && self.unix.is_none_or(|unix| unix == variant.unix)
            && self.attributes.is_none_or(|attributes| attributes == variant.attributes)
    }
}

fn shape(profile: &str, problem: impl ToString) -> PolicyError {
    PolicyError::Shape { profile: profile.to_owned(), problem: problem.to_string() }
}

fn read<'s>(name: &str, sources: &[(&str, &'s str)]) -> Result<source::Profile<'s>, PolicyError> {
    let text = sources
        .iter()
        .find_map(|(other, text)| (*other == name).then_some(*text))
        .ok_or_else(|| shape(name, "there is no such profile"))?;
    let profile: source::Profile<'_> =
        serde_json::from_str(text).map_err(|error| shape(name, error))?;
    if profile.name != name {
        return Err(shape(name, format!("it calls itself `{}`", profile.name)));
    }
    if profile.comment.is_empty() {
        return Err(shape(name, "it has no comment"));
    }
    Ok(profile)
}

/// One rule while it is checked: errors name it.
struct Rule<'s> {
    profile: &'s str,
    name: &'s str,
}

impl<'s> Rule<'s> {
    fn fails<T>(&self, problem: impl Into<String>) -> Result<T, PolicyError> {
        Err(PolicyError::Rule {
            profile: self.profile.to_owned(),
            rule: self.name.to_owned(),
            problem: problem.into(),
        })
    }

    fn named_once(&self, comment: &str, names: &mut BTreeSet<&'s str>) -> Result<(), PolicyError> {
        if !names.insert(self.name) {
            return self.fails("has the name of another");
        }
        if comment.is_empty() {
            return self.fails("has no comment");
        }
        Ok(())
    }

    fn verdict(&self, text: &str) -> Result<Verdict, PolicyError> {
        match constant::verdict(text) {
            Some(verdict) => Ok(verdict),
            None => self.fails(format!("has the unknown verdict `{text}`")),
        }
    }

    fn calls(&self, names: &[&str]) -> Result<Vec<&'static str>, PolicyError> {
        let mut calls = Vec::with_capacity(names.len());
        for name in names {
            match table::known(name) {
                Some(call) => calls.push(call),
                None => return self.fails(format!("names the unknown call `{name}`")),
            }
        }
        if calls.is_empty() {
            return self.fails("names no call");
        }
        Ok(calls)
    }

    fn check(&self, check: &source::Check<'_>) -> Result<Check, PolicyError> {
        let conditions: Result<_, _> = check.when.iter().map(|c| self.condition(c)).collect();
        Ok(Check {
            name: check.name.to_owned(),
            calls: self.calls(&check.calls)?,
            only: check.only.clone(),
            test: Test { conditions: conditions?, verdict: self.verdict(check.verdict)? },
        })
    }

    fn condition(&self, condition: &source::Condition<'_>) -> Result<Condition, PolicyError> {
        let source::Condition { argument, mask, is, is_not, has_any } = condition;
        if *argument > 5 {
            return self.fails(format!("asks for argument {argument}; they are numbered 0 to 5"));
        }
        let masked = || mask.map_or(Ok(u32::MAX), |mask| self.value(mask));
        let question = match (is, is_not, has_any) {
            (Some(values), None, None) => {
                Question::Is { mask: masked()?, values: self.values(values)? }
            }
            (None, Some(values), None) => {
                Question::IsNot { mask: masked()?, values: self.values(values)? }
            }
            (None, None, Some(bits)) if mask.is_none() => Question::HasAny(self.value(bits)?),
            _ => {
                return self
                    .fails("needs one of `is`, `is-not` and `has-any` (this one without `mask`)");
            }
        };
        Ok(Condition { argument: *argument, question })
    }

    fn values(&self, expressions: &[&str]) -> Result<Vec<u32>, PolicyError> {
        if expressions.is_empty() {
            return self.fails("compares with no value");
        }
        expressions.iter().map(|expression| self.value(expression)).collect()
    }

    fn value(&self, expression: &str) -> Result<u32, PolicyError> {
        match constant::value(expression) {
            Some(value) => Ok(value),
            None => self.fails(format!("has the unknown value `{expression}`")),
        }
    }
}
