//! `plugbay man`: manual pages made from the same definition that parses the command line, with the
//! exit codes, the environment and the files that the help has no room for.

use std::{fs, io, path::Path};

use clap::CommandFactory as _;
use clap_mangen::{
    Man as Page,
    roff::{Roff, bold, roman},
};

use crate::{
    args::{Man, Plugbay},
    exit::{self, Exit},
    failure::Failure,
    output::{Outcome, Terminal},
};

/// Prints the main page, or writes all pages.
pub(crate) fn run(typed: &Man, terminal: Terminal) -> Outcome {
    let Some(directory) = &typed.directory else {
        terminal.data(&page(Plugbay::command())?)?;
        return Ok(Exit::Ok.into());
    };
    let pages = all()?;
    for (name, text) in &pages {
        write(directory, name, text)?;
    }
    terminal.say(&format!("{} pages written to {}", pages.len(), directory.display()));
    Ok(Exit::Ok.into())
}

fn write(directory: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = directory.join(name);
    fs::write(&path, text).map_err(|error| {
        Failure::new(Exit::Answered, format!("write `{}`: {error}", path.display()))
            .hint("name a directory that exists and can be written")
    })
}

/// Every page, as file name and text.
fn all() -> io::Result<Vec<(String, String)>> {
    let mut whole = Plugbay::command();
    whole.build();
    let mut pages = vec![("plugbay.1".to_owned(), page(Plugbay::command())?)];
    for verb in whole.get_subcommands() {
        let title = format!("plugbay-{}", verb.get_name());
        let verb = verb.clone().name(title.clone()).display_name(title.clone());
        pages.push((format!("{title}.1"), page(verb.version(env!("CARGO_PKG_VERSION")))?));
    }
    Ok(pages)
}

fn page(command: clap::Command) -> io::Result<String> {
    let whole = command.get_name() == "plugbay";
    let shown = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    // The help's examples and table get sections of their own below.
    let page = Page::new(command.after_help("").after_long_help("")).manual("Plugbay Manual");
    let mut out = Vec::new();
    page.render_title(&mut out)?;
    page.render_name_section(&mut out)?;
    page.render_synopsis_section(&mut out)?;
    page.render_description_section(&mut out)?;
    page.render_options_section(&mut out)?;
    if whole {
        page.render_subcommands_section(&mut out)?;
        environment().to_writer(&mut out)?;
        files().to_writer(&mut out)?;
    }
    exit_status().to_writer(&mut out)?;
    examples(&shown).to_writer(&mut out)?;
    see_also(whole).to_writer(&mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// A section of terms and their meaning.
fn section(title: &str, rows: impl IntoIterator<Item = (String, &'static str)>) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (term, meaning) in rows {
        roff.control("TP", []).text([bold(term)]).text([roman(meaning)]);
    }
    roff
}

fn exit_status() -> Roff {
    let rows = Exit::ALL.map(|exit| (exit.code().to_string(), exit.meaning()));
    let mut roff = section("EXIT STATUS", rows);
    roff.control("PP", []).text([roman(exit::PASSED_ON)]);
    roff
}

fn environment() -> Roff {
    let row = |name: &str, meaning| (name.to_owned(), meaning);
    section(
        "ENVIRONMENT",
        [
            row("PLUGBAY_PLUGINS", "Directories of plugins, separated by colons; --plugins wins."),
            row(
                "PLUGBAY_STATE",
                "Where is kept what happened to plugins; by default plugbay in XDG_STATE_HOME, or \
                 ~/.local/state/plugbay.",
            ),
            row("NO_COLOR", "If set and not empty, nothing is coloured."),
        ],
    )
}

fn files() -> Roff {
    let meaning = "The manifest, which makes its directory a plugin; see plugbay-check(1).";
    let store = "How plugins ended, were called and changed their state: an SQLite database, bounded, in \
                 PLUGBAY_STATE. See plugbay-why(1) and plugbay-history(1). Remove it to forget.";
    section(
        "FILES",
        [("plugin.toml".to_owned(), meaning), (crate::cli::past::FILE_NAME.to_owned(), store)],
    )
}

/// The examples of the help, as they stand.
fn examples(after_help: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]).control("EX", []);
    for line in after_help.lines().filter_map(|line| line.strip_prefix("  ")) {
        roff.text([roman(line)]);
    }
    roff.control("EE", []);
    roff
}

fn see_also(whole: bool) -> Roff {
    let verbs: Vec<String> = Plugbay::command()
        .get_subcommands()
        .map(|verb| format!("plugbay-{}(1)", verb.get_name()))
        .collect();
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(if whole { verbs.join(", ") } else { "plugbay(1)".to_owned() })]);
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_verb() {
        let names: Vec<String> = all().unwrap().into_iter().map(|(name, _)| name).collect();
        for verb in Plugbay::command().get_subcommands() {
            assert!(names.contains(&format!("plugbay-{}.1", verb.get_name())), "{names:?}");
        }
    }

    #[test]
    fn every_page_has_exit_codes_and_examples() {
        for (name, text) in all().unwrap() {
            let examples = text.split(".SH EXAMPLES").nth(1).unwrap();
            assert!(examples.contains("plugbay "), "{name}: {text}");
            assert!(text.contains(".SH \"EXIT STATUS\"") && text.contains("125"), "{name}");
        }
    }
}
