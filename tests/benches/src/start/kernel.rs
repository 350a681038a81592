//! What the kernel alone takes for one process in namespaces of its own: one clone, one exec, and
//! nothing of a sandbox beside. Nobody can be quicker without preparing something ahead of time.
#![expect(unsafe_code, reason = "a clone that shares memory until exec cannot be had safely")]

use std::{
    ffi::CString,
    fs::File,
    io::{Read as _, Write as _},
    os::{fd::AsFd as _, unix::ffi::OsStrExt as _},
    path::Path,
};

use anyhow::Result;
use nix::{
    sched::{CloneFlags, clone},
    sys::wait::waitpid,
    unistd::{dup2_stdin, dup2_stdout, execv, pipe2},
};

use crate::{
    clock::Watch,
    plain::INITIALIZE,
    sample::{Contender, Samples},
};

const STACK: usize = 64 << 10;

/// A bare clone with every namespace.
pub(super) struct Cloned {
    name: &'static str,
    program: CString,
    stack: Vec<u8>,
}

impl Cloned {
    pub(super) fn new(name: &'static str, program: &Path) -> Result<Self> {
        let program = CString::new(program.as_os_str().as_bytes())?;
        Ok(Self { name, program, stack: vec![0; STACK] })
    }
}

fn namespaces() -> CloneFlags {
    let all = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    if nix::unistd::geteuid().is_root() { all } else { all | CloneFlags::CLONE_NEWUSER }
}

impl Contender for Cloned {
    fn name(&self) -> &str {
        self.name
    }

    fn turn(&mut self, samples: &mut Samples) -> Result<()> {
        let args = [self.program.as_c_str()];
        let watch = Watch::start();
        let flags = nix::fcntl::OFlag::O_CLOEXEC;
        let (input, to_input) = pipe2(flags)?;
        let (from_output, output) = pipe2(flags)?;
        let child = || -> isize {
            let ready = dup2_stdin(input.as_fd()).and_then(|()| dup2_stdout(output.as_fd()));
            if ready.is_ok() {
                execv(&self.program, &args).ok();
            }
            127
        };
        let shared = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
        let death = Some(nix::libc::SIGCHLD);
        // SAFETY: the parent sleeps until the child has executed or ended (VFORK), so nothing is used
        // by both at once; the child makes three system calls, allocates nothing, and has a stack of
        // its own.
        let pid = unsafe { clone(Box::new(child), &mut self.stack, namespaces() | shared, death) }?;
        drop((input, output));
        let (mut to_input, mut answer) = (File::from(to_input), [0; 4096]);
        to_input.write_all(INITIALIZE)?;
        anyhow::ensure!(File::from(from_output).read(&mut answer)? > 0, "the child has ended");
        samples.push(watch.elapsed());
        drop(to_input);
        waitpid(pid, None)?;
        Ok(())
    }
}
