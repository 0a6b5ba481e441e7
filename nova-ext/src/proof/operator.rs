//! A person who has looked, and vouches for it by name.

use super::{Evidence, FenceProof};
use crate::ids::HostName;
use crate::stamp::Stamp;

/// The longest name.
const LONGEST: usize = 64;

/// A name that nobody has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is nobody's name: who confirms that the host is off must be named, in up to 64 characters")]
pub struct Nameless(String);

/// `name` confirms that the host is off.
pub fn confirms(host: &HostName, name: &str, at: Stamp) -> Result<FenceProof, Nameless> {
    let name = name.trim();
    let plain = name.chars().count() <= LONGEST && !name.chars().any(char::is_control);
    if !plain || !name.chars().any(char::is_alphabetic) {
        return Err(Nameless(name.chars().take(LONGEST).collect()));
    }
    Ok(FenceProof::new(host.clone(), Evidence::Operator { name: name.to_owned() }, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_must_be_named() {
        let host = "compute-1".parse().unwrap();
        let proof = confirms(&host, " Ann Lee ", Stamp::now()).unwrap();
        assert_eq!(proof.evidence(), &Evidence::Operator { name: "Ann Lee".into() });
        for nobody in ["", "  ", "-", "17", "a\nb", &"x".repeat(65)] {
            assert!(confirms(&host, nobody, Stamp::now()).is_err(), "{nobody:?}");
        }
    }
}
