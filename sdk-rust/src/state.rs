//! The state that one version of a plugin gives to the next.

use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// What a plugin keeps in memory and its next version is to begin with; see
/// [`Plugin::state`](crate::Plugin::state).
///
/// No call runs while state is handed over. It is copied: if the new version does not take it, the old
/// one goes on with it.
///
/// ```
/// use plugbay_sdk::{Plugin, Result, State};
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// struct Counter(AtomicU64);
///
/// impl State for Counter {
///     const VERSION: u64 = 1;
///     type Snapshot = u64;
///
///     fn snapshot(&self) -> Result<u64> {
///         Ok(self.0.load(Ordering::Relaxed))
///     }
///
///     fn restore(&self, count: u64) -> Result<()> {
///         self.0.store(count, Ordering::Relaxed);
///         Ok(())
///     }
/// }
///
/// let plugin = Plugin::new("counter", "1.0.0").state(Counter(AtomicU64::new(0)));
/// ```
pub trait State: Send + Sync {
    /// Which shape the snapshot has. Another shape gets another number.
    const VERSION: u64;

    /// The state, as it is written and read.
    type Snapshot: Serialize + DeserializeOwned;

    /// Gives all of it.
    ///
    /// # Errors
    /// What is told to the operator; this process goes on then.
    fn snapshot(&self) -> Result<Self::Snapshot>;

    /// Takes it, before the first call.
    ///
    /// # Errors
    /// What is told to the operator; the old process goes on then.
    fn restore(&self, snapshot: Self::Snapshot) -> Result<()>;

    /// Makes this version's state of another version's. Refuses it, if not said otherwise.
    ///
    /// # Errors
    /// When that shape is not known here.
    fn convert(&self, version: u64, snapshot: Value) -> Result<Self::Snapshot> {
        drop(snapshot);
        let known = Self::VERSION;
        let said = format!("the state has version {version}, and only {known} is known here");
        Err(Error::invalid_params(said))
    }
}

/// The same for every kind of state.
pub(crate) trait Keeper: Send + Sync {
    fn version(&self) -> u64;
    fn give(&self) -> Result<Box<RawValue>>;
    fn take(&self, version: u64, snapshot: &RawValue) -> Result<()>;
}

impl<S: State> Keeper for S {
    fn version(&self) -> u64 {
        S::VERSION
    }

    fn give(&self) -> Result<Box<RawValue>> {
        Ok(to_raw_value(&self.snapshot()?)?)
    }

    fn take(&self, version: u64, snapshot: &RawValue) -> Result<()> {
        let refused = |error: serde_json::Error| Error::invalid_params(error.to_string());
        let text = snapshot.get();
        let snapshot = if version == S::VERSION {
            serde_json::from_str(text).map_err(refused)?
        } else {
            self.convert(version, serde_json::from_str(text).map_err(refused)?)?
        };
        self.restore(snapshot)
    }
}
