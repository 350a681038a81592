//! Single words of the command line and how they are spelled: sizes, durations, networks,
//! variables. Each is read on its own; nothing here knows of another flag.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::builder::PossibleValuesParser;
use plugbay_broker::Pattern;
use plugbay_sandbox::Protection;

/// The name of any protection.
pub(crate) fn protections() -> PossibleValuesParser {
    PossibleValuesParser::new(Protection::ALL.map(Protection::name))
}

/// The name of a protection that can be off by itself.
pub(crate) fn switchable() -> PossibleValuesParser {
    let switchable = Protection::ALL.into_iter().filter(|protection| protection.can_be_off());
    PossibleValuesParser::new(switchable.map(Protection::name))
}

/// Reads `256MiB`, `1G`, `4096`: what `plugin.toml` takes, and the bare letters that `ulimit`,
/// Docker and systemd taught everybody, which count in 1024.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let letter = text.ends_with(|c: char| "KMGTkmgt".contains(c));
    let full = if letter { format!("{text}iB") } else { text.to_owned() };
    plugbay_manifest::parse_size(&full)
        .map_err(|error| format!("{error}: write bytes, or a size such as 512KiB, 256MiB, 1G"))
}

/// Reads `500ms`, `30s`, `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    plugbay_manifest::parse_duration(text)
        .map_err(|error| format!("{error}: write a duration such as 500ms, 30s, 2m, 1h"))
}

/// Reads `KEY=VALUE`.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

/// A parameter and the file that feeds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// Reads `NAME=FILE`.
pub(crate) fn input(text: &str) -> Result<Input, String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok(Input { name: name.to_owned(), path: path.into() })
        }
        _ => Err("write it as NAME=FILE, or NAME=- for standard input".to_owned()),
    }
}

/// A word of `--filter`: a profile, or a part of the list of a strict one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FilterWord {
    /// What ordinary programs need.
    Default,
    /// For builds and tests: also scheduling calls, and ptrace of own children.
    Ci,
    /// A call, or many of them such as `@python`.
    Call(String),
}

impl FilterWord {
    /// The word itself.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Default => "default",
            Self::Ci => "ci",
            Self::Call(word) => word,
        }
    }

    /// The word of a list.
    pub(crate) fn call(&self) -> Option<&str> {
        match self {
            Self::Call(word) => Some(word),
            Self::Default | Self::Ci => None,
        }
    }
}

impl From<&str> for FilterWord {
    fn from(text: &str) -> Self {
        match text {
            "default" => Self::Default,
            "ci" => Self::Ci,
            word => Self::Call(word.to_owned()),
        }
    }
}

/// A limit as typed: `none`, or a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound<T> {
    /// Not limited.
    Unlimited,
    /// At most this.
    At(T),
}

impl<T> Bound<T> {
    /// The limit as the sandbox has it.
    pub(crate) fn into_option(self) -> Option<T> {
        match self {
            Self::Unlimited => None,
            Self::At(value) => Some(value),
        }
    }

    fn read(text: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Self, String> {
        if text == "none" { Ok(Self::Unlimited) } else { read(text).map(Self::At) }
    }
}

impl Bound<Duration> {
    /// A duration above zero, or `none`.
    pub(crate) fn duration(text: &str) -> Result<Self, String> {
        Self::read(text, |text| match duration(text)? {
            Duration::ZERO => Err("must be more than zero".to_owned()),
            some => Ok(some),
        })
    }
}

impl Bound<u64> {
    /// A size, or `none`.
    pub(crate) fn size(text: &str) -> Result<Self, String> {
        Self::read(text, size)
    }

    /// A number above zero, or `none`.
    pub(crate) fn count(text: &str) -> Result<Self, String> {
        Self::read(text, |text| match text.parse() {
            Ok(0) => Err("must be at least 1".to_owned()),
            Ok(count) => Ok(count),
            Err(error) => Err(error.to_string()),
        })
    }

    /// A share of the processors in cores, to the thousandth, or `none`.
    pub(crate) fn cores(text: &str) -> Result<Self, String> {
        Self::read(text, |text| {
            let wrong = || "write a number of cores, such as 0.5 or 2".to_owned();
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
            if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 3 {
                return Err(wrong());
            }
            let milli = format!("{whole}{fraction:0<3}").parse().map_err(|_number| wrong())?;
            if milli == 0 { Err(wrong()) } else { Ok(milli) }
        })
    }
}

/// One `--net`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NetWord {
    /// `none`.
    None,
    /// `loopback`.
    Loopback,
    /// `full`.
    Full,
    /// `PORT`: connect to this port anywhere.
    Port(u16),
    /// `HOST:PORT`, or `HOST` alone for the port of HTTPS: connect to this host, by way of a broker.
    Host(String, u16),
    /// `listen:PORT`.
    Listen(u16),
}

impl FromStr for NetWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => return Ok(Self::None),
            "loopback" => return Ok(Self::Loopback),
            "full" => return Ok(Self::Full),
            _ => {}
        }
        // A word that is not known is more likely a slip than a host without a dot.
        if text.ends_with(']') || !text.contains(':') && text.contains(['.', '*']) {
            return Ok(Self::Host(host_name(text)?, HTTPS));
        }
        match text.rsplit_once(':') {
            None => Ok(Self::Port(port(text)?)),
            Some(("listen", number)) => Ok(Self::Listen(port(number)?)),
            Some((host, number)) => Ok(Self::Host(host_name(host)?, port(number)?)),
        }
    }
}

/// The port that is meant where none is said.
const HTTPS: u16 = 443;

const NET_SPELLINGS: &str = "write none, loopback, full, HOST:PORT, PORT or listen:PORT";

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) => Err("port 0 cannot be granted".to_owned()),
        Ok(port) => Ok(port),
        Err(_) => Err(NET_SPELLINGS.to_owned()),
    }
}

/// A host as it stands before the port: a name, `*.` and a name, an address or a block of them (IPv6
/// in brackets).
fn host_name(text: &str) -> Result<String, String> {
    if text.contains(':') && !text.starts_with('[') {
        return Err("write an IPv6 address in brackets, as [::1]:443".to_owned());
    }
    if text.starts_with('[') && !text.contains(']') {
        return Err("the bracket of the IPv6 address is not closed".to_owned());
    }
    let pattern: Result<Pattern, _> = text.parse();
    pattern.map(|pattern| pattern.to_string()).map_err(|error| error.to_string())
}

/// One `--env`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvWord {
    /// The variable.
    pub(crate) name: String,
    /// Its value, or `None` to pass on what it is outside.
    pub(crate) value: Option<String>,
}

impl FromStr for EnvWord {
    type Err = String;

    /// Splits at the first `=`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() {
            return Err("the name of the variable is missing".to_owned());
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_read() {
        assert_eq!(size("256MiB"), Ok(256 << 20));
        assert_eq!(size("1G"), Ok(1 << 30));
        assert_eq!(size("1.5g"), Ok(3 << 29));
        assert_eq!(size("1GB"), Ok(1_000_000_000));
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "1Q", "-1", "1.5.2G", "99999999999999999999G"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "s", "-1s", "1y"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn none_lifts_a_limit() {
        assert_eq!(Bound::size("none"), Ok(Bound::Unlimited));
        assert_eq!(Bound::count("7"), Ok(Bound::At(7)));
        assert!(Bound::count("0").is_err());
        assert!(Bound::duration("0s").is_err());
    }

    #[test]
    fn cores_are_counted_in_thousandths() {
        for (text, milli) in [("1", 1000), ("1.5", 1500), ("0.25", 250), ("16.125", 16125)] {
            assert_eq!(Bound::cores(text), Ok(Bound::At(milli)), "{text}");
        }
        for wrong in ["", "0", "0.0", ".5", "1.2345", "-1", "1e3", "+1", "99999999999999999999"] {
            assert!(Bound::cores(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn networks_are_read() {
        let host = |name: &str, port| NetWord::Host(name.to_owned(), port);
        for (text, word) in [
            ("none", NetWord::None),
            ("loopback", NetWord::Loopback),
            ("full", NetWord::Full),
            ("443", NetWord::Port(443)),
            ("listen:8080", NetWord::Listen(8080)),
            ("files.example.org:443", host("files.example.org", 443)),
            ("10.0.0.7:5432", host("10.0.0.7", 5432)),
            ("[::1]:443", host("[::1]", 443)),
            ("Files.Example.org.", host("files.example.org", 443)),
            ("*.example.org:8443", host("*.example.org", 8443)),
            ("10.0.0.0/8:80", host("10.0.0.0/8", 80)),
            ("[fd00::]/8:80", host("[fd00::]/8", 80)),
            ("*:443", host("*", 443)),
        ] {
            assert_eq!(text.parse(), Ok(word), "{text}");
        }
        for wrong in [
            "", "0", "65536", "host", ":443", "listen:", "::1:443", "[::1:443", "a b:1",
            "127.1:80", "ful",
        ] {
            assert!(wrong.parse::<NetWord>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn variables_are_split_at_the_first_equals_sign() {
        let word = |name: &str, value: Option<&str>| {
            Ok(EnvWord { name: name.to_owned(), value: value.map(str::to_owned) })
        };
        assert_eq!("HOME".parse(), word("HOME", None));
        assert_eq!("A=".parse(), word("A", Some("")));
        assert_eq!("A=b=c".parse(), word("A", Some("b=c")));
        assert!("=x".parse::<EnvWord>().is_err());
        assert!("".parse::<EnvWord>().is_err());
    }
}
