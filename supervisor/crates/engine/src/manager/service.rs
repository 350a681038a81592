//! What plugins may ask of the host: the built-in methods, and those that the embedder adds.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
};

use plugbay_protocol::{Code, ErrorData, ErrorObject, Origin, meta::Meta, method};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

use super::{directory::Directory, errand::Errand};
use crate::{
    error::{CallError, CallErrorKind},
    lifecycle::identity::{Generation, InstanceId},
    link::Boxed,
    plugin::{
        Label,
        inbound::{Question, Served, Services},
        session::{Chain, Trace},
        stream::Luggage,
    },
};

/// The plugin that asks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Caller {
    /// Its name.
    pub plugin: Arc<str>,
    /// Of which version and configuration.
    pub generation: Generation,
    /// Which process of it.
    pub instance: InstanceId,
}

type Answer = Result<Box<RawValue>, ErrorObject>;
type Handler = Arc<dyn Fn(Caller, Option<Box<RawValue>>) -> Boxed<'static, Answer> + Send + Sync>;

/// The embedder's methods.
#[derive(Clone, Default)]
pub(crate) struct Methods(HashMap<String, Handler>);

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Methods {
    /// Adds a method; `false` if the name is taken.
    pub(crate) fn add<P, R, F, W>(&mut self, name: &str, handler: F) -> bool
    where
        P: DeserializeOwned + Send + 'static,
        R: Serialize,
        W: Future<Output = Result<R, ErrorObject>> + Send + 'static,
        F: Fn(Caller, P) -> W + Send + Sync + 'static,
    {
        if method::is_reserved(name) || self.0.contains_key(name) {
            return false;
        }
        let handler = Arc::new(handler);
        let run = move |caller, params: Option<Box<RawValue>>| -> Boxed<'static, Answer> {
            let handler = handler.clone();
            Box::pin(async move {
                let params = read(params.as_deref())?;
                let answer = handler(caller, params).await;
                written(&answer?)
            })
        };
        self.0.insert(name.to_owned(), Arc::new(run));
        true
    }

    /// The names that a plugin may call, the built-in ones included.
    pub(crate) fn names(&self) -> Vec<String> {
        let built_in = [method::HOST_INFO, method::HOST_CONFIG, method::HOST_CALL];
        built_in.into_iter().chain(self.0.keys().map(String::as_str)).map(str::to_owned).collect()
    }
}

/// Answers plugins' questions out of the directory.
#[derive(Debug)]
pub(crate) struct Desk(pub(crate) Weak<Directory>);

impl Services for Desk {
    fn serve(&self, question: Question) -> Boxed<'static, Result<Served, ErrorObject>> {
        let Some(directory) = self.0.upgrade() else {
            return Box::pin(async {
                Err(ErrorObject::new(Code::Unavailable, "the host is shutting down"))
            });
        };
        Box::pin(async move {
            let answer = match question.method.as_str() {
                method::HOST_CALL => return forward(&directory, question).await,
                method::HOST_INFO => written(&directory.host),
                method::HOST_CONFIG => config(&directory, &question),
                name => match directory.methods.0.get(name) {
                    Some(handler) => {
                        let Question { caller, params, .. } = question;
                        let Label { plugin, generation, instance } = caller;
                        let caller = Caller { plugin, generation, instance };
                        handler(caller, params).await
                    }
                    None => {
                        let message = format!("the host has no method `{name}`");
                        Err(ErrorObject::new(Code::MethodNotFound, message))
                    }
                },
            };
            answer.map(Served::from)
        })
    }
}

/// The plugin's own configuration, or one key of it.
fn config(directory: &Directory, question: &Question) -> Answer {
    #[derive(Deserialize)]
    struct Wanted {
        key: Option<String>,
    }
    let wanted: Option<Wanted> = read(question.params.as_deref())?;
    let entry = directory.entries.get(&question.caller.plugin);
    let Some(config) = entry.and_then(|entry| entry.edition().recipe.config.clone()) else {
        return Ok(RawValue::NULL.to_owned());
    };
    match wanted.and_then(|wanted| wanted.key) {
        None => Ok(config),
        Some(key) => {
            let members: HashMap<String, Box<RawValue>> =
                serde_json::from_str(config.get()).unwrap_or_default();
            Ok(members.get(&key).cloned().unwrap_or_else(|| RawValue::NULL.to_owned()))
        }
    }
}

/// A call of one plugin to another: only where its manifest says so, never in a circle, never
/// longer than the call on whose behalf it is made.
async fn forward(directory: &Directory, question: Question) -> Result<Served, ErrorObject> {
    #[derive(Deserialize)]
    struct Wanted {
        plugin: String,
        method: String,
        #[serde(default)]
        params: Option<Box<RawValue>>,
    }
    let wanted: Wanted = read(question.params.as_deref())?;
    let Chain { plugins, until } = question.chain;
    let refused =
        |kind| Err(CallError::new(&wanted.plugin, &wanted.method, kind).to_error_object());
    if plugins.iter().any(|plugin| **plugin == *wanted.plugin) {
        let chain = plugins.iter().map(ToString::to_string).chain([wanted.plugin.clone()]);
        return refused(CallErrorKind::CallCycle { chain: chain.collect() });
    }
    let asker = directory.entries.get(&question.caller.plugin);
    let granted = asker.is_some_and(|asker| {
        asker.edition().manifest().dependencies.plugins.contains_key(wanted.plugin.as_str())
    });
    if !granted {
        let grant = format!("[dependencies] {} = \"*\"", wanted.plugin);
        return refused(CallErrorKind::PermissionDenied { grant });
    }
    let meta = Meta::from_params(question.params.as_deref()).unwrap_or_default();
    let trace = Trace { traceparent: meta.traceparent, idempotency_key: meta.idempotency_key };
    let mut errand = Errand::new(&wanted.plugin, &wanted.method, wanted.params.as_deref());
    errand.until = Some(until);
    errand.chain = Some(Arc::new(Chain { plugins, until }));
    errand.trace = &trace;
    let told = |error: CallError| error.to_error_object();
    let callee = directory.find(&wanted.plugin, &wanted.method).map_err(told)?;
    let idle = callee.edition().manifest().call_timeout(&wanted.method);
    let luggage = Luggage::of(question.streams.into_iter().map(|intake| intake.relay(idle)));
    errand.luggage = Some(&luggage);
    let result = errand.run(directory).await.map_err(told)?;
    let streams = luggage.unpack().into_iter().map(|intake| intake.relay(idle)).collect();
    Ok(Served { result, streams })
}

/// Reads parameters; none are `null`.
fn read<P: DeserializeOwned>(params: Option<&RawValue>) -> Result<P, ErrorObject> {
    serde_json::from_str(params.map_or("null", RawValue::get))
        .map_err(|error| ErrorObject::new(Code::InvalidParams, error.to_string()))
}

fn written(result: &impl Serialize) -> Answer {
    to_raw_value(result).map_err(|error| {
        let details = ErrorData::new(Origin::Host);
        ErrorObject::new(Code::InternalError, error.to_string()).with_details(&details)
    })
}
