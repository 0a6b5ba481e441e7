//! The scheduler's filter and weigher: what they are shown is read here, what they answer is decided in `nova-ext`.
//!
//! Called with all hosts at once: a request with a thousand hosts crosses the border between Python and Rust once for the
//! filter and once for the weigher.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use nova_ext::plan::capacity::Amount;
use nova_ext::policy::keys::Reserve;
use nova_ext::scheduler::{Arrivals, Errand, Host, Refusal, Request, Rooms, Strictness, Weights, refuses};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::errors::{Failure, Kind};
use crate::guard::{guarded, lock};

/// With more hosts, other threads go on meanwhile.
const MANY: usize = 500;
const RESERVED: &str = "instance_ha:reserved";
const DOMAIN: &str = "instance_ha:domain";
const FAILOVER: &str = "instance_ha:failover";
const ZONE: &str = "availability_zone";

/// Time that nobody can set.
fn now() -> Duration {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    BEGUN.get_or_init(Instant::now).elapsed()
}

/// Whether it was built for speed, for those who measure it.
#[pyfunction]
pub(crate) fn optimised() -> bool {
    !cfg!(debug_assertions)
}

/// Filter and weigher of one process.
#[pyclass(frozen, module = "nova_ext._native")]
pub(crate) struct Scheduler {
    headroom: Strictness,
    weights: Weights,
    rooms: Mutex<Rooms>,
    arrivals: Mutex<Arrivals>,
}

/// What the filter says: why each host is refused, if it is, and of how many it is only said.
type Filtered = (Vec<Option<&'static str>>, usize);

#[pymethods]
impl Scheduler {
    #[new]
    fn new(headroom: &str, host: f64, domain: f64, busy: f64) -> PyResult<Self> {
        guarded("Scheduler", || {
            let headroom = headroom.parse().map_err(|why: String| Failure::new(Kind::ConfigError, why))?;
            let weights = Weights { host, domain, busy };
            Ok(Self { headroom, weights, rooms: Mutex::default(), arrivals: Mutex::default() })
        })
    }

    /// What a server is placed for: boot, evacuation, move or rebuild. `down`: whether the service of the host that it
    /// leaves is down. `there`: whether it is on a host already, if it leaves none.
    #[staticmethod]
    fn errand(
        check: Option<&str>,
        left: Option<&str>,
        down: Option<bool>,
        there: bool,
    ) -> PyResult<&'static str> {
        guarded("Scheduler.errand", || Ok(Request { check, left, there }.errand(down).name()))
    }

    /// The host whose service says so, if it is needed.
    #[staticmethod]
    fn source(check: Option<&str>, left: Option<&str>) -> PyResult<Option<String>> {
        guarded("Scheduler.source", || Ok(Request { check, left, there: false }.source().map(str::to_owned)))
    }

    /// Which of the hosts refuse the server; nothing where one takes it.
    #[allow(clippy::too_many_arguments, reason = "they are Python's")]
    fn filter(
        &self,
        py: Python<'_>,
        errand: &str,
        left: Option<&str>,
        vcpus: u64,
        memory_mb: u64,
        disk_gb: u64,
        hosts: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<Filtered> {
        guarded("Scheduler.filter", || {
            let hosts = read_all(py, &hosts)?;
            let needs = Amount { vcpus, memory_mb, disk_gb };
            let errand = named(errand)?;
            if hosts.len() > MANY {
                Ok(py.detach(|| self.judge(errand, left, needs, &hosts)))
            } else {
                Ok(self.judge(errand, left, needs, &hosts))
            }
        })
    }

    /// A server was placed on a host, whose state counts it already.
    fn arrived(&self, py: Python<'_>, host: Bound<'_, PyAny>) -> PyResult<()> {
        guarded("Scheduler.arrived", || {
            let host = read(py, &host, &mut HashMap::new())?;
            let now = now();
            lock(&self.arrivals).arrived(&host.name, now);
            if self.headroom != Strictness::Off {
                lock(&self.rooms).note(std::slice::from_ref(&host), now);
            }
            Ok(())
        })
    }

    /// How good each host is: the highest is the best.
    fn weigh(
        &self,
        py: Python<'_>,
        errand: &str,
        protected: bool,
        hosts: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<Vec<f64>> {
        guarded("Scheduler.weigh", || {
            let hosts = read_all(py, &hosts)?;
            let errand = named(errand)?;
            let weigh = || {
                let mut arrivals = lock(&self.arrivals);
                arrivals.note(&hosts, now());
                arrivals.weigh(&hosts, errand, protected, &self.weights)
            };
            Ok(if hosts.len() > MANY { py.detach(weigh) } else { weigh() })
        })
    }
}

impl Scheduler {
    fn judge(&self, errand: Errand, left: Option<&str>, needs: Amount, hosts: &[Host]) -> Filtered {
        let mut warned = 0;
        let groups = {
            let mut rooms = lock(&self.rooms);
            if self.headroom == Strictness::Off {
                None
            } else {
                let now = now();
                rooms.note(hosts, now);
                if let (Errand::Evacuation, Some(source)) = (errand, left) {
                    rooms.down(source);
                }
                (errand == Errand::Boot).then(|| rooms.groups(needs, now))
            }
        };
        let mut judge = |host: &Host| {
            if let Some(refusal) = refuses(host, errand) {
                return Some(code(refusal));
            }
            let group = groups.as_ref()?.get(host.failover.as_deref().unwrap_or_default())?;
            if group.affords(host, needs) {
                return None;
            }
            if self.headroom == Strictness::Warn {
                warned += 1;
                return None;
            }
            Some(code(Refusal::Headroom))
        };
        let refused = hosts.iter().map(&mut judge).collect();
        (refused, warned)
    }
}

/// The refusal in a word; what it means in a sentence is said by [`Refusal`]'s text.
fn code(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Fenced => "fenced",
        Refusal::Returning => "returning",
        Refusal::Reserved => "reserved",
        Refusal::Nobody => "nobody",
        Refusal::Headroom => "headroom",
    }
}

fn named(errand: &str) -> Result<Errand, Failure> {
    let all = [Errand::Boot, Errand::Evacuation, Errand::Move, Errand::Rebuild];
    all.into_iter()
        .find(|one| one.name() == errand)
        .ok_or_else(|| Failure::new(Kind::ConfigError, format!("{errand:?} is no errand")))
}

/// What an aggregate says of its hosts. Hosts share aggregates, so that each is read once.
#[derive(Debug, Clone, Default)]
struct Labels {
    reserve: Reserve,
    domain: Option<String>,
    failover: Option<String>,
    zone: Option<String>,
}

fn read_all(py: Python<'_>, states: &[Bound<'_, PyAny>]) -> PyResult<Vec<Host>> {
    let mut known: HashMap<usize, Labels> = HashMap::new();
    states.iter().map(|state| read(py, state, &mut known)).collect()
}

/// A number of Nova's; what is not there yet is nothing.
fn number(state: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> u64 {
    let value = state.getattr(name).ok().and_then(|value| value.extract::<i64>().ok());
    u64::try_from(value.unwrap_or(0)).unwrap_or(0)
}

fn ratio(state: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> f64 {
    let value = state.getattr(name).ok().and_then(|value| value.extract::<f64>().ok());
    value.filter(|ratio| ratio.is_finite() && *ratio > 0.0).unwrap_or(1.0)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "amounts of memory times small ratios; a cast that saturates is well"
)]
fn times(amount: u64, ratio: f64) -> u64 {
    (amount as f64 * ratio) as u64
}

fn read(py: Python<'_>, state: &Bound<'_, PyAny>, known: &mut HashMap<usize, Labels>) -> PyResult<Host> {
    let labels = labels(py, state, known)?;
    let name: String = state.getattr(intern!(py, "host"))?.extract()?;
    let (forced_down, disabled, reason) = service(py, state);
    let of = |name| number(state, name);
    let memory = of(intern!(py, "total_usable_ram_mb"));
    // It may be less than nothing.
    let free: i64 = state.getattr(intern!(py, "free_ram_mb"))?.extract().unwrap_or(0);
    let memory_used =
        u64::try_from(i64::try_from(memory).unwrap_or(i64::MAX).saturating_sub(free)).unwrap_or(0);
    Ok(Host {
        name,
        forced_down,
        disabled,
        reason,
        reserve: labels.reserve,
        domain: labels.domain,
        failover: labels.failover.or(labels.zone),
        used: Amount {
            vcpus: of(intern!(py, "vcpus_used")),
            memory_mb: memory_used,
            disk_gb: of(intern!(py, "disk_mb_used")) / 1024,
        },
        total: Amount {
            vcpus: times(of(intern!(py, "vcpus_total")), ratio(state, intern!(py, "cpu_allocation_ratio"))),
            memory_mb: times(memory, ratio(state, intern!(py, "ram_allocation_ratio"))),
            disk_gb: times(
                of(intern!(py, "total_usable_disk_gb")),
                ratio(state, intern!(py, "disk_allocation_ratio")),
            ),
        },
        servers: of(intern!(py, "num_instances")),
        busy: of(intern!(py, "num_io_ops")),
    })
}

/// Nova wraps the service's dictionary in one that cannot be written; what is inside is read faster.
fn service(py: Python<'_>, state: &Bound<'_, PyAny>) -> (bool, bool, Option<String>) {
    let inside = || {
        let service = state.getattr(intern!(py, "service")).ok()?;
        let inner = service.getattr(intern!(py, "data")).unwrap_or(service);
        inner.cast_into::<PyDict>().ok()
    };
    let Some(service) = inside() else { return (false, false, None) };
    let flag = |name: &Bound<'_, PyString>| {
        let value = service.get_item(name).ok().flatten();
        value.is_some_and(|value| value.is_truthy().unwrap_or(false))
    };
    let (forced_down, disabled) = (flag(intern!(py, "forced_down")), flag(intern!(py, "disabled")));
    let reason = || service.get_item(intern!(py, "disabled_reason")).ok()??.extract().ok();
    let reason = if disabled { reason() } else { None };
    (forced_down, disabled, reason)
}

fn labels(py: Python<'_>, state: &Bound<'_, PyAny>, known: &mut HashMap<usize, Labels>) -> PyResult<Labels> {
    let mut all = Labels::default();
    let Ok(aggregates) = state.getattr(intern!(py, "aggregates")) else { return Ok(all) };
    for aggregate in aggregates.try_iter()? {
        let aggregate = aggregate?;
        let at = aggregate.as_ptr() as usize;
        if let std::collections::hash_map::Entry::Vacant(place) = known.entry(at) {
            place.insert(of_aggregate(py, &aggregate));
        }
        let Some(one) = known.get(&at) else { continue };
        // Of aggregates that contradict each other, the most cautious word, or the first name.
        all.reserve = all.reserve.max(one.reserve);
        first(&mut all.domain, one.domain.as_ref());
        first(&mut all.failover, one.failover.as_ref());
        first(&mut all.zone, one.zone.as_ref());
    }
    Ok(all)
}

fn first(known: &mut Option<String>, other: Option<&String>) {
    if let Some(other) = other
        && known.as_ref().is_none_or(|known| other < known)
    {
        *known = Some(other.clone());
    }
}

fn of_aggregate(py: Python<'_>, aggregate: &Bound<'_, PyAny>) -> Labels {
    let metadata = aggregate.getattr(intern!(py, "metadata"));
    let Some(metadata) = metadata.ok().and_then(|it| it.cast_into::<PyDict>().ok()) else {
        return Labels::default();
    };
    let get = |name: &str| -> Option<String> { metadata.get_item(name).ok()??.extract().ok() };
    let name = |key: &str| get(key).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    Labels {
        // What cannot be read is said by `nova-ha lint`.
        reserve: get(RESERVED).and_then(|text| Reserve::read(&text)).unwrap_or_default(),
        domain: name(DOMAIN),
        failover: name(FAILOVER),
        zone: name(ZONE),
    }
}
