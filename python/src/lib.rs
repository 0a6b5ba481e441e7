//! `nova_ext._native`: the recovery core for Python, and for the plug-ins in Nova's own processes.
//!
//! This folder is the only place that knows Python. Everything that decides is in the crate `nova-ext`; here values are
//! carried over. What Python programs use is in `nova_ext/*.py`, typed and documented there; what is here they do not call.
//!
//! Two rules hold for every function: a bug that panics becomes an exception that `except Exception` catches ([`guard`]),
//! so that no service of Nova ends by it; and what may take longer than a millisecond lets other threads go on.

#![forbid(unsafe_code)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "what comes from Python is converted into values of our own"
)]

mod decide;
mod engine;
mod errors;
mod gate;
mod guard;
mod hosts;
mod power;
mod proof;
mod runtime;
mod scheduler;
mod signal;

/// The native half of `nova_ext`; not for use by itself.
#[pyo3::pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::decide::{Policy, check_key, keys};
    #[pymodule_export]
    use crate::engine::{evacuate, health, incidents, report};
    #[pymodule_export]
    use crate::gate::Gate;
    #[pymodule_export]
    use crate::guard::inject_panic;
    #[pymodule_export]
    use crate::hosts::{check_cloud, force_down, force_up, plan};
    #[pymodule_export]
    use crate::power::{power_cycle, power_hosts, power_off, power_on, power_status};
    #[pymodule_export]
    use crate::proof::FenceProof;
    #[pymodule_export]
    use crate::scheduler::{Scheduler, optimised};
    #[pymodule_export]
    use crate::signal::Signal;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::guard::keep_panics_short();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
