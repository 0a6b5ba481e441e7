//! The operator's tool.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    pcmk_remote::ctl::main(std::env::args_os())
}
