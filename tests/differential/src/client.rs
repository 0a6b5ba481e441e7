//! A client that decides about every TLS record it sends and sees every one it gets.
//!
//! TLS is done by `gnutls-driver records`, a process per connection.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::node::{Node, driver, key_file};
use crate::{Context as _, Result};

/// Length of a message's header.
pub const HEADER: usize = 40;
const OFFSET: u32 = 40;

/// How the client presents itself.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// Priority string of `GnuTLS`; Pacemaker's if `None`.
    pub priority: Option<&'static str>,
    /// PSK identity; "lrmd" if `None`.
    pub identity: Option<&'static str>,
    /// Key file; the daemon's if `None`.
    pub key: Option<PathBuf>,
}

/// What the other side did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// One TLS record.
    Record(Vec<u8>),
    /// It closed the connection in an orderly way.
    Closed,
    /// It broke the connection.
    Broken(String),
}

/// One connection after its TLS handshake.
#[derive(Debug)]
pub struct Client {
    pipe: UnixStream,
    helper: Child,
    records: Vec<Vec<u8>>,
    next_frame: u64,
    /// What the daemon did against the rule of one record for the header and further ones for the
    /// payload.
    pub framing_faults: Vec<String>,
    ended: Option<Event>,
}

impl Client {
    /// Connects as Pacemaker does.
    pub fn connect(node: &Node) -> Result<Self> {
        Self::connect_as(node, &Manner::default())
    }

    /// Connects in another manner; an error has the reason why the handshake failed.
    pub fn connect_as(node: &Node, manner: &Manner) -> Result<Self> {
        let tcp = node.tcp()?;
        tcp.set_nodelay(true).context("TCP_NODELAY")?;
        let (pipe, far) = UnixStream::pair().context("socket pair")?;
        let key = manner.key.clone().map_or_else(key_file, Ok)?;
        let mut command = Command::new(driver()?);
        command
            .arg("records")
            .arg(key)
            .stdin(OwnedFd::from(tcp))
            .stdout(OwnedFd::from(far))
            .stderr(Stdio::inherit());
        if let Some(priority) = manner.priority {
            command.env("DRIVER_PRIORITY", priority);
        }
        if let Some(identity) = manner.identity {
            command.env("DRIVER_IDENTITY", identity);
        }
        let helper = command.spawn().context("gnutls-driver")?;
        // The command holds the far ends of both sockets.
        drop(command);
        let mut client = Self {
            pipe,
            helper,
            records: Vec::new(),
            next_frame: 0,
            framing_faults: Vec::new(),
            ended: None,
        };
        match client.read_frame(Instant::now() + Duration::from_secs(30))? {
            Some((b'H', _)) => Ok(client),
            Some((_, reason)) => Err(String::from_utf8_lossy(&reason).into_owned()),
            None => Err("no end of the handshake within 30 s".to_owned()),
        }
    }

    fn read_frame(&mut self, deadline: Instant) -> Result<Option<(u8, Vec<u8>)>> {
        let mut head = [0; 5];
        if !self.read_until(&mut head, deadline)? {
            return Ok(None);
        }
        let [kind, length @ ..] = head;
        let mut data = vec![0; u32::from_ne_bytes(length) as usize];
        // The rest of a frame is never late.
        self.read_until(&mut data, Instant::now() + Duration::from_secs(10))?;
        Ok(Some((kind, data)))
    }

    /// `false` if nothing came before the deadline.
    fn read_until(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.pipe.set_read_timeout(Some(left)).context("timeout")?;
        match self.pipe.read_exact(buffer) {
            Ok(()) => Ok(true),
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                Ok(false)
            }
            Err(error) => Err(format!("gnutls-driver: {error}")),
        }
    }

    fn order(&mut self, kind: u8, data: &[u8]) -> Result<()> {
        let length = u32::try_from(data.len()).context("length")?;
        let mut frame = vec![kind];
        frame.extend(length.to_ne_bytes());
        frame.extend(data);
        self.pipe.write_all(&frame).context("gnutls-driver")
    }

    /// How long sending may wait for a daemon that does not read.
    pub fn write_timeout(&self, limit: Duration) -> Result<()> {
        self.pipe.set_write_timeout(Some(limit)).context("timeout")
    }

    /// Sends these bytes as one TLS record (more if longer than 16 KiB).
    pub fn send_record(&mut self, data: &[u8]) -> Result<()> {
        self.order(b'S', data)
    }

    /// Sends these bytes below TLS.
    pub fn send_below_tls(&mut self, data: &[u8]) -> Result<()> {
        self.order(b'R', data)
    }

    /// Sends one message as Pacemaker does.
    pub fn send(&mut self, xml: &str) -> Result<()> {
        self.next_frame = self.next_frame.wrapping_add(1);
        let header = header(self.next_frame, xml.len());
        self.send_record(&header)?;
        let mut payload = xml.as_bytes().to_vec();
        payload.push(0);
        self.send_record(&payload)
    }

    /// What the other side does next; `None` if it does nothing before the deadline.
    pub fn event(&mut self, deadline: Instant) -> Result<Option<Event>> {
        if let Some(event) = &self.ended {
            return Ok(Some(event.clone()));
        }
        let event = match self.read_frame(deadline)? {
            None => return Ok(None),
            Some((b'D', data)) => return Ok(Some(Event::Record(data))),
            Some((b'E', _)) => Event::Closed,
            Some((_, reason)) => Event::Broken(String::from_utf8_lossy(&reason).into_owned()),
        };
        self.ended = Some(event.clone());
        Ok(Some(event))
    }

    /// The next message's text; `None` if there is none before the deadline or the connection ended.
    pub fn message(&mut self, deadline: Instant) -> Result<Option<String>> {
        loop {
            if let Some(first) = self.records.first() {
                if first.len() != HEADER {
                    self.framing_faults
                        .push(format!("a record of {} bytes where a header was due", first.len()));
                }
                let bytes = self.records.concat();
                if let Some(total) = bytes.get(24..28).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes)
                    && bytes.len() >= total as usize
                {
                    if bytes.len() > total as usize {
                        self.framing_faults.push("two messages share a record".to_owned());
                    }
                    let rest = bytes.get(total as usize..).unwrap_or_default().to_vec();
                    self.records.clear();
                    if !rest.is_empty() {
                        self.records.push(rest);
                    }
                    let text = bytes.get(HEADER..(total as usize).saturating_sub(1)).unwrap_or_default();
                    return Ok(Some(String::from_utf8_lossy(text).into_owned()));
                }
            }
            match self.event(deadline)? {
                Some(Event::Record(data)) => self.records.push(data),
                _ => return Ok(None),
            }
        }
    }

    /// Whether the other side has ended the connection by this deadline; what it sent is dropped.
    pub fn ends_by(&mut self, deadline: Instant) -> Result<Option<Event>> {
        loop {
            match self.event(deadline)? {
                Some(Event::Record(_)) => {}
                other => return Ok(other),
            }
        }
    }

    /// Says goodbye and closes.
    pub fn leave(mut self) -> Result<()> {
        let said = self.order(b'B', &[]);
        drop(self);
        said
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The helper ends when it has read what was ordered before; a stuck one is killed.
        let _ = self.pipe.shutdown(Shutdown::Write);
        let deadline = Instant::now() + Duration::from_millis(500);
        while matches!(self.helper.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.helper.kill();
                let _ = self.helper.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Header of a message with a text of this length, in this machine's byte order.
pub fn header(id: u64, text: usize) -> [u8; HEADER] {
    let payload = u32::try_from(text).unwrap_or(u32::MAX).wrapping_add(1);
    let total = payload.wrapping_add(OFFSET);
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.extend(0xBADA_DBBD_u32.to_ne_bytes());
    bytes.extend(1_u32.to_ne_bytes());
    bytes.extend(id.to_ne_bytes());
    bytes.extend(0_u64.to_ne_bytes());
    for field in [total, OFFSET, 0, payload] {
        bytes.extend(field.to_ne_bytes());
    }
    let mut header = [0; HEADER];
    for (to, from) in header.iter_mut().zip(bytes) {
        *to = from;
    }
    header
}
