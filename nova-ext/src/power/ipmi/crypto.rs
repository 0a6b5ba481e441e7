//! Keys and codes of an RMCP+ session: cipher suites 3 and 17.
//!
//! IPMI 2.0, 13.20 to 13.33. The names of the values are the specification's: `K_uid` is the password, `K_g` the
//! board's own key, `SIK` the session's, from which `K1` (integrity) and `K2` (encryption) follow.

use aes::Aes128;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use ring::hmac;
use zeroize::Zeroizing;

use super::packet::{self, Malformed, Packet, Payload};

const BLOCK: usize = 16;

/// The cipher suites that are spoken: both authenticate and encrypt everything. There are none below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128.
    Three,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Seventeen,
}

impl Suite {
    /// As the specification numbers them.
    pub fn number(self) -> u8 {
        match self {
            Self::Three => 3,
            Self::Seventeen => 17,
        }
    }

    /// Authentication, integrity and confidentiality, as the specification numbers them.
    pub fn algorithms(self) -> [u8; 3] {
        match self {
            Self::Three => [0x01, 0x01, 0x01],
            Self::Seventeen => [0x03, 0x04, 0x01],
        }
    }

    /// The length of integrity codes and of the check value in RAKP message 4.
    pub fn code_length(self) -> usize {
        match self {
            Self::Three => 12,
            Self::Seventeen => 16,
        }
    }

    fn digest(self) -> hmac::Algorithm {
        match self {
            Self::Three => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Seventeen => hmac::HMAC_SHA256,
        }
    }

    fn code(self, key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        let mut context = hmac::Context::with_key(&hmac::Key::new(self.digest(), key));
        for part in parts {
            context.update(part);
        }
        Zeroizing::new(context.sign().as_ref().to_vec())
    }
}

/// All that both sides know when they prove it to each other.
pub(super) struct Handshake<'a> {
    pub(super) suite: Suite,
    pub(super) user: &'a [u8],
    pub(super) password: &'a [u8],
    /// The board's key; without one the password is used in its place.
    pub(super) board_key: Option<&'a [u8]>,
    pub(super) console: u32,
    pub(super) board: u32,
    pub(super) our_random: [u8; 16],
    pub(super) their_random: [u8; 16],
    pub(super) guid: [u8; 16],
    pub(super) role: u8,
}

impl Handshake<'_> {
    fn name(&self) -> [u8; 2] {
        [self.role, u8::try_from(self.user.len()).unwrap_or(u8::MAX)]
    }

    /// What the board must show in RAKP message 2.
    pub(super) fn their_code(&self) -> Zeroizing<Vec<u8>> {
        self.suite.code(
            self.password,
            &[
                &self.console.to_le_bytes(),
                &self.board.to_le_bytes(),
                &self.our_random,
                &self.their_random,
                &self.guid,
                &self.name(),
                self.user,
            ],
        )
    }

    /// What we show in RAKP message 3.
    pub(super) fn our_code(&self) -> Zeroizing<Vec<u8>> {
        let console = self.console.to_le_bytes();
        self.suite.code(self.password, &[&self.their_random, &console, &self.name(), self.user])
    }

    /// The session's keys, and what the board must show in RAKP message 4.
    pub(super) fn keys(&self) -> (Keys, Vec<u8>) {
        let key = self.board_key.unwrap_or(self.password);
        let sik = self.suite.code(key, &[&self.our_random, &self.their_random, &self.name(), self.user]);
        let mut check =
            self.suite.code(&sik, &[&self.our_random, &self.board.to_le_bytes(), &self.guid]).to_vec();
        check.truncate(self.suite.code_length());
        (Keys::new(self.suite, &sik), check)
    }
}

/// The keys of a session.
pub struct Keys {
    suite: Suite,
    integrity: hmac::Key,
    encryption: Zeroizing<[u8; BLOCK]>,
}

impl Keys {
    fn new(suite: Suite, sik: &[u8]) -> Self {
        // The constants have 20 bytes with every digest.
        let integrity = hmac::Key::new(suite.digest(), &suite.code(sik, &[&[1; 20]]));
        let second = suite.code(sik, &[&[2; 20]]);
        let mut encryption = Zeroizing::new([0; BLOCK]);
        for (to, from) in encryption.iter_mut().zip(second.iter()) {
            *to = *from;
        }
        Self { suite, integrity, encryption }
    }

    /// A message as an authenticated and encrypted datagram.
    pub(super) fn seal(&self, session: u32, sequence: u32, message: &[u8], iv: [u8; BLOCK]) -> Vec<u8> {
        let body = self.encrypt(message, iv);
        let mut datagram = packet::sealed(Payload::Message, session, sequence, &body);
        let code = hmac::sign(&self.integrity, datagram.get(4..).unwrap_or_default());
        datagram.extend(code.as_ref().iter().take(self.suite.code_length()));
        datagram
    }

    /// The message of a packet, if it is authentic and encrypted.
    pub(super) fn unseal(&self, packet: &Packet<'_>) -> Result<Vec<u8>, Malformed> {
        let (covered, code) = packet.signed.filter(|_| packet.encrypted).ok_or(Malformed::Foreign)?;
        let right = hmac::sign(&self.integrity, covered);
        let right = right.as_ref().get(..self.suite.code_length()).unwrap_or_default();
        if !same(right, code) {
            return Err(Malformed::Sum);
        }
        self.decrypt(packet.body)
    }

    fn encrypt(&self, message: &[u8], iv: [u8; BLOCK]) -> Vec<u8> {
        // 1, 2, 3… and how many, to whole blocks.
        let pad = (message.len() + 1).next_multiple_of(BLOCK) - (message.len() + 1);
        let mut text = message.to_vec();
        let pad = u8::try_from(pad).unwrap_or(0);
        text.extend(1..=pad);
        text.push(pad);
        let length = text.len();
        let cipher = cbc::Encryptor::<Aes128>::new((&*self.encryption).into(), &iv.into());
        let mut body = iv.to_vec();
        // Cannot fail: these are whole blocks.
        if let Ok(blocks) = cipher.encrypt_padded::<NoPadding>(&mut text, length) {
            body.extend_from_slice(blocks);
        }
        body
    }

    fn decrypt(&self, body: &[u8]) -> Result<Vec<u8>, Malformed> {
        let (iv, blocks) = body.split_first_chunk::<BLOCK>().ok_or(Malformed::Short)?;
        let mut text = blocks.to_vec();
        let cipher = cbc::Decryptor::<Aes128>::new((&*self.encryption).into(), iv.into());
        let length = cipher.decrypt_padded::<NoPadding>(&mut text).map_err(|_| Malformed::Short)?.len();
        text.truncate(length);
        let pad = usize::from(text.pop().ok_or(Malformed::Short)?);
        // Its values are not looked at: there are boards that fill with others.
        let rest = text.len().checked_sub(pad).filter(|_| pad < BLOCK).ok_or(Malformed::Sum)?;
        text.truncate(rest);
        Ok(text)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({:?})", self.suite)
    }
}

/// Compares in a time that does not depend on where they differ: codes of codes are compared.
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"compare");
    hmac::verify(&key, one, hmac::sign(&key, other).as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn keys(suite: Suite, encryption: &[u8]) -> Keys {
        let integrity = hmac::Key::new(suite.digest(), b"integrity");
        Keys { suite, integrity, encryption: Zeroizing::new(encryption.try_into().unwrap()) }
    }

    /// NIST SP 800-38A, F.2.1: the first block, before our padding.
    #[test]
    fn encryption_is_aes_cbc_128() {
        let keys = keys(Suite::Seventeen, &bytes("2b7e151628aed2a6abf7158809cf4f3c"));
        let iv: [u8; 16] = bytes("000102030405060708090a0b0c0d0e0f").try_into().unwrap();
        let text = bytes("6bc1bee22e409f96e93d7e117393172a");
        let body = keys.encrypt(&text, iv);
        assert_eq!(body.len(), 48);
        assert_eq!((&body[..16], &body[16..32]), (&iv[..], &bytes("7649abac8119b246cee98e9b12e9197d")[..]));
        assert_eq!(keys.decrypt(&body), Ok(text));
    }

    /// RFC 2202 (SHA-1) and RFC 4231 (SHA-256), test case 2, cut to the lengths of the suites.
    #[test]
    fn codes_are_cut_hmacs() {
        let code = |suite: Suite| {
            suite.code(b"Jefe", &[b"what do ya want ", b"for nothing?"])[..suite.code_length()].to_vec()
        };
        assert_eq!(code(Suite::Three), bytes("effcdf6ae5eb2fa2d27416d5"));
        assert_eq!(code(Suite::Seventeen), bytes("5bdcc146bf60754e6a042426089575c7"));
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_read_and_nothing_else(
            message in prop::collection::vec(any::<u8>(), 0..100),
            at: prop::sample::Index,
            bit in 0_u32..8,
            three: bool,
        ) {
            let suite = if three { Suite::Three } else { Suite::Seventeen };
            let keys = keys(suite, &[9; 16]);
            let sealed = keys.seal(7, 1, &message, [3; 16]);
            prop_assert_eq!((sealed.len() - 4 - suite.code_length()) % 4, 0);
            let packet = Packet::parse(&sealed, suite.code_length()).unwrap();
            prop_assert_eq!((packet.session, packet.sequence, keys.unseal(&packet)), (7, 1, Ok(message)));
            let mut other = sealed.clone();
            let at = at.index(sealed.len() - 4) + 4;
            other[at] ^= 1 << bit;
            if let Ok(packet) = Packet::parse(&other, suite.code_length()) {
                prop_assert!(keys.unseal(&packet).is_err());
            }
        }

        #[test]
        fn any_bytes_are_taken_apart_without_harm(datagram in prop::collection::vec(any::<u8>(), 0..120)) {
            let keys = keys(Suite::Three, &[9; 16]);
            let _ = keys.decrypt(&datagram);
            let framed = [&[6, 0, 0xFF, 7, 6], &datagram[..]].concat();
            for code in [0, 12, 16] {
                if let Ok(packet) = Packet::parse(&framed, code) {
                    prop_assert!(packet.body.len() < framed.len() && keys.unseal(&packet).is_err());
                }
            }
        }
    }
}
