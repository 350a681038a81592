//! What the system call filter costs: to install, and in every call that it allows.
//!
//! A filter belongs to a thread, so each turn has a thread of its own.

use std::{sync::Arc, thread, time::Duration};

use anyhow::{Context as _, Result};
use plugbay_sandbox::{
    Calls, NetworkMode, Profile, Watch as Watched, seal_thread,
    seccomp::{Filter, Instruction, Variant, compile, compile_watched},
};

use crate::{
    Effort,
    clock::Watch,
    report::Section,
    sample::{Contender, Samples, interleave},
};

const BARE: &str = "one instruction: allow";
const DEFAULT: &str = "default";
const STRICT: &str = "strict, @python";
const PLAIN: &str = "no filter";
/// What the kernel may take for one, whoever is started.
const TARGET: Duration = Duration::from_micros(250);
/// Calls in a turn.
const CALLS: u32 = 20_000;

/// Installing, and being filtered.
pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let variant = |profile| Variant {
        profile,
        network: NetworkMode::None,
        ipc_namespace: true,
        listen: false,
        unix: true,
        attributes: true,
    };
    let python = Profile::Strict(Calls::of(["@python"])?);
    // BPF_RET | BPF_K with SECCOMP_RET_ALLOW.
    let allow = Instruction { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 };
    let filters: Vec<(&'static str, Arc<Filter>)> = vec![
        (BARE, Arc::new(Filter { instructions: vec![allow] })),
        (DEFAULT, Arc::new(compile(&variant(Profile::Default))?)),
        ("default, refusals told", {
            Arc::new(compile_watched(&variant(Profile::Default), Watched::Denials)?)
        }),
        ("ci", Arc::new(compile(&variant(Profile::Ci))?)),
        (STRICT, Arc::new(compile(&variant(python))?)),
    ];
    let lengths: Vec<String> = filters
        .iter()
        .map(|(name, filter)| format!("{name} {}", filter.instructions.len()))
        .collect();
    let mut installs: Vec<Box<dyn Contender>> = Vec::new();
    let mut calls: Vec<Box<dyn Contender>> = vec![Box::new(Calling { name: PLAIN, filter: None })];
    for (name, filter) in &filters {
        installs.push(Box::new(Installing { name, filter: Arc::clone(filter) }));
        if [DEFAULT, STRICT].contains(name) {
            calls.push(Box::new(Calling { name, filter: Some(Arc::clone(filter)) }));
        }
    }
    let installed = interleave(effort.rounds(300), Duration::ZERO, &mut installs)?;
    let called = interleave(effort.rounds(50), Duration::ZERO, &mut calls)?;
    let worst = installed.iter().map(|(_, samples)| samples.median()).max().unwrap_or_default();
    Ok(vec![
        Section::new("installing a filter", &installed)
            .fact("the dearest", format!("{worst:.1?}"), Some((worst < TARGET, "under 250 us")))
            .note(format!("instructions: {}", lengths.join(", "))),
        Section::new("one allowed call (getppid)", &called)
            .ratio(&called, (DEFAULT, PLAIN), 1.5)
            .note(format!("means of {CALLS} calls")),
    ])
}

/// Installs one filter.
struct Installing {
    name: &'static str,
    filter: Arc<Filter>,
}

impl Contender for Installing {
    fn name(&self) -> &str {
        self.name
    }

    fn turn(&mut self, samples: &mut Samples) -> Result<()> {
        let filter = Arc::clone(&self.filter);
        samples.push(alone(move || {
            let watch = Watch::start();
            seal_thread(&filter)?;
            Ok(watch.elapsed())
        })?);
        Ok(())
    }
}

/// Makes calls under a filter.
struct Calling {
    name: &'static str,
    filter: Option<Arc<Filter>>,
}

impl Contender for Calling {
    fn name(&self) -> &str {
        self.name
    }

    fn turn(&mut self, samples: &mut Samples) -> Result<()> {
        let filter = self.filter.clone();
        samples.push(alone(move || {
            if let Some(filter) = filter {
                seal_thread(&filter)?;
            }
            let watch = Watch::start();
            for _ in 0..CALLS {
                std::hint::black_box(nix::unistd::getppid());
            }
            Ok(watch.elapsed() / CALLS)
        })?);
        Ok(())
    }
}

/// Does this in a thread that ends with it.
fn alone(work: impl FnOnce() -> Result<Duration> + Send + 'static) -> Result<Duration> {
    let thread = thread::Builder::new().spawn(work)?;
    thread.join().ok().context("the measuring thread panicked")?
}
