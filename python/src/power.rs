//! The power of hosts.

use std::path::PathBuf;
use std::time::Duration;

use nova_ext::client::power as client;
use nova_ext::power::PowerState;
use pyo3::prelude::*;

use crate::errors::{Failure, Kind};
use crate::guard::guarded;
use crate::proof::{FenceProof, configuration};
use crate::runtime;

/// Nobody waits longer for a device.
const LONGEST: f64 = 3600.0;

/// A number of seconds that can be waited for.
pub(crate) fn span(seconds: f64, longest: f64) -> Result<Duration, Failure> {
    if seconds > 0.0 && seconds <= longest {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        let text = format!("{seconds} s cannot be waited for: more than 0 and at most {longest}");
        Err(Failure::new(Kind::ConfigError, text))
    }
}

fn said(state: PowerState) -> String {
    state.to_string()
}

macro_rules! switch {
    ($(#[$doc:meta])* $name:ident, $does:path, $made:expr $(, $force:ident)?) => {
        $(#[$doc])*
        #[pyfunction]
        pub(crate) fn $name(
            py: Python<'_>,
            host: String,
            timeout: f64,
            $($force: bool,)?
            config: Option<PathBuf>,
            aio: bool,
        ) -> PyResult<Py<PyAny>> {
            guarded(stringify!($name), || {
                let within = span(timeout, LONGEST)?;
                let made = $made;
                runtime::run(py, stringify!($name), aio, async move {
                    Ok(made($does(&configuration(config)?, &host, within $(, $force)?).await?))
                })
            })
        }
    };
}

switch! {
    /// What the device reads: on, off or changing.
    power_status, client::status, said
}
switch! {
    /// Switches a host off, and proves it.
    power_off, client::off, FenceProof::new
}
switch! {
    /// Switches a host on, unless it is being evacuated: no proof of it holds any more.
    power_on, client::on, said, force
}
switch! {
    /// Off until that is read, then on.
    power_cycle, client::cycle, said, force
}

/// The hosts that have a power device, with what is wrong with it: JSON.
#[pyfunction]
pub(crate) fn power_hosts(py: Python<'_>, config: Option<PathBuf>) -> PyResult<String> {
    guarded(
        "power_hosts",
        || Ok(py.detach(|| client::hosts(&configuration(config)?).map_err(Failure::from))?),
    )
}
