//! Files that we write beside a command that may write there too. A link that it left in an earlier
//! run must not lead us out of what it was given: we may have rights that it has not.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::Mode,
};
use plugbay_sandbox::{Access, FileGrant};

/// Opens a file for writing, empty, as [`File::create`] does; but from a writable grant on no link is
/// followed, and only a regular file will do.
pub(crate) fn create(path: &Path, grants: &[FileGrant]) -> io::Result<File> {
    let absolute = std::path::absolute(path)?;
    let mut above: Vec<&Path> = absolute.ancestors().skip(1).collect();
    above.reverse();
    let shared = above.into_iter().find(|directory| is_writable(directory, grants));
    let Some(shared) = shared else { return File::create(path) };
    let rest = absolute.strip_prefix(shared).map_or_else(|_| absolute.clone(), PathBuf::from);
    let file = open_without_links(shared, &rest)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    file.set_len(0)?;
    Ok(file)
}

/// Whether a directory lies in what the command may write.
fn is_writable(directory: &Path, grants: &[FileGrant]) -> bool {
    let Ok(real) = fs::canonicalize(directory) else { return false };
    grants.iter().any(|grant| grant.access == Access::Write && real.starts_with(&grant.path))
}

fn open_without_links(directory: &Path, rest: &Path) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let how = OpenHow::new()
        .flags(flags | OFlag::O_NOFOLLOW)
        .mode(Mode::from_bits_truncate(0o666))
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(File::open(directory)?, rest, how) {
        Ok(opened) => Ok(opened.into()),
        Err(Errno::ELOOP) => Err(io::Error::other("a link is in the way")),
        // Hidden by a container's or our own filter: then at least the file itself is no link.
        Err(Errno::ENOSYS | Errno::EPERM) => OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(directory.join(rest)),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_left_in_a_writable_grant_is_not_followed() {
        let world = tempfile::tempdir().unwrap();
        let at = |path: &str| world.path().canonicalize().unwrap().join(path);
        fs::create_dir_all(at("given/sub")).unwrap();
        fs::create_dir_all(at("other")).unwrap();
        fs::write(at("victim"), "kept").unwrap();
        symlink(at("victim"), at("given/link.json")).unwrap();
        symlink(at("other"), at("given/way")).unwrap();
        symlink(at("given"), at("alias")).unwrap();
        let given = [FileGrant::requested(at("given"), Access::Write)];
        for path in ["given/link.json", "alias/link.json", "given/sub/../link.json", "given/way/r"]
        {
            assert!(create(&at(path), &given).is_err(), "{path}");
        }
        assert_eq!(fs::read(at("victim")).unwrap(), b"kept");
        assert!(!at("other/r").exists());
        fs::write(at("given/sub/r.json"), "old").unwrap();
        create(&at("alias/sub/r.json"), &given).unwrap();
        assert_eq!(fs::read(at("given/sub/r.json")).unwrap(), b"");
    }

    #[test]
    fn where_the_command_cannot_write_links_are_the_users_own() {
        let world = tempfile::tempdir().unwrap();
        let at = |path: &str| world.path().canonicalize().unwrap().join(path);
        fs::create_dir(at("seen")).unwrap();
        fs::write(at("target"), "old").unwrap();
        symlink(at("target"), at("seen/link")).unwrap();
        create(&at("seen/link"), &[FileGrant::requested(at("seen"), Access::Read)]).unwrap();
        assert_eq!(fs::read(at("target")).unwrap(), b"");
    }

    #[test]
    fn a_pipe_in_a_writable_grant_does_not_hold_us() {
        let world = tempfile::tempdir().unwrap();
        let root = world.path().canonicalize().unwrap();
        nix::unistd::mkfifo(&root.join("r"), Mode::S_IRWXU).unwrap();
        let given = [FileGrant::requested(&root, Access::Write)];
        assert!(create(&root.join("r"), &given).is_err());
    }
}
