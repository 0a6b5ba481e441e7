//! Hosts in Nova: forced down with proof, up in order, and what would be done about their servers.

use std::path::PathBuf;

use nova_ext::client::hosts as client;
use pyo3::prelude::*;

use crate::errors::{Failure, Kind};
use crate::guard::guarded;
use crate::proof::{FenceProof, configuration};
use crate::runtime;

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::new(Kind::EngineError, error.to_string()))
}

/// Tells Nova that a host is down: JSON of its service.
#[pyfunction]
pub(crate) fn force_down(
    py: Python<'_>,
    host: String,
    proof: &FenceProof,
    config: Option<PathBuf>,
    aio: bool,
) -> PyResult<Py<PyAny>> {
    let proof = proof.inner().clone();
    guarded("force_down", || {
        runtime::run(py, "force_down", aio, async move {
            json(&client::force_down(&configuration(config)?, &host, &proof).await?)
        })
    })
}

/// Tells Nova that a host is up again, in order: JSON of its service.
#[pyfunction]
pub(crate) fn force_up(
    py: Python<'_>,
    host: String,
    enable: bool,
    config: Option<PathBuf>,
    aio: bool,
) -> PyResult<Py<PyAny>> {
    guarded("force_up", || {
        runtime::run(py, "force_up", aio, async move {
            json(&client::force_up(&configuration(config)?, &host, enable).await?)
        })
    })
}

/// What would be done about the servers of a host: JSON.
#[pyfunction]
pub(crate) fn plan(py: Python<'_>, host: String, config: Option<PathBuf>, aio: bool) -> PyResult<Py<PyAny>> {
    guarded("plan", || {
        runtime::run(
            py,
            "plan",
            aio,
            async move { json(&client::plan(&configuration(config)?, &host).await?) },
        )
    })
}

/// What the credentials and the cloud are good for: JSON.
#[pyfunction]
pub(crate) fn check_cloud(py: Python<'_>, config: Option<PathBuf>, aio: bool) -> PyResult<Py<PyAny>> {
    guarded("check_cloud", || {
        runtime::run(py, "check_cloud", aio, async move {
            let cloud = nova_ext::client::connect(&configuration(config)?).await?;
            json(&cloud.check().await)
        })
    })
}
