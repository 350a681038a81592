//! Why a row does not hold, or cannot be played here. Rows return it; they never panic.

use std::fmt;

/// What a row tells when it did not come to a good end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unmet {
    /// The required behaviour was not observed.
    Broken(String),
    /// This machine or user cannot show it.
    Impossible(String),
}

/// What was observed, or why not.
pub(crate) type Observed = Result<String, Unmet>;

/// Any error on the way breaks the row.
impl<E: std::error::Error> From<E> for Unmet {
    fn from(error: E) -> Self {
        Self::Broken(error.to_string())
    }
}

/// The requirement was not met.
pub(crate) fn broken(why: impl fmt::Display) -> Unmet {
    Unmet::Broken(why.to_string())
}

/// The row needs what is not here.
pub(crate) fn impossible(why: impl fmt::Display) -> Unmet {
    Unmet::Impossible(why.to_string())
}

/// Breaks the row, with what was found, unless a condition holds.
macro_rules! require {
    ($holds:expr, $($found:tt)+) => {
        if !$holds {
            return Err($crate::chaos::unmet::broken(format_args!($($found)+)));
        }
    };
}
pub(crate) use require;
