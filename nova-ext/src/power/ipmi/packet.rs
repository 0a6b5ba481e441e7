//! RMCP+ datagrams: what goes over the wire, byte by byte. Nothing here knows sockets or time, and no datagram can
//! make it panic or take more memory than the datagram has bytes.
//!
//! Layouts: IPMI 2.0, chapter 13.

/// No datagram of ours or of a board is longer.
pub const LONGEST: usize = 1024;
/// RMCP version 1.0, no sequence, class IPMI.
const RMCP: [u8; 4] = [0x06, 0x00, 0xFF, 0x07];
/// "RMCP+", where IPMI 1.5 has the authentication type.
const FORMAT: u8 = 0x06;
const ENCRYPTED: u8 = 0x80;
const AUTHENTICATED: u8 = 0x40;
/// Closes the trailer of an authenticated packet.
const NEXT_HEADER: u8 = 0x07;
/// The user's name is looked up by itself and not together with the privilege level.
pub(super) const BY_NAME_ALONE: u8 = 0x10;

/// A datagram that is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends too early.
    #[error("it is cut off")]
    Short,
    /// It is longer than any that makes sense.
    #[error("it is too long")]
    Long,
    /// It is not IPMI over RMCP+.
    #[error("it is not IPMI 2.0 over RMCP+")]
    Foreign,
    /// It carries what we never asked for.
    #[error("its payload type is none that was asked for")]
    Payload,
    /// A checksum, code or padding is wrong.
    #[error("its checksum or integrity code is wrong")]
    Sum,
}

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// An IPMI message.
    Message,
    /// Open Session Request.
    OpenRequest,
    /// Open Session Response.
    OpenResponse,
    /// RAKP messages 1 to 4.
    Rakp(u8),
}

impl Payload {
    fn number(self) -> u8 {
        match self {
            Self::Message => 0x00,
            Self::OpenRequest => 0x10,
            Self::OpenResponse => 0x11,
            Self::Rakp(number) => 0x11 + number,
        }
    }

    fn of(number: u8) -> Option<Self> {
        Some(match number {
            0x00 => Self::Message,
            0x10 => Self::OpenRequest,
            0x11 => Self::OpenResponse,
            0x12..=0x15 => Self::Rakp(number - 0x11),
            _ => return None,
        })
    }
}

/// A received datagram, its payload as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it carries.
    pub payload: Payload,
    /// Whether the payload is encrypted.
    pub encrypted: bool,
    /// The session of the receiver, 0 outside sessions.
    pub session: u32,
    /// The session sequence number, 0 outside sessions.
    pub sequence: u32,
    /// The payload.
    pub body: &'a [u8],
    /// What the integrity code covers, and the bytes behind it; none if it is not authenticated.
    pub signed: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> Packet<'a> {
    /// Takes a datagram apart. `code` is the length of the session's integrity codes.
    pub fn parse(datagram: &'a [u8], code: usize) -> Result<Self, Malformed> {
        if datagram.len() > LONGEST {
            return Err(Malformed::Long);
        }
        let mut rest = Reader(datagram);
        let [version, _, _, class] = rest.array()?;
        if version != RMCP[0] || class != RMCP[3] || rest.byte()? != FORMAT {
            return Err(Malformed::Foreign);
        }
        let kind = rest.byte()?;
        let payload = Payload::of(kind & 0x3F).ok_or(Malformed::Payload)?;
        let (session, sequence) = (rest.number()?, rest.number()?);
        let length = usize::from(u16::from_le_bytes(rest.array()?));
        let body = rest.take(length)?;
        let signed = if kind & AUTHENTICATED == 0 {
            None
        } else {
            // Padding, its length and the next header come before the code, which covers them.
            let Reader(trailer) = rest;
            let end = datagram.len().saturating_sub(code);
            if trailer.len() < code + 2 {
                return Err(Malformed::Short);
            }
            let covered = datagram.get(RMCP.len()..end).ok_or(Malformed::Short)?;
            Some((covered, datagram.get(end..).ok_or(Malformed::Short)?))
        };
        Ok(Self { payload, encrypted: kind & ENCRYPTED != 0, session, sequence, body, signed })
    }
}

/// A packet outside any session.
pub fn plain(payload: Payload, body: &[u8]) -> Vec<u8> {
    let mut packet = header(payload.number(), 0, 0, body.len());
    packet.extend_from_slice(body);
    packet
}

/// An authenticated packet with an encrypted payload, up to the integrity code: the code of `[4..]` is to follow.
pub fn sealed(payload: Payload, session: u32, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = header(payload.number() | ENCRYPTED | AUTHENTICATED, session, sequence, body.len());
    packet.extend_from_slice(body);
    // What the code covers is a multiple of four bytes, with the two that follow the padding.
    let pad = (packet.len() - RMCP.len() + 2).next_multiple_of(4) - (packet.len() - RMCP.len() + 2);
    packet.extend(std::iter::repeat_n(0xFF, pad));
    packet.push(low(pad));
    packet.push(NEXT_HEADER);
    packet
}

fn header(kind: u8, session: u32, sequence: u32, length: usize) -> Vec<u8> {
    let mut packet = Vec::with_capacity(64 + length);
    packet.extend_from_slice(&RMCP);
    packet.push(FORMAT);
    packet.push(kind);
    packet.extend_from_slice(&session.to_le_bytes());
    packet.extend_from_slice(&sequence.to_le_bytes());
    // Our own payloads are far shorter than 64 KiB.
    packet.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
    packet
}

/// Open Session Request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenRequest {
    /// Comes back in the answer.
    pub tag: u8,
    /// The privilege level asked for.
    pub level: u8,
    /// Our session.
    pub console: u32,
    /// Algorithms: authentication, integrity, confidentiality.
    pub algorithms: [u8; 3],
}

impl OpenRequest {
    /// The payload.
    pub fn encode(self) -> Vec<u8> {
        let mut body = vec![self.tag, self.level, 0, 0];
        body.extend_from_slice(&self.console.to_le_bytes());
        for (kind, algorithm) in (0_u8..).zip(self.algorithms) {
            body.extend_from_slice(&[kind, 0, 0, 8, algorithm, 0, 0, 0]);
        }
        body
    }
}

/// Open Session Response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenResponse {
    /// That of the request.
    pub tag: u8,
    /// RMCP+ status, 0 is success.
    pub status: u8,
    /// Our session.
    pub console: u32,
    /// The board's session and the algorithms; none on failure.
    pub opened: Option<(u32, [u8; 3])>,
}

impl OpenResponse {
    /// Takes a payload apart.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Reader(body);
        let [tag, status] = rest.array()?;
        if status != 0 {
            // Boards send different lengths here; what else there is does not matter.
            return Ok(Self { tag, status, console: console_of(rest, 2), opened: None });
        }
        let [_, _] = rest.array()?;
        let (console, board) = (rest.number()?, rest.number()?);
        let mut algorithms = [0; 3];
        for algorithm in &mut algorithms {
            let [_, _, _, _, number, _, _, _] = rest.array()?;
            *algorithm = number & 0x3F;
        }
        Ok(Self { tag, status, console, opened: Some((board, algorithms)) })
    }
}

/// RAKP message 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rakp1<'a> {
    /// Comes back in the answer.
    pub tag: u8,
    /// The board's session.
    pub board: u32,
    /// Our random number.
    pub random: [u8; 16],
    /// The privilege level asked for, and how the name is looked up.
    pub role: u8,
    /// The user's name, up to 16 bytes.
    pub user: &'a [u8],
}

impl Rakp1<'_> {
    /// The payload.
    pub fn encode(self) -> Vec<u8> {
        let mut body = vec![self.tag, 0, 0, 0];
        body.extend_from_slice(&self.board.to_le_bytes());
        body.extend_from_slice(&self.random);
        body.extend_from_slice(&[self.role, 0, 0, low(self.user.len())]);
        body.extend_from_slice(self.user);
        body
    }
}

/// RAKP message 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rakp2<'a> {
    /// That of message 1.
    pub tag: u8,
    /// RMCP+ status, 0 is success.
    pub status: u8,
    /// Our session.
    pub console: u32,
    /// The board's random number, its GUID and the code; none on failure.
    pub proof: Option<([u8; 16], [u8; 16], &'a [u8])>,
}

impl<'a> Rakp2<'a> {
    /// Takes a payload apart.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = Reader(body);
        let [tag, status] = rest.array()?;
        if status != 0 {
            return Ok(Self { tag, status, console: console_of(rest, 2), proof: None });
        }
        let [_, _] = rest.array()?;
        let console = rest.number()?;
        Ok(Self { tag, status, console, proof: Some((rest.array()?, rest.array()?, rest.0)) })
    }
}

/// RAKP message 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rakp3<'a> {
    /// Comes back in the answer.
    pub tag: u8,
    /// RMCP+ status; not 0 ends the login.
    pub status: u8,
    /// The board's session.
    pub board: u32,
    /// The code; empty if the status is not 0.
    pub code: &'a [u8],
}

impl Rakp3<'_> {
    /// The payload.
    pub fn encode(self) -> Vec<u8> {
        let mut body = vec![self.tag, self.status, 0, 0];
        body.extend_from_slice(&self.board.to_le_bytes());
        body.extend_from_slice(self.code);
        body
    }
}

/// RAKP message 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rakp4<'a> {
    /// That of message 3.
    pub tag: u8,
    /// RMCP+ status, 0 is success.
    pub status: u8,
    /// Our session.
    pub console: u32,
    /// The integrity check value.
    pub check: &'a [u8],
}

impl<'a> Rakp4<'a> {
    /// Takes a payload apart.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = Reader(body);
        let [tag, status] = rest.array()?;
        if status != 0 {
            return Ok(Self { tag, status, console: console_of(rest, 2), check: &[] });
        }
        let [_, _] = rest.array()?;
        Ok(Self { tag, status, console: rest.number()?, check: rest.0 })
    }
}

/// The session number of a refusal, behind so many bytes; 0 if it is left out.
fn console_of(mut rest: Reader<'_>, skip: usize) -> u32 {
    rest.take(skip).and_then(|_| rest.number()).unwrap_or(0)
}

fn low(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// Reads from the front; never beyond the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed::Short)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    /// Least significant byte first, as everything in RMCP+.
    pub(super) fn number(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }
}
