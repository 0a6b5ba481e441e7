//! Asking the daemon.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{Exit, Failure};
use crate::status::{Answer, Request, Status};

/// For the daemon to answer: it does so in milliseconds unless its disk or account database hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is read.
const MOST: u64 = 64 << 20;

/// One question under way.
pub(crate) struct Conversation {
    reader: BufReader<io::Take<UnixStream>>,
}

impl Conversation {
    /// Asks. Errors say what to do.
    pub(crate) fn begin(socket: &Path, request: Request) -> Result<Self, Failure> {
        let shown = socket.display();
        let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure::new(
                Exit::NoDaemon,
                format!(
                    "no daemon answers on {shown}: is it running (systemctl status pacemaker_remote), and is \
                     PCMK_remote_status_socket set to something else (--socket)? The C daemon has no status \
                     socket."
                ),
            ),
            io::ErrorKind::PermissionDenied => {
                Failure::new(Exit::Denied, format!("cannot connect to {shown}: {error}; try as root"))
            }
            _ => Failure::new(Exit::NoDaemon, format!("cannot connect to {shown}: {error}")),
        })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line =
            serde_json::to_vec(&request).map_err(|error| Failure::new(Exit::Bad, error.to_string()))?;
        line.push(b'\n');
        // A daemon that refuses may have closed already; its reason is there to be read.
        let _ = stream.write_all(&line);
        Ok(Self { reader: BufReader::new(stream.take(MOST)) })
    }

    /// The next answer; `None` once the daemon has closed.
    pub(crate) fn next(&mut self) -> Result<Option<Answer>, Failure> {
        let mut line = Vec::new();
        match self.reader.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(Failure::new(
                    Exit::NoDaemon,
                    "the daemon does not answer: if this goes on, look at its log and whether it is stopped \
                     or blocked (state and wchan in /proc/PID)",
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(Failure::new(Exit::NoDaemon, format!("connection lost: {error}"))),
        }
        match serde_json::from_slice(&line) {
            Ok(Answer::Denied(reason)) => Err(Failure::new(Exit::Denied, reason)),
            Ok(Answer::Error(reason)) => Err(Failure::new(Exit::NoDaemon, reason)),
            Ok(answer) => Ok(Some(answer)),
            Err(error) => Err(Failure::new(Exit::NoDaemon, format!("the answer makes no sense: {error}"))),
        }
    }

    /// How long [`Conversation::next`] waits from now on.
    pub(crate) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.reader.get_ref().get_ref().set_read_timeout(Some(patience))
    }
}

/// The daemon's status.
pub(crate) fn status(socket: &Path) -> Result<Status, Failure> {
    match Conversation::begin(socket, Request::Status)?.next()? {
        Some(Answer::Status(status)) => Ok(*status),
        _ => Err(Failure::new(Exit::NoDaemon, "the daemon closed the connection: it may be ending")),
    }
}
