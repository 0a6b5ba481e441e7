//! What Nova itself recorded of the things that were done with a server: why an evacuation failed stands here.

use serde::Deserialize;

use super::error::{CloudError, RequestId};
use super::http::plain;
use super::{Cloud, wire};
use crate::ids::{HostName, ServerId};
use crate::stamp::Stamp;

/// One thing that was asked of Nova.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceAction {
    /// `evacuate`, `start`, …
    pub action: String,
    /// The request, as the call that made it returned it.
    pub request: Option<RequestId>,
    /// When it came in.
    pub started: Option<Stamp>,
    /// When it last changed (2.58 and later).
    pub updated: Option<Stamp>,
    /// `Error`, if it failed.
    pub message: Option<String>,
    /// Its steps, the latest first; in a list they are left out.
    pub events: Vec<ActionEvent>,
}

/// One step of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionEvent {
    /// `compute_rebuild_instance`, `rebuild_server`, …
    pub event: String,
    /// `Success` or `Error`, once it has ended.
    pub result: Option<String>,
    /// Where it ran.
    pub host: Option<HostName>,
    /// Why it failed, in one line (2.84 and later).
    pub details: Option<String>,
    /// When it began.
    pub started: Option<Stamp>,
    /// When it ended.
    pub finished: Option<Stamp>,
}

#[derive(Deserialize)]
struct List {
    #[serde(rename = "instanceActions")]
    actions: Vec<Raw>,
}

#[derive(Deserialize)]
struct One {
    #[serde(rename = "instanceAction")]
    action: Raw,
}

#[derive(Deserialize)]
struct Raw {
    action: String,
    #[serde(default, deserialize_with = "wire::text")]
    request_id: Option<String>,
    #[serde(default, deserialize_with = "wire::stamp")]
    start_time: Option<Stamp>,
    #[serde(default, deserialize_with = "wire::stamp")]
    updated_at: Option<Stamp>,
    #[serde(default, deserialize_with = "wire::text")]
    message: Option<String>,
    #[serde(default)]
    events: Vec<RawEvent>,
}

#[derive(Deserialize)]
struct RawEvent {
    event: String,
    #[serde(default, deserialize_with = "wire::text")]
    result: Option<String>,
    #[serde(default, deserialize_with = "wire::text")]
    host: Option<String>,
    #[serde(default, deserialize_with = "wire::text")]
    details: Option<String>,
    #[serde(default, deserialize_with = "wire::stamp")]
    start_time: Option<Stamp>,
    #[serde(default, deserialize_with = "wire::stamp")]
    finish_time: Option<Stamp>,
}

impl From<Raw> for InstanceAction {
    fn from(raw: Raw) -> Self {
        let event = |raw: RawEvent| ActionEvent {
            event: raw.event,
            result: raw.result,
            host: raw.host.and_then(|host| host.parse().ok()),
            details: raw.details.map(|text| plain(&text)),
            started: raw.start_time,
            finished: raw.finish_time,
        };
        Self {
            action: raw.action,
            request: raw.request_id.and_then(|id| id.try_into().ok()),
            started: raw.start_time,
            updated: raw.updated_at,
            message: raw.message.map(|text| plain(&text)),
            events: raw.events.into_iter().map(event).collect(),
        }
    }
}

impl Cloud {
    /// What was done with a server, the latest first.
    pub async fn instance_actions(&self, server: &ServerId) -> Result<Vec<InstanceAction>, CloudError> {
        let answer = self.get_list(&format!("/servers/{server}/os-instance-actions"), &[]).await?;
        let List { actions } = answer.parse()?;
        Ok(actions.into_iter().map(InstanceAction::from).collect())
    }

    /// One of these things with its steps; none if that request did nothing with this server.
    pub async fn instance_action(
        &self,
        server: &ServerId,
        request: &RequestId,
    ) -> Result<Option<InstanceAction>, CloudError> {
        if !request.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(CloudError::Senseless("this is no request id of Nova".into()));
        }
        match self.get(&format!("/servers/{server}/os-instance-actions/{request}"), &[]).await {
            Ok(answer) => {
                let One { action } = answer.parse()?;
                Ok(Some(action.into()))
            }
            Err(CloudError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
