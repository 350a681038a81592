//! From the wish to have a process to its first answer: sealed, under `bwrap`, and bare.

mod contender;
mod kernel;
mod sealed;

use std::time::Duration;

use anyhow::Result;

pub(crate) use contender::bwrap_version;

use crate::{
    Effort, package,
    report::Section,
    sample::{Contender, interleave},
};

const PLAIN: &str = "posix_spawn";
const KERNEL: &str = "kernel: clone(all NEW*)+exec";
const SEALED: &str = "sealed, by the keeper";
const HOST: &str = "sealed, by Host";
const BWRAP: &str = "bwrap --unshare-all";
const BWRAP_PRIVATE: &str = "bwrap, private /proc /dev /tmp";

/// So many starts at once in the crowd.
const CROWD: usize = 8;
const TARGET: f64 = 0.5;
/// Over a bare process in namespaces: the kernel's own cost of them is in the floor, a sandbox is not.
const TARGET_KERNEL: f64 = 1.5;

/// After each start, of whatever kind. Long enough for a keeper to make the next start ahead, as it does
/// between the starts of a host; what it can do when there is no such pause is the crowd's table.
const PAUSE: Duration = Duration::from_millis(50);

/// One table per size of the host.
pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    for (title, mebibytes) in [("10 MiB", 10), ("4 GiB", 4096)] {
        if effort.quick && mebibytes > 10 {
            continue;
        }
        // Touched, so that it is really there to be copied by who copies.
        let ballast = vec![1_u8; mebibytes << 20];
        sections.push(alone(effort, title)?);
        if mebibytes == 10 {
            sections.push(crowd(effort, title)?);
        }
        drop(std::hint::black_box(ballast));
    }
    Ok(sections)
}

fn alone(effort: Effort, host: &str) -> Result<Section> {
    let place = package::place()?;
    let (dir, program) = package::rust(place.path())?;
    let mut contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(contender::Spawned::plain(PLAIN, &program)),
        Box::new(kernel::Cloned::new(KERNEL, &program)?),
        Box::new(sealed::ByKeeper::new(SEALED, &dir, &program, 1)?),
        Box::new(sealed::ByHost::new(HOST, &dir)?),
    ];
    let bwrap = bwrap_version().is_some();
    if bwrap {
        contenders.push(Box::new(contender::Spawned::bwrap(BWRAP, &program, &[])));
        // The program is bound once more: it may lie below the /tmp that was just replaced.
        let own = dir.to_string_lossy();
        let private =
            ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--ro-bind", &own, &own];
        contenders.push(Box::new(contender::Spawned::bwrap(BWRAP_PRIVATE, &program, &private)));
    }
    let measured = interleave(effort.rounds(100), PAUSE, &mut contenders)?;
    let section = Section::new(format!("start to first answer, host of {host}"), &measured)
        .ratio(&measured, (SEALED, KERNEL), TARGET_KERNEL)
        .ratio(&measured, (SEALED, BWRAP), TARGET)
        .ratio(&measured, (SEALED, BWRAP_PRIVATE), TARGET)
        .ratio(&measured, (HOST, BWRAP), TARGET)
        .note(sealed::layers(&dir, &program)?)
        .note(format!("{} ms between any two starts", PAUSE.as_millis()));
    Ok(if bwrap { section } else { section.note("bwrap is not installed: no ratio to it") })
}

/// Many starts at once: nothing that was made ahead of time lasts.
fn crowd(effort: Effort, host: &str) -> Result<Section> {
    let place = package::place()?;
    let (dir, program) = package::rust(place.path())?;
    let mut contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(contender::Crowd::plain(PLAIN, &program, CROWD)),
        Box::new(sealed::ByKeeper::new(SEALED, &dir, &program, CROWD)?),
    ];
    if bwrap_version().is_some() {
        contenders.push(Box::new(contender::Crowd::bwrap(BWRAP, &program, CROWD)));
    }
    let measured = interleave(effort.rounds(30), PAUSE, &mut contenders)?;
    let title = format!("{CROWD} started at once, until all have answered, host of {host}");
    Ok(Section::new(title, &measured).ratio(&measured, (SEALED, BWRAP), TARGET))
}
