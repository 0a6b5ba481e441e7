//! What is refused, and how.

use std::sync::Arc;

use pcmk_proto::lrmd::AlertRequest;
use pcmk_proto::xml::WriteXml as _;

use super::*;
use crate::policy::Policy;

const EACCES: i32 = -13;

fn adopt(story: &mut Story, text: &str) {
    story.input(Input::Policy(Arc::new(Policy::parse(text).unwrap())));
}

fn join_from(story: &mut Story, client: ClientId, address: &str) -> Reply {
    let origin = Origin::peer(address.parse().unwrap(), "key", None);
    story.input(Input::Connected { client, token: format!("token-{}", client.0), origin });
    let register = Operation::Register { protocol_version: Some("1.1".into()), is_ipc_provider: Some(true) };
    let msg_id = story.ask_as(client, Some("controller"), 0, register);
    let reply = story.said.iter().find_map(|(_, message)| match message {
        Message::Reply(reply) if reply.msg_id == msg_id => Some(reply.clone()),
        _ => None,
    });
    reply.unwrap()
}

#[test]
fn a_forbidden_agent_is_not_installed_here() {
    let mut story = Story::with_resource();
    adopt(&mut story, "[agents]\nallow = ['ocf:other:*']");
    for (action, interval_ms) in
        [("monitor", 0), ("stop", 0), ("start", 0), ("meta-data", 0), ("monitor", 10)]
    {
        story.said.clear();
        let call_id = story.exec(action, interval_ms);
        assert!(call_id > 0);
        let results = story.results();
        let [result] = results.as_slice() else { panic!("{results:?}") };
        assert_eq!((result.rc, result.status), (OcfRc::NOT_INSTALLED, ExecStatus::NotInstalled));
        assert_eq!(result.run_time, 1_700_000_001, "the cluster shows when");
        assert_eq!((result.call_id, result.action.as_str(), result.rsc_deleted), (call_id, action, false));
        let reason = "Agent ocf:test:Dummy is not allowed by this node's policy";
        assert_eq!(result.exit_reason.as_deref(), Some(reason));
        let position = |wanted: fn(&Message) -> bool| story.said.iter().position(|(_, said)| wanted(said));
        let reply = position(|said| matches!(said, Message::Reply(_)));
        assert!(reply < position(|said| matches!(said, Message::Notify(_))), "the reply comes first");
    }
    assert!(story.started.is_empty());
    assert_eq!(story.executor.operation_count(), 1, "the recurring one waits for its interval");
}

#[test]
fn a_recurring_operation_comes_back_when_the_policy_allows_it_again() {
    let mut story = Story::with_resource();
    adopt(&mut story, "[agents]\nallow = []");
    story.exec("monitor", 1000);
    story.pass(3000);
    assert_eq!(story.outcomes().len(), 1, "refused each time, reported once");
    adopt(&mut story, "");
    story.pass(1000);
    story.ends(0);
    assert_eq!(story.outcomes(), [done("monitor", 0)]);
}

#[test]
fn what_runs_when_the_policy_is_tightened_is_watched_and_stopped_but_not_started_again() {
    let mut story = Story::with_resource();
    story.exec("start", 0);
    story.ends(0);
    story.exec("monitor", 1000);
    story.ends(0);
    adopt(&mut story, "[agents]\nallow = []");
    story.said.clear();
    story.pass(1000);
    story.ends(7);
    assert_eq!(story.outcomes(), [done("monitor", 7)]);
    story.exec("stop", 0);
    story.ends(0);
    assert_eq!(story.outcomes().last(), Some(&done("stop", 0)));
    let runs = story.started.len();
    story.exec("start", 0);
    story.exec("stop", 0);
    assert_eq!(story.started.len(), runs);
    // The cluster always stops what failed to start, and fences the node if that fails.
    assert_eq!(story.outcomes(), [("start".into(), 5, ExecStatus::NotInstalled), done("stop", 0)]);
}

#[test]
fn a_stop_of_what_may_run_from_before_is_no_success() {
    let mut story = Story::with_resource();
    adopt(&mut story, "[agents]\nallow = []");
    story.exec("stop", 0);
    assert_eq!(story.outcomes(), [("stop".into(), 5, ExecStatus::NotInstalled)]);
}

#[test]
fn a_failed_start_may_be_stopped_and_a_found_resource_too() {
    for (first, rc) in [("start", 1), ("monitor", 0)] {
        let mut story = Story::with_resource();
        story.exec(first, 0);
        story.ends(rc);
        adopt(&mut story, "[agents]\nallow = []");
        story.exec("stop", 0);
        assert_eq!(story.started.len(), 2, "{first}");
    }
}

#[test]
fn another_agent_under_the_same_name_does_not_inherit_the_right_to_run() {
    let mut story = Story::with_resource();
    story.exec("start", 0);
    story.ends(0);
    adopt(&mut story, "[agents]\nallow = ['ocf:test:Good']");
    story.register("r", "Evil");
    story.exec("stop", 0);
    assert_eq!(story.started.len(), 1);
}

#[test]
fn forbidden_operations_do_not_hold_up_allowed_ones() {
    let mut story = Story::with_resource();
    adopt(&mut story, "[agents]\nallow = ['ocf:test:Good']");
    story.register("good", "Good");
    story.exec("start", 0);
    story.exec_with(ExecRequest { id: rsc("good"), action: Some("start".into()), ..ExecRequest::default() });
    assert_eq!(story.started.len(), 1);
    assert_eq!(story.started[0].1, "good start");
}

#[test]
fn alert_programs_are_refused_by_path_and_by_variable() {
    let mut story = Story::with_resource();
    adopt(&mut story, "[alerts]\nallow = ['/opt/alerts/*']");
    let mut alert = |path: &str, variable: &str| {
        let alert = AlertRequest {
            id: Some("a".into()),
            path: Some(path.into()),
            params: vec![(variable.into(), "x".into())],
            ..AlertRequest::default()
        };
        let rc = story.ask(0, Operation::Alert(Box::new(alert))).rc;
        (rc, story.alerts)
    };
    assert_eq!(alert("/opt/alerts/mail.sh", "CRM_alert_kind"), (0, 1));
    assert_eq!(alert("/bin/sh", "CRM_alert_kind"), (EACCES, 1));
    assert_eq!(alert("/opt/alerts/mail.sh", "LD_PRELOAD"), (EACCES, 1));
}

#[test]
fn providers_beyond_the_limit_get_no_token_and_nothing_else() {
    let mut story = Story::new();
    adopt(&mut story, "[peers]\nmax_providers = 2");
    assert_eq!(join_from(&mut story, ClientId(1), "192.0.2.1:1000").rc, 0);
    assert_eq!(join_from(&mut story, ClientId(2), "192.0.2.2:1000").rc, 0);
    // A cluster node that comes back before its old connection is known to be dead.
    assert_eq!(join_from(&mut story, ClientId(3), "192.0.2.2:2000").rc, 0);
    let refused = join_from(&mut story, ClientId(4), "192.0.2.3:1000");
    assert_eq!(refused.rc, -87);
    assert!(
        !Message::Reply(refused).to_xml().contains("lrmd_clientid"),
        "the one thing that controllers look at"
    );
    assert_eq!(story.executor.clients.current_provider(), Some(ClientId(3)));

    story.said.clear();
    let agent = AgentSpec { class: "ocf".into(), provider: Some("p".into()), kind: "Evil".into() };
    story.ask_as(ClientId(4), None, 0, Operation::ResourceRegister { origin: None, id: rsc("x"), agent });
    assert!(matches!(&story.said[..], [(ClientId(4), Message::Reply(reply))] if reply.rc == EACCES));
    assert_eq!(story.executor.resource_count(), 0);

    story.input(Input::Disconnected { client: ClientId(1) });
    assert_eq!(join_from(&mut story, ClientId(5), "192.0.2.3:2000").rc, 0);
}
