//! `pcmk-remote-exporter`: the daemon's status for Prometheus.
//!
//! A program of its own with a user of its own: what listens on the network for scrapers has no part in what
//! runs agents as root. It reads the status socket at each scrape.

mod exposition;
mod http;
mod metrics;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::status::SOCKET;

pub use exposition::Format;
pub use metrics::render;

/// Bad command line (`EX_USAGE`).
const EXIT_USAGE: u8 = 64;

const AFTER_HELP: &str = "\
GET /metrics answers in Prometheus's text format or OpenMetrics, as the scraper asks for. The user that this
runs as must be root or a member of the group pcmk-remote.

Exit codes: 1 cannot listen, 64 bad command line.";

/// Metrics of pacemaker-remoted on this node, for Prometheus.
#[derive(Debug, Parser)]
#[allow(clippy::doc_markdown, reason = "these comments are what --help prints")]
#[command(name = "pcmk-remote-exporter", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Args {
    /// Serve on this address
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9811")]
    listen: SocketAddr,
    /// The daemon's status socket
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// Print the metrics once and exit, for example for node_exporter's textfile collector
    #[arg(long)]
    once: bool,
    /// Print a completion script and exit
    #[arg(long, value_name = "SHELL", hide = true)]
    completions: Option<clap_complete::Shell>,
}

/// The whole program: command line to exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let result = if let Some(shell) = args.completions {
        let mut text = Vec::new();
        let mut command = <Args as clap::CommandFactory>::command();
        clap_complete::generate(shell, &mut command, "pcmk-remote-exporter", &mut text);
        io::stdout().write_all(&text)
    } else if args.once {
        io::stdout().write_all(metrics::scrape(&args.socket, Format::Text).as_bytes())
    } else {
        serve(args)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "pcmk-remote-exporter: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: Args) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(args.listen).await.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {}: {error} (--listen)", args.listen))
        })?;
        let _ = writeln!(io::stderr(), "Serving metrics on http://{}/metrics", listener.local_addr()?);
        http::serve(listener, args.socket).await
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}
