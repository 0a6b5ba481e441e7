//! What was done to a server before: whether its owner had stopped it.

use serde::Deserialize;
use serde_json::json;

use super::Cloud;
use super::error::{CloudError, RequestId};
use crate::ids::ServerId;

/// Actions after which a server runs or not, as their names say it.
const DECIDES: &[&str] =
    &["create", "start", "stop", "reboot", "rebuild", "resume", "restore", "unshelve", "revertResize"];

#[derive(Deserialize)]
struct List {
    #[serde(rename = "instanceActions")]
    actions: Vec<Action>,
}

#[derive(Deserialize)]
struct Action {
    action: String,
    #[serde(default)]
    start_time: Option<String>,
}

impl Cloud {
    /// Stops a server that runs.
    pub async fn stop_server(&self, id: &ServerId) -> Result<RequestId, CloudError> {
        self.act(id, &json!({"os-stop": null})).await
    }

    /// Whether the last thing that its owner did to a server, before it was evacuated, was to stop it.
    pub async fn was_stopped(&self, id: &ServerId) -> Result<bool, CloudError> {
        let answer = self.get_list(&format!("/servers/{id}/os-instance-actions"), &[]).await?;
        let List { actions } = answer.parse()?;
        Ok(stopped(actions))
    }
}

fn stopped(mut actions: Vec<Action>) -> bool {
    // Nova lists the latest first; the times, all of one form, are surer.
    actions.sort_by(|a, b| b.start_time.cmp(&a.start_time));
    actions
        .iter()
        // A start after the evacuation is ours or its owner's: then it is to run.
        .find(|one| DECIDES.contains(&one.action.as_str()))
        .is_some_and(|one| one.action == "stop")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(names: &[&str]) -> Vec<Action> {
        let at = |n: usize| Some(format!("2026-11-22T09:35:{:02}.000000", 59 - n));
        names
            .iter()
            .enumerate()
            .map(|(n, name)| Action { action: (*name).to_owned(), start_time: at(n) })
            .collect()
    }

    #[test]
    fn the_last_action_that_decides_counts() {
        assert!(!stopped(actions(&["evacuate", "create"])));
        assert!(stopped(actions(&["evacuate", "stop", "create"])));
        assert!(stopped(actions(&["evacuate", "reset_state", "evacuate", "lock", "stop", "start"])));
        assert!(!stopped(actions(&["start", "evacuate", "stop", "create"])));
        assert!(!stopped(actions(&[])));
        let mut shuffled = actions(&["evacuate", "stop", "create"]);
        shuffled.reverse();
        assert!(stopped(shuffled));
    }
}
