//! Taking up what was delegated: a cgroup v2 that was given to us (`systemd-run --user --scope -p
//! Delegate=yes`) hands its controllers to our children only once it has no process of its own left.
//!
//! ```text
//! scope/            (we, and those who started us)      scope/               subtree_control = cpu memory pids
//!                                                  ─►   ├─ plugbay.host/     (we, and those who started us)
//!                                                       └─ plugbay-PID-N/    (one sealed tree, limited)
//! ```
//! Nothing is moved that did not start us, and nothing where root happens to be able to write: that
//! hierarchy is somebody else's, unless it is marked as delegated.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Controller, Home, unified::controllers};
use crate::sys;

/// Where we go ourselves.
const LEAF: &str = "plugbay.host";

/// The directory that was delegated, when `own` is the leaf that one like us moved into.
pub(super) fn above_our_leaf(own: PathBuf) -> PathBuf {
    match own.parent() {
        Some(parent) if own.ends_with(LEAF) => parent.to_owned(),
        _ => own,
    }
}

/// Hands what controllers there are on to our children, as far as that may be done; `home` tells
/// afterwards which they have.
pub(crate) fn enable(home: &mut Home) {
    let own = nix::unistd::getpid().as_raw();
    let ordinary = !nix::unistd::geteuid().is_root();
    let marks = [c"user.delegate", c"trusted.delegate"];
    let marked = || marks.into_iter().any(|mark| sys::attribute_is(&home.path, mark, b"1"));
    // An ordinary user may write to a cgroup only if it was given to him.
    if ordinary || marked() {
        enable_in(&Kernel, home, &lineage(own)).ok();
    }
}

/// This process and those above it.
fn lineage(own: i32) -> Vec<i32> {
    let parent = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(1)?.parse().ok().filter(|parent| *parent > 0)
    };
    std::iter::successors(Some(own), parent).collect()
}

/// The few things that are done to a hierarchy, so that tests can have one of their own.
trait Hierarchy {
    fn read(&self, path: &Path) -> io::Result<String>;
    fn write(&self, path: &Path, text: &str) -> io::Result<()>;
    fn make(&self, path: &Path) -> io::Result<()>;
}

struct Kernel;

impl Hierarchy for Kernel {
    fn read(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(path)
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        super::write_existing(path, text)
    }

    fn make(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }
}

fn enable_in(at: &impl Hierarchy, home: &mut Home, ours: &[i32]) -> io::Result<()> {
    let file = |name: &str| home.path.join(name);
    let there = controllers(&at.read(&file("cgroup.controllers"))?);
    let missing: Vec<Controller> =
        there.into_iter().filter(|controller| !home.controllers.contains(controller)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    move_away(at, &home.path, ours)?;
    for controller in missing {
        // Each by itself: one that is refused must not cost the others.
        let order = format!("+{}", controller.name());
        if at.write(&file("cgroup.subtree_control"), &order).is_ok() {
            home.controllers.push(controller);
        }
    }
    Ok(())
}

/// Moves what is in the cgroup into a leaf, if all of it is ours to move.
fn move_away(at: &impl Hierarchy, home: &Path, ours: &[i32]) -> io::Result<()> {
    let text = at.read(&home.join("cgroup.procs"))?;
    let members: Vec<i32> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
    if !members.iter().all(|pid| ours.contains(pid)) {
        return Err(io::Error::other("processes that did not start us are in the cgroup"));
    }
    if members.is_empty() {
        return Ok(());
    }
    let leaf = home.join(LEAF);
    at.make(&leaf)?;
    members.iter().try_for_each(|pid| at.write(&leaf.join("cgroup.procs"), &pid.to_string()))
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeMap};

    use super::*;

    #[derive(Default)]
    struct Node {
        members: Vec<i32>,
        handed_on: Vec<String>,
    }

    /// A hierarchy that keeps the kernel's rules: controllers come from above, and none is handed on
    /// by a cgroup with members.
    struct Fake {
        controllers: &'static str,
        nodes: RefCell<BTreeMap<PathBuf, Node>>,
    }

    impl Fake {
        fn with(members: &[i32]) -> Self {
            let node = Node { members: members.to_vec(), handed_on: Vec::new() };
            let nodes = RefCell::new([(PathBuf::from("/scope"), node)].into());
            Self { controllers: "cpu io memory pids", nodes }
        }

        fn members(&self, path: &str) -> Vec<i32> {
            self.nodes.borrow().get(Path::new(path)).map_or(Vec::new(), |it| it.members.clone())
        }
    }

    impl Hierarchy for Fake {
        fn read(&self, path: &Path) -> io::Result<String> {
            let nodes = self.nodes.borrow();
            let node = nodes.get(path.parent().unwrap()).ok_or(io::ErrorKind::NotFound)?;
            match path.file_name().and_then(|name| name.to_str()) {
                Some("cgroup.controllers") => Ok(self.controllers.to_owned()),
                Some("cgroup.procs") => {
                    Ok(node.members.iter().map(|pid| format!("{pid}\n")).collect())
                }
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }

        fn write(&self, path: &Path, text: &str) -> io::Result<()> {
            let mut nodes = self.nodes.borrow_mut();
            let home = path.parent().unwrap();
            if path.ends_with("cgroup.procs") {
                let pid: i32 = text.parse().unwrap();
                nodes.values_mut().for_each(|node| node.members.retain(|member| *member != pid));
                nodes.get_mut(home).ok_or(io::ErrorKind::NotFound)?.members.push(pid);
                return Ok(());
            }
            let node = nodes.get_mut(home).ok_or(io::ErrorKind::NotFound)?;
            if !node.members.is_empty() {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            node.handed_on.push(text.to_owned());
            Ok(())
        }

        fn make(&self, path: &Path) -> io::Result<()> {
            self.nodes.borrow_mut().entry(path.to_owned()).or_default();
            Ok(())
        }
    }

    fn home() -> Home {
        Home { path: "/scope".into(), controllers: Vec::new() }
    }

    #[test]
    fn controllers_are_handed_on_once_we_and_our_ancestors_have_moved() {
        let (fake, mut home) = (Fake::with(&[7, 3]), home());
        enable_in(&fake, &mut home, &[7, 3, 1]).unwrap();
        assert_eq!(home.controllers, [Controller::Cpu, Controller::Memory, Controller::Pids]);
        assert_eq!(
            (fake.members("/scope"), fake.members("/scope/plugbay.host")),
            (vec![], vec![7, 3])
        );
        let handed_on = &fake.nodes.borrow()[Path::new("/scope")].handed_on;
        assert_eq!(handed_on, &["+cpu", "+memory", "+pids"]);
    }

    #[test]
    fn nothing_is_moved_where_strangers_are() {
        let (fake, mut home) = (Fake::with(&[7, 99]), home());
        assert!(enable_in(&fake, &mut home, &[7, 1]).is_err());
        assert_eq!((home.controllers, fake.members("/scope")), (vec![], vec![7, 99]));
    }

    #[test]
    fn what_is_handed_on_already_is_left_alone() {
        let fake = Fake { controllers: "memory", ..Fake::with(&[99]) };
        let mut home = Home { controllers: vec![Controller::Memory], ..home() };
        enable_in(&fake, &mut home, &[7]).unwrap();
        assert_eq!(fake.members("/scope"), [99]);
    }

    #[test]
    fn one_who_starts_in_the_leaf_knows_whose_it_is() {
        assert_eq!(above_our_leaf("/scope/plugbay.host".into()), Path::new("/scope"));
        assert_eq!(above_our_leaf("/scope/other".into()), Path::new("/scope/other"));
    }

    #[test]
    fn a_lineage_begins_here_and_goes_up() {
        let own = i32::try_from(std::process::id()).unwrap();
        let lineage = lineage(own);
        assert_eq!(lineage.first(), Some(&own));
        assert_eq!(lineage.get(1), Some(&nix::unistd::getppid().as_raw()));
    }
}
