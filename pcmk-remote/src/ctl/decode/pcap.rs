//! pcap files: what each side of each TCP connection said.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

/// One direction of one connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// `from > to`.
    pub(super) name: String,
    /// What was said, in order.
    pub(super) bytes: Vec<u8>,
}

/// Whether this is a capture of either kind.
pub(super) fn is_one(input: &[u8]) -> bool {
    input.starts_with(PCAPNG) || Order::of(input).is_some()
}

/// All directions in which something was said, in the order in which they began.
pub(super) fn flows(input: &[u8]) -> Result<Vec<Flow>, String> {
    if input.starts_with(PCAPNG) {
        return Err("this is a pcapng file: convert it with `editcap -F pcap IN OUT`".to_owned());
    }
    let order = Order::of(input).ok_or("not a pcap file")?;
    let link = input.get(20..24).map(|bytes| order.number(bytes) & 0xffff).ok_or("the file is cut off")?;
    let mut all: Vec<(SocketAddr, SocketAddr, Pieces)> = Vec::new();
    let mut rest = input.get(24..).unwrap_or_default();
    while let Some((header, after)) = rest.split_at_checked(16) {
        let length = header.get(8..12).map_or(0, |bytes| order.number(bytes));
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(after.len());
        let (packet, next) = after.split_at(length);
        rest = next;
        let Some((from, to, sequence, payload, syn)) = segment(link, packet)? else { continue };
        let known = all.iter().position(|known| (known.0, known.1) == (from, to));
        let at = known.unwrap_or_else(|| {
            all.push((from, to, Pieces::default()));
            all.len() - 1
        });
        if let Some((_, _, pieces)) = all.get_mut(at) {
            pieces.add(sequence, payload, syn);
        }
    }
    let flows = all
        .into_iter()
        .map(|(from, to, pieces)| Flow { name: format!("{from} > {to}"), bytes: pieces.joined() });
    Ok(flows.filter(|flow| !flow.bytes.is_empty()).collect())
}

const PCAPNG: &[u8] = &[0x0a, 0x0d, 0x0d, 0x0a];

/// How the file's own numbers are written.
#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn of(input: &[u8]) -> Option<Self> {
        match input.get(..4)? {
            [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => Some(Self::Little),
            [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => Some(Self::Big),
            _ => None,
        }
    }

    fn number(self, bytes: &[u8]) -> u32 {
        let bytes = bytes.try_into().unwrap_or_default();
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }
}

type Segment<'a> = (SocketAddr, SocketAddr, u32, &'a [u8], bool);

/// The TCP segment in a packet, if it holds one.
fn segment(link: u32, packet: &[u8]) -> Result<Option<Segment<'_>>, String> {
    let sliced = match link {
        1 => LaxSlicedPacket::from_ethernet(packet).ok(),
        // Loopback of BSD: four bytes of address family first.
        0 | 108 => packet.get(4..).and_then(|ip| LaxSlicedPacket::from_ip(ip).ok()),
        12 | 101 | 228 | 229 => LaxSlicedPacket::from_ip(packet).ok(),
        // "Cooked": what `tcpdump -i any` writes.
        113 => packet.get(16..).and_then(|ip| LaxSlicedPacket::from_ip(ip).ok()),
        276 => packet.get(20..).and_then(|ip| LaxSlicedPacket::from_ip(ip).ok()),
        other => return Err(format!("link type {other} is not known here: record with `tcpdump -i any`")),
    };
    let Some(sliced) = sliced else { return Ok(None) };
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return Ok(None) };
    let (from, to): (IpAddr, IpAddr) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        _ => return Ok(None),
    };
    let (from, to) = (SocketAddr::new(from, tcp.source_port()), SocketAddr::new(to, tcp.destination_port()));
    Ok(Some((from, to, tcp.sequence_number(), tcp.payload(), tcp.syn())))
}

/// Segments of one direction by their distance from the first.
#[derive(Default)]
struct Pieces {
    start: Option<u32>,
    by_offset: BTreeMap<i64, Vec<u8>>,
}

impl Pieces {
    fn add(&mut self, sequence: u32, payload: &[u8], syn: bool) {
        let sequence = sequence.wrapping_add(u32::from(syn)); // a SYN takes one number
        let start = *self.start.get_or_insert(sequence);
        if payload.is_empty() {
            return;
        }
        // The distance may be negative, where the first came late.
        let offset = i64::from(sequence.wrapping_sub(start).cast_signed());
        let known = self.by_offset.entry(offset).or_default();
        if known.len() < payload.len() {
            *known = payload.to_vec();
        }
    }

    /// In order, each byte once; what is missing is left out.
    fn joined(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut end = i64::MIN;
        for (offset, piece) in self.by_offset {
            let known = usize::try_from(end.saturating_sub(offset)).unwrap_or(0);
            bytes.extend_from_slice(piece.get(known..).unwrap_or_default());
            end = end.max(offset.saturating_add(i64::try_from(piece.len()).unwrap_or(0)));
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn capture(packets: &[Vec<u8>]) -> Vec<u8> {
        let mut file = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1].map(u32::to_le_bytes).concat();
        for packet in packets {
            let length = u32::try_from(packet.len()).unwrap();
            file.extend([0, 0, length, length].map(u32::to_le_bytes).concat());
            file.extend(packet);
        }
        file
    }

    fn packet(ports: (u16, u16), sequence: u32, payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([0; 6], [1; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(ports.0, ports.1, sequence, 1024);
        let mut packet = Vec::new();
        builder.write(&mut packet, payload).unwrap();
        packet
    }

    #[test]
    fn streams_are_put_together_in_order_and_each_byte_once() {
        let start = u32::MAX - 2;
        let file = capture(&[
            packet((5000, 3121), start, b"abc"),
            packet((5001, 3121), 1, b"other"),
            packet((5000, 3121), start.wrapping_add(5), b"fgh"),
            packet((5000, 3121), start.wrapping_add(2), b"cde"),
            packet((5000, 3121), start, b"abc"),
        ]);
        assert!(is_one(&file));
        let flows = flows(&file).unwrap();
        let told: Vec<_> = flows.iter().map(|flow| (flow.name.as_str(), flow.bytes.as_slice())).collect();
        assert_eq!(
            told,
            [
                ("10.0.0.1:5000 > 10.0.0.2:3121", &b"abcdefgh"[..]),
                ("10.0.0.1:5001 > 10.0.0.2:3121", b"other")
            ]
        );
    }

    #[test]
    fn files_that_cannot_be_read_are_told_with_what_to_do() {
        assert!(flows(PCAPNG).unwrap_err().contains("editcap"));
        let mut file = capture(&[vec![0; 60]]);
        file[20] = 105;
        assert!(flows(&file).unwrap_err().contains("link type 105"));
        let cut = capture(&[packet((1, 2), 1, b"abcdef")]);
        assert_eq!(flows(&cut[..cut.len() - 2]).unwrap().first().map(|flow| flow.bytes.len()), Some(4));
    }
}
