//! The golden plugin of the Rust SDK, as a program that can be sealed.

#[path = "../../../sdk-rust/tests/golden/plugin.rs"]
mod plugin;

fn main() -> plugbay_sdk::ExitCode {
    plugin::golden().run()
}
