//! The keeper as a program of its own, for hosts that do not call the hook in their `main`.

use std::{io::Write as _, process::ExitCode};

fn main() -> ExitCode {
    plugbay_keeper::run_if_asked();
    let text = b"plugbay-keeper is started by a Plugbay host, not by hand\n";
    std::io::stderr().write_all(text).ok();
    ExitCode::from(2)
}
