//! A file system that never answers: whoever looks up a name in it waits in the kernel, where no signal
//! reaches, until the hole is closed.
//!
//! It speaks as much of FUSE as is needed to be mounted and to be a directory. It lies in a mount
//! namespace of the row's own, so nothing else on the machine can fall in, and the kernel lets go of
//! everybody when this process ends, whatever the end.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    thread,
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

use super::unmet::{Unmet, impossible};

/// The least that the kernel wants to be read at once.
const BUFFER: usize = 1 << 16;
/// Operations that are told apart, by their numbers in the kernel's interface.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

/// The hole.
#[derive(Debug)]
pub(crate) struct Hole {
    at: PathBuf,
}

impl Hole {
    /// Opens one at a directory. From here on this thread, and what it starts, see it.
    pub(crate) fn open(at: &Path) -> Result<Self, Unmet> {
        let refused = |what: &'static str| {
            move |error: &dyn std::fmt::Display| impossible(format_args!("needs {what}: {error}"))
        };
        let kernel = File::options().read(true).write(true).open("/dev/fuse");
        let kernel = kernel.map_err(|error| refused("FUSE")(&error))?;
        let own = |errno: Errno| refused("a mount namespace of its own")(&errno);
        unshare(CloneFlags::CLONE_NEWNS).map_err(own)?;
        let nothing: Option<&str> = None;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(nothing, "/", nothing, private, nothing).map_err(own)?;
        let options =
            format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", kernel.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("plugbay-chaos"), at, Some("fuse"), flags, Some(options.as_str()))
            .map_err(|errno| refused("to mount FUSE")(&errno))?;
        thread::Builder::new().name("chaos-hole".to_owned()).spawn(move || serve(kernel))?;
        Ok(Self { at: at.to_owned() })
    }
}

impl Drop for Hole {
    /// Lets everybody go.
    fn drop(&mut self) {
        umount2(&self.at, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).ok();
    }
}

/// Answers what a directory must answer, until the hole is closed.
fn serve(mut kernel: File) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = match kernel.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Closed.
            Err(_) => return,
        };
        let Some(reply) = buffer.get(..length).and_then(answer) else { continue };
        // A request that was withdrawn needs no answer.
        kernel.write_all(&reply).ok();
    }
}

/// What is said to a request; nothing to those that are to wait for ever, or want nothing.
fn answer(request: &[u8]) -> Option<Vec<u8>> {
    let operation = u32::from_ne_bytes(request.get(4..8)?.try_into().ok()?);
    let unique = request.get(8..16)?;
    let (error, body) = match operation {
        LOOKUP | FORGET | INTERRUPT | BATCH_FORGET => return None,
        INIT => (0, init()),
        GETATTR => (0, directory()),
        _ => (-libc::ENOSYS, Vec::new()),
    };
    let length = u32::try_from(16 + body.len()).ok()?;
    let mut reply = Vec::with_capacity(16 + body.len());
    reply.extend(length.to_ne_bytes());
    reply.extend(error.to_ne_bytes());
    reply.extend(unique);
    reply.extend(body);
    Some(reply)
}

/// `fuse_init_out`: version 7.31, nothing optional.
fn init() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend([7_u32, 31, 0, 0].iter().flat_map(|word| word.to_ne_bytes()));
    body.extend([16_u16, 12].iter().flat_map(|word| word.to_ne_bytes()));
    body.extend([4096_u32, 1].iter().flat_map(|word| word.to_ne_bytes()));
    body.resize(64, 0);
    body
}

/// `fuse_attr_out`: a directory that everybody may enter.
fn directory() -> Vec<u8> {
    let mut body = vec![0; 16];
    // Inode, size, blocks, three times.
    body.extend([1_u64, 0, 0, 0, 0, 0].iter().flat_map(|word| word.to_ne_bytes()));
    // Three times' nanoseconds, mode, links, user, group, device, block size, flags.
    let words = [0_u32, 0, 0, 0o40_755, 2, 0, 0, 0, 512, 0];
    body.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_lengths_that_the_kernel_expects() {
        assert_eq!((init().len(), directory().len()), (64, 104));
    }

    #[test]
    fn a_lookup_is_never_answered_and_what_is_unknown_is_refused() {
        let request = |operation: u32| {
            let mut request = vec![0; 40];
            request[4..8].copy_from_slice(&operation.to_ne_bytes());
            request[8] = 7;
            request
        };
        assert_eq!(answer(&request(LOOKUP)), None);
        let refused = answer(&request(9999)).unwrap();
        assert_eq!((refused.len(), refused[8]), (16, 7));
        assert_eq!(answer(&[1, 2, 3]), None);
    }
}
