//! IPMI messages as they travel over a LAN, with their two checksums; and the few commands that power needs.
//!
//! Layouts: IPMI 2.0, 13.8 (messages), 22 (application commands), 28 (chassis commands).

use ipmi_rs_core::connection::{CompletionErrorCode, NetFn};

use super::packet::{Malformed, Reader};

/// The address of a board's controller.
const BOARD: u8 = 0x20;
/// The address of remote console software.
const CONSOLE: u8 = 0x81;
/// Sequence numbers have six bits.
pub(super) const SEQUENCES: u8 = 0x3F;
/// This channel, whichever it is.
const THIS_CHANNEL: u8 = 0x0E;

/// A request of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Which cipher suites there are; up to 16 bytes of the list from 16 times this on.
    CipherSuites(u8),
    /// The privilege level of this session.
    SetPrivilege(u8),
    /// End this session.
    Close(u32),
    /// How the chassis is.
    ChassisStatus,
    /// 0 off, 1 on.
    ChassisControl(u8),
}

impl Command {
    fn parts(self) -> (NetFn, u8, Vec<u8>) {
        match self {
            // Bit 7: listed by suite and not by algorithm.
            Self::CipherSuites(part) => (NetFn::App, 0x54, vec![THIS_CHANNEL, 0, 0x80 | part & 0x3F]),
            Self::SetPrivilege(level) => (NetFn::App, 0x3B, vec![level]),
            Self::Close(session) => (NetFn::App, 0x3C, session.to_le_bytes().to_vec()),
            Self::ChassisStatus => (NetFn::Chassis, 0x01, Vec::new()),
            Self::ChassisControl(what) => (NetFn::Chassis, 0x02, vec![what]),
        }
    }

    /// The message.
    pub fn encode(self, sequence: u8) -> Vec<u8> {
        let (netfn, number, data) = self.parts();
        let head = [BOARD, netfn.request_value() << 2];
        let mut message = vec![head[0], head[1], checksum(&head)];
        let body = message.len();
        message.extend_from_slice(&[CONSOLE, (sequence & SEQUENCES) << 2, number]);
        message.extend_from_slice(&data);
        let sum = checksum(message.get(body..).unwrap_or_default());
        message.push(sum);
        message
    }

    /// Whether a message is the answer to this, sent with that sequence number.
    pub fn is_answered_by(self, sequence: u8, answer: &Message<'_>) -> bool {
        let (netfn, number, _) = self.parts();
        answer.netfn == netfn.response_value()
            && answer.command == number
            && answer.sequence == sequence & SEQUENCES
    }
}

/// An answer of a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// The network function, odd for answers.
    pub netfn: u8,
    /// That of the request.
    pub sequence: u8,
    /// That of the request.
    pub command: u8,
    /// How it went, 0 is success.
    pub code: u8,
    /// The rest.
    pub data: &'a [u8],
}

impl<'a> Message<'a> {
    /// Takes a message apart, and checks both sums.
    pub fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = Reader(message);
        let head: [u8; 3] = rest.array()?;
        let Reader(body) = rest;
        if checksum(&head) != 0 || checksum(body) != 0 {
            return Err(Malformed::Sum);
        }
        let [_, sequence, command, code] = rest.array()?;
        let data = rest.0.split_last().ok_or(Malformed::Short)?.1;
        let [to, netfn, _] = head;
        if to != CONSOLE {
            return Err(Malformed::Foreign);
        }
        Ok(Self { netfn: netfn >> 2, sequence: sequence >> 2, command, code, data })
    }
}

/// Two's complement: all bytes and this one add up to 0.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

/// The power in an answer to Get Chassis Status, and whether the chassis reports a fault of it.
pub(super) fn chassis_power(data: &[u8]) -> Option<(bool, bool)> {
    let state = data.first().filter(|_| data.len() >= 3)?;
    // Bit 0 on, bit 3 fault, bit 4 the controller could not do as it was told.
    Some((state & 0x01 != 0, state & 0x18 != 0))
}

/// The suites in a list of cipher suite records. Records of makers are skipped.
pub(super) fn cipher_suites(list: &[u8]) -> Vec<u8> {
    let mut found = Vec::new();
    let mut rest = list.iter().copied();
    while let Some(byte) = rest.next() {
        match byte {
            0xC0 => found.extend(rest.next()),
            // The number and the maker's, which has three bytes; its algorithms look like any.
            0xC1 => drop(rest.nth(3)),
            // An algorithm of the record before.
            _ => {}
        }
    }
    found
}

/// A completion code in words.
pub(super) fn words(code: u8) -> String {
    let Ok(known) = CompletionErrorCode::try_from(code) else { return "done".into() };
    let text = match known {
        CompletionErrorCode::NodeBusy => "it is busy",
        CompletionErrorCode::InvalidCommand | CompletionErrorCode::InvalidCommandForLun => {
            "it does not know this command"
        }
        CompletionErrorCode::ProcessingTimeout => "it took too long by its own clock",
        CompletionErrorCode::OutOfSpace => "it is out of memory",
        CompletionErrorCode::InvalidDataFieldInRequest | CompletionErrorCode::ParameterOutOfRange => {
            "it does not support this"
        }
        CompletionErrorCode::ResponseUnavailable { .. } => "it is starting or being updated",
        CompletionErrorCode::InsufficientPrivilege => "the privilege level does not allow this",
        CompletionErrorCode::CannotExecuteCommandInCurrentState => "it cannot do this in its present state",
        CompletionErrorCode::SubFunctionDisabled => "this is disabled",
        CompletionErrorCode::Unspecified => "it failed, and it does not say why",
        _ => "it failed",
    };
    format!("{text} (completion code 0x{code:02X})")
}
