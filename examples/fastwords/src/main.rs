//! Statistics of a text, fast: a plugin that reads a file it was granted. The same methods as the Python
//! example `wordstats`, for comparison.

mod tally;
mod top;

use plugbay_sdk::{Context, Error, ExitCode, Plugin, Result};
use serde::Deserialize;
use std::fs::File;
use std::io::Read as _;
use tally::Tally;
use top::{Config, Found, TopParams, Words};

fn main() -> ExitCode {
    plugin().run()
}

fn plugin() -> Plugin {
    Plugin::new("fastwords", "1.0.0").config::<Config>().method("count", count).method("top", top)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CountParams {
    path: Option<String>,
    text: Option<String>,
}

/// Counts as `wc` does, in a file or in a text given as it is.
fn count(params: CountParams, ctx: &Context) -> Result<Tally> {
    let mut tally = Tally::default();
    match (params.path, params.text) {
        (Some(path), None) => read(&path, ctx, |piece, _| tally.add(piece))?,
        (None, Some(text)) => tally.add(text.as_bytes()),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Error::invalid_params("either `path` or `text`, please"));
        }
    }
    Ok(tally)
}

/// Finds the most frequent words, ignoring case.
fn top(params: TopParams, ctx: &Context) -> Result<Vec<Found>> {
    let config = ctx.config::<Config>()?;
    let mut words = Words::default();
    let mut size = 0;
    read(&params.path, ctx, |piece, total| {
        words.add(piece);
        size += piece.len();
        ctx.progress(plugbay_sdk::Progress::of(size, total.max(size)).message("reading"));
    })?;
    let found = words.rank(&config);
    ctx.progress(plugbay_sdk::Progress::of(size, size).message("read"));
    ctx.log().field("words", found.words).field("different", found.ranked.len()).info("text read");
    Ok(found.ranked.into_iter().take(params.limit).collect())
}

/// What is read at once: large enough that a system call is nothing, small enough for the cache.
const PIECE: usize = 256 << 10;

/// Reads a file in pieces, until cancelled. Each is taken with the size that the file had at first.
fn read(path: &str, ctx: &Context, mut take: impl FnMut(&[u8], usize)) -> Result<()> {
    let because = |error: std::io::Error| Error::failed(format!("{path}: {error}"));
    let mut file = File::open(path).map_err(because)?;
    let size = usize::try_from(file.metadata().map_err(because)?.len()).unwrap_or(usize::MAX);
    let mut piece = vec![0; PIECE.min(size.saturating_add(1))];
    loop {
        ctx.check()?;
        match file.read(&mut piece).map_err(because)? {
            0 => return Ok(()),
            length => take(piece.get(..length).unwrap_or_default(), size),
        }
    }
}

#[cfg(test)]
mod tests;
