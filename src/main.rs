//! The `cairn` command: wires the layers together and turns results into exit codes.
//!
//! The Rust runtime ignores SIGPIPE, so a closed pipe arrives as an error of the write and ends
//! the command quietly (`cli::error::EXIT_PIPE`); a daemon must not die of a client that left.

use std::path::Path;
use std::process::ExitCode;

use cairn::cli::{Hooks, run};
use cairn::control::protocol::ControlError;
use cairn::daemon::serve::serve;
use cairn::daemon::serve_unmounted;
use cairn::daemon::service::{init_error, open_bare, open_glance, open_local};

fn main() -> ExitCode {
    let hooks = Hooks { open_local, open_bare, open_glance, init, serve, serve_unmounted };
    ExitCode::from(run(std::env::args_os(), hooks))
}

fn init(store: &Path) -> Result<(), ControlError> {
    cairn::store::init(store).map_err(init_error)
}
