//! Reads a small file below a directory, and never another one.
//!
//! A plugin's directory is written by strangers. A `plugin.toml` that is a link to `/etc/shadow`,
//! a fifo that never answers or a file of a terabyte must cost an error message and nothing else.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::AsFd as _,
    path::{Component, Path},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2},
    sys::stat::Mode,
};

/// `RESOLVE_BENEATH` gives up when something in the path is moved meanwhile; how often to try.
const ATTEMPTS: usize = 8;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeneathError {
    #[error("it leads out of the directory")]
    Outside,
    #[error("it is not a regular file")]
    NotRegular,
    #[error("it has more than {0} bytes")]
    TooLong(usize),
    #[error("it is not UTF-8: byte {0} is wrong")]
    NotText(usize),
    #[error("{0}")]
    Io(io::Error),
}

impl BeneathError {
    /// Whether there simply is no such file.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Io(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
    }
}

/// The text of a file below a directory.
pub(crate) fn read(directory: &File, path: &Path, most: usize) -> Result<String, BeneathError> {
    let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
    if path.as_os_str().is_empty() || !path.components().all(plain) {
        return Err(BeneathError::Outside);
    }
    let file = open(directory, path, OFlag::empty())?;
    let metadata = file.metadata().map_err(BeneathError::Io)?;
    if !metadata.is_file() {
        return Err(BeneathError::NotRegular);
    }
    let bound = u64::try_from(most).unwrap_or(u64::MAX);
    if metadata.len() > bound {
        return Err(BeneathError::TooLong(most));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    // The file may grow while it is read.
    file.take(bound.saturating_add(1)).read_to_end(&mut bytes).map_err(BeneathError::Io)?;
    if bytes.len() > most {
        return Err(BeneathError::TooLong(most));
    }
    String::from_utf8(bytes)
        .map_err(|error| BeneathError::NotText(error.utf8_error().valid_up_to()))
}

/// How files are opened: a fifo or a device must not block, nor become our terminal.
fn flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY
}

/// Opens a directory below another one as a place to look from; not through a link.
pub(crate) fn open_directory(parent: &File, path: &Path) -> Result<File, BeneathError> {
    open(parent, path, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)
}

/// Opens with the kernel holding the path below the directory; links that stay below are followed.
fn open(directory: &File, path: &Path, extra: OFlag) -> Result<File, BeneathError> {
    let how = OpenHow::new()
        .flags(flags() | extra)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    for _ in 0..ATTEMPTS {
        match openat2(directory, path, how) {
            Ok(fd) => return Ok(File::from(fd)),
            Err(Errno::EAGAIN) => {}
            // Before Linux 5.6, or refused by a filter of a container that does not know the call.
            Err(Errno::ENOSYS | Errno::EPERM) => return open_stepwise(directory, path, extra),
            Err(Errno::EXDEV | Errno::ELOOP) => return Err(BeneathError::Outside),
            Err(error) => return Err(BeneathError::Io(error.into())),
        }
    }
    Err(BeneathError::Io(Errno::EAGAIN.into()))
}

/// The same without help: one component at a time, and no link at all.
fn open_stepwise(directory: &File, path: &Path, extra: OFlag) -> Result<File, BeneathError> {
    let mut at = directory.try_clone().map_err(BeneathError::Io)?;
    let mut components = path.components().filter(|c| *c != Component::CurDir).peekable();
    while let Some(component) = components.next() {
        let way = if components.peek().is_some() { OFlag::O_DIRECTORY } else { extra };
        let name = Path::new(component.as_os_str());
        at = match openat(at.as_fd(), name, flags() | OFlag::O_NOFOLLOW | way, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::ELOOP | Errno::EMLINK) => return Err(BeneathError::Outside),
            Err(error) => return Err(BeneathError::Io(error.into())),
        };
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// Both ways of opening, so that the fallback is tested on a kernel that does not need it.
    const WAYS: [Way; 2] = [open, open_stepwise];

    type Way = fn(&File, &Path, OFlag) -> Result<File, BeneathError>;

    fn tree() -> (tempfile::TempDir, File) {
        let temp = tempfile::tempdir().unwrap();
        let inside = temp.path().join("inside");
        fs::create_dir_all(inside.join("sub")).unwrap();
        fs::write(inside.join("sub/file"), "text").unwrap();
        fs::write(temp.path().join("secret"), "secret").unwrap();
        symlink("../secret", inside.join("climbing")).unwrap();
        symlink("/etc/passwd", inside.join("absolute")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        let directory = File::open(&inside).unwrap();
        (temp, directory)
    }

    #[test]
    fn a_file_below_is_read() {
        let (_temp, directory) = tree();
        assert_eq!(read(&directory, Path::new("./sub/file"), 4).unwrap(), "text");
        for way in WAYS {
            assert!(way(&directory, Path::new("sub/file"), OFlag::empty()).is_ok());
        }
    }

    #[test]
    fn links_out_of_the_directory_are_refused() {
        let (_temp, directory) = tree();
        for path in ["climbing", "absolute", "up/secret"] {
            for way in WAYS {
                assert!(way(&directory, Path::new(path), OFlag::empty()).is_err(), "{path}");
            }
            let error = read(&directory, Path::new(path), 100).unwrap_err();
            assert!(matches!(error, BeneathError::Outside), "{path}: {error:?}");
        }
        for path in ["../secret", "/etc/passwd", "sub/../../secret", ""] {
            let error = read(&directory, Path::new(path), 100).unwrap_err();
            assert!(matches!(error, BeneathError::Outside), "{path}: {error:?}");
        }
    }

    #[test]
    fn a_link_that_stays_below_is_followed() {
        let (temp, directory) = tree();
        symlink("sub/file", temp.path().join("inside/alias")).unwrap();
        assert_eq!(read(&directory, Path::new("alias"), 100).unwrap(), "text");
    }

    #[test]
    fn what_is_no_small_text_file_is_refused() {
        let (temp, directory) = tree();
        let inside = temp.path().join("inside");
        nix::unistd::mkfifo(&inside.join("fifo"), Mode::S_IRWXU).unwrap();
        fs::write(inside.join("binary"), b"ab\xff").unwrap();
        let error = |name: &str, most| read(&directory, Path::new(name), most).unwrap_err();
        assert!(matches!(error("fifo", 100), BeneathError::NotRegular));
        assert!(matches!(error("sub", 100), BeneathError::NotRegular));
        assert!(matches!(error("sub/file", 3), BeneathError::TooLong(3)));
        assert!(matches!(error("binary", 100), BeneathError::NotText(2)));
        assert!(error("nothing", 100).is_absent());
    }
}
