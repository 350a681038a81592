//! From the moment in which a filter may ask until the caller serves its questions.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{Attempt, Wait};
use crate::{
    denial::{Observer, Watch, Watched, Watcher},
    machine::Machine,
    plan,
    seccomp::Variant,
    spec::Spec,
};

impl Attempt {
    /// Makes a watcher of the filter's listener.
    pub(super) fn listen(
        &mut self,
        listener: Result<OwnedFd, Errno>,
        spec: &Spec,
        learning: Option<&(Spec, Vec<PathBuf>)>,
        machine: &Machine,
    ) {
        let private = self.private.as_ref().map(|private| private.0.as_path());
        let rung = self.rung;
        let observe = || match learning {
            Some((granted, shown)) => {
                let filter = plan::filter(granted, rung);
                Observer::new(granted, &machine.base, rung, private).learning(shown, filter, rung)
            }
            None => Observer::new(spec, &machine.base, rung, private),
        };
        (self.watched, self.watcher) = watched(self.watching, listener, observe);
    }

    /// Waits for a record, or looks whether one is there. Until the program runs nobody else answers its
    /// filter, which may ask about the very call that executes it.
    pub(super) fn has_record(&mut self, wait: Wait) -> bool {
        let Some(watcher) = &mut self.watcher else { return true };
        loop {
            let Some(listener) = watcher.listener() else { return true };
            let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut polled = [readable(self.report.as_fd()), readable(listener)];
            let timeout = if wait == Wait::Block { PollTimeout::NONE } else { PollTimeout::ZERO };
            let ready = poll(&mut polled, timeout);
            let [report, asked] = polled.map(|it| it.any().unwrap_or(false));
            match ready {
                _ if report => return true,
                Ok(_) if asked => watcher.serve_one(),
                Ok(_) if wait == Wait::Poll => return false,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_broken) => return true,
            }
        }
    }
}

/// The watcher of a process, and what it will be told.
fn watched(
    wanted: Option<(Watch, Variant)>,
    listener: Result<OwnedFd, Errno>,
    observe: impl FnOnce() -> Observer,
) -> (Watched, Option<Watcher>) {
    match (wanted, listener) {
        (Some((watch, variant)), Ok(listener)) => {
            let attempts = matches!(watch, Watch::Attempts | Watch::Lessons);
            let watched = Watched { calls: true, attempts, why: String::new() };
            let observer = attempts.then(observe);
            (watched, Some(Watcher::new(listener, variant, observer)))
        }
        (Some(_), Err(Errno::EBUSY)) => {
            let why = "a sandbox around this one listens already".to_owned();
            (Watched { why, ..Watched::default() }, None)
        }
        (Some(_), Err(errno)) => {
            let why = format!("the kernel refused a listener: {}", errno.desc());
            (Watched { why, ..Watched::default() }, None)
        }
        (None, _) => (Watched::default(), None),
    }
}
