//! The cloud's side: Keystone, Nova, Placement and Glance, as far as recovery needs them.
//!
//! [`Settings`] say where it is, [`Cloud::connect`] logs in and finds out what this cloud can do. Every call is
//! bounded in time and size, and every failure says what it has done ([`Fate`]) and whether it helps to try again
//! ([`Retry`]). Reading calls are repeated inside; a call that must not be made twice never is.

mod actions;
mod catalog;
mod check;
mod error;
mod evacuate;
mod hosts;
mod http;
mod image;
mod keystone;
mod marked;
mod microversion;
mod migration;
mod pages;
mod placement;
mod recorded;
mod refusal;
mod server;
mod service;
mod settings;
pub(crate) mod tls;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;
use tokio::time::Instant;
use tracing::{info, warn};

use self::catalog::{Service as Kind, below, without_project};
pub use self::check::{Finding, Level};
pub use self::error::{BadRequestId, CloudError, Fate, RequestId, Retry};
pub use self::hosts::{Aggregate, Hypervisor};
use self::http::{Answer, LARGEST_LIST, LARGEST_ONE, Request};
pub use self::image::ImageProperties;
use self::keystone::Session;
pub use self::marked::Marked;
pub use self::microversion::{BadMicroversion, Microversion, Range};
use self::microversion::{Offer, read};
pub use self::migration::{Migration, MigrationQuery, MigrationStatus};
use self::pages::{Link, Pages};
pub use self::placement::{Inventory, Provider, Resources};
pub use self::recorded::{ActionEvent, InstanceAction};
pub use self::server::{Flavor, PowerState, ResetTo, Server, Volume};
pub use self::service::{LONGEST_REASON, OURS, Service, ServiceChange, Services};
pub use self::settings::{
    Auth, Credential, Domain, Endpoints, Environment, FILE, Interface, Limits, Named, Settings,
    SettingsError, Source, Tls,
};

use crate::proof::signed::Signer;
use crate::stamp::Stamp;

/// A list is begun again so often if an entry that a page begins after is gone.
const RESTARTS: usize = 3;

/// A cloud, logged in. Clones share the log-in and the connections.
#[derive(Clone)]
pub struct Cloud {
    inner: Arc<Inner>,
    until: Option<Instant>,
    /// Signs proofs for a guard in front of Nova.
    signer: Option<Arc<Signer>>,
}

struct Inner {
    session: Session,
    settings: Settings,
    compute: Url,
    range: Range,
    version: Microversion,
    /// Some nova-compute is too old for evacuation to a stopped server.
    no_stopped: AtomicBool,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloud")
            .field("compute", &self.inner.compute.as_str())
            .field("microversion", &self.inner.version)
            .finish_non_exhaustive()
    }
}

/// A page of a list.
trait Page: serde::de::DeserializeOwned {
    /// What is listed.
    type Item;

    /// The entries, and the links to other pages.
    fn split(self) -> (Vec<Self::Item>, Vec<Link>);
}

impl Cloud {
    /// Logs in, finds Nova and agrees on a microversion with it.
    pub async fn connect(settings: &Settings) -> Result<Self, CloudError> {
        for warning in settings.warnings() {
            warn!("{warning}");
        }
        let session = Session::new(settings)?;
        let until = Instant::now() + settings.limits.call;
        let token = session.token(None, until).await?;
        let endpoint = match &settings.endpoints.compute {
            Some(url) => url.clone(),
            None => token.catalog.find(Kind::Compute, &settings.interfaces, settings.region.as_deref())?,
        };
        let (compute, range) =
            negotiate(&session, without_project(&endpoint, token.project.as_deref()), until).await?;
        let Some(version) = range.choose(settings.microversion) else {
            let (min, max) = (range.min.to_string(), range.max.to_string());
            return Err(match settings.microversion {
                Some(limit) if range.choose(None).is_some() => CloudError::Senseless(format!(
                    "{}: compute_api_version {limit} cannot be used: this cloud has {min} to {max}, and 2.53 is \
                     needed at least",
                    settings.origin
                )),
                _ => CloudError::Old { url: compute.to_string(), min, max },
            });
        };
        info!(compute = %compute, microversion = %version, newest = %range.max, "connected to Nova");
        let settings = settings.clone();
        let no_stopped = AtomicBool::new(false);
        let inner = Inner { session, settings, compute, range, version, no_stopped };
        Ok(Self { inner: Arc::new(inner), until: None, signer: None })
    }

    /// The same cloud for somebody with so much time: no call waits beyond it.
    #[must_use]
    pub fn within(&self, time: Duration) -> Self {
        let until = Instant::now() + time;
        let until = Some(self.until.map_or(until, |old| old.min(until)));
        Self { inner: Arc::clone(&self.inner), until, signer: self.signer.clone() }
    }

    /// The same cloud; each evacuation shows its proof, signed, to a guard in front of Nova's API.
    #[must_use]
    pub fn signing(mut self, signer: Option<Signer>) -> Self {
        self.signer = signer.map(Arc::new);
        self
    }

    /// The microversion in use.
    pub fn microversion(&self) -> Microversion {
        self.inner.version
    }

    /// The microversions that the cloud offers.
    pub fn offered(&self) -> Range {
        self.inner.range
    }

    /// The microversion of evacuations.
    fn evacuate_version(&self) -> Microversion {
        if self.inner.no_stopped.load(Ordering::Relaxed) {
            self.inner.version.min(Microversion::EVACUATE_RUNNING)
        } else {
            self.inner.version
        }
    }

    /// From now on evacuated servers keep their state instead of ending stopped, as before 2.95.
    pub fn no_stopped_evacuation(&self) {
        self.inner.no_stopped.store(true, Ordering::Relaxed);
    }

    fn until(&self, limit: Duration) -> Instant {
        let until = Instant::now() + limit;
        self.until.map_or(until, |own| own.min(until))
    }

    /// A point in time by the cloud's clock, less a tolerance.
    fn their_time(&self, ours: Stamp, tolerance: Duration) -> Stamp {
        let time = SystemTime::from(ours);
        let ahead = self.inner.session.http.ahead();
        let seconds = Duration::from_secs(ahead.unsigned_abs());
        let shifted = if ahead >= 0 { time.checked_add(seconds) } else { time.checked_sub(seconds) };
        let shifted = shifted.and_then(|time| time.checked_sub(tolerance));
        Stamp::from(shifted.unwrap_or(SystemTime::UNIX_EPOCH))
    }

    fn limits(&self) -> &Limits {
        &self.inner.settings.limits
    }

    fn nova(&self, method: Method, path: &str, query: &[(&str, &str)], version: Microversion) -> Request {
        let mut url = below(&self.inner.compute, path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Request {
            call: format!("{method} {path}"),
            method,
            url,
            headers: version_headers("compute", version),
            body: None,
            largest: LARGEST_ONE,
            status_only: false,
        }
    }

    /// Reads one thing.
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, CloudError> {
        let request = self.nova(Method::GET, path, query, self.inner.version);
        self.inner.session.send(request, true, self.until(self.limits().call)).await
    }

    /// Reads a list that has no pages.
    async fn get_list(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, CloudError> {
        let request =
            Request { largest: LARGEST_LIST, ..self.nova(Method::GET, path, query, self.inner.version) };
        self.inner.session.send(request, true, self.until(self.limits().call)).await
    }

    /// Reads a list with all its pages, up to the one with an entry that is `enough`.
    async fn get_pages<P: Page>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        enough: impl Fn(&P::Item) -> bool + Send,
    ) -> Result<Vec<P::Item>, CloudError> {
        let until = self.until(self.limits().list);
        let mut restarts = 0;
        'list: loop {
            let mut pages = Pages::default();
            let mut marker: Option<String> = None;
            let mut all = Vec::new();
            loop {
                let mut query = query.to_vec();
                query.extend(marker.as_deref().map(|marker| ("marker", marker)));
                let request = Request {
                    largest: LARGEST_LIST,
                    ..self.nova(Method::GET, path, &query, self.inner.version)
                };
                let each = until.min(self.until(self.limits().call));
                let answer = match self.inner.session.send(request, true, each).await {
                    // What the page should begin after was deleted meanwhile.
                    Err(CloudError::Refused { status: 400, .. })
                        if marker.is_some() && restarts < RESTARTS =>
                    {
                        restarts += 1;
                        continue 'list;
                    }
                    other => other?,
                };
                let (items, links) = answer.parse::<P>()?.split();
                let next = pages.next(items.len(), &links);
                let ends = items.iter().any(&enough);
                all.extend(items);
                if ends {
                    return Ok(all);
                }
                marker = match next {
                    Ok(None) => return Ok(all),
                    Ok(marker) => marker,
                    Err(why) => return Err(CloudError::Endless { call: answer.call, why }),
                };
            }
        }
    }

    /// Changes something; repeated if that may help, which harms nothing.
    async fn put(&self, path: &str, body: &Value) -> Result<Answer, CloudError> {
        let mut request = self.nova(Method::PUT, path, &[], self.inner.version);
        request.body = Some(Bytes::from(body.to_string()));
        self.inner.session.send(request, true, self.until(self.limits().call)).await
    }

    /// Sets something going; never repeated.
    async fn post(&self, path: &str, body: &Value, version: Microversion) -> Result<Answer, CloudError> {
        self.post_with(path, body, version, HeaderMap::new()).await
    }

    /// The same with more headers.
    async fn post_with(
        &self,
        path: &str,
        body: &Value,
        version: Microversion,
        headers: HeaderMap,
    ) -> Result<Answer, CloudError> {
        let mut request = self.nova(Method::POST, path, &[], version);
        request.headers.extend(headers);
        request.body = Some(Bytes::from(body.to_string()));
        request.status_only = true;
        self.inner.session.send(request, false, self.until(self.limits().call)).await
    }

    /// Reads from another service.
    async fn get_at(
        &self,
        url: Url,
        call: &str,
        version: Option<(&str, Microversion)>,
    ) -> Result<Answer, CloudError> {
        let request = Request {
            call: call.to_owned(),
            method: Method::GET,
            url,
            headers: version.map(|(service, version)| version_headers(service, version)).unwrap_or_default(),
            body: None,
            largest: LARGEST_LIST,
            status_only: false,
        };
        self.inner.session.send(request, true, self.until(self.limits().call)).await
    }

    /// The endpoint of another service.
    async fn endpoint(&self, service: Kind) -> Result<Url, CloudError> {
        let settings = &self.inner.settings;
        let own = match service {
            Kind::Compute => Some(&self.inner.compute),
            Kind::Placement => settings.endpoints.placement.as_ref(),
            Kind::Image => settings.endpoints.image.as_ref(),
        };
        if let Some(url) = own {
            return Ok(url.clone());
        }
        let token = self.inner.session.token(None, self.until(self.limits().call)).await?;
        token.catalog.find(service, &settings.interfaces, settings.region.as_deref())
    }
}

/// Nova's own address and its microversions.
async fn negotiate(session: &Session, endpoint: Url, until: Instant) -> Result<(Url, Range), CloudError> {
    let mut url = endpoint;
    for _ in 0..2 {
        let request = Request {
            call: format!("GET {}", url.path()),
            method: Method::GET,
            url: below(&url, ""),
            headers: HeaderMap::new(),
            body: None,
            largest: LARGEST_ONE,
            status_only: false,
        };
        let answer = session.send(request, true, until).await?;
        match read(&answer.body) {
            Ok(Offer::Here(range)) => return Ok((url, range)),
            Ok(Offer::Below(path)) => url = below(&url, path),
            Err(why) => return Err(answer.malformed(format!("{why}: is {url} Nova's endpoint?"))),
        }
    }
    Err(CloudError::Senseless(format!(
        "{url} is not Nova's endpoint: its version documents lead in a circle"
    )))
}

fn version_headers(service: &str, version: Microversion) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("{service} {version}")) {
        headers.insert(HeaderName::from_static("openstack-api-version"), value);
    }
    if service == "compute"
        && let Ok(value) = HeaderValue::from_str(&version.to_string())
    {
        headers.insert(HeaderName::from_static("x-openstack-nova-api-version"), value);
    }
    headers
}

/// Names that look like this one, the nearest first, at most three.
fn near_all<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    const ALIKE: f64 = 0.75;
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let mut rated: Vec<(f64, &str)> = names
        .into_iter()
        .map(|other| {
            // A name with and without its domain is the usual mistake.
            let same = short(other) == short(name);
            (if same { 1.0 } else { strsim::jaro_winkler(name, other) }, other)
        })
        .filter(|(rate, _)| *rate >= ALIKE)
        .collect();
    rated.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    rated.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// The name that looks most like this one.
fn near<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    near_all(name, names).into_iter().next()
}

#[cfg(test)]
pub(crate) mod tests;
