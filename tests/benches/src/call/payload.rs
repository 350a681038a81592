//! A result of one mebibyte: what is only passed on must not cost as if it were read.

use std::{path::Path, time::Duration};

use anyhow::Result;
use serde_json::{json, value::to_raw_value};

use super::contender::{Guest, Request, Response};
use crate::{
    Effort,
    clock::Watch,
    package,
    plain::{INITIALIZE, Plain},
    report::Section,
    sample::{Contender, Samples, interleave},
};

const BYTES: usize = 1 << 20;
const RAW: &str = "raw pipe";
const JSON: &str = "pipes + serde_json";
const PASSED: &str = "Host::call_raw";
const TYPED: &str = "Host::call to a String";

/// Raw bytes, parsed bytes, and ours passed on or read.
pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let place = package::place()?;
    let (dir, program) = package::rust(place.path())?;
    let mut contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(Raw::new(&program)?),
        Box::new(Parsed::new(&program)?),
        Box::new(Ours { guest: Guest::current(&dir)?, typed: false }),
        Box::new(Ours { guest: Guest::current(&dir)?, typed: true }),
    ];
    let measured = interleave(effort.rounds(100), Duration::ZERO, &mut contenders)?;
    let section = Section::new("a result of 1 MiB", &measured)
        .ratio(&measured, (PASSED, JSON), 1.0)
        .ratio(&measured, (TYPED, JSON), 1.0);
    Ok(vec![section.note("all but the raw pipe have the plugin write JSON")])
}

struct Raw(Plain);

impl Raw {
    fn new(program: &Path) -> Result<Self> {
        Ok(Self(Plain::start(program.as_os_str(), &["raw", &BYTES.to_string()])?))
    }
}

impl Contender for Raw {
    fn name(&self) -> &str {
        RAW
    }

    fn turn(&mut self, samples: &mut Samples) -> Result<()> {
        let watch = Watch::start();
        self.0.write(b"\n")?;
        anyhow::ensure!(self.0.read()?.len() == BYTES + 1, "too few bytes");
        samples.push(watch.elapsed());
        Ok(())
    }
}

struct Parsed(Plain);

impl Parsed {
    fn new(program: &Path) -> Result<Self> {
        let mut child = Plain::start::<&str>(program.as_os_str(), &[])?;
        child.write(INITIALIZE)?;
        child.read()?;
        Ok(Self(child))
    }
}

impl Contender for Parsed {
    fn name(&self) -> &str {
        JSON
    }

    fn turn(&mut self, samples: &mut Samples) -> Result<()> {
        let watch = Watch::start();
        let params = json!({ "bytes": BYTES });
        let request = Request { jsonrpc: "2.0", id: 1, method: "blob", params };
        let mut out = serde_json::to_vec(&request)?;
        out.push(b'\n');
        self.0.write(&out)?;
        let response: Response<String> = serde_json::from_slice(self.0.read()?)?;
        samples.push(watch.elapsed());
        anyhow::ensure!(response.result.len() == BYTES && response.id == 1, "too few bytes");
        Ok(())
    }
}

struct Ours {
    guest: Guest,
    typed: bool,
}

impl Contender for Ours {
    fn name(&self) -> &str {
        if self.typed { TYPED } else { PASSED }
    }

    fn turn(&mut self, samples: &mut Samples) -> Result<()> {
        let (host, typed) = (self.guest.host.clone(), self.typed);
        let time = self.guest.run(async move {
            let params = json!({ "bytes": BYTES });
            let watch = Watch::start();
            let length = if typed {
                host.call::<_, String>("rust", "blob", &params).await?.len()
            } else {
                host.call_raw("rust", "blob", Some(&to_raw_value(&params)?)).await?.get().len() - 2
            };
            let time = watch.elapsed();
            anyhow::ensure!(length == BYTES, "too few bytes");
            Ok(time)
        })?;
        samples.push(time);
        Ok(())
    }
}
