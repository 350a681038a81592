//! Calls to Python: what the SDK adds to a bare loop over `json`, under the same host.

use std::{path::Path, time::Duration};

use anyhow::Result;

use super::contender::Calls;
use crate::{
    Effort, package,
    report::Section,
    sample::{Contender, interleave},
};

const BARE: &str = "bare loop over json";
const SDK: &str = "Python SDK";
const IN_TURN: usize = 200;

/// Both plugins under a host on the current thread.
pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let place = package::place()?;
    let bare = include_str!("../../plugins/loop.py");
    let bare = package::python(place.path(), "bare", bare, "jsonrpc")?;
    let sdk = include_str!("../../plugins/sdk.py");
    let sdk = package::python(place.path(), "sdk", sdk, "plugbay")?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk-python/src/plugbay");
    package::copy_modules(&source, &sdk.join("plugbay"))?;
    let mut contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(Calls::current(BARE, &bare, "bare", IN_TURN)?),
        Box::new(Calls::current(SDK, &sdk, "sdk", IN_TURN)?),
    ];
    let measured = interleave(effort.rounds(50), Duration::ZERO, &mut contenders)?;
    Ok(vec![Section::new("calls to Python, 100 bytes, one after the other", &measured)])
}
