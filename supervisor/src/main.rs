//! The `plugbay` command: parses the words, calls the verb, ends with a documented code.
//!
//! Single-threaded until a verb asks for more (`call` does, `run` must not).

mod args;
mod attack;
mod chaos;
mod cli;
mod env;
mod exit;
mod failure;
mod grants;
mod learn;
mod output;
mod outside;
mod overlay;
mod profile;
mod spelling;
mod tool;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    args::{Plugbay, Verb},
    output::{Format, Outcome, Terminal},
};

fn main() -> ExitCode {
    plugbay::init();
    if let Some(ended) = attack::run_if_asked().or_else(chaos::run_if_asked) {
        return ended;
    }
    let terminal = Terminal::detect();
    let verb = match Plugbay::try_parse() {
        Ok(parsed) => parsed.verb,
        Err(answer) => return explain(&answer),
    };
    let format = Format::from_flag(wants_json(&verb));
    dispatch(verb, terminal).unwrap_or_else(|failure| {
        terminal.fail(&failure, format);
        failure.code()
    })
}

fn dispatch(verb: Verb, terminal: Terminal) -> Outcome {
    match verb {
        Verb::Call(typed) => cli::call::run(&typed, terminal),
        Verb::Run(typed) => cli::run::run(&typed, terminal),
        Verb::Learn(typed) => cli::learn::run(&typed, terminal),
        Verb::Dev(typed) => cli::dev::run(&typed, terminal),
        Verb::Doctor(typed) => cli::doctor::run(&typed, terminal),
        Verb::List(typed) => cli::list::run(&typed, terminal),
        Verb::Info(typed) => cli::info::run(&typed, terminal),
        Verb::HelpPlugin(typed) => cli::help_plugin::run(&typed, terminal),
        Verb::Overlay(typed) => cli::overlay::run(&typed, terminal),
        Verb::Why(typed) => cli::why::run(&typed, terminal),
        Verb::History(typed) => cli::history::run(&typed, terminal),
        Verb::Check(typed) => cli::check::run(&typed, terminal),
        Verb::Chaos(typed) => cli::chaos::run(&typed, terminal),
        Verb::Completions(typed) => cli::completions::run(&typed, terminal),
        Verb::Man(typed) => cli::man::run(&typed, terminal),
    }
}

fn wants_json(verb: &Verb) -> bool {
    match verb {
        Verb::Call(typed) => typed.json,
        Verb::Learn(typed) => typed.json,
        Verb::Dev(typed) => typed.json,
        Verb::List(typed) => typed.json,
        Verb::Info(typed) => typed.json,
        Verb::Overlay(typed) => typed.wants_json(),
        Verb::Why(typed) => typed.json,
        Verb::History(typed) => typed.json,
        Verb::Check(typed) => typed.json,
        Verb::Doctor(typed) => typed.json,
        Verb::Chaos(typed) => typed.json,
        Verb::Run(typed) => typed.json,
        Verb::HelpPlugin(_) | Verb::Completions(_) | Verb::Man(_) => false,
    }
}

/// Help, version, or what is wrong with the command line, in the parser's own words.
fn explain(answer: &clap::Error) -> ExitCode {
    let _nobody_reads = answer.print();
    ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(exit::Exit::Usage.code()))
}
