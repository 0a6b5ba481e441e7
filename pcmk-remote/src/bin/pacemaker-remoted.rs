//! The remote executor daemon.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    pcmk_remote::daemon::main(std::env::args_os().skip(1))
}
