//! TCP sockets by the kernel's socket diagnosis (`sock_diag(7)`): what `ss -ti` shows, without a process.
//!
//! The kernel picks those that lead to the wanted ports, so that the other sockets of a host cost little.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST_DUMP: u16 = 0x1 | 0x300;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_REQ_BYTECODE: u16 = 1;
/// Operations of the kernel's filter: jump; compare the remote port.
const JUMP: u8 = 1;
const REMOTE_PORT_IS: u8 = 12;

const HEADER: usize = 16;
const MESSAGE: usize = 72;
/// The kernel puts up to 32 KiB into one datagram.
const DATAGRAM: usize = 64 << 10;
/// More sockets than this are not looked at; nobody has so many connections to a message bus.
const SOCKETS: usize = 16_384;
/// Datagrams of one dump at most.
const DATAGRAMS: usize = 4096;
/// Ports that can be asked for at once.
pub const PORTS: usize = 16;

/// States that are asked for: all in which a connection is, becomes or was one.
const STATES: u32 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Connected.
    Established,
    /// Has asked for a connection and has no answer yet.
    Connecting,
    /// The other side has closed it, this one not yet.
    ClosedByPeer,
    /// Everything else: closed by this side.
    Closing,
}

/// A TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// What it is doing.
    pub phase: Phase,
    /// Its inode, by which its owner is found; 0 if it has none.
    pub inode: u32,
    /// Port on this side.
    pub local_port: u16,
    /// Who is on the other side.
    pub remote: IpAddr,
    /// Port on the other side.
    pub remote_port: u16,
    /// Bytes that have arrived and have not been read.
    pub unread: u32,
    /// Bytes that were written and that the other side has not confirmed, sent or not.
    pub unconfirmed: u32,
    /// More about it, from kernels that say so.
    pub info: Option<Info>,
}

/// What the kernel counts on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Info {
    /// Times that the oldest segment was sent again.
    pub retransmits: u8,
    /// Since data arrived.
    pub data_age: Duration,
    /// Since anything was confirmed.
    pub confirmation_age: Duration,
    /// Bytes received over its whole life.
    pub received: u64,
}

/// A datagram that is not what the kernel sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    /// Lengths do not fit each other.
    #[error("the kernel's list of sockets cannot be read")]
    Malformed,
    /// The kernel refuses.
    #[error("the kernel does not list sockets: {}", io::Error::from_raw_os_error(*.0))]
    Refused(i32),
}

/// TCP sockets of this network namespace whose other side is one of these ports.
///
/// Never waits: the kernel has each part of the answer ready when it is asked for it.
pub fn connections(ports: &[u16]) -> io::Result<Vec<Socket>> {
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(SOCK_DIAG))?;
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&socket, &request(family, ports), SendFlags::empty(), &kernel)?;
        let mut buffer = vec![0; DATAGRAM];
        for _ in 0..DATAGRAMS {
            let (_, length) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
            let datagram = buffer.get(..length).unwrap_or_default();
            if parse(datagram, &mut found).map_err(io::Error::other)? || found.len() >= SOCKETS {
                break;
            }
        }
    }
    Ok(found)
}

/// Asks for all sockets of a family that lead to one of these ports.
fn request(family: u8, ports: &[u16]) -> Vec<u8> {
    let filter = filter(ports);
    let attribute = if filter.is_empty() { 0 } else { 4 + filter.len() };
    let length = HEADER + 56 + attribute;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(to_u32(length).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 0]);
    bytes.extend(STATES.to_ne_bytes());
    // Whichever socket.
    bytes.extend([0; 48]);
    if attribute > 0 {
        bytes.extend(u16::try_from(attribute).unwrap_or(u16::MAX).to_ne_bytes());
        bytes.extend(INET_DIAG_REQ_BYTECODE.to_ne_bytes());
        bytes.extend(filter);
    }
    bytes
}

/// The kernel's program for "the remote port is one of these". Each step says how far to go on if it is true
/// and if not; one that ends exactly at the end of the program accepts, one that goes beyond it refuses.
fn filter(ports: &[u16]) -> Vec<u8> {
    const STEP: u16 = 4;
    const COMPARE: u16 = 2 * STEP;
    let ports = ports.get(..PORTS).unwrap_or(ports);
    let mut program = Vec::new();
    for (left, port) in (0_u16..).zip(ports.iter().rev()) {
        let mut step = Vec::new();
        let next = COMPARE + STEP;
        step.extend([REMOTE_PORT_IS, COMPARE.to_ne_bytes()[0]]);
        step.extend(next.to_ne_bytes());
        step.extend([0, 0]);
        step.extend(port.to_ne_bytes());
        if left > 0 {
            // True: over all that follow.
            step.extend([JUMP, STEP.to_ne_bytes()[0]]);
            step.extend((STEP + (left * (COMPARE + STEP) - STEP)).to_ne_bytes());
        }
        step.append(&mut program);
        program = step;
    }
    program
}

/// Reads a datagram of the kernel. Whether it was the last one.
fn parse(mut datagram: &[u8], found: &mut Vec<Socket>) -> Result<bool, BadReply> {
    while datagram.len() >= HEADER {
        let length = usize::try_from(u32_at(datagram, 0)?).map_err(|_| BadReply::Malformed)?;
        let message = datagram.get(HEADER..length).ok_or(BadReply::Malformed)?;
        match u16_at(datagram, 4)? {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = i32::from_ne_bytes(u32_at(message, 0)?.to_ne_bytes());
                return if code == 0 { Ok(true) } else { Err(BadReply::Refused(code.saturating_neg())) };
            }
            SOCK_DIAG_BY_FAMILY if found.len() < SOCKETS => found.push(socket(message)?),
            _ => {}
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn socket(message: &[u8]) -> Result<Socket, BadReply> {
    let remote: [u8; 16] = array_at(message, 24)?;
    let remote = match u8_at(message, 0)? {
        AF_INET => {
            let [a, b, c, d, ..] = remote;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        _ => IpAddr::V6(Ipv6Addr::from(remote)).to_canonical(),
    };
    Ok(Socket {
        phase: match u8_at(message, 1)? {
            1 => Phase::Established,
            2 => Phase::Connecting,
            8 => Phase::ClosedByPeer,
            _ => Phase::Closing,
        },
        local_port: u16::from_be_bytes(array_at(message, 4)?),
        remote_port: u16::from_be_bytes(array_at(message, 6)?),
        remote,
        unread: u32_at(message, 56)?,
        unconfirmed: u32_at(message, 60)?,
        inode: u32_at(message, 68)?,
        info: info(message.get(MESSAGE..).ok_or(BadReply::Malformed)?)?,
    })
}

fn info(mut attributes: &[u8]) -> Result<Option<Info>, BadReply> {
    while attributes.len() >= 4 {
        let length = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(4..length).ok_or(BadReply::Malformed)?;
        // Older kernels send less of it.
        if u16_at(attributes, 2)? == INET_DIAG_INFO && value.len() >= 136 {
            return Ok(Some(Info {
                retransmits: u8_at(value, 2)?,
                data_age: Duration::from_millis(u32_at(value, 52)?.into()),
                confirmation_age: Duration::from_millis(u32_at(value, 56)?.into()),
                received: u64::from_ne_bytes(array_at(value, 128)?),
            }));
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(None)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], BadReply> {
    let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    bytes.copied().ok_or(BadReply::Malformed)
}

fn u8_at(bytes: &[u8], at: usize) -> Result<u8, BadReply> {
    bytes.get(at).copied().ok_or(BadReply::Malformed)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, BadReply> {
    array_at(bytes, at).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, BadReply> {
    array_at(bytes, at).map(u32::from_ne_bytes)
}

fn to_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use proptest::prelude::*;

    use super::*;

    /// Both ends of a connection over loopback, and the port that was connected to.
    fn pair(address: &str) -> (TcpStream, TcpStream, u16) {
        let listener = TcpListener::bind(address).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        (near, far, listener.local_addr().unwrap().port())
    }

    fn only(ports: &[u16], local: u16) -> Socket {
        let found = connections(ports).unwrap();
        assert!(found.iter().all(|socket| ports.contains(&socket.remote_port)), "{found:?}");
        let mut found = found.into_iter().filter(|socket| socket.local_port == local);
        found.next().expect("the connection is listed")
    }

    #[test]
    fn what_arrives_and_is_not_read_is_seen() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (mut near, mut far, port) = pair(address);
            let local = near.local_addr().unwrap().port();
            let ports = [1, port, 2, 3];
            let before = only(&ports, local);
            assert_eq!((before.phase, before.unread), (Phase::Established, 0));
            assert_eq!(before.remote, far.local_addr().unwrap().ip());
            assert_ne!(before.inode, 0);
            far.write_all(&[7; 1000]).unwrap();
            near.peek(&mut [0; 1000]).unwrap();
            let full = only(&ports, local);
            assert_eq!((full.unread, full.inode), (1000, before.inode));
            let info = full.info.unwrap();
            assert!(info.received >= 1000 && info.data_age < Duration::from_secs(60), "{info:?}");
            near.read_exact(&mut [0; 1000]).unwrap();
            assert_eq!(only(&ports, local).unread, 0);
            drop(far);
            assert_eq!(near.read(&mut [0; 1]).unwrap(), 0);
            assert_eq!(only(&ports, local).phase, Phase::ClosedByPeer);
        }
    }

    #[test]
    fn each_of_the_ports_is_listed_and_no_other() {
        let pairs: Vec<_> = (0..5).map(|_| pair("127.0.0.1:0")).collect();
        let ports: Vec<u16> = pairs.iter().map(|pair| pair.2).collect();
        for wanted in [&ports[..1], &ports[1..3], &ports[..]] {
            let found = connections(wanted).unwrap();
            for (near, _, port) in &pairs {
                let local = near.local_addr().unwrap().port();
                let listed = found.iter().filter(|socket| socket.local_port == local).count();
                assert_eq!(listed, usize::from(wanted.contains(port)));
            }
        }
    }

    #[test]
    fn an_error_of_the_kernel_is_told() {
        let mut datagram = Vec::new();
        datagram.extend(20_u32.to_ne_bytes());
        datagram.extend(NLMSG_ERROR.to_ne_bytes());
        datagram.extend([0; 10]);
        datagram.extend((-13_i32).to_ne_bytes());
        let error = parse(&datagram, &mut Vec::new()).unwrap_err();
        assert_eq!(error, BadReply::Refused(13));
        assert!(error.to_string().contains("Permission denied"), "{error}");
    }

    proptest! {
        #[test]
        fn nothing_panics(datagram in prop::collection::vec(any::<u8>(), 0..600), length in 0_u32..700) {
            let mut found = Vec::new();
            let _ = parse(&datagram, &mut found);
            let mut framed = length.to_ne_bytes().to_vec();
            framed.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
            framed.extend([0; 10]);
            framed.extend(&datagram);
            let _ = parse(&framed, &mut found);
            prop_assert!(found.len() <= framed.len() / MESSAGE + 1);
        }

        #[test]
        fn the_filter_is_a_program_that_ends(ports in prop::collection::vec(any::<u16>(), 0..20), port: u16) {
            let program = filter(&ports);
            let (mut at, mut steps) = (0, 0);
            while at < program.len() {
                let (operation, yes) = (program[at], usize::from(program[at + 1]));
                let no = usize::from(u16_at(&program, at + 2).unwrap());
                let wanted = if operation == REMOTE_PORT_IS { u16_at(&program, at + 6).unwrap() } else { 0 };
                at += if operation == REMOTE_PORT_IS && wanted == port { yes } else { no };
                steps += 1;
            }
            prop_assert!(steps <= 2 * PORTS);
            let asked = &ports[..ports.len().min(PORTS)];
            prop_assert_eq!(at == program.len(), asked.is_empty() || asked.contains(&port));
        }
    }
}
