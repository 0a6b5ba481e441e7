//! What Redfish resources say. Pure: JSON in, values out.

use serde::Deserialize;
use serde_json::Value;

use crate::power::{Order, PowerState};

/// Paths are longer nowhere.
const LONGEST_PATH: usize = 512;
/// Of what a peer says, so much is shown.
const SHOWN: usize = 200;

/// A reference to another resource.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Link {
    #[serde(rename = "@odata.id")]
    id: String,
}

/// The service root.
#[derive(Debug, Deserialize)]
pub struct Root {
    /// Where its systems are.
    #[serde(rename = "Systems")]
    pub systems: Option<Link>,
    #[serde(rename = "Links", default)]
    links: Links,
}

#[derive(Debug, Default, Deserialize)]
struct Links {
    #[serde(rename = "Sessions")]
    sessions: Option<Link>,
}

impl Root {
    /// Where sessions are made.
    pub fn sessions(&self) -> Option<String> {
        self.links.sessions.as_ref().map_or_else(|| path("/redfish/v1/SessionService/Sessions"), Link::path)
    }
}

/// A list of resources.
#[derive(Debug, Deserialize)]
pub struct Collection {
    /// What is in it.
    #[serde(rename = "Members", default)]
    pub members: Vec<Link>,
}

/// A system.
#[derive(Debug, Deserialize)]
pub struct System {
    #[serde(rename = "PowerState")]
    power: Option<String>,
    #[serde(rename = "Actions", default)]
    actions: Actions,
}

#[derive(Debug, Default, Deserialize)]
struct Actions {
    #[serde(rename = "#ComputerSystem.Reset")]
    reset: Option<Reset>,
}

/// How a system is reset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Reset {
    target: Option<String>,
    #[serde(rename = "ResetType@Redfish.AllowableValues")]
    allowed: Option<Vec<String>>,
    #[serde(rename = "@Redfish.ActionInfo")]
    info: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ActionInfo {
    #[serde(rename = "Parameters", default)]
    parameters: Vec<Parameter>,
}

#[derive(Debug, Deserialize)]
struct Parameter {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "AllowableValues")]
    allowed: Option<Vec<String>>,
}

impl Link {
    /// The path, if it is one on the same device.
    pub fn path(&self) -> Option<String> {
        path(&self.id)
    }

    /// The last part of it.
    pub fn name(&self) -> &str {
        self.id.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }
}

/// A path on this device, and nothing that leads elsewhere with our password.
pub fn path(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_graphic() && !"\\#?@".contains(c);
    let ours = text.starts_with("/redfish/") && text.len() <= LONGEST_PATH && text.chars().all(plain);
    (ours && !text.split('/').any(|part| part == "..")).then(|| text.to_owned())
}

impl System {
    /// How the power is, and in which words; none if it is not said.
    pub fn power(&self) -> Option<(PowerState, String)> {
        let said = self.power.as_deref()?;
        let state = match said {
            "Off" => PowerState::Off,
            "On" | "Paused" => PowerState::On,
            "PoweringOn" | "PoweringOff" => PowerState::Changing,
            _ => return None,
        };
        Some((state, format!("PowerState {said}")))
    }

    /// How it is reset, as far as it says that itself.
    pub fn reset(&self) -> Reset {
        self.actions.reset.clone().unwrap_or_default()
    }
}

impl Reset {
    /// Where the order goes.
    pub fn target(&self, system: &str) -> Option<String> {
        match &self.target {
            Some(target) => path(target),
            None => Some(format!("{}/Actions/ComputerSystem.Reset", system.trim_end_matches('/'))),
        }
    }

    /// Where the allowed values are, if not here.
    pub fn info(&self) -> Option<String> {
        self.info.as_deref().filter(|_| self.allowed.is_none()).and_then(path)
    }

    /// With the allowed values of its description.
    #[must_use]
    pub fn with_info(mut self, info: &Value) -> Self {
        if let Ok(info) = ActionInfo::deserialize(info) {
            let reset = info.parameters.into_iter().find(|parameter| parameter.name == "ResetType");
            self.allowed = reset.and_then(|parameter| parameter.allowed);
        }
        self
    }

    /// The `ResetType` of an order, or what there is instead.
    pub fn kind(&self, order: Order) -> Result<&'static str, String> {
        let wanted: &[&str] = match order {
            Order::Off => &["ForceOff"],
            Order::On => &["On", "ForceOn"],
        };
        let Some(allowed) = &self.allowed else { return Ok(wanted.first().copied().unwrap_or_default()) };
        let found = wanted.iter().find(|kind| allowed.iter().any(|one| one == *kind));
        found.copied().ok_or_else(|| {
            let offered: Vec<_> = allowed.iter().take(16).map(|one| tidy(one)).collect();
            format!("it has no reset type {}: it offers {}", wanted.join(" or "), offered.join(", "))
        })
    }
}

/// What an error says.
pub fn message(body: &Value) -> Option<String> {
    let error = body.get("error")?;
    let extended = error.get("@Message.ExtendedInfo").and_then(|list| list.get(0));
    let text = extended.and_then(|info| info.get("Message")).or_else(|| error.get("message"))?;
    text.as_str().map(tidy).filter(|text| !text.is_empty())
}

/// As it may be shown: short, without control characters.
pub fn tidy(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn system(value: Value) -> System {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_off_is_off() {
        let state = |said: &str| system(json!({ "PowerState": said })).power().map(|(state, _)| state);
        assert_eq!(state("Off"), Some(PowerState::Off));
        assert_eq!(state("On"), Some(PowerState::On));
        assert_eq!(state("PoweringOff"), Some(PowerState::Changing));
        for unknown in ["", "off", "Standby"] {
            assert_eq!(state(unknown), None, "{unknown}");
        }
        assert_eq!(system(json!({ "PowerState": null })).power(), None);
    }

    #[test]
    fn paths_stay_on_the_device() {
        for ours in ["/redfish/v1/Systems/1", "/redfish/v1/Systems/437XR1138R2/"] {
            assert_eq!(path(ours).as_deref(), Some(ours));
        }
        for other in [
            "",
            "//evil/redfish/",
            "https://evil/redfish/v1",
            "/redfish/../admin",
            "/redfish/v1/\r\nX: y",
            "/redfish/v1?x",
            "/redfish/v1/@evil",
            "/api",
        ] {
            assert_eq!(path(other), None, "{other}");
        }
    }

    #[test]
    fn reset_types_are_those_that_are_offered() {
        let reset = |value| system(json!({"Actions": {"#ComputerSystem.Reset": value}})).reset();
        let target = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
        let plain = reset(json!({ "target": target }));
        assert_eq!((plain.kind(Order::Off), plain.kind(Order::On)), (Ok("ForceOff"), Ok("On")));
        assert_eq!(plain.target("/x").as_deref(), Some(target));
        let few = reset(json!({"ResetType@Redfish.AllowableValues": ["ForceOn", "GracefulShutdown"]}));
        assert_eq!(few.kind(Order::On), Ok("ForceOn"));
        assert!(few.kind(Order::Off).is_err_and(|text| text.contains("GracefulShutdown")));
        assert_eq!(few.target("/redfish/v1/Systems/1/").as_deref(), Some(target));
        let elsewhere = reset(json!({ "target": "https://evil/" }));
        assert_eq!(elsewhere.target("/redfish/v1/Systems/1"), None);
        let described = reset(json!({ "@Redfish.ActionInfo": "/redfish/v1/Systems/1/ResetActionInfo" }));
        assert_eq!(described.info().as_deref(), Some("/redfish/v1/Systems/1/ResetActionInfo"));
        let info = json!({"Parameters": [{"Name": "ResetType", "AllowableValues": ["On"]}]});
        assert!(described.with_info(&info).kind(Order::Off).is_err());
    }

    #[test]
    fn errors_say_what_the_device_says() {
        let body =
            json!({"error": {"message": "general", "@Message.ExtendedInfo": [{"Message": "already\n off"}]}});
        assert_eq!(message(&body).as_deref(), Some("already off"));
        assert_eq!(message(&json!({"error": {"message": "general"}})).as_deref(), Some("general"));
        assert_eq!(message(&json!([])), None);
    }
}
