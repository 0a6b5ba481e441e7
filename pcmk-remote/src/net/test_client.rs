//! A client in C's manner, for tests, benchmarks and comparisons with other daemons.

use std::io;
use std::net::SocketAddr;

use pcmk_proto::frame::{self, Decoder, Frame};
use pcmk_proto::limits::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::tls::client::{Connector, IDENTITY};

pub use super::tls::client::Suite;

/// One connection to a `pacemaker-remoted`, ours or the C daemon.
///
/// As a stock client: header and payload in TLS records of their own, Nagle's algorithm left on. No
/// deadlines: the caller sets them.
pub struct Client {
    stream: TlsStream<TcpStream>,
    decoder: Decoder,
    sent: u64,
}

impl Client {
    /// Connects with the identity of all cluster nodes.
    pub async fn connect(address: SocketAddr, key: &[u8]) -> io::Result<Self> {
        Self::connect_as(address, IDENTITY, key, Suite::Aes128Gcm).await
    }

    /// Connects with any identity and one cipher suite.
    pub async fn connect_as(
        address: SocketAddr,
        identity: &str,
        key: &[u8],
        suite: Suite,
    ) -> io::Result<Self> {
        Self::over(TcpStream::connect(address).await?, identity, key, suite).await
    }

    /// The handshake on a connection that exists.
    pub async fn over(socket: TcpStream, identity: &str, key: &[u8], suite: Suite) -> io::Result<Self> {
        let connector = Connector::with_key(identity, Zeroizing::new(key.to_vec()), suite);
        Self::with(&connector.map_err(io::Error::other)?, socket).await
    }

    /// The same with any credentials.
    pub async fn with(connector: &Connector, socket: TcpStream) -> io::Result<Self> {
        let stream = connector.connect(socket).await.map_err(io::Error::other)?;
        Ok(Self { stream, decoder: Decoder::new(Limits { message: 64 << 20, ..Limits::default() }), sent: 0 })
    }

    /// Sends one document.
    pub async fn send(&mut self, xml: impl Into<String>) -> io::Result<()> {
        self.sent = self.sent.wrapping_add(1);
        let frame = frame::encode(self.sent, xml).map_err(io::Error::other)?;
        self.send_record(&frame.header).await?;
        self.send_record(&frame.payload).await
    }

    /// Sends bytes as they are; up to 16 KiB become one record.
    pub async fn send_record(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// The next message; `None` when the server has closed the connection.
    pub async fn recv(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.decoder.next().map_err(io::Error::other)? {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(self.decoder.buffer()).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Says goodbye and closes.
    pub async fn close(mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// The TLS stream itself.
    pub fn stream(&mut self) -> &mut TlsStream<TcpStream> {
        &mut self.stream
    }
}
