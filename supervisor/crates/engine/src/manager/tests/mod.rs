//! The engine from end to end but for the process: real pipes, scripted plugins.

mod bonds;
mod calls;
mod crowds;
mod faults;
mod health;
mod instances;
mod ledger;
mod lives;
mod outcomes;
mod questions;
mod streams;
mod swap;

use std::{path::Path, sync::Arc};

use serde_json::Value;

use super::{Host, HostBuilder, PluginStatus};
use crate::link::fake::Stage;

/// Plugins that are manifests only.
struct Plugins(tempfile::TempDir);

impl Plugins {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Adds a plugin; `more` is further text of its manifest.
    fn with(self, name: &str, more: &str) -> Self {
        let dir = self.0.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        let text = format!(
            "[plugin]\nname = \"{name}\"\nversion = \"1.0.0\"\ntype = \"test\"\n\
             [runtime]\ncommand = [\"/bin/true\"]\n{more}\n"
        );
        std::fs::write(dir.join("plugin.toml"), text).unwrap();
        self
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A host of one plugin, `p`, that runs this script.
async fn host(stage: &Stage) -> Host {
    host_of(stage, "", |builder| builder).await
}

async fn host_of(
    stage: &Stage,
    manifest: &str,
    more: impl FnOnce(HostBuilder) -> HostBuilder,
) -> Host {
    let plugins = Plugins::new().with("p", manifest);
    let builder = Host::builder().plugins(plugins.path()).launcher(Arc::new(stage.clone()));
    let host = more(builder).start().await.unwrap();
    assert!(host.skipped().is_empty(), "{:?}", host.skipped());
    host
}

/// A plugin that answers every call with its parameters.
fn echo() -> Stage {
    Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        fake.serve(without_meta).await
    })
}

/// The number of the process that runs, or ran last.
fn instance(status: &PluginStatus) -> u64 {
    status.instance.unwrap().number()
}

fn without_meta(request: &Value) -> Value {
    let mut params = request["params"].clone();
    if let Some(members) = params.as_object_mut() {
        members.remove("_meta");
    }
    params
}
