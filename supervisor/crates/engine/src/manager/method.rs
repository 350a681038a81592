//! What is known of each method of a plugin: what its manifest says, and how it has been doing.
//!
//! Looked up once per call. It belongs to the plugin, not to a process of it.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use plugbay_manifest::{Manifest, MethodSpec};
use plugbay_protocol::limits::METHOD_NAME;

use crate::{
    clock,
    plugin::{
        circuit::{Breaker, Ticket, Verdict},
        session::Failure,
    },
};

/// Undeclared methods that are remembered; further ones are called all the same.
const UNDECLARED: usize = 256;
/// A deadline shorter than this is the caller's hurry, and passing it no fault of the plugin.
const HURRY: Duration = Duration::from_secs(1);

/// The methods of one plugin.
#[derive(Debug)]
pub(crate) struct Catalog {
    declared: HashMap<Arc<str>, Arc<Method>>,
    undeclared: RwLock<HashMap<Arc<str>, Arc<Method>>>,
    idle: Duration,
    breaks: bool,
}

/// One method.
#[derive(Debug)]
pub(crate) struct Method {
    /// Its name, as much of it as is kept.
    pub(crate) name: Arc<str>,
    /// How long a call may be silent.
    pub(crate) idle: Duration,
    /// Whether a call that was lost may be made again.
    pub(crate) idempotent: bool,
    /// Whether its manifest says what its parameters must be.
    pub(crate) checks_params: bool,
    /// Whether its manifest says what a result must be.
    pub(crate) checks_result: bool,
    breaker: Option<Breaker>,
}

impl Catalog {
    /// What a manifest says.
    pub(crate) fn new(manifest: &Manifest) -> Self {
        let idle = manifest.limits.call_timeout;
        let breaks = manifest.supervision.circuit;
        let declared = manifest.methods.iter().map(|(name, spec)| {
            let method = Method::new(name, spec.timeout.unwrap_or(idle), breaks, Some(spec));
            (method.name.clone(), Arc::new(method))
        });
        Self { declared: declared.collect(), undeclared: RwLock::default(), idle, breaks }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Arc<str>, Arc<Method>>> {
        self.undeclared.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The methods that are refused now, by name.
    pub(crate) fn refused(&self) -> Vec<Arc<str>> {
        let undeclared: Vec<Arc<Method>> = self.read().values().cloned().collect();
        let all = self.declared.values().chain(&undeclared);
        let mut names: Vec<_> =
            all.filter(|method| method.is_refused()).map(|method| method.name.clone()).collect();
        names.sort();
        names
    }

    /// Whether the manifest names methods; then it has no others.
    pub(crate) fn is_declared(&self) -> bool {
        !self.declared.is_empty()
    }

    /// A method that is known already.
    pub(crate) fn known(&self, name: &str) -> Option<Arc<Method>> {
        if self.is_declared() {
            return self.declared.get(name).cloned();
        }
        self.read().get(name).cloned()
    }

    /// A method that no manifest names. It is remembered if it is `certain` that the plugin has it.
    pub(crate) fn undeclared(&self, name: &str, certain: bool) -> Arc<Method> {
        let method = Arc::new(Method::new(name, self.idle, self.breaks, None));
        let mut undeclared = self.undeclared.write().unwrap_or_else(PoisonError::into_inner);
        if certain && *method.name == *name && undeclared.len() < UNDECLARED {
            undeclared.entry(method.name.clone()).or_insert_with(|| method.clone()).clone()
        } else {
            method
        }
    }
}

impl Method {
    fn new(name: &str, idle: Duration, breaks: bool, spec: Option<&MethodSpec>) -> Self {
        Self {
            name: name.get(..name.floor_char_boundary(METHOD_NAME)).unwrap_or_default().into(),
            idle,
            idempotent: spec.is_some_and(|spec| spec.idempotent),
            checks_params: spec.is_some_and(|spec| spec.params.is_some()),
            checks_result: spec.is_some_and(|spec| spec.result.is_some()),
            breaker: breaks.then(|| Breaker::new(clock::now())),
        }
    }

    fn is_refused(&self) -> bool {
        self.breaker.as_ref().is_some_and(|breaker| !breaker.is_closed())
    }

    /// Lets a call in, or says after how long to come again.
    pub(crate) fn admit(&self, now: Instant) -> Result<Pass<'_>, Duration> {
        let ticket = self.breaker.as_ref().map(|breaker| breaker.admit(now)).transpose()?;
        Ok(Pass { method: self, ticket })
    }

    /// What a failure says of the method.
    pub(crate) fn verdict(&self, failure: &Failure) -> Verdict {
        match failure {
            Failure::Plugin(_) | Failure::Streamed => Verdict::Good,
            Failure::Deadline { after, .. } if *after < self.idle.min(HURRY) => Verdict::Neutral,
            Failure::Deadline { .. } | Failure::AnswerTooLarge | Failure::Garbled(_) => {
                Verdict::Bad
            }
            Failure::Lost(_) => Verdict::Lost,
            Failure::NotSent
            | Failure::Overloaded(_)
            | Failure::RequestTooLarge(_)
            | Failure::Unwritable(_)
            | Failure::Cancelled => Verdict::Neutral,
        }
    }
}

/// The right to one call of a method. Says nothing of the method when it is dropped unsettled.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pass<'m> {
    method: &'m Method,
    ticket: Option<Ticket>,
}

impl Pass<'_> {
    /// Tells what came of the call.
    pub(crate) fn settle(mut self, verdict: Verdict, now: Instant) {
        self.tell(verdict, now);
    }

    fn tell(&mut self, verdict: Verdict, now: Instant) {
        let (Some(ticket), Some(breaker)) = (self.ticket.take(), &self.method.breaker) else {
            return;
        };
        if breaker.settle(ticket, verdict, now) {
            let method = &*self.method.name;
            tracing::warn!(method, "method failed too often and was given a rest");
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.tell(Verdict::Neutral, clock::now());
        }
    }
}
