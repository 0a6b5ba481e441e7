//! As much HTTP/1.1 as the rig speaks itself: to ask the cloud without the client that is under test, and to stand
//! between the two.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::{Context, Error, Result, fail};

/// More than any call of a test has or gets.
const LARGEST: usize = 64 << 20;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A request or a reply: its first line, its headers, its body.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The first line.
    pub first: String,
    /// Names as they were sent, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// A request.
    pub fn request(method: &str, target: &str) -> Self {
        Self { first: format!("{method} {target} HTTP/1.1"), ..Self::default() }
    }

    /// With this header in place of any of that name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(has, _)| !has.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With this body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(has, _)| has.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Word `n` of the first line.
    pub fn word(&self, n: usize) -> &str {
        self.first.split(' ').nth(n).unwrap_or_default()
    }

    /// The status of a reply.
    pub fn status(&self) -> Result<u16> {
        self.word(1).parse().context(format!("not a reply: {}", self.first))
    }

    /// What goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{}\r\n", self.first).into_bytes();
        for (name, value) in &self.headers {
            if !name.eq_ignore_ascii_case("content-length") {
                bytes.extend(format!("{name}: {value}\r\n").into_bytes());
            }
        }
        let no_body = self.word(1) == "204" || self.word(1) == "304";
        if !no_body {
            bytes.extend(format!("Content-Length: {}\r\n", self.body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(&self.body);
        bytes
    }

    /// Reads one; none at an orderly end of the connection before it.
    pub fn read(from: &mut impl BufRead) -> Result<Option<Self>> {
        let mut message = Self::default();
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        line.trim_end().clone_into(&mut message.first);
        loop {
            line.clear();
            if from.read_line(&mut line)? == 0 {
                return fail("the connection ended within the headers");
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            message.headers.push((name.to_owned(), value.trim().to_owned()));
        }
        if message.header("transfer-encoding").is_some() {
            return fail("a body in chunks: the rig cannot read it");
        }
        let length = match message.header("content-length") {
            Some(length) => Some(length.parse::<usize>().context("Content-Length")?),
            // A request without one has no body; a reply's then ends with the connection.
            None if message.first.starts_with("HTTP/") && message.word(1) != "204" => None,
            None => Some(0),
        };
        let limit = u64::try_from(length.unwrap_or(LARGEST).min(LARGEST)).unwrap_or(u64::MAX);
        from.take(limit).read_to_end(&mut message.body)?;
        match length {
            Some(length) if length != message.body.len() => fail("the connection ended within the body"),
            _ => Ok(Some(message)),
        }
    }
}

/// Sends a request over a connection of its own and waits for the reply.
pub fn exchange(to: SocketAddr, request: &Message, within: Duration) -> Result<Message> {
    let mut stream = TcpStream::connect_timeout(&to, CONNECT).context(format!("connecting to {to}"))?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    stream.write_all(&request.clone().with("Connection", "close").bytes())?;
    Message::read(&mut BufReader::new(stream))
        .and_then(|reply| reply.ok_or_else(|| Error::new("the connection ended without a reply")))
        .context(format!("{} at {to}", request.first))
}
