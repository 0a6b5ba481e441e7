//! The daemon's status for Prometheus.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    pcmk_remote::exporter::main(std::env::args_os())
}
