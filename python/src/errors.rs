//! What goes wrong, as Python's exceptions: the classes are in `nova_ext/errors.py`, which exists without this module.

use nova_ext::client::ClientError;
use nova_ext::cloud::{CloudError, Retry};
use nova_ext::power;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file or name that cannot be used.
    ConfigError,
    /// There is no proof, or none that holds.
    NotProven,
    /// The cloud.
    CloudError,
    /// A step before its time.
    OutOfOrder,
    /// A power device.
    PowerError,
    /// The engine, or its files.
    EngineError,
    /// Time was over.
    TimedOut,
    /// A bug of ours.
    NativePanic,
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Self::ConfigError => "ConfigError",
            Self::NotProven => "NotProven",
            Self::CloudError => "CloudError",
            Self::OutOfOrder => "OutOfOrder",
            Self::PowerError => "PowerError",
            Self::EngineError => "EngineError",
            Self::TimedOut => "TimedOut",
            Self::NativePanic => "NativePanic",
        }
    }
}

/// Something that went wrong.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    kind: Kind,
    text: String,
    retryable: bool,
    status: Option<u16>,
    request_id: Option<String>,
}

impl Failure {
    /// One that trying again does not help.
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), retryable: false, status: None, request_id: None }
    }

    /// One that trying again may help.
    pub(crate) fn retryable(kind: Kind, text: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::new(kind, text) }
    }
}

impl From<CloudError> for Failure {
    fn from(error: CloudError) -> Self {
        Self {
            kind: Kind::CloudError,
            text: error.to_string(),
            retryable: error.kind() != Retry::Never,
            status: error.status(),
            request_id: error.request_id().map(ToString::to_string),
        }
    }
}

impl From<power::PowerError> for Failure {
    fn from(error: power::PowerError) -> Self {
        let retryable = error.retry() == power::Retry::Again;
        Self { retryable, ..Self::new(Kind::PowerError, error.to_string()) }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::Cloud(error) => error.into(),
            ClientError::Power(error) => error.into(),
            ClientError::NotProven(_)
            | ClientError::IsOn(_)
            | ClientError::Reports(_)
            | ClientError::Refused(_) => Self::new(Kind::NotProven, text),
            ClientError::Read(trouble) => {
                Self { retryable: !trouble.hopeless, ..Self::new(Kind::CloudError, text) }
            }
            ClientError::Open { .. } | ClientError::Evacuated(_) | ClientError::Untellable { .. } => {
                Self::retryable(Kind::OutOfOrder, text)
            }
            ClientError::Queue(_)
            | ClientError::Journal(_)
            | ClientError::Ledger(_)
            | ClientError::NoIncident(_)
            | ClientError::Untold(_)
            | ClientError::Io(..) => Self::new(Kind::EngineError, text),
            ClientError::Late(_) => Self::retryable(Kind::TimedOut, text),
            ClientError::Config(_)
            | ClientError::Names(_)
            | ClientError::Map(_)
            | ClientError::NoMap(_)
            | ClientError::Settings(_)
            | ClientError::Serve(_)
            | ClientError::Key(_)
            | ClientError::Nameless(_)
            | ClientError::OtherHost { .. }
            | ClientError::Name(_) => Self::new(Kind::ConfigError, text),
        }
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        Python::attach(|py| raise(py, &failure).unwrap_or_else(|error| error))
    }
}

fn raise(py: Python<'_>, failure: &Failure) -> PyResult<PyErr> {
    let class = py.import("nova_ext.errors")?.getattr(failure.kind.class())?;
    let details = PyDict::new(py);
    details.set_item("retryable", failure.retryable)?;
    if failure.kind == Kind::CloudError {
        details.set_item("status", failure.status)?;
        details.set_item("request_id", failure.request_id.as_deref())?;
    }
    Ok(PyErr::from_value(class.call((&failure.text,), Some(&details))?))
}
