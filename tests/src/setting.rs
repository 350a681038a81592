//! The circumstances that a test is repeated in: as root or not, with namespaces or without.

/// The user that owns nothing.
pub const NOBODY: u32 = 65534;

/// Whether the tests run as root, and so can run things as others too.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// As whom the keeper runs and what the kernel lets it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// As root.
    Root,
    /// As an ordinary user: `nobody` when the tests run as root, else whoever runs them.
    User,
    /// As root, where new namespaces are refused (most containers).
    RootWithoutNamespaces,
    /// As an ordinary user, where new namespaces are refused (hardened kernels, containers).
    UserWithoutNamespaces,
    /// As an ordinary user who gets a user namespace without rights in it (Ubuntu's AppArmor).
    UserWithHollowNamespaces,
}

impl Setting {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Root,
        Self::User,
        Self::RootWithoutNamespaces,
        Self::UserWithoutNamespaces,
        Self::UserWithHollowNamespaces,
    ];

    /// Those that can be had here. Says which cannot.
    #[must_use]
    pub fn possible() -> Vec<Self> {
        let (possible, skipped): (Vec<Self>, Vec<Self>) =
            Self::ALL.into_iter().partition(|setting| setting.is_possible());
        for setting in skipped {
            println!("skipped ({}): the tests do not run as root", setting.name());
        }
        possible
    }

    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "user",
            Self::RootWithoutNamespaces => "root, no namespaces",
            Self::UserWithoutNamespaces => "user, no namespaces",
            Self::UserWithHollowNamespaces => "user, hollow namespaces",
        }
    }

    /// The program that becomes a keeper in this setting.
    #[must_use]
    pub fn keeper_name(self) -> &'static str {
        match self {
            Self::Root => "keeper-root",
            Self::User => "keeper-user",
            Self::RootWithoutNamespaces => "keeper-root-without-namespaces",
            Self::UserWithoutNamespaces => "keeper-user-without-namespaces",
            Self::UserWithHollowNamespaces => "keeper-user-with-hollow-namespaces",
        }
    }

    /// Whether it can be had here. Without root there is only the user who runs the tests.
    #[must_use]
    pub fn is_possible(self) -> bool {
        is_root() || !self.as_root()
    }

    /// Whether the keeper is root.
    #[must_use]
    pub fn as_root(self) -> bool {
        matches!(self, Self::Root | Self::RootWithoutNamespaces)
    }

    /// Whether namespaces are left as the kernel has them.
    #[must_use]
    pub fn may_have_namespaces(self) -> bool {
        matches!(self, Self::Root | Self::User)
    }

    /// The user id of the keeper, and of what runs unsealed beside it.
    #[must_use]
    pub fn uid(self) -> u32 {
        match (self.as_root(), is_root()) {
            (true, _) => 0,
            (false, true) => NOBODY,
            (false, false) => nix::unistd::geteuid().as_raw(),
        }
    }

    /// The options by which `rung` brings a process into this setting.
    #[must_use]
    pub fn rung_options(self) -> Vec<String> {
        let mut options = self.user_options();
        match self {
            Self::Root | Self::User => {}
            Self::RootWithoutNamespaces | Self::UserWithoutNamespaces => {
                options.push("--refuse=namespaces".to_owned());
            }
            Self::UserWithHollowNamespaces => options.push("--refuse=mounts".to_owned()),
        }
        options
    }

    /// Only the user, without the refusals: for what runs outside.
    #[must_use]
    pub fn user_options(self) -> Vec<String> {
        if is_root() && !self.as_root() { vec![format!("--user={NOBODY}")] } else { Vec::new() }
    }
}
