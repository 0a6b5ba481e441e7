//! The probes on the command line.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    libvirt_probe::cli::main(std::env::args_os())
}
