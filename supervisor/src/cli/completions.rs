//! `plugbay completions`: the script that teaches a shell our verbs and flags.

use clap::CommandFactory as _;

use crate::{
    args::{Completions, Plugbay},
    exit::Exit,
    output::{Outcome, Terminal},
};

/// Prints the script.
pub(crate) fn run(typed: &Completions, terminal: Terminal) -> Outcome {
    terminal.data(&script(typed.shell))?;
    Ok(Exit::Ok.into())
}

fn script(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Plugbay::command(), "plugbay", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_learns_every_verb() {
        for shell in clap_complete::Shell::value_variants() {
            let script = script(*shell);
            for verb in Plugbay::command().get_subcommands() {
                assert!(script.contains(verb.get_name()), "{shell}: {}", verb.get_name());
            }
        }
    }
}
