//! Runs futures on the threads of a crew: no reactor, no timers of its own, no thread per future. A future
//! that waits takes no thread; when woken it becomes ready again, and whichever thread is free polls it.
//!
//! Not for what a future is (the session's), nor for other executors: [`crate::Plugin::executor`].

use crate::lock;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

/// A future that answers its call by itself.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A future on its way.
pub(crate) struct Task {
    /// `None` once it is done.
    future: Mutex<Option<Work>>,
    state: AtomicU8,
    /// Has somebody poll it.
    ready: Box<dyn Fn(Arc<Self>) + Send + Sync>,
}

/// Waits to be woken.
const WAITING: u8 = 0;
/// Ready, and somebody will poll it.
const READY: u8 = 1;
/// Being polled.
const POLLED: u8 = 2;
/// Being polled, and woken meanwhile.
const WOKEN: u8 = 3;
/// Never to be polled again.
const DONE: u8 = 4;

impl Task {
    /// A task that is to be polled at once, by [`Task::poll`]; `ready` says whenever it is again.
    pub(crate) fn new(
        future: Work,
        ready: impl Fn(Arc<Self>) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            future: Mutex::new(Some(future)),
            state: AtomicU8::new(READY),
            ready: Box::new(ready),
        })
    }

    /// Polls until it waits or is done. The future must not panic.
    pub(crate) fn poll(self: &Arc<Self>) {
        let waker = Waker::from(Arc::clone(self));
        let mut context = Context::from_waker(&waker);
        let mut slot = lock(&self.future);
        let Some(future) = slot.as_mut() else { return };
        self.state.store(POLLED, Ordering::SeqCst);
        if future.as_mut().poll(&mut context).is_ready() {
            self.state.store(DONE, Ordering::SeqCst);
            *slot = None;
            return;
        }
        drop(slot);
        let rested =
            self.state.compare_exchange(POLLED, WAITING, Ordering::SeqCst, Ordering::SeqCst);
        if rested.is_err() {
            // Woken meanwhile. It goes to the end of the queue, so that others have their turn.
            self.state.store(READY, Ordering::SeqCst);
            (self.ready)(Arc::clone(self));
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let changed =
            self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| match state {
                WAITING => Some(READY),
                POLLED => Some(WOKEN),
                _ => None,
            });
        if changed == Ok(WAITING) {
            (self.ready)(Arc::clone(&self));
        }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;
    use std::task::Poll;

    /// Lets other ready futures run first, once.
    #[derive(Debug, Default)]
    struct Yield(bool);

    impl Future for Yield {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
            if std::mem::replace(&mut self.0, true) {
                return Poll::Ready(());
            }
            task.waker().wake_by_ref();
            Poll::Pending
        }
    }

    #[test]
    fn a_future_is_polled_again_only_when_woken() {
        let (send, ready) = mpsc::channel();
        let polls = Arc::new(AtomicUsize::new(0));
        let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
        let future = {
            let (polls, waker) = (Arc::clone(&polls), Arc::clone(&waker));
            std::future::poll_fn(move |context| {
                *lock(&waker) = Some(context.waker().clone());
                if polls.fetch_add(1, Ordering::SeqCst) == 1 {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
        };
        let task = Task::new(Box::pin(future), move |task| drop(send.send(task)));
        task.poll();
        assert!(ready.try_recv().is_err());
        let waker = lock(&waker).take().unwrap();
        waker.wake_by_ref();
        waker.wake_by_ref();
        let woken = ready.try_recv().unwrap();
        assert!(ready.try_recv().is_err(), "woken twice is ready once");
        woken.poll();
        waker.wake();
        assert!(ready.try_recv().is_err(), "a future that is done stays done");
        task.poll();
        assert_eq!(polls.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_future_that_wakes_itself_lets_others_run_first() {
        let (send, ready) = mpsc::channel();
        let task = Task::new(Box::pin(Yield::default()), move |task| drop(send.send(task)));
        task.poll();
        ready.try_recv().unwrap().poll();
        assert_eq!(task.state.load(Ordering::SeqCst), DONE);
        assert!(ready.try_recv().is_err());
    }
}
