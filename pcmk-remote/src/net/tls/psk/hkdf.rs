//! The wrapped HKDF, and the registry of keys that it consults.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock, OutputLengthError};
use rustls::crypto::{ActiveKeyExchange, CipherSuiteCommon, hmac};
use rustls::{Error, Tls13CipherSuite};
use zeroize::Zeroizing;

use super::PskError;

const HASH_LEN: usize = 32;

/// A key as the key schedule needs it.
pub(super) struct Slot {
    handle: Zeroizing<[u8; HASH_LEN]>,
    early_secret: Zeroizing<[u8; HASH_LEN]>, // HKDF-Extract(0, key): any length of key ends here
}

static SLOTS: RwLock<Vec<Arc<Slot>>> = RwLock::new(Vec::new());

impl Slot {
    pub(super) fn register(hkdf: &dyn Hkdf, key: &[u8]) -> Result<Arc<Self>, PskError> {
        let extracted = hkdf.hmac_sign(&OkmBlock::new(&[0; HASH_LEN]), key);
        let mut early_secret = Zeroizing::new([0; HASH_LEN]);
        if extracted.as_ref().len() != HASH_LEN {
            return Err(PskError::Library("the HMAC of a SHA-256 suite is not 32 bytes long"));
        }
        early_secret.copy_from_slice(extracted.as_ref());
        let mut handle = Zeroizing::new([0; HASH_LEN]);
        getrandom::fill(&mut *handle).map_err(PskError::Random)?;
        let slot = Arc::new(Self { handle, early_secret });
        SLOTS.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&slot));
        Ok(slot)
    }

    pub(super) fn unregister(self: &Arc<Self>) {
        SLOTS.write().unwrap_or_else(PoisonError::into_inner).retain(|slot| !Arc::ptr_eq(slot, self));
    }

    /// Whether a serialised session holds the handle.
    pub(super) fn is_in(&self, session: &[u8]) -> bool {
        session.windows(HASH_LEN).any(|window| window == self.handle.as_slice())
    }

    fn find(secret: &[u8]) -> Option<Arc<Self>> {
        let slots = SLOTS.read().unwrap_or_else(PoisonError::into_inner);
        slots.iter().find(|slot| slot.handle.as_slice() == secret).cloned()
    }
}

/// Runs `handshake` on this thread with its resumption secret forced to the slot's handle. The flag
/// tells whether any secret was forced.
pub(super) fn forcing_resumption_secret<T>(slot: &Slot, handshake: impl FnOnce() -> T) -> (T, bool) {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            FORCED.take();
        }
    }
    FORCED.set(Some(Forced { handle: slot.handle.clone(), used: false }));
    let reset = Reset; // also if the handshake panics
    let result = handshake();
    let used = FORCED.with_borrow(|forced| forced.as_ref().is_some_and(|forced| forced.used));
    drop(reset);
    (result, used)
}

struct Forced {
    handle: Zeroizing<[u8; HASH_LEN]>,
    used: bool,
}

thread_local! {
    static FORCED: RefCell<Option<Forced>> = const { RefCell::new(None) };
}

/// The provider's SHA-256 suites with the wrapped HKDF, made once for the life of the process.
pub(super) fn wrapped_suites() -> &'static [&'static Tls13CipherSuite] {
    use rustls::crypto::ring::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256};
    static SUITES: OnceLock<Vec<&'static Tls13CipherSuite>> = OnceLock::new();
    SUITES.get_or_init(|| {
        let wrap = |base: &'static Tls13CipherSuite| -> &'static Tls13CipherSuite {
            Box::leak(Box::new(Tls13CipherSuite {
                common: CipherSuiteCommon {
                    suite: base.common.suite,
                    hash_provider: base.common.hash_provider,
                    confidentiality_limit: base.common.confidentiality_limit,
                },
                hkdf_provider: Box::leak(Box::new(PskHkdf(base.hkdf_provider))),
                aead_alg: base.aead_alg,
                quic: None,
            }))
        };
        [TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256]
            .iter()
            .filter_map(rustls::SupportedCipherSuite::tls13)
            .map(wrap)
            .collect()
    })
}

struct PskHkdf(&'static dyn Hkdf);

impl Hkdf for PskHkdf {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        self.0.extract_from_zero_ikm(salt)
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        if salt.is_none()
            && let Some(slot) = Slot::find(secret)
        {
            let early = OkmBlock::new(slot.early_secret.as_slice());
            return Box::new(ExternalEarly(self.0.expander_for_okm(&early)));
        }
        self.0.extract_from_secret(salt, secret)
    }

    fn extract_from_kx_shared_secret(
        &self,
        salt: Option<&[u8]>,
        kx: Box<dyn ActiveKeyExchange>,
        peer_pub_key: &[u8],
    ) -> Result<Box<dyn HkdfExpander>, Error> {
        self.0.extract_from_kx_shared_secret(salt, kx, peer_pub_key)
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        let inner = self.0.expander_for_okm(okm);
        if FORCED.with_borrow(Option::is_some) { Box::new(ForcedExpander(inner)) } else { inner }
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> hmac::Tag {
        self.0.hmac_sign(key, message)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

/// The label inside an `HkdfLabel`: 16-bit length, then label and context with 8-bit lengths.
fn label(info: &[u8]) -> &[u8] {
    let len = info.get(2).copied().unwrap_or(0);
    info.get(3..3 + usize::from(len)).unwrap_or_default()
}

/// The early-secret stage of an external key.
struct ExternalEarly(Box<dyn HkdfExpander>);

impl ExternalEarly {
    fn rewrite(info: &[&[u8]]) -> Vec<u8> {
        const RESUMPTION: &[u8] = b"tls13 res binder";
        const EXTERNAL: &[u8] = b"tls13 ext binder";
        let mut info = info.concat();
        if label(&info) == RESUMPTION
            && let Some(place) = info.get_mut(3..3 + EXTERNAL.len())
        {
            place.copy_from_slice(EXTERNAL);
        }
        info
    }
}

impl HkdfExpander for ExternalEarly {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        self.0.expand_slice(&[&Self::rewrite(info)], output)
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        self.0.expand_block(&[&Self::rewrite(info)])
    }

    fn hash_len(&self) -> usize {
        self.0.hash_len()
    }
}

/// Makes the in-memory handshake's resumption secret equal to the handle.
struct ForcedExpander(Box<dyn HkdfExpander>);

impl HkdfExpander for ForcedExpander {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        self.0.expand_slice(info, output)
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        let forced = (label(&info.concat()) == b"tls13 resumption").then(|| {
            FORCED.with_borrow_mut(|forced| {
                forced.as_mut().map(|forced| {
                    forced.used = true;
                    OkmBlock::new(forced.handle.as_slice())
                })
            })
        });
        forced.flatten().unwrap_or_else(|| self.0.expand_block(info))
    }

    fn hash_len(&self) -> usize {
        self.0.hash_len()
    }
}
