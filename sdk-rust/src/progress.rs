//! How far a call is, as a value. Sending it is the context's.

use plugbay_protocol::Id;
use plugbay_protocol::notice;
use serde::Serialize;
use serde_json::Number;
use serde_json::value::{RawValue, to_raw_value};

/// How far the work is: any of an amount, where it ends, a sentence and data.
///
/// A pair is an amount and where it ends, a text is a sentence:
///
/// ```
/// # use plugbay_sdk::{Context, Progress};
/// # fn handler(ctx: &Context) {
/// ctx.progress((3, 10));
/// ctx.progress("reading");
/// ctx.progress(Progress::of(3, 10).message("reading").data(&["a.txt"]));
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Progress {
    value: Option<Number>,
    total: Option<Number>,
    message: Option<String>,
    data: Option<Box<RawValue>>,
}

impl Progress {
    /// That the work goes on, and no more.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// That `value` of `total` is done, in whatever unit. `value` never falls.
    pub fn of(value: impl Into<Number>, total: impl Into<Number>) -> Self {
        Self { value: Some(value.into()), total: Some(total.into()), ..Self::default() }
    }

    /// That `value` is done, of who knows how much.
    #[must_use]
    pub fn value(mut self, value: impl Into<Number>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// What is being done, for a person.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Anything for a program. What cannot be written as JSON is left out.
    #[must_use]
    pub fn data(mut self, data: &(impl Serialize + ?Sized)) -> Self {
        self.data = to_raw_value(data).ok();
        self
    }

    pub(crate) fn into_notice(self, token: Id<'static>) -> notice::Progress {
        let Self { value, total, message, data } = self;
        notice::Progress { token, value, total, message, data }
    }
}

impl From<&str> for Progress {
    fn from(message: &str) -> Self {
        Self::new().message(message)
    }
}

impl From<String> for Progress {
    fn from(message: String) -> Self {
        Self::new().message(message)
    }
}

macro_rules! from_pair {
    ($($number:ty),*) => {$(
        impl From<($number, $number)> for Progress {
            fn from((value, total): ($number, $number)) -> Self {
                Self::of(value, total)
            }
        }
    )*};
}

from_pair!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_said_is_written() {
        let written = |progress: Progress| {
            serde_json::to_string(&progress.into_notice(Id::from("t"))).unwrap()
        };
        assert_eq!(written(Progress::new()), r#"{"token":"t"}"#);
        assert_eq!(written((1, 4).into()), r#"{"token":"t","value":1,"total":4}"#);
        assert_eq!(written("reading".into()), r#"{"token":"t","message":"reading"}"#);
        assert_eq!(
            written(Progress::new().value(2_u64).data(&[1])),
            r#"{"token":"t","value":2,"data":[1]}"#
        );
    }
}
