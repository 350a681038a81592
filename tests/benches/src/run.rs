//! What `plugbay run` adds to commands that people put into it: the same command by itself and sealed,
//! in turns, in one directory that it may write.

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Result;

use crate::{
    Effort,
    clock::Watch,
    package,
    report::Section,
    sample::{Contender, Samples, interleave},
};

const ROUNDS: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);
/// What a run may cost: this part of the command's own time, or this.
const PART: f64 = 0.05;
const TIME: Duration = Duration::from_millis(5);
/// Tests in the file that `unittest` runs.
const TESTS: usize = 200;

/// A command that people run.
struct Work {
    name: &'static str,
    words: &'static [&'static str],
    /// What its directory needs to hold.
    files: &'static [(&'static str, &'static str)],
}

const WORKS: [Work; 5] = [
    Work { name: "python3 -c pass", words: &["python3", "-c", "pass"], files: &[] },
    Work { name: "node -e 0", words: &["node", "-e", "0"], files: &[] },
    Work { name: "git status", words: &["git", "status"], files: &[("file", "text\n")] },
    Work {
        name: "python3 -m unittest, 200 tests",
        words: &["python3", "-m", "unittest", "-q", "tests"],
        files: &[],
    },
    Work {
        name: "cc, one file",
        words: &["cc", "-O1", "-o", "out", "main.c"],
        files: &[("main.c", "#include <stdio.h>\nint main(void) { puts(\"x\"); return 0; }\n")],
    },
];

/// One table per command that the machine has.
pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let plugbay = package::built("plugbay")?;
    WORKS.iter().map(|work| measure(effort, work, &plugbay)).collect()
}

fn measure(effort: Effort, work: &Work, plugbay: &Path) -> Result<Section> {
    let title = format!("a run of `{}`", work.name);
    let place = package::place()?;
    prepare(place.path(), work)?;
    let dir = place.path();
    let words = named(work)?;
    let plain = Ran { name: "by itself", dir, before: None, words: &words };
    let sealed = Ran { name: "plugbay run --write .", dir, before: Some(plugbay), words: &words };
    if let Err(error) = plain.once().and_then(|_| sealed.once()) {
        return Ok(Section::facts(title).note(format!("not measured: {error:#}")));
    }
    let mut contenders: Vec<Box<dyn Contender + '_>> = vec![Box::new(plain), Box::new(sealed)];
    let measured = interleave(effort.rounds(ROUNDS), PAUSE, &mut contenders)?;
    let [(_, own), (_, ours)] = &measured[..] else { anyhow::bail!("two contenders are measured") };
    let (own, ours) = (own.median(), ours.median());
    let more = ours.saturating_sub(own);
    let part = more.div_duration_f64(own);
    let reached = part <= PART || more <= TIME;
    Ok(Section::new(title, &measured).fact(
        "what a run adds",
        format!("{more:.1?}, {:.1} %", part * 100.0),
        Some((reached, "5 % or 5 ms")),
    ))
}

/// The command with the interpreter itself in front: what stands for one in a path may be a script that
/// looks for it, which a run does not start.
fn named(work: &Work) -> Result<Vec<String>> {
    let mut words: Vec<String> = work.words.iter().copied().map(str::to_owned).collect();
    if let Some(first) = words.first_mut().filter(|first| *first == "python3") {
        #[expect(clippy::disallowed_methods, reason = "asks an interpreter where it is")]
        let asked =
            Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
        // Without it the measure itself says so.
        if let Ok(answer) = asked {
            *first = String::from_utf8(answer.stdout)?.trim().to_owned();
        }
    }
    Ok(words)
}

/// Puts what the command works on into its directory.
fn prepare(dir: &Path, work: &Work) -> Result<()> {
    for (name, text) in work.files {
        fs::write(dir.join(name), text)?;
    }
    if work.words.contains(&"unittest") {
        let tests: String = (0..TESTS)
            .map(|number| {
                format!("    def test_{number}(self): self.assertEqual({number}, {number})\n")
            })
            .collect();
        fs::write(
            dir.join("tests.py"),
            format!("import unittest\nclass Tests(unittest.TestCase):\n{tests}"),
        )?;
    }
    if work.words.first() == Some(&"git") {
        #[expect(clippy::disallowed_methods, reason = "a repository to ask for its status")]
        let made = Command::new("git").args(["init", "-q"]).current_dir(dir).status();
        // Without git the measure itself says so.
        made.ok();
    }
    Ok(())
}

/// The command, by itself or in a run.
#[derive(Clone, Copy)]
struct Ran<'w> {
    name: &'static str,
    dir: &'w Path,
    /// The program that it is a run of.
    before: Option<&'w Path>,
    words: &'w [String],
}

impl Ran<'_> {
    fn once(&self) -> Result<Duration> {
        let sealed = ["run", "--write", ".", "--"];
        let mut words = self.words.iter();
        let (program, args): (&OsStr, &[&str]) = match self.before {
            Some(plugbay) => (plugbay.as_os_str(), &sealed),
            None => (words.next().map_or(OsStr::new(""), OsStr::new), &[]),
        };
        // A run gives little of the environment, and some of it costs programs time.
        let kept = ["PATH", "HOME", "LANG"];
        let kept = kept.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        let watch = Watch::start();
        #[expect(clippy::disallowed_methods, reason = "what is measured is a command")]
        let status = Command::new(program)
            .args(args)
            .args(words)
            .current_dir(self.dir)
            .env_clear()
            .envs(kept)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        let took = watch.elapsed();
        anyhow::ensure!(status.success(), "{} it ended with {status}", self.name);
        Ok(took)
    }
}

impl Contender for Ran<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn turn(&mut self, samples: &mut Samples) -> Result<()> {
        samples.push(self.once()?);
        Ok(())
    }
}
