//! What trials look at.

use pcmk_interop::Result;
use pcmk_interop::error::fail;

/// The host whose servers are evacuated.
pub(crate) const HOST: &str = "compute1";

/// The same, or the difference.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: &T, wanted: &T) -> Result<()> {
    if seen == wanted { Ok(()) } else { fail(format!("{what}: {seen:?} instead of {wanted:?}")) }
}

/// The part is in the text.
pub(crate) fn has(what: &str, text: &str, part: &str) -> Result<()> {
    if text.contains(part) { Ok(()) } else { fail(format!("{what}: {part:?} is not in {text:?}")) }
}
