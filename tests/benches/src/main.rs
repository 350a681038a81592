//! Benches of Plugbay: every figure beside a floor that was measured in the same run, in turns.
//!
//! ```text
//! tests/benches/run                 all of it, some minutes
//! tests/benches/run --quick         whether it works, in seconds
//! tests/benches/run --only start
//! ```
//! Nothing is asserted by time: machines are slow for reasons of their own. Read the ratios.
#![expect(clippy::print_stdout, reason = "the tables are what this program is for")]

mod call;
mod clock;
mod fact;
mod filter;
mod package;
mod plain;
mod report;
mod run;
mod sample;
mod start;
mod supervise;

use std::{fs::File, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::{fact::Facts, report::Section};

#[derive(Debug, Parser)]
#[command(about = "Measures Plugbay against floors of the same run")]
struct Options {
    /// Few rounds and a small host: whether it works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// Only this bench.
    #[arg(long, value_name = "NAME")]
    only: Option<Bench>,
    /// Also write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// From start to first answer.
    Start,
    /// Commands by themselves and in `plugbay run`.
    Run,
    /// Round trips of 100 bytes, one by one and many at once.
    Call,
    /// Results of a mebibyte.
    Payload,
    /// Calls to Python.
    Python,
    /// Calls beside a plugin that misbehaves.
    Neighbour,
    /// Installing a system call filter, and calling under it.
    Filter,
    /// A million refused calls of one plugin.
    Denials,
    /// From the death of a process to the next answer.
    Failover,
    /// A thousand plugins that nobody calls.
    Idle,
    /// Ten thousand restarts.
    Restart,
}

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// A smoke run.
    pub(crate) quick: bool,
}

impl Effort {
    /// So many rounds, or a handful.
    pub(crate) fn rounds(self, full: usize) -> usize {
        if self.quick { full.min(3) } else { full }
    }
}

#[derive(Debug, Serialize)]
struct Findings {
    facts: Facts,
    sections: Vec<Section>,
    load_after: String,
}

fn main() -> Result<ExitCode> {
    plugbay::init();
    let options = Options::parse();
    let effort = Effort { quick: options.quick };
    let facts = Facts::read();
    println!("{facts}");
    let (mut sections, mut outcome) = (Vec::new(), ExitCode::SUCCESS);
    for (bench, run) in [
        (Bench::Start, start::run as fn(Effort) -> Result<Vec<Section>>),
        (Bench::Run, run::run),
        (Bench::Call, call::run),
        (Bench::Payload, call::payload::run),
        (Bench::Python, call::python::run),
        (Bench::Neighbour, supervise::neighbour),
        (Bench::Filter, filter::run),
        (Bench::Denials, supervise::denials),
        (Bench::Failover, supervise::failover),
        (Bench::Idle, supervise::idle),
        (Bench::Restart, supervise::restart),
    ] {
        if options.only.is_some_and(|only| only != bench) {
            continue;
        }
        match run(effort) {
            Ok(found) => {
                found.iter().for_each(|section| print!("{section}"));
                sections.extend(found);
            }
            Err(error) => {
                println!("\n{bench:?} could not be measured: {error:#}");
                outcome = ExitCode::FAILURE;
            }
        }
    }
    let load_after = fact::load();
    println!("\nload     {load_after} after");
    if let Some(path) = options.json {
        let findings = Findings { facts, sections, load_after };
        let file =
            File::create(&path).with_context(|| format!("failed to write `{}`", path.display()))?;
        serde_json::to_writer_pretty(file, &findings)?;
    }
    Ok(outcome)
}
