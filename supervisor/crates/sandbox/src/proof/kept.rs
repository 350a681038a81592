//! The note that a canary has sung in these circumstances since the machine was booted.
//!
//! A file per circumstances, named by a number made of them and holding them in full. It is believed
//! only if it is ours, nobody else can write it, and every word is the same. Whoever forges one has
//! our user's rights already, and gains no more than that no canary is sent.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// A note is a few lines; what is longer is none.
const LONGEST: u64 = 4096;
/// Notes that are kept; beyond that, those of earlier boots and then all others go.
const MOST: usize = 64;

/// The circumstances of a proof.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note {
    uid: u32,
    boot: String,
    text: String,
}

impl Note {
    /// The circumstances now; `None` where they cannot be told.
    pub(super) fn of(program: &Path, uid: u32) -> Option<Self> {
        let text = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let boot = text("/proc/sys/kernel/random/boot_id")?;
        let kernel = text("/proc/sys/kernel/version")?;
        let status = text("/proc/self/status")?;
        let binary = fs::metadata(program).ok()?;
        let mut lines = vec![
            format!("boot {boot}"),
            format!("kernel {kernel}"),
            format!("user {uid}"),
            format!(
                "program {} {} {} {}.{}",
                binary.dev(),
                binary.ino(),
                binary.size(),
                binary.ctime(),
                binary.ctime_nsec()
            ),
        ];
        // Who is under another filter, or has other rights, may be refused other things.
        let told = ["CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Seccomp_filters"];
        lines.extend(
            status
                .lines()
                .filter(|line| line.split_once(':').is_some_and(|(name, _)| told.contains(&name)))
                .map(str::to_owned),
        );
        for kind in ["user", "mnt", "pid", "net", "cgroup"] {
            let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
            lines.push(link.display().to_string());
        }
        Some(Self { uid, boot, text: lines.join("\n") })
    }

    /// Whether it was noted.
    pub(super) fn is_kept(&self, place: &Path) -> bool {
        self.read(place).is_ok_and(|text| text == self.text)
    }

    fn read(&self, place: &Path) -> io::Result<String> {
        self.trust(&fs::symlink_metadata(place)?)?;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(self.path(place))?;
        let found = file.metadata()?;
        self.trust(&found)?;
        if !found.is_file() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Refuses what another may have written.
    fn trust(&self, found: &fs::Metadata) -> io::Result<()> {
        let ours = found.uid() == self.uid && found.mode() & 0o022 == 0;
        if ours { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    /// Notes it.
    pub(super) fn keep(&self, place: &Path) -> io::Result<()> {
        if let Err(missing) = fs::symlink_metadata(place) {
            if missing.kind() != io::ErrorKind::NotFound {
                return Err(missing);
            }
            DirBuilder::new().recursive(true).mode(0o700).create(place)?;
        }
        self.trust(&fs::symlink_metadata(place)?)?;
        self.tidy(place)?;
        let path = self.path(place);
        let new = path.with_extension(std::process::id().to_string());
        let written = Self::write(&new, &self.text).and_then(|()| fs::rename(&new, &path));
        if written.is_err() {
            drop(fs::remove_file(&new));
        }
        written
    }

    fn write(path: &Path, text: &str) -> io::Result<()> {
        let mut file: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_CLOEXEC)
            .open(path)?;
        file.write_all(text.as_bytes())
    }

    /// Removes notes of earlier boots, and all if there are too many.
    fn tidy(&self, place: &Path) -> io::Result<()> {
        let entries: Vec<PathBuf> =
            fs::read_dir(place)?.take(MOST * 16).flatten().map(|entry| entry.path()).collect();
        let crowded = entries.len() >= MOST;
        let ours = format!("boot {}\n", self.boot);
        for path in entries.iter().filter(|path| is_note(path)) {
            let old = fs::read_to_string(path).is_ok_and(|text| !text.starts_with(&ours));
            if crowded || old {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn path(&self, place: &Path) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        self.text.hash(&mut hasher);
        place.join(format!("proof-{:016x}", hasher.finish()))
    }
}

fn is_note(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("proof-"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn note() -> Note {
        let uid = nix::unistd::geteuid().as_raw();
        Note::of(Path::new("/proc/self/exe"), uid).unwrap()
    }

    #[test]
    fn a_note_holds_for_the_same_circumstances_only() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().join("deep/proofs");
        let note = note();
        assert!(!note.is_kept(&place));
        note.keep(&place).unwrap();
        assert!(note.is_kept(&place));
        let other = Note { text: note.text.replace("boot ", "boot x"), ..super::tests::note() };
        assert!(!other.is_kept(&place));
    }

    #[test]
    fn what_others_can_write_or_a_link_is_not_believed() {
        let temp = tempfile::tempdir().unwrap();
        let note = note();
        note.keep(temp.path()).unwrap();
        let path = note.path(temp.path());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(!note.is_kept(temp.path()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(note.is_kept(temp.path()));
        let real = temp.path().join("real");
        fs::rename(&path, &real).unwrap();
        symlink(&real, &path).unwrap();
        assert!(!note.is_kept(temp.path()));
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(note.keep(temp.path()).is_err());
    }

    #[test]
    fn a_changed_note_is_none() {
        let temp = tempfile::tempdir().unwrap();
        let note = note();
        note.keep(temp.path()).unwrap();
        fs::write(note.path(temp.path()), "all is well").unwrap();
        assert!(!note.is_kept(temp.path()));
    }

    #[test]
    fn notes_of_earlier_boots_go() {
        let temp = tempfile::tempdir().unwrap();
        let old = temp.path().join("proof-0000000000000000");
        fs::write(&old, "boot long-ago\nmore").unwrap();
        fs::write(temp.path().join("other"), "not ours").unwrap();
        note().keep(temp.path()).unwrap();
        assert!(!old.exists());
        assert!(temp.path().join("other").exists());
    }
}
