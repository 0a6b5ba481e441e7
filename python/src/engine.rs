//! The engine of this controller: asked for an evacuation, and followed; what it has written down.

use std::path::PathBuf;
use std::time::Duration;

use nova_ext::client::{evacuate as client, reports};
use nova_ext::engine::journal::Entry;
use nova_ext::report::say;
use nova_ext::serve;
use pyo3::prelude::*;

use crate::errors::{Failure, Kind};
use crate::guard::guarded;
use crate::power::span;
use crate::proof::{FenceProof, configuration};
use crate::runtime;

/// For the engine's socket.
const ANSWER: Duration = Duration::from_secs(5);
/// Nobody follows an evacuation longer.
const LONGEST: f64 = 7.0 * 86_400.0;

/// Asks the engine for the evacuation of a host; with a time, follows it to its end. The incident, and how it ended.
#[pyfunction]
pub(crate) fn evacuate(
    py: Python<'_>,
    host: String,
    proof: &FenceProof,
    on_event: Option<Py<PyAny>>,
    timeout: Option<f64>,
    config: Option<PathBuf>,
    aio: bool,
) -> PyResult<Py<PyAny>> {
    let proof = proof.inner().clone();
    guarded("evacuate", || {
        let patience = timeout.map(|seconds| span(seconds, LONGEST)).transpose()?;
        runtime::run(py, "evacuate", aio, async move {
            let config = configuration(config)?;
            let asked = client::ask_with(&config, &host, &proof).await?;
            let incident = asked.incident.to_string();
            let Some(patience) = patience else { return Ok((incident, None)) };
            let tell = |entry: &Entry| on_event.as_ref().map_or((), |callback| report_event(callback, entry));
            let outcome = client::follow(&config, &asked, patience, tell).await?;
            Ok((incident, Some(outcome.to_string())))
        })
    })
}

/// Calls the caller's function. What goes wrong there is printed, as for a callback of Python's own, and stops nothing. It
/// may take its time and call us again: the thread is none of the runtime's meanwhile.
fn report_event(callback: &Py<PyAny>, entry: &Entry) {
    let Ok(line) = serde_json::to_string(&serde_json::json!({
        "at": entry.at, "incident": entry.incident, "event": entry.event, "said": say(&entry.event),
    })) else {
        return;
    };
    let call = |py: Python<'_>| {
        if let Err(error) = callback.call1(py, (line,)) {
            error.write_unraisable(py, Some(callback.bind(py)));
        }
    };
    tokio::task::block_in_place(|| Python::attach(call));
}

/// The incidents of the journal: JSON.
#[pyfunction]
pub(crate) fn incidents(py: Python<'_>, config: Option<PathBuf>) -> PyResult<String> {
    guarded("incidents", || {
        Ok(py.detach(|| {
            let list = reports::incidents(&configuration(config)?)?;
            serde_json::to_string(&list).map_err(|error| Failure::new(Kind::EngineError, error.to_string()))
        })?)
    })
}

/// One incident, as text, JSON or page; without an id the last one.
#[pyfunction]
pub(crate) fn report(
    py: Python<'_>,
    incident: Option<String>,
    format: &str,
    config: Option<PathBuf>,
) -> PyResult<String> {
    guarded("report", || {
        Ok(py.detach(|| {
            let timeline = reports::timeline(&configuration(config)?, incident.as_deref())?;
            match format {
                "text" => Ok(nova_ext::report::text(&timeline)),
                "html" => Ok(nova_ext::report::html(&timeline)),
                "json" => serde_json::to_string(&timeline)
                    .map_err(|error| Failure::new(Kind::EngineError, error.to_string())),
                other => {
                    Err(Failure::new(Kind::ConfigError, format!("{other:?} is neither text, json nor html")))
                }
            }
        })?)
    })
}

/// How the engine of this controller is: JSON.
#[pyfunction]
pub(crate) fn health(py: Python<'_>, config: Option<PathBuf>, aio: bool) -> PyResult<Py<PyAny>> {
    guarded("health", || {
        runtime::run(py, "health", aio, async move {
            let config = configuration(config)?;
            let asked = serve::ask(config.files.socket(), ANSWER).await;
            let health = asked.map_err(|error| {
                Failure::retryable(
                    Kind::EngineError,
                    format!("no engine answers on this controller ({error})"),
                )
            })?;
            serde_json::to_string(&health).map_err(|error| Failure::new(Kind::EngineError, error.to_string()))
        })
    })
}
