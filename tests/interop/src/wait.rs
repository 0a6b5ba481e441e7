//! Waiting for a condition, with a deadline: the only way the rig waits.

use std::fmt::Debug;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::{Result, fail};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until `condition` gives a value. Says what it waited for and what it saw last if that takes longer
/// than `within`.
pub fn until<T>(within: Duration, what: &str, condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_every(PAUSE, within, what, condition)
}

/// Like [`until`], for what is to be noticed sooner or looked at less often.
pub fn until_every<T>(
    pause: Duration,
    within: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        let seen = match condition() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => "not yet".to_owned(),
            Err(error) => error.to_string(),
        };
        if Instant::now() > deadline {
            return fail(format!("waited {} s in vain for {what} (last: {seen})", within.as_secs()));
        }
        sleep(pause);
    }
}

/// Waits until `look` gives `wanted`.
pub fn until_eq<T: PartialEq + Debug>(
    within: Duration,
    what: &str,
    wanted: &T,
    mut look: impl FnMut() -> Result<T>,
) -> Result<()> {
    until(within, what, || {
        let seen = look()?;
        if seen == *wanted { Ok(Some(())) } else { fail(format!("{seen:?} instead of {wanted:?}")) }
    })
}

/// Seconds, for short deadlines in tests.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
