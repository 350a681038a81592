//! Quantities as people write them: `"30s"`, `"256MiB"`, `1.5` cores.
//!
//! Shared with the command line, so that a limit is written the same in both places.

use std::time::Duration;

use serde::Serializer;

/// Why a text is not a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It does not start with a number.
    #[error("there is no number")]
    NoNumber,
    /// It ends in something that is no unit of this kind.
    #[error("the unit is missing or unknown")]
    Unit,
    /// It is more than can be counted.
    #[error("the number is too large")]
    TooLarge,
}

/// The units of time, in nanoseconds.
const TIME_UNITS: [(&str, u64); 5] = [
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The units of size, in bytes. Units with an `i` count in 1024, the others in 1000.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads a duration: a number and one of `us ms s m h`, as `250ms`, `1.5s`, `5m`.
///
/// # Errors
/// When there is no number, no known unit, or it does not fit in 64 bits of nanoseconds.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let (number, unit) = split(text)?;
    let scale = TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or(QuantityError::Unit)?.1;
    Ok(Duration::from_nanos(number.scaled(scale)?))
}

/// Reads a size in bytes: a number and one of `B KB MB GB TB KiB MiB GiB TiB` (the letter case
/// does not matter, and a number alone is bytes).
///
/// # Errors
/// When there is no number, no known unit, or it does not fit in 64 bits.
pub fn parse_size(text: &str) -> Result<u64, QuantityError> {
    let (number, unit) = split(text)?;
    if unit.is_empty() {
        return number.scaled(1);
    }
    let known = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    number.scaled(known.ok_or(QuantityError::Unit)?.1)
}

/// Reads a decimal number as thousandths: `1.5` is 1500.
pub(crate) fn parse_milli(text: &str) -> Result<u64, QuantityError> {
    let (number, unit) = split(text)?;
    if !unit.is_empty() {
        return Err(QuantityError::Unit);
    }
    number.scaled(1000)
}

/// How many decimal places count; the rest is below the smallest unit.
const FRACTION_DIGITS: usize = 12;

/// A non-negative decimal number, exact: no float rounds what a limit says.
struct Decimal<'t> {
    whole: u64,
    fraction: &'t str,
}

impl Decimal<'_> {
    /// The number times `scale`, the rest cut off.
    fn scaled(&self, scale: u64) -> Result<u64, QuantityError> {
        let digits = self.fraction.get(..FRACTION_DIGITS).unwrap_or(self.fraction);
        let (mut numerator, mut denominator) = (0_u128, 1_u128);
        for digit in digits.chars().filter_map(|c| c.to_digit(10)) {
            numerator = numerator * 10 + u128::from(digit);
            denominator *= 10;
        }
        let scale = u128::from(scale);
        let total = u128::from(self.whole) * scale + numerator * scale / denominator;
        u64::try_from(total).or(Err(QuantityError::TooLarge))
    }
}

/// Splits `12.5 ms` into the number and the unit.
fn split(text: &str) -> Result<(Decimal<'_>, &str), QuantityError> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(QuantityError::NoNumber);
    }
    let whole = whole.parse().or(Err(QuantityError::TooLarge))?;
    Ok((Decimal { whole, fraction }, unit.trim_start()))
}

/// Writes a duration so that [`parse_duration`] reads the same one, in the largest fitting unit.
pub(crate) fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    for (unit, scale) in TIME_UNITS.iter().rev() {
        let scale = u128::from(*scale);
        if nanos >= scale && nanos.is_multiple_of(scale) {
            return format!("{}{unit}", nanos / scale);
        }
    }
    format!("{}us", nanos / 1_000)
}

/// For serde: a duration as text.
pub(crate) fn serialize_duration<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*duration))
}

/// For serde: a duration as text, or null.
#[expect(clippy::ref_option, reason = "the signature that serde calls")]
pub(crate) fn serialize_optional_duration<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serialize_duration(duration, serializer),
        None => serializer.serialize_none(),
    }
}

/// For serde: thousandths as a decimal number of cores, or null.
#[expect(clippy::ref_option, reason = "the signature that serde calls")]
pub(crate) fn serialize_optional_milli<S: Serializer>(
    milli: &Option<u64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match milli.map(u32::try_from) {
        Some(Ok(milli)) => serializer.serialize_f64(f64::from(milli) / 1000.0),
        Some(Err(_)) | None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("0.1s"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_duration(" 5 m "), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
    }

    #[test]
    fn wrong_durations_say_why() {
        assert_eq!(parse_duration("30"), Err(QuantityError::Unit));
        assert_eq!(parse_duration("30 parsecs"), Err(QuantityError::Unit));
        assert_eq!(parse_duration("soon"), Err(QuantityError::NoNumber));
        assert_eq!(parse_duration("-1s"), Err(QuantityError::NoNumber));
        assert_eq!(parse_duration("1.2.3s"), Err(QuantityError::NoNumber));
        assert_eq!(parse_duration("99999999999999h"), Err(QuantityError::TooLarge));
        assert_eq!(parse_duration("99999999999999999999999s"), Err(QuantityError::TooLarge));
    }

    #[test]
    fn sizes_tell_thousand_from_1024() {
        assert_eq!(parse_size("256MiB"), Ok(256 << 20));
        assert_eq!(parse_size("1GB"), Ok(1_000_000_000));
        assert_eq!(parse_size("1.5 kib"), Ok(1536));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("10 stones"), Err(QuantityError::Unit));
        assert_eq!(parse_size("999999999TiB"), Err(QuantityError::TooLarge));
    }

    #[test]
    fn a_formatted_duration_reads_back() {
        for text in ["250us", "1500ms", "30s", "5m", "2h"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }
}
