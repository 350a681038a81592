//! The first line of a script, read as the kernel and `env` read it. Pure.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
};

/// How much of a file the kernel looks at.
pub(super) const LOOKED_AT: u64 = 256;

/// The program that a script asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shebang {
    pub(super) interpreter: OsString,
    /// All that follows, as one argument: the kernel does not split.
    pub(super) argument: Option<OsString>,
}

/// Reads the first bytes of a file. `None`: no script. `Err`: the kernel would refuse the line.
pub(super) fn parse(head: &[u8]) -> Option<Result<Shebang, &'static str>> {
    let rest = head.strip_prefix(b"#!")?;
    let rest = rest.get(..usize::try_from(LOOKED_AT).unwrap_or(usize::MAX) - 2).unwrap_or(rest);
    Some(parse_line(rest, head.len() as u64 >= LOOKED_AT))
}

fn parse_line(rest: &[u8], is_cut: bool) -> Result<Shebang, &'static str> {
    let end = rest.iter().position(|byte| *byte == b'\n');
    let line = trim(rest.get(..end.unwrap_or(rest.len())).unwrap_or_default());
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let gap = line.iter().position(|byte| is_blank(*byte));
    if line.is_empty() {
        return Err("its first line `#!` names no interpreter");
    }
    if is_cut && end.is_none() && gap.is_none() {
        return Err("the interpreter in its first line is longer than the kernel reads");
    }
    let (interpreter, argument) = line.split_at(gap.unwrap_or(line.len()));
    let argument = trim(argument);
    Ok(Shebang {
        interpreter: OsStr::from_bytes(interpreter).to_owned(),
        argument: (!argument.is_empty()).then(|| OsStr::from_bytes(argument).to_owned()),
    })
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_blank(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_blank(*last)
    {
        bytes = rest;
    }
    bytes
}

/// What `env` makes of the argument in a script's first line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct EnvLine {
    /// `NAME=VALUE` before the command.
    pub(super) variables: Vec<(OsString, OsString)>,
    /// The command and its arguments; never empty.
    pub(super) command: Vec<OsString>,
}

/// Reads the argument of `env`. `None`: it uses what is not understood here (`-i`, `-u`, `-C`), so
/// `env` itself has to run.
pub(super) fn env_line(
    argument: &OsStr,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<EnvLine> {
    let bytes = argument.as_bytes();
    let split =
        [&b"-S"[..], b"-vS", b"--split-string="].iter().find_map(|o| bytes.strip_prefix(*o));
    let words = match split {
        Some(text) => words(text, variable)?,
        None if bytes.starts_with(b"-") => return None,
        None => vec![argument.to_owned()],
    };
    let mut line = EnvLine::default();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next_if(|word| word.as_bytes().contains(&b'=')) {
        let bytes = word.as_bytes();
        let at = bytes.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (bytes.get(..at)?, bytes.get(at + 1..)?);
        line.variables.push((OsStr::from_bytes(name).into(), OsStr::from_bytes(value).into()));
    }
    line.command = words.collect();
    let first = line.command.first()?;
    (!first.as_bytes().starts_with(b"-")).then_some(line)
}

/// Splits as `env -S` does: blanks, both kinds of quotes, escapes, `${NAME}` and comments.
fn words(text: &[u8], variable: impl Fn(&str) -> Option<OsString>) -> Option<Vec<OsString>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\'' | b'"', None) => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (_, Some(open)) if byte == open => quote = None,
            (b'\\', Some(b'\'')) => match bytes.next()? {
                escaped @ (b'\\' | b'\'') => word.get_or_insert_default().push(escaped),
                other => word.get_or_insert_default().extend([b'\\', other]),
            },
            (b'\\', _) => match bytes.next()? {
                b'c' if quote.is_none() => break,
                b'_' if quote.is_none() => words.extend(word.take()),
                escaped => word.get_or_insert_default().push(unescape(escaped)?),
            },
            (b'$', None | Some(b'"')) => {
                let name = braced(&mut bytes)?;
                let value = variable(&name).unwrap_or_default();
                word.get_or_insert_default().extend(value.as_bytes());
            }
            (b'#', None) if word.is_none() => break,
            (b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    quote.is_none().then(|| words.into_iter().map(OsString::from_vec).collect())
}

fn unescape(byte: u8) -> Option<u8> {
    match byte {
        b'f' => Some(0x0c),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        b'v' => Some(0x0b),
        b'_' => Some(b' '),
        b'#' | b'$' | b'"' | b'\'' | b'\\' => Some(byte),
        _ => None,
    }
}

/// The name in `{NAME}`; `env` knows no other form.
fn braced(bytes: &mut impl Iterator<Item = u8>) -> Option<String> {
    if bytes.next()? != b'{' {
        return None;
    }
    let mut name = String::new();
    loop {
        match bytes.next()? {
            b'}' => return (!name.is_empty()).then_some(name),
            byte if byte.is_ascii_alphanumeric() || byte == b'_' => name.push(char::from(byte)),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Option<(String, Option<String>)> {
        let shebang = parse(text.as_bytes())?.ok()?;
        let text = |part: OsString| part.into_string().unwrap();
        Some((text(shebang.interpreter), shebang.argument.map(text)))
    }

    fn split(text: &str) -> Option<Vec<String>> {
        let variable = |name: &str| (name == "HOME").then(|| "/home/ann".into());
        let line = env_line(text.as_ref(), variable)?;
        Some(line.command.into_iter().map(|word| word.into_string().unwrap()).collect())
    }

    #[test]
    fn the_kernel_passes_one_argument() {
        assert_eq!(line("#!/bin/sh\necho"), Some(("/bin/sh".into(), None)));
        assert_eq!(line("#! \t/bin/sh \t\n"), Some(("/bin/sh".into(), None)));
        assert_eq!(line("#!/bin/awk -f -v x\n"), Some(("/bin/awk".into(), Some("-f -v x".into()))));
        assert_eq!(line("#!/bin/sh"), Some(("/bin/sh".into(), None)));
        assert_eq!(line("#!/bin/sh -e\0 x"), Some(("/bin/sh".into(), Some("-e".into()))));
        assert_eq!(line("#!/bin/sh\r\n"), Some(("/bin/sh\r".into(), None)));
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        assert_eq!(parse(b"echo"), None);
        assert!(parse(b"#!\n/bin/sh").unwrap().is_err());
        assert!(parse(b"#!   ").unwrap().is_err());
        let long = format!("#!/{}", "x".repeat(300));
        assert!(parse(&long.as_bytes()[..256]).unwrap().is_err());
        let argument = format!("#!/bin/sh {}", "x".repeat(300));
        let cut = parse(&argument.as_bytes()[..256]).unwrap().unwrap();
        assert_eq!(cut.argument.unwrap().len(), 256 - "#!/bin/sh ".len());
    }

    #[test]
    fn env_splits_only_when_told_to() {
        assert_eq!(split("python3"), Some(vec!["python3".into()]));
        assert_eq!(split("python3 -u"), Some(vec!["python3 -u".into()]));
        assert_eq!(split("-S python3 -u"), Some(vec!["python3".into(), "-u".into()]));
        assert_eq!(split("-Spython3 -u"), Some(vec!["python3".into(), "-u".into()]));
        assert_eq!(split("--split-string=a\tb"), Some(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn env_understands_quotes_escapes_variables_and_comments() {
        assert_eq!(split(r#"-S a 'b c' "d\te" ''"#).unwrap(), ["a", "b c", "d\te", ""]);
        assert_eq!(split(r"-S a\_b c\cd e").unwrap(), ["a", "b", "c"]);
        assert_eq!(split(r#"-S "a\_b" 'it\'s'"#).unwrap(), ["a b", "it's"]);
        assert_eq!(split("-S ${HOME}/x ${NOTHING}y").unwrap(), ["/home/ann/x", "y"]);
        assert_eq!(split("-S a b#c # d").unwrap(), ["a", "b#c"]);
    }

    #[test]
    fn env_variables_come_before_the_command() {
        let line = env_line("-S A=1 B= python3 C=2".as_ref(), |_| None).unwrap();
        assert_eq!(line.variables, [("A".into(), "1".into()), ("B".into(), "".into())]);
        assert_eq!(line.command, ["python3", "C=2"]);
    }

    #[test]
    fn what_only_env_itself_can_do_is_left_to_it() {
        for text in
            ["-i", "-S -i python3", "-S -u X python3", "-S 'open", "-S $HOME", "-S", "-S A=1"]
        {
            assert_eq!(split(text), None, "{text}");
        }
    }
}
