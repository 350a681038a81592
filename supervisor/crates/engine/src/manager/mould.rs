//! How this host makes something to run of a package, at its start and at each exchange.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use plugbay_manifest::{Manifest, Package};
use plugbay_sandbox::{Demands, FileGrant, Level};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use super::launch::Recipe;
use crate::{
    lifecycle::{restart::Policy, slot::Rules},
    plugin::{Counters, grants::Place},
};

/// What the embedder wants of all plugins, or of some.
#[derive(Debug, Default)]
pub(crate) struct Mould {
    pub(crate) configs: BTreeMap<String, Value>,
    pub(crate) grants: BTreeMap<String, Vec<FileGrant>>,
    pub(crate) level: Level,
    pub(crate) demands: Demands,
    /// What no plugin gets at.
    pub(crate) withheld: Vec<PathBuf>,
    pub(crate) drain: Option<Duration>,
    pub(crate) tune: Option<fn(&mut Policy)>,
    /// The home directory that paths of grants are about.
    pub(crate) home: Option<PathBuf>,
}

/// What became of a package.
#[derive(Debug)]
pub(crate) struct Cast {
    pub(crate) recipe: Recipe,
    pub(crate) rules: Rules,
    /// Why it cannot run with its configuration, if that is so.
    pub(crate) unfit: Option<String>,
}

impl Mould {
    /// Makes something to run of a package; `config` is there if it is not to be the host's.
    pub(crate) fn cast(
        &self,
        package: Package,
        config: Option<Value>,
        counters: Arc<Counters>,
    ) -> Cast {
        let manifest = Arc::new(package.manifest);
        let name = manifest.plugin.name.as_str();
        let given = config.or_else(|| self.configs.get(name).cloned());
        let (config, unfit) = match configured(&manifest, given) {
            Ok(config) => (Some(config), None),
            Err(reason) => (None, Some(reason)),
        };
        let place = Place {
            dir: package.dir,
            home: self.home.clone(),
            extra: self.grants.get(name).cloned().unwrap_or_default(),
            level: self.level,
            demands: self.demands.clone(),
            withheld: self.withheld.clone(),
        };
        let recipe = Recipe { manifest, place, config, counters };
        let mut policy = recipe.policy();
        if let Some(tune) = self.tune {
            tune(&mut policy);
        }
        let rules = recipe.rules(policy, self.drain);
        Cast { recipe, rules, unfit }
    }
}

/// The configuration with its defaults filled in, or why it does not fit.
fn configured(manifest: &Manifest, given: Option<Value>) -> Result<Box<RawValue>, String> {
    let given = given.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let config = manifest
        .validate_config(&given)
        .map_err(|problems| format!("its configuration does not fit: {}", problems.join("; ")))?;
    to_raw_value(&config).map_err(|error| error.to_string())
}
