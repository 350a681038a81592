//! The work on a call, from the handler's first line to the one answer. Also when the handler panics, is
//! cancelled, or is dropped by an executor that does not want it any more.

use super::{Job, Session};
use crate::call::Call;
use crate::context::Context;
use crate::crew::Work as _;
use crate::error::{Error, Result};
use crate::method::{Answer, Handler, Method, Serving, guarded};
use crate::stream::Pour;
use crate::table::End;
use crate::task::Task;
use crate::{clock, crew, lock};
use plugbay_protocol::{Code, ErrorData, Origin};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

impl Session {
    pub(super) fn serve_call(
        self: &Arc<Self>,
        call: Arc<Call>,
        method: &Arc<Method>,
        params: Option<&str>,
    ) {
        if call.is_withdrawn() {
            drop(self.finish(&call, Ok(Answer::default())));
            return;
        }
        let begun = clock::now();
        let context = Context { session: Arc::clone(self), call: Arc::clone(&call) };
        match &method.handler {
            Handler::Sync(handler) => {
                let outcome = guarded(|| handler(params, &context)).flatten();
                method.pace.learn(begun, call.waited());
                let mut streams = self.finish(&call, outcome);
                drop(context);
                let last = streams.pop();
                streams.into_iter().for_each(Pour::run_beside);
                if let Some(last) = last {
                    self.flush();
                    last.run();
                }
            }
            Handler::Async(handler) => match guarded(|| handler(params, context)).flatten() {
                Ok(serving) => self.serve_future(call, method, serving),
                Err(error) => drop(self.finish(&call, Err(error))),
            },
        }
    }

    fn serve_future(self: &Arc<Self>, call: Arc<Call>, method: &Arc<Method>, serving: Serving) {
        let future = Served {
            session: Arc::clone(self),
            call,
            method: Arc::clone(method),
            serving: Some(serving),
        };
        if let Some(executor) = &self.plugin.executor {
            // If it panics, it has dropped the future, which was answered for.
            drop(guarded(|| executor(Box::pin(future))));
            return;
        }
        let (session, method) = (Arc::clone(self), Arc::clone(method));
        let task = Task::new(Box::pin(future), move |task| {
            crew::push(&session, Job::Task(task, Arc::clone(&method)));
        });
        task.poll();
    }

    /// Answers a call, with the one answer it gets. The streams of the result are still to be sent.
    #[must_use = "streams that are not sent have failed"]
    pub(super) fn finish(self: &Arc<Self>, call: &Arc<Call>, outcome: Result<Answer>) -> Vec<Pour> {
        let mut streams = Vec::new();
        if lock(&self.table).claim(call) {
            let id = call.id.as_ref();
            match (outcome, id) {
                (outcome, _) if call.is_withdrawn() => {
                    outcome.into_iter().flat_map(|answer| answer.streams).for_each(Pour::withdraw);
                    let error = Error::new(Code::RequestCancelled, "cancelled");
                    self.refuse(id, error.object());
                }
                (Ok(answer), id) => {
                    streams = answer.streams;
                    self.let_out(id, answer.frame);
                }
                (Err(error), id) => self.refuse(id, error.object()),
            }
        } else if let Err(error) = outcome {
            self.dropped(&call.method, &error);
        }
        if streams.is_empty() {
            self.close(call, false);
        } else {
            lock(&self.table).stream();
            let whole: Arc<dyn Send + Sync> =
                Arc::new(Whole { session: Arc::clone(self), call: Arc::clone(call) });
            for pour in &mut streams {
                pour.whole = Some(Arc::clone(&whole));
            }
        }
        streams
    }

    /// Is done with a call, which `streamed` its answer or not, and with the session if it was the last.
    fn close(self: &Arc<Self>, call: &Arc<Call>, streamed: bool) {
        if call.is_streaming() {
            drop(call.take_streams());
            self.streams.release(call);
        }
        let mut table = lock(&self.table);
        let ends = table.close(streamed);
        if table.is_empty() {
            self.emptied.notify_all();
        }
        drop(table);
        for end in ends {
            crew::push(self, told(end));
        }
    }
}

/// A call whose answer is still being streamed.
struct Whole {
    session: Arc<Session>,
    call: Arc<Call>,
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.session.close(&self.call, true);
    }
}

/// Answers the request that waited for the last call.
pub(super) fn told(end: End) -> Job {
    Job::Own(Box::new(move |session| match end {
        End::Drain(id) => session.drained(&id),
        End::Shutdown(id) => session.stopped(&id),
    }))
}

/// A handler's future, answered for whatever becomes of it.
struct Served {
    session: Arc<Session>,
    call: Arc<Call>,
    method: Arc<Method>,
    /// `None` once it is answered.
    serving: Option<Serving>,
}

impl Served {
    fn finish(&mut self, outcome: Result<Answer>) {
        self.call.unwatch();
        let serving = self.serving.take();
        let dropped = guarded(|| drop(serving));
        let streams = self.session.finish(&self.call, dropped.and(outcome));
        if !streams.is_empty() {
            crew::Work::flush(&*self.session);
            streams.into_iter().for_each(Pour::run_beside);
        }
        if self.session.plugin.executor.is_some() {
            // No thread of ours comes by to let the answer out.
            crew::Work::flush(&*self.session);
        }
    }
}

impl Future for Served {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<()> {
        if self.call.watch(task.waker()) {
            self.finish(Ok(Answer::default()));
            return Poll::Ready(());
        }
        let Some(serving) = self.serving.as_mut() else { return Poll::Ready(()) };
        let begun = clock::now();
        let polled = guarded(|| serving.as_mut().poll(task));
        self.method.pace.learn(begun, Duration::ZERO);
        let outcome = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(outcome)) => outcome,
            Err(panicked) => Err(panicked),
        };
        self.finish(outcome);
        Poll::Ready(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.serving.is_some() {
            let data = ErrorData::new(Origin::Plugin);
            let message = "the plugin's executor dropped the call";
            self.finish(Err(Error::of_sdk(Code::InternalError, message, &data)));
        }
    }
}
