//! Who is evacuated: the operator's rules.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nova_ext::config::Config;
use nova_ext::policy::{Facts, Policy as Rules, keys as rules};
use nova_ext::serve;
use pyo3::prelude::*;

use crate::errors::{Failure, Kind};
use crate::guard::guarded;

type Map = BTreeMap<String, String>;
/// Whether to evacuate, priority, group, what decided, what was not understood.
type Decision = (bool, i32, Option<String>, String, Vec<String>);

/// The operator's rules.
#[pyclass(frozen, module = "nova_ext._native")]
pub(crate) struct Policy(Rules);

fn wrong(error: impl ToString) -> Failure {
    Failure::new(Kind::ConfigError, error.to_string())
}

#[pymethods]
impl Policy {
    /// From its text.
    #[staticmethod]
    fn parse(text: &str) -> PyResult<Self> {
        guarded("Policy.parse", || Ok(Self(Rules::parse(text).map_err(wrong)?)))
    }

    /// The one that the configuration names.
    #[staticmethod]
    #[pyo3(signature = (config))]
    fn load(py: Python<'_>, config: Option<PathBuf>) -> PyResult<Self> {
        guarded("Policy.load", || {
            py.detach(|| {
                let config = Config::load(config.as_deref()).map_err(wrong)?;
                Ok(Self(serve::policy(&config).map_err(wrong)?))
            })
        })
    }

    /// What the rules make of a server.
    fn decide(
        &self,
        flavor: Map,
        image: Map,
        metadata: Map,
        tags: Vec<String>,
        aggregates: Vec<Map>,
        project: &str,
    ) -> PyResult<Decision> {
        guarded("Policy.decide", || {
            let facts = Facts {
                metadata: &metadata,
                tags: &tags,
                image: &image,
                flavor: &flavor,
                aggregates: &aggregates,
                project,
            };
            let choice = self.0.choose(&facts);
            let rule = choice.evacuate.to_string();
            let group = choice.group.map(|group| group.value);
            Ok((choice.evacuate.value, choice.priority.value, group, rule, choice.notes))
        })
    }
}

/// What is wrong with a key of the namespace or with what it says; none if nothing is.
#[pyfunction]
pub(crate) fn check_key(key: &str, value: &str, on_hosts: bool) -> PyResult<Option<String>> {
    guarded("check_key", || {
        let checked = if on_hosts { rules::check_on_hosts(key, value) } else { rules::check(key, value) };
        Ok(checked.err().map(|error| error.to_string()))
    })
}

/// The keys of the namespace: name, what it holds, whether it is for hosts alone, what it is for.
#[pyfunction]
pub(crate) fn keys() -> PyResult<Vec<(String, &'static str, bool, &'static str)>> {
    guarded("keys", || {
        let key = |key: &rules::Key| {
            let kind = match key.kind {
                rules::Kind::Truth => "truth",
                rules::Kind::Priority => "priority",
                rules::Kind::Name => "name",
                rules::Kind::Reserve => "reserve",
            };
            (format!("{}:{}", rules::NAMESPACE, key.name), kind, key.on == rules::On::Hosts, key.about)
        };
        Ok(rules::KEYS.iter().map(key).collect())
    })
}
