//! A proof in one line that fits into Nova's `disabled_reason` and that nobody without the key can write.
//!
//! `nova-ha: off 2026-11-30T10:00:00.000Z power-off (ipmi 192.0.2.9 read off 2 times) 3f0c…-… 4d2a…`
//!
//! The last word is the first half of an HMAC-SHA256 over the host and all before it. The host is not in the line:
//! Nova shows it beside, and a line that is copied to another host does not verify.

use std::fmt::Write as _;
use std::path::Path;

use ring::hmac;

use super::{Evidence, FenceProof};
use crate::ids::{HostName, ProofId};
use crate::secret::{SecretError, read_private};
use crate::stamp::Stamp;

/// Nova keeps no more.
pub const LONGEST: usize = 255;
/// What the line begins with.
const MARK: &str = "nova-ha: off ";
/// Bytes of the code.
const CODE: usize = 16;
/// Bytes of a key, at least.
const KEY: usize = 32;
/// Room for what the evidence says.
const SAID: usize = 120;

/// The key under which proofs are signed.
#[derive(Clone)]
pub struct Signer(hmac::Key);

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] SecretError),
    /// It is too short.
    #[error(
        "{0} has fewer than 32 bytes: make a new one on one controller and copy it to the others: head -c 32 /dev/urandom | base64 > {0}"
    )]
    Short(String),
}

/// Why a line proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is something else.
    #[error("it is no record of a fence proof")]
    Other,
    /// It was changed, written for another host, or signed with another key.
    #[error("its signature is wrong: it was changed, copied from another host, or signed with another key")]
    Signature,
}

impl Signer {
    /// From a file of mode 0600 with at least 32 bytes of text.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let text = read_private(path)?;
        let key = text.trim();
        if key.len() < KEY {
            return Err(KeyError::Short(path.display().to_string()));
        }
        Ok(Self::new(key.as_bytes()))
    }

    fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The line.
    pub fn sign(&self, proof: &FenceProof) -> String {
        let said = tidy(&proof.evidence.to_string());
        let text = format!("{MARK}{} {} ({said}) {}", proof.at, tidy(proof.evidence.kind()), proof.id);
        let code = self.code(&proof.host, &text);
        format!("{text} {code}")
    }

    /// The proof that a line of this host holds.
    pub fn verify(&self, host: &HostName, line: &str) -> Result<FenceProof, Refused> {
        if line.len() > LONGEST || !line.starts_with(MARK) {
            return Err(Refused::Other);
        }
        let (text, code) = line.rsplit_once(' ').ok_or(Refused::Other)?;
        // Codes of codes are compared, in a time that does not depend on where they differ.
        let right = hmac::sign(&self.0, self.code(host, text).as_bytes());
        hmac::verify(&self.0, code.as_bytes(), right.as_ref()).map_err(|_| Refused::Signature)?;
        let (rest, id) =
            text.strip_prefix(MARK).and_then(|text| text.rsplit_once(' ')).ok_or(Refused::Other)?;
        let (at, rest) = rest.split_once(' ').ok_or(Refused::Other)?;
        let (was, said) = rest.split_once(" (").ok_or(Refused::Other)?;
        let said = said.strip_suffix(')').ok_or(Refused::Other)?;
        let id: ProofId = id.parse().map_err(|_| Refused::Other)?;
        let at: Stamp = at.parse().map_err(|_| Refused::Other)?;
        let evidence = Evidence::Recorded { was: was.to_owned(), said: said.to_owned() };
        Ok(FenceProof::stored(id, host.clone(), evidence, at))
    }

    fn code(&self, host: &HostName, text: &str) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        // Names of hosts have no zero bytes.
        context.update(host.as_str().as_bytes());
        context.update(&[0]);
        context.update(text.as_bytes());
        let mut code = String::with_capacity(2 * CODE);
        for byte in context.sign().as_ref().iter().take(CODE) {
            // Writing to a String does not fail.
            let _ = write!(code, "{byte:02x}");
        }
        code
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

/// Plain text of bounded length.
fn tidy(text: &str) -> String {
    let plain = |c: char| if (' '..='~').contains(&c) { c } else { '?' };
    text.chars().map(plain).take(SAID).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proof::{Reading, operator};

    fn host(name: &str) -> HostName {
        name.parse().unwrap()
    }

    fn off() -> FenceProof {
        let reading = |said: &str| Reading { at: Stamp::now(), said: said.into() };
        let readings = vec![reading("off"), reading("off")];
        let evidence = Evidence::PowerOff { device: "ipmi [2001:db8::9]:623".into(), readings };
        FenceProof::new(host("compute-1"), evidence, Stamp::now())
    }

    #[test]
    fn only_for_its_host_and_only_as_it_was_written() {
        let signer = Signer::new(&[7; 32]);
        let proof = off();
        let line = signer.sign(&proof);
        let read = signer.verify(&host("compute-1"), &line).unwrap();
        assert_eq!((read.id(), read.host(), read.at()), (proof.id(), proof.host(), proof.at()));
        assert_eq!(read.evidence().kind(), "power-off");
        assert_eq!(read.evidence().to_string(), "ipmi [2001:db8::9]:623 read off 2 times");
        // What was read can be written again.
        assert_eq!(signer.sign(&read), line);
        assert_eq!(signer.verify(&host("compute-2"), &line), Err(Refused::Signature));
        assert_eq!(Signer::new(&[8; 32]).verify(&host("compute-1"), &line), Err(Refused::Signature));
        let later = line.replace(" power-off", " operator");
        assert_eq!(signer.verify(&host("compute-1"), &later), Err(Refused::Signature));
        for other in ["", "nova-ha: off ", "maintenance", &"x".repeat(300)] {
            assert!(signer.verify(&host("compute-1"), other).is_err(), "{other}");
        }
    }

    #[test]
    fn it_fits_whatever_the_evidence_says() {
        let signer = Signer::new(&[7; 32]);
        let long = Evidence::Recorded { was: "power-off".into(), said: "ü ) (".repeat(200) };
        let proof = FenceProof::new(host(&"h".repeat(255)), long, Stamp::now());
        let line = signer.sign(&proof);
        assert!(line.len() <= LONGEST && line.is_ascii(), "{}", line.len());
        assert!(signer.verify(proof.host(), &line).is_ok());
        let named = operator::confirms(&host("a"), &"n".repeat(64), Stamp::now()).unwrap();
        assert!(signer.verify(&host("a"), &signer.sign(&named)).is_ok());
    }

    proptest! {
        #[test]
        fn no_other_line_is_accepted(at in 0_usize..200, with in "[ -~]") {
            let signer = Signer::new(&[7; 32]);
            let line = signer.sign(&off());
            let at = at % line.len();
            let mut other = line.clone();
            other.replace_range(at..=at, &with);
            prop_assume!(other != line);
            prop_assert!(signer.verify(&host("compute-1"), &other).is_err());
        }
    }
}
