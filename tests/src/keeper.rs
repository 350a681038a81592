//! A keeper to seal things with: the production path, with waiting made simple.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

use plugbay_keeper::{Client, Event, Failure, Request, Token, locate};
use plugbay_sandbox::{Enforcement, Exit, Spec, Tally};

use crate::{
    binaries::Binaries,
    setting::Setting,
    wait::{PATIENCE, Within, readable},
};

/// A keeper process in one setting. Dropping it ends everything that it started.
#[derive(Debug)]
pub struct Keeper {
    client: Client,
    next: Token,
    ended: BTreeMap<Token, Exit>,
    denied: BTreeMap<Token, Tally>,
}

/// A sealed process that runs.
#[derive(Debug)]
pub struct Sealed {
    /// The keeper's name for it.
    pub token: Token,
    /// The program's process id on the host.
    pub pid: i32,
    /// What was enforced, as told at its start.
    pub enforcement: Enforcement,
    /// Its standard input; taken to close it.
    pub input: Option<File>,
    output: File,
    errors: File,
    process: OwnedFd,
    pending: Vec<u8>,
}

/// A sealed process that has ended.
#[derive(Debug)]
pub struct Ran {
    /// What it wrote to standard output.
    pub output: String,
    /// What it wrote to standard error.
    pub errors: String,
    /// How it ended.
    pub exit: Exit,
    /// What was enforced.
    pub enforcement: Enforcement,
    /// By which rules it was refused something.
    pub denied: Vec<String>,
}

impl Keeper {
    /// Starts one.
    #[must_use]
    pub fn start(binaries: &Binaries, setting: Setting) -> Self {
        let program = locate(Some(&binaries.path(setting.keeper_name()))).unwrap();
        let client = Client::start(&program).unwrap();
        Self { client, next: 1, ended: BTreeMap::new(), denied: BTreeMap::new() }
    }

    /// The keeper's process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.client.pid().try_into().unwrap()
    }

    /// Starts a program.
    ///
    /// # Errors
    /// The keeper's failure, when it never ran.
    pub fn spawn(&mut self, spec: &Spec) -> Result<Sealed, Failure> {
        let token = self.next;
        self.next += 1;
        self.client.send(&Request::Spawn { token, spec: Box::new(spec.clone()) }).unwrap();
        let within = Within::of(PATIENCE);
        loop {
            match self.event(within) {
                Some((Event::Started { token: of, pid, enforcement, .. }, fds)) if of == token => {
                    let [input, output, errors, process] = <[OwnedFd; 4]>::try_from(fds).unwrap();
                    return Ok(Sealed {
                        token,
                        pid: pid.and_then(|pid| pid.try_into().ok()).unwrap_or(0),
                        enforcement: *enforcement,
                        input: Some(input.into()),
                        output: output.into(),
                        errors: errors.into(),
                        process,
                        pending: Vec::new(),
                    });
                }
                Some((Event::Failed { token: of, failure }, _)) if of == token => {
                    return Err(failure);
                }
                Some((event, _)) => self.note(event),
                None => panic!("the keeper did not answer in time"),
            }
        }
    }

    /// Runs a program to its end, without input.
    ///
    /// # Errors
    /// The keeper's failure, when it never ran.
    pub fn run(&mut self, spec: &Spec) -> Result<Ran, Failure> {
        let mut sealed = self.spawn(spec)?;
        drop(sealed.input.take());
        Ok(self.finish(sealed))
    }

    /// Reads everything that a program still says and waits for its end.
    pub fn finish(&mut self, sealed: Sealed) -> Ran {
        let within = Within::of(PATIENCE);
        let Sealed { mut output, mut errors, mut pending, .. } = sealed;
        let mut said = Vec::new();
        let mut open = [true, true];
        while open.contains(&true) {
            let fds: Vec<BorrowedFd<'_>> = [output.as_fd(), errors.as_fd()]
                .into_iter()
                .zip(open)
                .filter_map(|(fd, open)| open.then_some(fd))
                .collect();
            let ready = readable(&fds, within);
            assert!(!ready.is_empty(), "a sealed program did not end in time");
            let mut ready = ready.into_iter();
            for (place, (file, to)) in
                [(&mut output, &mut pending), (&mut errors, &mut said)].into_iter().enumerate()
            {
                let here = open.get_mut(place).unwrap();
                if *here && ready.next().unwrap() {
                    *here = take(file, to);
                }
            }
        }
        Ran {
            output: String::from_utf8_lossy(&pending).into_owned(),
            errors: String::from_utf8_lossy(&said).into_owned(),
            exit: self.exit(sealed.token, PATIENCE),
            enforcement: sealed.enforcement,
            denied: rules(&self.denied.remove(&sealed.token).unwrap_or_default()),
        }
    }

    /// Waits until the whole tree of a program is gone.
    pub fn exit(&mut self, token: Token, patience: Duration) -> Exit {
        let within = Within::of(patience);
        loop {
            if let Some(exit) = self.ended.remove(&token) {
                return exit;
            }
            match self.event(within) {
                Some((event, _)) => self.note(event),
                None => panic!("the keeper did not tell of the end within {patience:?}"),
            }
        }
    }

    /// Kills the whole tree of a program.
    pub fn kill(&self, token: Token) {
        self.client.send(&Request::Kill { token }).unwrap();
    }

    /// Sends a signal to a program.
    pub fn signal(&self, token: Token, signal: i32) {
        self.client.send(&Request::Signal { token, signal }).unwrap();
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Denied { token, denials } => drop(self.denied.insert(token, denials)),
            Event::Exited { token, exit } => drop(self.ended.insert(token, exit)),
            Event::Started { .. } | Event::Failed { .. } => panic!("nobody asked for {event:?}"),
        }
    }

    fn event(&self, within: Within) -> Option<(Event, Vec<OwnedFd>)> {
        loop {
            if let Some(event) = self.client.receive().unwrap() {
                return Some(event);
            }
            if readable(&[self.client.as_fd()], within).is_empty() {
                return None;
            }
        }
    }
}

impl Sealed {
    /// The pidfd of the program's own process.
    #[must_use]
    pub fn process(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    /// Writes to its standard input.
    pub fn write(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The next line of its standard output, without the newline; `None` when it ended or stays mute.
    pub fn line(&mut self, patience: Duration) -> Option<String> {
        let within = Within::of(patience);
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let ready = !readable(&[self.output.as_fd()], within).is_empty();
            if !ready || !take(&mut self.output, &mut self.pending) {
                return None;
            }
        }
    }
}

fn rules(denials: &Tally) -> Vec<String> {
    denials.kinds().iter().map(|kind| kind.rule.clone()).collect()
}

/// Takes in what is there; `false` at the end.
fn take(file: &mut File, to: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 64 << 10];
    let count = file.read(&mut chunk).unwrap();
    to.extend_from_slice(chunk.get(..count).unwrap());
    count > 0
}
