//! A client in C's manner, for tests, benchmarks and comparisons with other daemons.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use pcmk_proto::frame::{self, Decoder, Frame};
use pcmk_proto::limits::Limits;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::tls::{IDENTITY, Psk, client_for_connection};

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
        identity: &[u8],
        key: &[u8],
        suite: Suite,
    ) -> io::Result<Self> {
        Self::over(TcpStream::connect(address).await?, identity, key, suite).await
    }

    /// The handshake on a connection that exists.
    pub async fn over(socket: TcpStream, identity: &[u8], key: &[u8], suite: Suite) -> io::Result<Self> {
        let psk = Psk::new(identity, Zeroizing::new(key.to_vec())).map_err(io::Error::other)?;
        let config = client_for_connection(&psk, suite as usize).map_err(io::Error::other)?;
        let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        let stream = TlsConnector::from(config).connect(name, socket).await?;
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

/// A cipher suite that pre-shared keys can be used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// `TLS_AES_128_GCM_SHA256`.
    Aes128Gcm = 0,
    /// `TLS_CHACHA20_POLY1305_SHA256`, which stock peers prefer.
    ChaCha20Poly1305 = 1,
}
