//! What a process was seen to do beyond its grants while it was let do so: the raw material of the
//! smallest grants. Bounded; says how much it could not keep.
//!
//! Nothing is decided here. What of it shall be granted, and how wide, is up to whoever reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::{Denial, Tally};

/// Paths that are told apart. A build of a large project touches some tens of thousands.
const MOST_PATHS: usize = 1 << 17;
/// Addresses, and names that were asked for, that are told apart.
const MOST_CONTACTS: usize = 1 << 10;

/// Calls that are made too often to be asked about, and that follow from others.
pub(crate) const IMPLIED: [(&[&str], &[&str]); 2] = [
    (&["socket", "socketpair", "accept", "accept4"], &["recvmsg", "sendmsg"]),
    (&["epoll_create", "epoll_create1"], &["epoll_wait", "epoll_pwait"]),
];

/// What was done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// Whether it is there and what it is: nothing of its content.
    Look,
    /// A link in this directory was followed.
    Link,
    /// The content of a file was read.
    Read,
    /// The names in a directory were read.
    List,
    /// It was executed.
    Execute,
    /// A file, or what is known of it, was changed.
    Change,
    /// Something was made, renamed or removed in this directory.
    Make,
}

/// All that was done with one path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touch {
    /// Whether it is a directory.
    pub directory: bool,
    /// What was done.
    pub uses: BTreeSet<Use>,
}

/// How an address of the internet was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Connected to.
    Connect,
    /// Taken as one's own.
    Bind,
    /// Sent to without a connection.
    Send,
}

/// One address that was used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contact {
    /// How.
    pub way: Way,
    /// The address.
    pub address: IpAddr,
    /// The port; 0 lets the kernel choose.
    pub port: u16,
    /// Whether the socket is one for datagrams, such as UDP.
    pub datagram: bool,
    /// The name that some process of the tree had last asked a name server for.
    pub after: Option<String>,
}

/// All that was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lessons {
    files: BTreeMap<PathBuf, Touch>,
    sockets: BTreeSet<PathBuf>,
    contacts: BTreeSet<Contact>,
    names: Vec<String>,
    calls: BTreeSet<&'static str>,
    programs: BTreeSet<String>,
    needs: Tally,
    withheld: BTreeMap<PathBuf, &'static str>,
    hidden: BTreeSet<PathBuf>,
    lost: u64,
}

impl Lessons {
    /// The paths that no grant covered, by their real names.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<PathBuf, Touch> {
        &self.files
    }

    /// The unix sockets that were connected to and that no grant covered.
    #[must_use]
    pub fn sockets(&self) -> &BTreeSet<PathBuf> {
        &self.sockets
    }

    /// The addresses of the internet that were used.
    #[must_use]
    pub fn contacts(&self) -> &BTreeSet<Contact> {
        &self.contacts
    }

    /// The names that name servers were asked for, in the order in which they were first asked.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The system calls that were made, but for those that every program makes all the time.
    #[must_use]
    pub fn calls(&self) -> &BTreeSet<&'static str> {
        &self.calls
    }

    /// The programs that were executed, each by the name of its real file.
    #[must_use]
    pub fn programs(&self) -> &BTreeSet<String> {
        &self.programs
    }

    /// What the filter of the grants would have refused.
    #[must_use]
    pub fn needs(&self) -> &Tally {
        &self.needs
    }

    /// What looks like a secret, and was refused for that; with the reason.
    #[must_use]
    pub fn withheld(&self) -> &BTreeMap<PathBuf, &'static str> {
        &self.withheld
    }

    /// What was reached for and could not be had while learning: what is done with it is not known.
    #[must_use]
    pub fn hidden(&self) -> &BTreeSet<PathBuf> {
        &self.hidden
    }

    /// How much was seen and not kept.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) fn touch(&mut self, path: &Path, directory: bool, usage: Use) {
        if let Some(touch) = self.files.get_mut(path) {
            touch.directory |= directory;
            touch.uses.insert(usage);
        } else if self.files.len() < MOST_PATHS {
            let touch = Touch { directory, uses: [usage].into() };
            self.files.insert(path.to_owned(), touch);
        } else {
            self.lose();
        }
    }

    pub(super) fn socket(&mut self, path: PathBuf) {
        if self.sockets.len() < MOST_CONTACTS {
            self.sockets.insert(path);
        } else {
            self.lose();
        }
    }

    pub(super) fn contact(&mut self, contact: Contact) {
        let contact = Contact { after: self.names.last().cloned(), ..contact };
        if self.contacts.len() < MOST_CONTACTS {
            self.contacts.insert(contact);
        } else if !self.contacts.contains(&contact) {
            self.lose();
        }
    }

    pub(super) fn asked_for(&mut self, name: String) {
        // The last one asked for stands last: addresses that follow are probably its.
        if self.names.len() < MOST_CONTACTS || self.names.contains(&name) {
            self.names.retain(|known| *known != name);
            self.names.push(name);
        } else {
            self.lose();
        }
    }

    pub(super) fn called(&mut self, name: &'static str) {
        self.calls.insert(name);
        let implied = IMPLIED.iter().filter(|(calls, _)| calls.contains(&name));
        self.calls.extend(implied.flat_map(|(_, calls)| calls.iter()));
    }

    pub(super) fn executed(&mut self, program: &Path) {
        let name = program.file_name().map(|name| name.to_string_lossy().into_owned());
        if self.programs.len() < MOST_CONTACTS {
            self.programs.extend(name);
        }
    }

    pub(super) fn needed(&mut self, denial: Denial) {
        self.needs.add(denial);
    }

    pub(super) fn withhold(&mut self, path: &Path, why: &'static str) {
        if self.withheld.len() < MOST_CONTACTS {
            self.withheld.insert(path.to_owned(), why);
        } else {
            self.lose();
        }
    }

    pub(super) fn hide(&mut self, path: &Path) {
        if self.hidden.len() < MOST_CONTACTS {
            self.hidden.insert(path.to_owned());
        } else {
            self.lose();
        }
    }

    /// A path turned out to be something that the process makes for itself.
    pub(super) fn forget(&mut self, path: &Path) {
        self.files.remove(path);
        self.hidden.remove(path);
    }

    fn lose(&mut self) {
        self.lost = self.lost.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ever_new_paths_take_bounded_memory_and_are_counted_still() {
        let mut lessons = Lessons::default();
        for number in 0..MOST_PATHS + 5 {
            lessons.touch(Path::new(&format!("/{number}")), false, Use::Read);
        }
        assert_eq!((lessons.files().len(), lessons.lost()), (MOST_PATHS, 5));
        lessons.touch(Path::new("/0"), false, Use::Change);
        assert_eq!(lessons.files()[Path::new("/0")].uses, [Use::Read, Use::Change].into());
        assert_eq!(lessons.lost(), 5);
    }

    #[test]
    fn an_address_is_told_with_the_name_that_was_asked_for_last() {
        let mut lessons = Lessons::default();
        let address = IpAddr::from([192, 0, 2, 1]);
        let contact =
            Contact { way: Way::Connect, address, port: 443, datagram: false, after: None };
        for name in ["a.example", "b.example", "a.example"] {
            lessons.asked_for(name.to_owned());
        }
        lessons.contact(contact);
        let after = lessons.contacts().first().unwrap().after.clone();
        assert_eq!(after.as_deref(), Some("a.example"));
        assert_eq!(lessons.names(), ["b.example", "a.example"]);
    }
}
