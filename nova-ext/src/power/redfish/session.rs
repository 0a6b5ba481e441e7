//! A session: made in one go even if nobody waits any more, and ended whatever comes.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderValue, LOCATION};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::line::{As, Line, TOKEN};
use super::resource;
use crate::power::{PowerError, farewell};

/// For a device to hear that a session has ended, when nobody waits for it.
const GOODBYE: Duration = Duration::from_secs(2);

/// A session. One that is dropped is ended.
pub(super) struct Session {
    line: Line,
    pub(super) token: HeaderValue,
    /// Where it can be ended; none once it has.
    path: Option<String>,
}

impl Session {
    /// Logs in at the path of sessions.
    pub(super) async fn begin(line: &Line, path: String, until: Instant) -> Result<Self, PowerError> {
        let (made, session) = oneshot::channel();
        let line = line.clone();
        let name = line.name.clone();
        // A request that was sent may make a session: its answer alone says how to end it.
        farewell::later(async move {
            let session = log_in(line, &path, until + GOODBYE).await;
            // If nobody waits, it is dropped.
            let _ = made.send(session);
        });
        let silent = || PowerError::Silent { device: name, waiting: "a session was asked for".into() };
        match timeout_at(until, session).await {
            Ok(Ok(session)) => session,
            Ok(Err(_)) | Err(_) => Err(silent()),
        }
    }

    /// Ends it.
    pub(super) async fn end(mut self, until: Instant) -> Result<(), PowerError> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        let ended = self.line.send(Method::DELETE, &path, None, As::Session(&self.token), until).await;
        if ended.is_ok() {
            self.path = None;
        }
        ended.map(drop)
    }

    /// The device has ended it.
    pub(super) fn has_ended(mut self) {
        self.path = None;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else { return };
        let (line, token) = (self.line.clone(), self.token.clone());
        farewell::later(async move {
            let until = Instant::now() + GOODBYE;
            let _ = line.send(Method::DELETE, &path, None, As::Session(&token), until).await;
        });
    }
}

async fn log_in(line: Line, path: &str, until: Instant) -> Result<Session, PowerError> {
    let login = json!({"UserName": line.user, "Password": line.password.expose()});
    let reply = line.send(Method::POST, path, Some(login), As::Nobody, until).await?;
    if !reply.status.is_success() {
        return Err(line.refused(&format!("POST {path}"), &reply));
    }
    let token = reply.headers.get(TOKEN).cloned();
    let mut token = token.ok_or_else(|| line.garbled("it made a session without a token".into()))?;
    token.set_sensitive(true);
    // A path or a full URL of the same device.
    let location = reply.headers.get(LOCATION).and_then(|location| location.to_str().ok());
    let location = location.and_then(|location| line.base.join(location).ok());
    let location = location.filter(|url| url.origin() == line.base.origin());
    let path = location.and_then(|url| resource::path(url.path()));
    Ok(Session { line, token, path })
}
