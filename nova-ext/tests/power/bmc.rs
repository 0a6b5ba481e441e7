//! A board's controller as the IPMI 2.0 specification describes it: the other side of RMCP+, written on its own and
//! sharing no code with the driver. ipmitool logs in to it as well (`power_peers`), so that both are held to a third.

use std::collections::BTreeMap;

use aes::Aes128;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use ring::hmac;

/// How the board is, and what it does wrong.
pub struct Bmc {
    pub user: String,
    pub password: Vec<u8>,
    pub kg: Option<Vec<u8>>,
    /// Suites it speaks.
    pub suites: Vec<u8>,
    /// Whether it lists them: answers, refuses, or is silent.
    pub lists: Lists,
    /// Sessions it has room for.
    pub slots: usize,
    /// Highest privilege level of the user.
    pub limit: u8,
    pub on: bool,
    /// Completion code of Chassis Control.
    pub control_code: u8,
    /// Whether Chassis Control does something.
    pub obeys: bool,
    /// What each reading says instead of the truth, one after the other; then the truth.
    pub says: Vec<bool>,
    /// Completion code of Get Chassis Status.
    pub status_code: u8,
    /// Answers with another suite than it was asked for.
    pub downgrades: bool,
    /// Commands in sessions: network function and command.
    pub log: Vec<(u8, u8)>,
    /// Data of each Chassis Control that arrived.
    pub orders: Vec<u8>,
    /// If orders do not reach it: how many did not.
    pub lost: Option<usize>,
    pub state: State,
}

/// What it keeps.
#[derive(Default)]
pub struct State {
    sessions: BTreeMap<u32, Session>,
    last: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    Yes,
    Refuses,
    Silent,
}

#[derive(Default)]
struct Session {
    suite: u8,
    console: u32,
    console_random: Vec<u8>,
    bmc_random: Vec<u8>,
    role: u8,
    user: Vec<u8>,
    active: bool,
    k1: Vec<u8>,
    k2: Vec<u8>,
    level: u8,
    sent: u32,
    seen: Vec<u32>,
}

const GUID: [u8; 16] = *b"guid of a board!";

impl Default for Bmc {
    fn default() -> Self {
        Self {
            user: "fencer".into(),
            password: b"hunter2".to_vec(),
            kg: None,
            suites: vec![3, 17],
            lists: Lists::Yes,
            slots: 4,
            limit: 4,
            on: true,
            control_code: 0,
            obeys: true,
            says: Vec::new(),
            status_code: 0,
            downgrades: false,
            log: Vec::new(),
            orders: Vec::new(),
            lost: None,
            state: State::default(),
        }
    }
}

impl Bmc {
    /// Sessions that are logged in.
    pub fn open_sessions(&self) -> usize {
        self.state.sessions.values().filter(|session| session.active).count()
    }

    /// Sessions that are logged in or on their way.
    pub fn taken(&self) -> usize {
        self.state.sessions.len()
    }

    /// As after a loss of its own power.
    pub fn restart(&mut self) {
        self.state.sessions.clear();
    }

    /// A datagram in, its answer out.
    pub fn hear(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        if datagram.len() < 16 || datagram[..4] != [6, 0, 0xFF, 7] {
            return None;
        }
        if datagram[4] == 0 {
            return self.hear_old(datagram);
        }
        assert_eq!(datagram[4], 6, "the format is RMCP+");
        let kind = datagram[5];
        let id = u32::from_le_bytes(datagram[6..10].try_into().unwrap());
        let sequence = u32::from_le_bytes(datagram[10..14].try_into().unwrap());
        let length = usize::from(u16::from_le_bytes(datagram[14..16].try_into().unwrap()));
        let payload = &datagram[16..16 + length];
        match kind {
            0x00 => self.outside(payload),
            0x10 => self.open(payload),
            0x12 => self.rakp1(payload),
            0x14 => self.rakp3(payload),
            0xC0 => self.inside(id, sequence, datagram, payload),
            _ => None,
        }
    }

    /// IPMI 1.5 outside a session: Get Channel Authentication Capabilities, for ipmitool.
    fn hear_old(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let message = &datagram[14..];
        if message[1] >> 2 != 6 || message[5] != 0x38 {
            return None;
        }
        // RMCP+ is spoken, users have names.
        let answer = message_of(message, 0, &[1, 0x80, 0x04, 0x02, 0, 0, 0, 0]);
        let mut out = vec![6, 0, 0xFF, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, u8::try_from(answer.len()).unwrap()];
        out.extend(answer);
        Some(out)
    }

    fn outside(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        if message[1] >> 2 != 6 || message[5] != 0x54 || self.lists == Lists::Silent {
            return None;
        }
        if self.lists == Lists::Refuses {
            return Some(wrap(0x00, 0, 0, &message_of(message, 0xC1, &[])));
        }
        assert_eq!(message[6..8], [0x0E, 0], "this channel, payload IPMI");
        assert_eq!(message[8] & 0x80, 0x80, "by suite");
        // A maker's own suite comes first.
        let mut list = vec![0xC1, 0x80, 0x57, 0x01, 0x00, 0x01, 0x41, 0x81];
        for suite in &self.suites {
            list.extend([0xC0, *suite]);
            list.extend(match suite {
                3 => [0x01, 0x41, 0x81],
                17 => [0x03, 0x44, 0x81],
                _ => [0x00, 0x40, 0x80],
            });
        }
        let from = (usize::from(message[8] & 0x3F) * 16).min(list.len());
        let part = &list[from..(from + 16).min(list.len())];
        Some(wrap(0x00, 0, 0, &message_of(message, 0, &[&[1], part].concat())))
    }

    fn open(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        assert_eq!(payload.len(), 32, "Open Session Request");
        let (tag, console) = (payload[0], payload[4..8].to_vec());
        let refuse = |status: u8| {
            let body = [&[tag, status, 0, 0], &console[..]].concat();
            Some(wrap(0x11, 0, 0, &body))
        };
        let suite = match (payload[12], payload[20], payload[28]) {
            (1, 1, 1) => 3,
            (3, 4, 1) => 17,
            other => panic!("algorithms {other:?} were asked for"),
        };
        if !self.suites.contains(&suite) {
            return refuse(0x11);
        }
        if self.state.sessions.len() >= self.slots {
            return refuse(0x01);
        }
        self.state.last += 1;
        let id = 0x1000_0000 | self.state.last;
        let number = u32::from_le_bytes(console.clone().try_into().unwrap());
        self.state.sessions.insert(id, Session { suite, console: number, level: 2, ..Session::default() });
        let [auth, integrity] = match (suite, self.downgrades) {
            (_, true) => [0, 0],
            (3, _) => [1, 1],
            _ => [3, 4],
        };
        let mut body = [&[tag, 0, 4, 0], &console[..], &id.to_le_bytes()].concat();
        for (kind, algorithm) in [(0, auth), (1, integrity), (2, u8::from(!self.downgrades))] {
            body.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
        }
        Some(wrap(0x11, 0, 0, &body))
    }

    fn rakp1(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let tag = payload[0];
        let id = u32::from_le_bytes(payload[4..8].try_into().unwrap());
        let password = self.password.clone();
        let known = payload[28..] == *self.user.as_bytes();
        let Some(session) = self.state.sessions.get_mut(&id).filter(|session| !session.active) else {
            return Some(wrap(0x13, 0, 0, &[tag, 0x02, 0, 0, 0, 0, 0, 0]));
        };
        let console = session.console.to_le_bytes();
        if !known || payload[24] & 0x0F > self.limit {
            let status = if known { 0x0A } else { 0x0D };
            self.state.sessions.remove(&id);
            return Some(wrap(0x13, 0, 0, &[&[tag, status, 0, 0], &console[..]].concat()));
        }
        assert_eq!(usize::from(payload[27]), payload.len() - 28, "length of the name");
        session.console_random = payload[8..24].to_vec();
        // A new one each time, as boards have it.
        self.state.last += 7;
        session.bmc_random = self.state.last.to_le_bytes().repeat(4);
        session.role = payload[24];
        session.user = payload[28..].to_vec();
        let name = [&[session.role, payload[27]], &session.user[..]].concat();
        let code = mac(
            session.suite,
            &password,
            &[&console[..], &id.to_le_bytes(), &session.console_random, &session.bmc_random, &GUID, &name]
                .concat(),
        );
        let body = [&[tag, 0, 0, 0], &console[..], &session.bmc_random, &GUID, &code].concat();
        Some(wrap(0x13, 0, 0, &body))
    }

    fn rakp3(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let tag = payload[0];
        let id = u32::from_le_bytes(payload[4..8].try_into().unwrap());
        if payload[1] != 0 {
            self.state.sessions.remove(&id);
            return None;
        }
        let (password, kg) = (self.password.clone(), self.kg.clone());
        let Some(session) = self.state.sessions.get_mut(&id) else {
            return Some(wrap(0x15, 0, 0, &[tag, 0x02, 0, 0, 0, 0, 0, 0]));
        };
        let console = session.console.to_le_bytes();
        if session.active {
            // What some boards do: the repeated message is answered inside the session.
            let body = [&[tag, 0x02, 0, 0], &console[..]].concat();
            return Some(session.seal(0x15, &body));
        }
        let length = u8::try_from(session.user.len()).unwrap();
        let name = [&[session.role, length], &session.user[..]].concat();
        let right = mac(session.suite, &password, &[&session.bmc_random[..], &console, &name].concat());
        if payload[8..] != right {
            self.state.sessions.remove(&id);
            return Some(wrap(0x15, 0, 0, &[&[tag, 0x0F, 0, 0], &console[..]].concat()));
        }
        let sik = mac(
            session.suite,
            kg.as_ref().unwrap_or(&password),
            &[&session.console_random[..], &session.bmc_random, &name].concat(),
        );
        session.k1 = mac(session.suite, &sik, &[1; 20]);
        session.k2 = mac(session.suite, &sik, &[2; 20])[..16].to_vec();
        session.active = true;
        let check =
            mac(session.suite, &sik, &[&session.console_random[..], &id.to_le_bytes(), &GUID].concat());
        let check = &check[..code_length(session.suite)];
        Some(wrap(0x15, 0, 0, &[&[tag, 0, 0, 0], &console[..], check].concat()))
    }

    fn inside(&mut self, id: u32, sequence: u32, datagram: &[u8], payload: &[u8]) -> Option<Vec<u8>> {
        let session = self.state.sessions.get_mut(&id).filter(|session| session.active)?;
        let end = datagram.len() - code_length(session.suite);
        assert_eq!((end - 4) % 4, 0, "what is signed is a multiple of four bytes");
        if mac(session.suite, &session.k1, &datagram[4..end])[..code_length(session.suite)] != datagram[end..]
        {
            return None;
        }
        assert!(sequence != 0, "sequence 0 is for what is outside sessions");
        if session.seen.contains(&sequence) {
            return None;
        }
        session.seen.push(sequence);
        let message = decrypt(&session.k2, payload);
        let (netfn, command, data) = (message[1] >> 2, message[5], message[6..message.len() - 1].to_vec());
        assert_eq!((message[0], message[3]), (0x20, 0x81), "from console software to the board");
        assert_eq!(sum(&message[..3]), 0, "first checksum");
        assert_eq!(sum(&message[3..]), 0, "second checksum");
        self.log.push((netfn, command));
        let level = session.level;
        let (code, answer) = match (netfn, command) {
            (6, 0x3B) if data[0] > self.limit => (0x81, vec![]),
            (6, 0x3B) => {
                session.level = data[0];
                (0, vec![data[0]])
            }
            (6, 0x3C) => (0, vec![]),
            (0, 1) => {
                let on = if self.says.is_empty() { self.on } else { self.says.remove(0) };
                (
                    self.status_code,
                    if self.status_code == 0 { vec![0x60 | u8::from(on), 0, 0x40] } else { vec![] },
                )
            }
            (0, 2) if level < 3 => (0xD4, vec![]),
            (0, 2) if self.lost.is_some() => {
                self.lost = self.lost.map(|lost| lost + 1);
                return None;
            }
            (0, 2) => {
                self.orders.push(data[0]);
                if self.obeys {
                    self.on = data[0] != 0;
                }
                (self.control_code, vec![])
            }
            _ => (0xC1, vec![]),
        };
        let session = self.state.sessions.get_mut(&id)?;
        let out = session.seal(0x00, &message_of(&message, code, &answer));
        if (netfn, command) == (6, 0x3C) {
            let closed = u32::from_le_bytes(data.try_into().unwrap());
            self.state.sessions.remove(&closed);
        }
        Some(out)
    }
}

impl Session {
    fn seal(&mut self, kind: u8, body: &[u8]) -> Vec<u8> {
        self.sent += 1;
        let payload = encrypt(&self.k2, body);
        let mut out = wrap(kind | 0xC0, self.console, self.sent, &payload);
        let pad = (4 - (out.len() - 4 + 2) % 4) % 4;
        out.extend(vec![0xFF; pad]);
        out.extend([u8::try_from(pad).unwrap(), 7]);
        let code = mac(self.suite, &self.k1, &out[4..]);
        out.extend(&code[..code_length(self.suite)]);
        out
    }
}

fn code_length(suite: u8) -> usize {
    if suite == 3 { 12 } else { 16 }
}

fn mac(suite: u8, key: &[u8], text: &[u8]) -> Vec<u8> {
    let digest = if suite == 3 { hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY } else { hmac::HMAC_SHA256 };
    hmac::sign(&hmac::Key::new(digest, key), text).as_ref().to_vec()
}

fn encrypt(key: &[u8], text: &[u8]) -> Vec<u8> {
    let iv = [0x5A; 16];
    let pad = (16 - (text.len() + 1) % 16) % 16;
    let mut block: Vec<u8> = text.to_vec();
    block.extend((1..=pad).map(|n| u8::try_from(n).unwrap()));
    block.push(u8::try_from(pad).unwrap());
    let length = block.len();
    let key: [u8; 16] = key.try_into().unwrap();
    let cipher = cbc::Encryptor::<Aes128>::new(&key.into(), &iv.into());
    [&iv[..], cipher.encrypt_padded::<NoPadding>(&mut block, length).unwrap()].concat()
}

fn decrypt(key: &[u8], payload: &[u8]) -> Vec<u8> {
    let iv: [u8; 16] = payload[..16].try_into().unwrap();
    let key: [u8; 16] = key.try_into().unwrap();
    let mut text = payload[16..].to_vec();
    cbc::Decryptor::<Aes128>::new(&key.into(), &iv.into()).decrypt_padded::<NoPadding>(&mut text).unwrap();
    let pad = usize::from(*text.last().unwrap());
    let data = text.len() - 1 - pad;
    assert!(text[data..text.len() - 1].iter().zip(1..).all(|(byte, n)| *byte == n), "padding is 1, 2, 3…");
    text.truncate(data);
    text
}

fn wrap(kind: u8, session: u32, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    [
        &[6, 0, 0xFF, 7, 6, kind],
        &session.to_le_bytes()[..],
        &sequence.to_le_bytes(),
        &length.to_le_bytes(),
        payload,
    ]
    .concat()
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

/// The answer to a message.
fn message_of(request: &[u8], code: u8, data: &[u8]) -> Vec<u8> {
    let head = [0x81, request[1] | 0x04];
    let body = [&[0x20, request[4], request[5], code], data].concat();
    let sums = [0_u8.wrapping_sub(sum(&head)), 0_u8.wrapping_sub(sum(&body))];
    [&head[..], &sums[..1], &body, &sums[1..]].concat()
}
