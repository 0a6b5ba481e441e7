//! Redfish over HTTPS.
//!
//! The system is found from the service root. Every reading is a new GET; what a reset answers (200, 202 with a task,
//! 204) is not followed, for the readings tell. Paths that the device names are used on the same device alone.

mod line;
pub mod resource;
mod session;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode, Url, redirect, retry};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Answer, Device, Look, Order, Place, PowerError};
use crate::cloud::Tls;
use crate::cloud::tls;
use crate::secret::Secret;
use line::{As, Line};
use resource::{Collection, Root, System};
use session::Session;

/// For a connection to be there.
const CONNECT: Duration = Duration::from_secs(5);

/// Connections that are kept for the next question.
const KEPT: usize = 1;

/// Where a device is and how to log in to it.
#[derive(Debug, Clone)]
pub struct RedfishSettings {
    /// Where it is; port 443 if none is given.
    pub place: Place,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// The system, if there are several: its id, or its path.
    pub system: Option<String>,
    /// Whether to log in to a session, and not with each request.
    pub session: bool,
    /// The authority that has signed its certificate, or the certificate itself; the system's if none is given.
    pub ca_file: Option<PathBuf>,
    /// Whether to believe any certificate.
    pub insecure: bool,
}

/// A device that speaks Redfish.
pub struct Redfish {
    line: Line,
    /// Which system, if it was said.
    wanted: Option<String>,
    /// Whether to log in to a session.
    sessions: bool,
    root: Option<Root>,
    /// The path of the system.
    system: Option<String>,
    session: Option<Session>,
}

impl Redfish {
    /// Checks the settings; sends nothing.
    pub fn new(settings: RedfishSettings) -> Result<Self, PowerError> {
        let place = &settings.place;
        let wrong = |why: String| PowerError::Settings(format!("redfish {place}: {why}"));
        if let Some(system) = &settings.system {
            let plain = |c: char| c.is_ascii_graphic() && !"/\\#?@".contains(c);
            if !system.chars().all(plain) && resource::path(system).is_none() {
                return Err(wrong(format!("{system:?} is neither the id nor the path of a system")));
            }
        }
        let host = if place.host.contains(':') { format!("[{}]", place.host) } else { place.host.clone() };
        let port = place.port.map(|port| format!(":{port}")).unwrap_or_default();
        let base = Url::parse(&format!("https://{host}{port}/")).map_err(|error| wrong(error.to_string()))?;
        let tls = Tls { ca: settings.ca_file.clone(), insecure: settings.insecure, ..Tls::default() };
        let tls = tls::config(&tls).map_err(|error| wrong(error.to_string()))?;
        if settings.insecure {
            tracing::warn!(device = %place, "insecure: its certificate is not checked, so anybody could answer");
        }
        let client = |kept: usize| {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .connect_timeout(CONNECT)
                // An order is given once, and the password goes where we send it and nowhere else.
                .retry(retry::never())
                .redirect(redirect::Policy::none())
                .no_proxy()
                .pool_max_idle_per_host(kept)
                .build()
                .map_err(|error| wrong(error.to_string()))
        };
        Ok(Self {
            line: Line {
                name: format!("redfish {place}"),
                base,
                client: client(KEPT)?,
                // The device may have closed a kept connection just now: whether an order has gone out on it could not be
                // told, and it is given once.
                fresh: client(0)?,
                user: settings.user,
                password: settings.password,
            },
            wanted: settings.system,
            sessions: settings.session,
            root: None,
            system: None,
            session: None,
        })
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        known: bool,
        until: Instant,
    ) -> Result<T, PowerError> {
        let who = if known { self.who() } else { As::Nobody };
        let reply = self.line.send(Method::GET, path, None, who, until).await?;
        if !reply.status.is_success() {
            return Err(self.line.refused(&format!("GET {path}"), &reply));
        }
        T::deserialize(reply.body).map_err(|error| self.line.garbled(format!("GET {path}: {error}")))
    }

    fn garbled(&self, why: String) -> PowerError {
        self.line.garbled(why)
    }

    fn who(&self) -> As<'_> {
        self.session.as_ref().map_or(As::User, |session| As::Session(&session.token))
    }

    /// The path of the system; logs in and looks for it if that has not been done.
    async fn system(&mut self, until: Instant) -> Result<String, PowerError> {
        if let Some(path) = &self.system {
            return Ok(path.clone());
        }
        if self.root.is_none() {
            self.root = Some(self.get("/redfish/v1/", false, until).await?);
        }
        if self.sessions && self.session.is_none() {
            let path = self.root.as_ref().and_then(Root::sessions);
            let path = path.ok_or_else(|| self.garbled("the path of its sessions leads elsewhere".into()))?;
            self.session = Some(Session::begin(&self.line, path, until).await?);
        }
        let path = match self.wanted.as_deref().and_then(resource::path) {
            Some(path) => path,
            None => self.find(until).await?,
        };
        self.system = Some(path.clone());
        Ok(path)
    }

    async fn find(&self, until: Instant) -> Result<String, PowerError> {
        let none = || self.garbled("it has no computer systems".into());
        let systems = self.root.as_ref().and_then(|root| root.systems.as_ref()).ok_or_else(none)?;
        let path = systems.path().ok_or_else(none)?;
        let Collection { members } = self.get(&path, true, until).await?;
        let names =
            || members.iter().take(16).map(|one| resource::tidy(one.name())).collect::<Vec<_>>().join(", ");
        let found = match (&self.wanted, &members[..]) {
            (Some(wanted), all) => all.iter().find(|one| one.name() == wanted).ok_or_else(|| {
                PowerError::Settings(format!(
                    "{} has no system {wanted:?}: it has {}",
                    self.line.name,
                    names()
                ))
            })?,
            (None, [only]) => only,
            (None, []) => return Err(none()),
            (None, _) => {
                return Err(PowerError::Settings(format!(
                    "{} has several systems: say with system which of {}",
                    self.line.name,
                    names()
                )));
            }
        };
        found.path().ok_or_else(|| self.garbled("the path of the system leads elsewhere".into()))
    }

    async fn read(&mut self, until: Instant) -> Result<(String, System), PowerError> {
        let path = self.system(until).await?;
        let system = self.get(&path, true, until).await;
        if matches!(system, Err(PowerError::Denied { .. })) && self.session.is_some() {
            // An expired session: the next reading logs in again.
            self.system = None;
            if let Some(session) = self.session.take() {
                session.has_ended();
            }
            return Err(self.garbled("its session has ended".into()));
        }
        Ok((path, system?))
    }

    /// Where to send an order, and what.
    async fn reset(&mut self, order: Order, until: Instant) -> Result<(String, Value), PowerError> {
        let (path, system) = self.read(until).await?;
        let mut reset = system.reset();
        if let Some(info) = reset.info() {
            let info: Value = self.get(&info, true, until).await?;
            reset = reset.with_info(&info);
        }
        let device = self.name();
        let kind = reset.kind(order).map_err(|why| PowerError::Denied { device, why })?;
        let target = reset.target(&path);
        let target = target.ok_or_else(|| self.garbled("its reset leads elsewhere".into()))?;
        Ok((target, json!({ "ResetType": kind })))
    }
}

impl Device for Redfish {
    fn name(&self) -> String {
        self.line.name.clone()
    }

    fn status(&mut self, until: Instant) -> Answer<'_, Look> {
        Box::pin(async move {
            let (_, system) = self.read(until).await?;
            let none = || self.garbled("its PowerState is missing or unknown".into());
            let (state, said) = system.power().ok_or_else(none)?;
            Ok(Look { state, said })
        })
    }

    fn order(&mut self, order: Order, until: Instant) -> Answer<'_, ()> {
        Box::pin(async move {
            let unsent = |error| PowerError::Unsent(Box::new(error));
            let (target, body) = self.reset(order, until).await.map_err(unsent)?;
            let reply = self.line.order(&target, body, self.who(), until).await;
            let reply = reply.map_err(|error| match error {
                PowerError::Unreachable { .. } => unsent(error),
                error => error,
            })?;
            let device = self.name();
            match reply.status {
                status if status.is_success() => Ok(()),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.line.refused("reset", &reply)),
                status if status.is_client_error() => {
                    let said = resource::message(&reply.body).unwrap_or_default();
                    Err(PowerError::Refused {
                        device,
                        order,
                        why: format!("HTTP {} {said}", status.as_u16()),
                    })
                }
                _ => Err(self.line.refused("reset", &reply)),
            }
        })
    }

    fn close(&mut self, until: Instant) -> Answer<'_, ()> {
        Box::pin(async move {
            self.system = None;
            match self.session.take() {
                Some(session) => session.end(until).await,
                None => Ok(()),
            }
        })
    }
}
