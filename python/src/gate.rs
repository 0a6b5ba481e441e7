//! The guard in front of Nova's API.

use std::path::PathBuf;
use std::time::Duration;

use nova_ext::guard::{Ask, Known, Rules, judge};
use nova_ext::proof::signed::Signer;
use nova_ext::stamp::Stamp;
use pyo3::prelude::*;

use crate::errors::{Failure, Kind};
use crate::guard::guarded;

/// What is asked of Nova, judged.
#[pyclass(frozen, module = "nova_ext._native")]
pub(crate) struct Gate {
    key: Option<PathBuf>,
    rules: Rules,
}

fn wrong(error: impl ToString) -> Failure {
    Failure::new(Kind::ConfigError, error.to_string())
}

#[pymethods]
impl Gate {
    #[new]
    #[pyo3(signature = (key, longest))]
    fn new(key: Option<PathBuf>, longest: u64) -> PyResult<Self> {
        guarded("Gate", || Ok(Self { key, rules: Rules { longest: Duration::from_secs(longest) } }))
    }

    /// Whether something may be asked now, and why not, or on what proof it rests.
    #[allow(clippy::too_many_arguments, reason = "they are Python's")]
    fn judge(
        &self,
        py: Python<'_>,
        ask: &str,
        host: &str,
        forced_down: bool,
        disabled: bool,
        reason: Option<String>,
        last_seen: Option<&str>,
        alive: usize,
        done: usize,
        line: Option<&str>,
    ) -> PyResult<(bool, String)> {
        guarded("Gate.judge", || {
            let ask = match ask {
                "evacuate" => Ask::Evacuate,
                "force-up" => Ask::ForceUp,
                "enable" => Ask::Enable,
                other => return Err(wrong(format!("{other:?} is nothing that is guarded")).into()),
            };
            let host = host.parse().map_err(wrong)?;
            let last_seen: Option<Stamp> = last_seen.map(str::parse).transpose().map_err(wrong)?;
            let known = Known { host, forced_down, disabled, reason, last_seen, alive, done };
            // Read each time: evacuations are rare, and a key may be changed. A file may hang with its disk.
            let signer = match (&self.key, ask) {
                (Some(path), Ask::Evacuate) => Some(py.detach(|| Signer::from_file(path)).map_err(wrong)?),
                _ => None,
            };
            let judged = judge(ask, &known, line, signer.as_ref(), self.rules, Stamp::now());
            Ok(match judged {
                Ok(proof) => (true, proof.map(|proof| proof.to_string()).unwrap_or_default()),
                Err(refusal) => (false, refusal.to_string()),
            })
        })
    }
}
