//! Plugbay runs other people's code as plugins, each in its own sealed process, and lets a host
//! call it like a function.
//!
//! This is the façade of the library: what an embedder needs, and nothing that does the work
//! itself. [`Host`] holds a set of plugins; a call to one is a method call with a deadline. Nothing
//! a plugin does (crash, hang, leak, flood) reaches the host or another plugin; one that crashed is
//! started again, and the next call waits for it.
//!
//! Call [`init`] first in `main`, before a runtime or any thread is started: Plugbay starts plugins
//! through a small helper process, the keeper, and `init` is what lets the host's own program serve
//! as one.
//!
//! ```standalone_crate
//! # fn a_directory_of_plugins() -> Result<tempfile::TempDir, std::io::Error> {
//! #     let root = tempfile::tempdir()?;
//! #     let dir = root.path().join("words");
//! #     std::fs::create_dir(&dir)?;
//! #     std::fs::write(dir.join("plugin.toml"), r#"
//! #         [plugin]
//! #         name = "words"
//! #         version = "1.0.0"
//! #         type = "example"
//! #         [runtime]
//! #         command = ["/bin/sh", "words.sh"]
//! #         dialect = "jsonrpc"
//! #     "#)?;
//! #     std::fs::write(dir.join("words.sh"), r#"
//! #         while read -r request; do
//! #             id=${request#*\"id\":}; id=${id%%,*}
//! #             text=${request#*\"text\":\"}; text=${text%%\"*}
//! #             set -- $text
//! #             echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":$#}"
//! #         done
//! #     "#)?;
//! #     Ok(root)
//! # }
//! use plugbay::Host;
//! use serde_json::json;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     plugbay::init();
//!     run()
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn run() -> Result<(), Box<dyn std::error::Error>> {
//!     let dir = a_directory_of_plugins()?;
//!     let host = Host::builder().plugins(&dir).start().await?;
//!
//!     let count: u32 = host.call("words", "count", &json!({"text": "so much to read"})).await?;
//!     assert_eq!(count, 4);
//!
//!     host.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! A call that needs more than parameters is built:
//!
//! ```no_run
//! # async fn call(host: plugbay::Host) -> Result<(), plugbay::CallError> {
//! # use std::time::Duration;
//! let words: Vec<String> = host
//!     .call_with("words", "rarest")
//!     .params(&("book.txt", 10))
//!     .deadline(Duration::from_secs(60))
//!     .on_progress(|progress| println!("{:.0?}", progress.fraction()))
//!     .send()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! What a plugin may do is in its `plugin.toml`; what of it was really enforced is in
//! [`Host::enforcement`]. How plugins are, how they ended and what they said: [`Host::plugins`],
//! [`Host::deaths`], [`Host::subscribe`] and [`HostBuilder::on_log`].

pub use plugbay_engine::{
    Access, Barrier, CallBuilder, CallError, CallErrorKind, CallMetadata, CallReport, Caller,
    CancellationToken, Cause, ControlError, Counts, Deadline, Death, Demand, Denial, Enforcement,
    ErrorObject, Event, EventKind, Events, FileGrant, Fix, Generation, Grade, Group, Hit, Hold,
    Holder, Host, HostBuilder, InFlight, InstanceId, InstanceStatus, Items, Level, Limit, LogLevel,
    LogRecord, LogSource, Missing, Muster, Next, Package, PluginStatus, Progress, Protection,
    Readiness, Reply, Skipped, StartError, Stay, StoreStatus, StreamKind, Swap, SwapBuilder,
    SwapError, SwapStatus, SwapStep, SwapStrategy, SwapVerdict, Tally, Upload, UploadError, Usage,
    lifecycle, load, store,
};
pub use plugbay_keeper::run_if_asked as init;
