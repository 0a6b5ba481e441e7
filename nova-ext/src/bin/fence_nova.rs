//! The fence agent.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    nova_ext::fence::main(std::env::args_os())
}
