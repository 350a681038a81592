//! What Plugbay keeps on disk: how plugins ended, how their calls went, how their states changed.
//!
//! One SQLite file, so that an operator can ask it with ordinary tools while it is being written. It
//! is bounded: what is old, or more than one plugin's share, or more than the file may hold, is
//! forgotten ([`Keep`]). A file that is damaged, newer than this program or not ours is refused by
//! name ([`StoreError`]) and never emptied.
//!
//! Not here: when something is written and who waits for it (nobody does; the engine has a thread
//! for it), and what is said of it to people. Nothing here knows plugins, calls or the protocol:
//! records are made of plain values. It blocks; no runtime thread should call it.
//!
//! ```text
//! Writer::open ──► schema (create, or bring up to date) ──► write (one transaction) ──► prune
//! Reader::open ──► schema (check) ──► deaths, calls, changes, losses
//! ```

mod error;
mod prune;
mod read;
mod record;
mod schema;
mod write;

pub use error::StoreError;
pub use prune::{Keep, Pruned};
pub use read::Reader;
pub use record::{
    Call, Change, Death, Denial, Hit, InFlight, Next, Record, Run, RunId, Standing, Usage,
};
pub use write::Writer;
