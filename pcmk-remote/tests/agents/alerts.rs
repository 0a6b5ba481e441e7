//! Alert programs.

use std::os::unix::fs::PermissionsExt;

use nix::unistd::{User, geteuid};
use pcmk_proto::types::{ExecStatus, OcfRc};
use pcmk_remote::agent::{AlertCall, Outcome};
use pcmk_remote::host::HostEvent;

use crate::rig::{Rig, data, dies, written};

fn rig() -> Rig {
    let rig = Rig::with(|settings| settings.alert_user = "nobody".into());
    // The alert's user writes there, and may not be able to enter the folders that lead to this source.
    std::fs::set_permissions(rig.dir.path(), std::fs::Permissions::from_mode(0o777)).expect("mode");
    std::fs::copy(data().join("alerts/record"), rig.dir.path().join("record")).expect("copy");
    rig
}

fn alert(rig: &Rig, params: &[(&str, &str)]) -> AlertCall {
    let file = rig.dir.path().join("file");
    let mut params: Vec<(String, String)> =
        params.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    params.push(("CRM_alert_file".into(), file.to_str().expect("text").into()));
    let path = rig.dir.path().join("record").to_str().expect("text").into();
    AlertCall { id: "a1".into(), path, timeout_ms: 30_000, params }
}

async fn end(rig: &mut Rig) -> Outcome {
    match rig.event().await {
        HostEvent::AlertFinished { id, outcome } => {
            assert_eq!(id, "a1");
            outcome
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn runs_as_its_user_and_is_told_what_happened() {
    let mut rig = rig();
    for sequence in 1..=2 {
        let call = alert(&rig, &[("CRM_alert_kind", "node")]);
        rig.host.alert(call);
        assert_eq!(rig.host.alerts_in_flight(), 1);
        assert_eq!(end(&mut rig).await.rc, OcfRc::OK);
        assert_eq!(rig.host.alerts_in_flight(), 0);
        let text = written(&rig.dir.path().join("file")).await;
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.contains(&"CRM_alert_kind=node"));
        assert!(lines.contains(&format!("CRM_alert_node_sequence={sequence}").as_str()));
        assert!(lines.contains(&format!("CRM_notify_node_sequence={sequence}").as_str()));
        if geteuid().is_root() {
            let nobody = User::from_name("nobody").expect("readable").expect("exists");
            assert_eq!(lines[0], nobody.uid.to_string());
            assert_eq!(lines[1], nobody.gid.to_string(), "no supplementary groups");
        }
        std::fs::remove_file(rig.dir.path().join("file")).expect("written by nobody, removed by us");
    }
}

#[tokio::test]
async fn exit_code_and_missing_file_are_reported() {
    let mut rig = rig();
    let call = alert(&rig, &[("CRM_alert_rc", "3")]);
    rig.host.alert(call);
    assert_eq!(end(&mut rig).await.rc, OcfRc(3));
    let call = AlertCall { path: "/no/such/alert".into(), ..alert(&rig, &[]) };
    rig.host.alert(call);
    let outcome = end(&mut rig).await;
    assert_eq!(outcome.status, ExecStatus::NotInstalled);
    assert_eq!(outcome.exit_reason.as_deref(), Some("/no/such/alert: No such file or directory"));
}

#[tokio::test]
async fn time_limit_kills_the_group() {
    let mut rig = rig();
    let call = AlertCall { timeout_ms: 2_000, ..alert(&rig, &[("CRM_alert_hang", "1")]) };
    rig.host.alert(call);
    let sleeper = written(&rig.dir.path().join("file")).await.trim().parse().expect("process id");
    assert_eq!(end(&mut rig).await.status, ExecStatus::Timeout);
    dies(sleeper).await;
}
