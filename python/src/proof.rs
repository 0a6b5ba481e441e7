//! The fence proof: Python holds one, and cannot make one.

use std::path::PathBuf;

use nova_ext::client;
use nova_ext::config::Config;
use nova_ext::proof::FenceProof as Proof;
use pyo3::prelude::*;

use crate::errors::{Failure, Kind};
use crate::guard::guarded;
use crate::runtime;

/// Proof that a host is off.
#[pyclass(frozen, eq, module = "nova_ext._native")]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FenceProof(Proof);

impl FenceProof {
    pub(crate) fn new(proof: Proof) -> Self {
        Self(proof)
    }

    pub(crate) fn inner(&self) -> &Proof {
        &self.0
    }
}

pub(crate) fn configuration(config: Option<PathBuf>) -> Result<Config, Failure> {
    Config::load(config.as_deref()).map_err(|error| Failure::new(Kind::ConfigError, error.to_string()))
}

#[pymethods]
impl FenceProof {
    /// Its name in journal and reports.
    #[getter]
    fn id(&self) -> String {
        self.0.id().to_string()
    }

    /// The host that is off.
    #[getter]
    fn host(&self) -> &str {
        self.0.host().as_str()
    }

    /// Since when it is known.
    #[getter]
    fn at(&self) -> String {
        self.0.at().to_string()
    }

    /// What kind of evidence shows it.
    #[getter]
    fn kind(&self) -> &str {
        self.0.evidence().kind()
    }

    /// What shows it, for people.
    #[getter]
    fn evidence(&self) -> String {
        self.0.evidence().to_string()
    }

    fn __repr__(&self) -> String {
        format!("<FenceProof {}>", self.0)
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    /// The proof of a host that this controller knows and that holds; none if there is none.
    #[staticmethod]
    #[pyo3(signature = (host, config=None))]
    fn current(py: Python<'_>, host: &str, config: Option<PathBuf>) -> PyResult<Option<Self>> {
        guarded("FenceProof.current", || {
            let found =
                py.detach(|| client::proof::current(&configuration(config)?, host).map_err(Failure::from));
            Ok(found?.map(Self))
        })
    }

    /// The proof that a signed line of this host holds.
    #[staticmethod]
    #[pyo3(signature = (host, line, config=None))]
    fn verify(py: Python<'_>, host: &str, line: &str, config: Option<PathBuf>) -> PyResult<Self> {
        guarded("FenceProof.verify", || {
            let found = py
                .detach(|| client::proof::verify(&configuration(config)?, host, line).map_err(Failure::from));
            Ok(Self(found?))
        })
    }

    /// Somebody vouches for it by name; refused while the host reads on or reports to Nova.
    #[staticmethod]
    #[pyo3(signature = (host, name, config=None, aio=false))]
    fn confirm(
        py: Python<'_>,
        host: String,
        name: String,
        config: Option<PathBuf>,
        aio: bool,
    ) -> PyResult<Py<PyAny>> {
        guarded("FenceProof.confirm", || {
            runtime::run(py, "FenceProof.confirm", aio, async move {
                Ok(Self(client::proof::confirm(&configuration(config)?, &host, &name).await?))
            })
        })
    }

    /// The line for Nova's `disabled_reason` and for other controllers.
    #[pyo3(signature = (config=None))]
    fn sign(&self, py: Python<'_>, config: Option<PathBuf>) -> PyResult<String> {
        guarded("FenceProof.sign", || {
            Ok(py.detach(|| client::proof::sign(&configuration(config)?, &self.0).map_err(Failure::from))?)
        })
    }
}
