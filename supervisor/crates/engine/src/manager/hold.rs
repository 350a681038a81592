//! Notices that wait while nobody takes them, because one version hands over to another.
//!
//! A call waits where its caller does. A notice has nobody who waits for it, so it is kept here, in
//! order, and goes to whoever answers next.

use std::{collections::VecDeque, sync::Mutex};

use serde_json::value::RawValue;

use crate::plugin::lock;

/// Notices kept for a plugin.
const NOTICES: usize = 1000;
/// Bytes of them.
const BYTES: usize = 16 << 20;

/// The notices of one plugin that wait.
#[derive(Debug, Default)]
pub(crate) struct Hold(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    open: bool,
    notices: VecDeque<(String, Box<RawValue>)>,
    bytes: usize,
}

/// What became of a notice.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It waits.
    Yes,
    /// Nothing is kept now: there is somebody who answers, or nobody will.
    Closed,
    /// As much waits as may.
    Full,
}

impl Hold {
    /// From now on notices are kept.
    pub(crate) fn open(&self) {
        lock(&self.0).open = true;
    }

    /// Keeps a notice, if notices are kept.
    pub(crate) fn keep(&self, method: &str, params: &RawValue) -> Kept {
        let mut held = lock(&self.0);
        let size = method.len() + params.get().len();
        if !held.open {
            return Kept::Closed;
        }
        if held.notices.len() >= NOTICES || held.bytes + size > BYTES {
            return Kept::Full;
        }
        held.bytes += size;
        held.notices.push_back((method.to_owned(), params.to_owned()));
        Kept::Yes
    }

    /// Gives what waits to `take` in order, then lets `open_up` show that somebody answers; only then
    /// is nothing kept any more, so that no notice overtakes another.
    pub(crate) fn close(&self, mut take: impl FnMut(&str, &RawValue), open_up: impl FnOnce()) {
        let mut held = lock(&self.0);
        for (method, params) in held.notices.drain(..) {
            take(&method, &params);
        }
        held.bytes = 0;
        open_up();
        held.open = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn what_waits_goes_in_order_before_anything_else() {
        let hold = Hold::default();
        assert_eq!(hold.keep("early", &params("0")), Kept::Closed);
        hold.open();
        for number in ["1", "2", "3"] {
            assert_eq!(hold.keep("note", &params(number)), Kept::Yes);
        }
        let mut taken = Vec::new();
        hold.close(|_, params| taken.push(params.get().to_owned()), || {});
        assert_eq!(taken, ["1", "2", "3"]);
        assert_eq!(hold.keep("late", &params("4")), Kept::Closed);
        hold.close(|_, _| panic!("nothing waits"), || {});
    }

    #[test]
    fn what_waits_is_bounded() {
        let hold = Hold::default();
        hold.open();
        let large = params(&format!("\"{}\"", "x".repeat(BYTES / 2)));
        assert_eq!(hold.keep("a", &large), Kept::Yes);
        assert_eq!(hold.keep("a", &large), Kept::Full);
        for _ in 1..NOTICES {
            assert_eq!(hold.keep("a", &params("0")), Kept::Yes);
        }
        assert_eq!(hold.keep("a", &params("0")), Kept::Full);
    }
}
