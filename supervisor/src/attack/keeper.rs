//! A keeper to seal attackers with, as plugins are sealed: the production path, with waiting made simple.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use nix::poll::PollFd;
use plugbay_keeper::{Client, Event, Passage, Request, Token, locate};
use plugbay_sandbox::{Enforcement, Exit, Inlet, Spec, Tally, Way};

use super::{
    PATIENCE,
    door::{Ran, Unsealed},
};
use crate::{
    chaos::clock::{Within, polled},
    outside::{Outside, Prepared},
};

/// A keeper process. Dropping it ends everything that it started.
#[derive(Debug)]
pub(crate) struct Keeper {
    client: Client,
    next: Token,
    ended: BTreeMap<Token, Exit>,
    denied: BTreeMap<Token, Tally>,
}

/// A sealed process that runs.
#[derive(Debug)]
pub(crate) struct Sealed {
    token: Token,
    /// Its process id on the host.
    pub(crate) pid: i32,
    enforcement: Enforcement,
    input: File,
    output: File,
    errors: File,
    /// What it said beyond the last line that was read.
    pending: Vec<u8>,
    /// Its broker, if it may reach named hosts.
    outside: Outside,
}

impl Keeper {
    /// Starts one.
    pub(crate) fn start() -> io::Result<Self> {
        let program = locate(None).map_err(io::Error::other)?;
        let client = Client::start(&program).map_err(io::Error::other)?;
        Ok(Self { client, next: 1, ended: BTreeMap::new(), denied: BTreeMap::new() })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.client.pid().try_into().unwrap_or(0)
    }

    /// Starts a program.
    pub(crate) fn spawn(&mut self, spec: &Spec) -> Result<Sealed, Unsealed> {
        let token = self.next;
        self.next += 1;
        let outside = Prepared::of(spec).map_err(|failure| io::Error::other(failure.message))?;
        let spec = Box::new(spec.clone());
        self.client.send(&Request::Spawn { token, spec }).map_err(io::Error::other)?;
        let within = Within::of(PATIENCE);
        loop {
            match self.event(within)? {
                (Event::Started { token: of, pid, enforcement, way }, mut fds) if of == token => {
                    let sockets = fds.split_off(fds.len().min(4));
                    let [input, output, errors, _process] = <[OwnedFd; 4]>::try_from(fds)
                        .map_err(|_other| io::Error::other("the keeper sent no pipes"))?;
                    return Ok(Sealed {
                        outside: outside
                            .map(|outside| outside.serve(way.map(|way| joined(way, sockets))))
                            .transpose()?
                            .unwrap_or_default(),
                        token,
                        pid: pid.and_then(|pid| pid.try_into().ok()).unwrap_or(0),
                        enforcement: *enforcement,
                        input: input.into(),
                        output: output.into(),
                        errors: errors.into(),
                        pending: Vec::new(),
                    });
                }
                (Event::Failed { token: of, failure }, _) if of == token => {
                    return Err(Unsealed::Refused(failure.message));
                }
                (event, _) => self.note(event),
            }
        }
    }

    /// Lets a program run to its end without input, and takes in everything that it says.
    pub(crate) fn finish(&mut self, sealed: Sealed) -> io::Result<Ran> {
        let within = Within::of(PATIENCE);
        let Sealed { token, enforcement, input, mut output, mut errors, mut pending, .. } = sealed;
        drop(input);
        let mut said = Vec::new();
        // A program that holds one of them open while the other has ended is waited for as well.
        let (mut output_is_open, mut errors_are_open) = (true, true);
        while output_is_open || errors_are_open {
            let (from_output, from_errors) = ready(
                within,
                output_is_open.then(|| output.as_fd()),
                errors_are_open.then(|| errors.as_fd()),
            )?;
            output_is_open &= !from_output || take(&mut output, &mut pending)?;
            errors_are_open &= !from_errors || take(&mut errors, &mut said)?;
        }
        let exit = self.exit(token, within)?;
        let mut denied = self.denied.remove(&token).unwrap_or_default();
        denied.absorb(&sealed.outside.end());
        Ok(Ran {
            output: String::from_utf8_lossy(&pending).into_owned(),
            errors: String::from_utf8_lossy(&said).into_owned(),
            exit,
            enforcement,
            denied: denied.kinds().iter().map(|kind| kind.rule.clone()).collect(),
        })
    }

    /// Waits until the whole tree of a program is gone.
    fn exit(&mut self, token: Token, within: Within) -> io::Result<Exit> {
        loop {
            if let Some(exit) = self.ended.remove(&token) {
                return Ok(exit);
            }
            let (event, _) = self.event(within)?;
            self.note(event);
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Denied { token, denials } => drop(self.denied.insert(token, denials)),
            Event::Exited { token, exit } => drop(self.ended.insert(token, exit)),
            // Nobody waits for these: each start is awaited by whoever asked for it.
            Event::Started { .. } | Event::Failed { .. } => {}
        }
    }

    fn event(&self, within: Within) -> io::Result<(Event, Vec<OwnedFd>)> {
        loop {
            if let Some(event) = self.client.receive().map_err(io::Error::other)? {
                return Ok(event);
            }
            if !within.readable(&mut [polled(self.client.as_fd())]) {
                return Err(io::Error::other("the keeper does not answer"));
            }
        }
    }
}

impl Sealed {
    /// Writes to its standard input.
    pub(crate) fn write(&mut self, text: &str) -> io::Result<()> {
        self.input.write_all(text.as_bytes())
    }

    /// The next line of its standard output; `None` when it ended or stays mute.
    pub(crate) fn line(&mut self) -> Option<String> {
        let within = Within::of(PATIENCE);
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let ready = within.readable(&mut [polled(self.output.as_fd())]);
            if !ready || !take(&mut self.output, &mut self.pending).unwrap_or(false) {
                return None;
            }
        }
    }
}

/// A way out and its descriptors.
fn joined(way: Passage, sockets: Vec<OwnedFd>) -> Way {
    let inlets = way.inlets.into_iter().zip(sockets);
    let inlets = inlets.map(|(kind, socket)| Inlet { kind, socket }).collect();
    Way { inlets, token: way.token }
}

/// Which of two pipes has something to be read, or its end.
fn ready(
    within: Within,
    one: Option<BorrowedFd<'_>>,
    other: Option<BorrowedFd<'_>>,
) -> io::Result<(bool, bool)> {
    let mut waited: Vec<PollFd<'_>> = [one, other].into_iter().flatten().map(polled).collect();
    if !within.readable(&mut waited) {
        return Err(io::Error::other("a sealed program did not end in time"));
    }
    let mut answers = waited.iter().map(|fd| fd.any().unwrap_or(false));
    let first = one.is_some() && answers.next().unwrap_or(false);
    Ok((first, other.is_some() && answers.next().unwrap_or(false)))
}

/// Takes in what is there; `false` at the end.
fn take(file: &mut File, to: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 64 << 10];
    let count = file.read(&mut chunk)?;
    to.extend_from_slice(chunk.get(..count).unwrap_or_default());
    Ok(count > 0)
}
