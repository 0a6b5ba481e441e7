//! Recovery on the command line.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    nova_ext::cli::main(std::env::args_os())
}
