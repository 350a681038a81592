//! What a figure means nothing without: the machine, and how busy it is.

use std::fs;

use serde::Serialize;

/// The machine and its state when a run began.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Facts {
    processor: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
    root: bool,
    bwrap: Option<String>,
    load_before: String,
}

impl Facts {
    pub(crate) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned())
        };
        let memory = field(&text("/proc/meminfo"), "MemTotal");
        let kib = memory.and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
        Self {
            processor: field(&text("/proc/cpuinfo"), "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_mib: kib.unwrap_or_default() / 1024,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            root: nix::unistd::geteuid().is_root(),
            bwrap: crate::start::bwrap_version(),
            load_before: load(),
        }
    }
}

impl std::fmt::Display for Facts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { processor, cores, memory_mib, kernel, root, bwrap, load_before } = self;
        writeln!(out, "machine  {cores} x {processor}, {memory_mib} MiB, Linux {kernel}")?;
        let user = if *root { "root" } else { "ordinary user" };
        writeln!(
            out,
            "         {user}, nothing pinned, {}",
            bwrap.as_deref().unwrap_or("no bwrap")
        )?;
        write!(out, "load     {load_before} before")
    }
}

/// The load averages over one, five and fifteen minutes.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
