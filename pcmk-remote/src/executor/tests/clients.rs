//! Who hears what, and how the daemon ends.

use super::*;
use crate::caller::{Access, Caller};

#[test]
fn results_go_to_every_named_client_or_only_to_the_one_that_asked() {
    let mut story = Story::with_resource();
    story.input(Input::Connected { client: OTHER, token: "t".into(), origin: Origin::default() });
    story.said.clear();
    story.exec("start", 0);
    story.ends(0);
    assert!(story.said.iter().all(|(client, _)| *client == CONTROLLER), "nameless clients hear nothing");
    story.ask_as(OTHER, Some("tool"), 0, Operation::Poke { origin: None });
    story.said.clear();
    story.exec("monitor", 0);
    story.ends(0);
    let heard: Vec<ClientId> = story
        .said
        .iter()
        .filter(|(_, message)| matches!(message, Message::Notify(Notify::Result(_))))
        .map(|(client, _)| *client)
        .collect();
    assert_eq!(heard, [CONTROLLER, OTHER]);
    story.said.clear();
    let exec = ExecRequest { id: rsc("r"), action: Some("monitor".into()), ..ExecRequest::default() };
    story.ask(2, Operation::Exec(Box::new(exec)));
    story.ends(0);
    assert!(story.said.iter().all(|(client, _)| *client == CONTROLLER));
}

#[test]
fn a_second_client_is_announced_to_the_first() {
    let mut story = Story::with_resource();
    story.join(OTHER, true);
    assert!(matches!(&story.said[0], (CONTROLLER, Message::Notify(Notify::NewClient { .. }))));
    assert_eq!(story.executor.clients.current_provider(), Some(OTHER));
}

#[test]
fn recurring_operations_survive_a_takeover_and_end_with_the_last_client() {
    let mut story = Story::with_resource();
    story.exec("monitor", 10_000);
    story.ends(0);
    story.join(OTHER, true);
    story.input(Input::Disconnected { client: CONTROLLER });
    story.pass(10_000);
    assert_eq!(story.started.len(), 2);
    let running = story.last_run();
    story.input(Input::Disconnected { client: OTHER });
    assert_eq!(story.killed, [running]);
    story.dies(running);
    story.pass(60_000);
    assert_eq!(story.started.len(), 2);
    assert_eq!(story.executor.resource_count(), 1, "registrations persist");
}

#[test]
fn one_shot_operations_outlive_their_client() {
    let mut story = Story::with_resource();
    story.exec("start", 0);
    story.input(Input::Disconnected { client: CONTROLLER });
    assert!(story.killed.is_empty());
    story.ends(0);
    assert_eq!(story.executor.operation_count(), 0);
}

#[test]
fn recurring_operations_of_lasting_registrations_need_no_client() {
    let mut story = Story::with_resource();
    let agent = AgentSpec { class: "ocf".into(), provider: Some("test".into()), kind: "Dummy".into() };
    story.ask(0, Operation::ResourceRegister { origin: None, id: rsc("lasting"), agent });
    story.exec_with(ExecRequest {
        id: rsc("lasting"),
        action: Some("monitor".into()),
        interval_ms: 1_000,
        ..ExecRequest::default()
    });
    story.ends(0);
    story.input(Input::Disconnected { client: CONTROLLER });
    story.pass(1_000);
    assert_eq!(story.started.len(), 2);
}

#[test]
fn stopping_without_a_cluster_is_immediate() {
    let mut story = Story::new();
    story.input(Input::Terminate);
    assert_eq!(story.exit, Some(ExitReason::NotConnected));
}

#[test]
fn stopping_asks_the_cluster_and_waits_until_it_has_disconnected() {
    let mut story = Story::with_resource();
    story.input(Input::Terminate);
    assert!(!story.listening);
    assert!(matches!(&story.said[0], (CONTROLLER, Message::Proxy(ProxyNotify::ShutdownRequest))));
    story.input(Input::Terminate);
    assert_eq!(story.said.len(), 1, "a second TERM changes nothing");
    let ack = IpcForward { kind: IpcForwardKind::ShutdownAck, session: None, msg_id: None, payload: None };
    assert_eq!(story.ask(0, Operation::IpcForward(Box::new(ack))).rc, 0);
    story.exec("stop", 0);
    story.ends(0);
    assert_eq!(story.exit, None);
    story.input(Input::Disconnected { client: CONTROLLER });
    assert_eq!(story.exit, Some(ExitReason::Drained));
    assert_eq!(story.executor.next_deadline(), None);
}

#[test]
fn a_refusal_ends_the_daemon_at_once_but_only_while_it_is_stopping() {
    let mut story = Story::with_resource();
    let nack =
        || IpcForward { kind: IpcForwardKind::ShutdownNack, session: None, msg_id: None, payload: None };
    story.ask(0, Operation::IpcForward(Box::new(nack())));
    assert_eq!(story.exit, None);
    story.input(Input::Terminate);
    story.ask(0, Operation::IpcForward(Box::new(nack())));
    assert_eq!(story.exit, Some(ExitReason::Refused));
}

/// A story in which a process of this node opens the executor's own IPC.
fn with_local(privileged: bool) -> (Story, ClientId) {
    let mut story = Story::with_resource();
    let local = ClientId::local(ToolId(3));
    let access = if privileged { Access::Privileged } else { Access::Member };
    let origin = Origin::process(&Caller { pid: 77, uid: 0, gid: 0, user: "root".into(), access });
    story.input(Input::Connected { client: local, token: "t".into(), origin });
    (story, local)
}

fn rc_of(story: &Story, msg_id: i64) -> Option<i32> {
    story.said.iter().find_map(|(_, message)| match message {
        Message::Reply(reply) if reply.msg_id == msg_id => Some(reply.rc),
        _ => None,
    })
}

#[test]
fn a_local_client_is_announced_to_its_like_alone() {
    for privileged in [true, false] {
        let (mut story, first) = with_local(privileged);
        assert!(story.said.is_empty(), "a controller would drop the node");
        assert_eq!(story.executor.current_provider(), Some(CONTROLLER));
        story.ask_as(first, None, 0, Operation::Poke { origin: None });
        story.said.clear();
        let access = if privileged { Access::Privileged } else { Access::Member };
        let origin = Origin::process(&Caller { pid: 78, uid: 0, gid: 0, user: "root".into(), access });
        story.input(Input::Connected { client: ClientId::local(ToolId(4)), token: "t".into(), origin });
        let heard: Vec<ClientId> = story.said.iter().map(|(to, _)| *to).collect();
        assert_eq!(heard, [first]);
        story.said.clear();
        story.join(OTHER, false);
        assert!(story.said.iter().any(|(to, message)| {
            *to == CONTROLLER && matches!(message, Message::Notify(Notify::NewClient { .. }))
        }));
    }
}

#[test]
fn local_clients_without_privilege_may_register_and_poke() {
    const EACCES: i32 = -13;
    let (mut story, local) = with_local(false);
    let info = || Operation::ResourceInfo { origin: None, id: rsc("r") };
    let registration =
        |provider| Operation::Register { protocol_version: Some("1.1".into()), is_ipc_provider: provider };
    for (operation, rc) in [
        (registration(None), 0),
        (registration(Some(true)), EACCES),
        (Operation::Poke { origin: None }, 0),
        (info(), EACCES),
        (Operation::Recurring { origin: None, id: None }, EACCES),
        (Operation::Other("dance".into()), -95),
    ] {
        let what = format!("{operation:?}");
        let asked = story.ask_as(local, None, 0, operation);
        assert_eq!(rc_of(&story, asked), Some(rc), "{what}");
    }
    let check = Operation::Check { origin: None, watchdog: Some("10s".into()) };
    let asked = story.ask_as(local, None, 0, check);
    assert_eq!(rc_of(&story, asked), None, "no release answers a check");
    assert_eq!(story.executor.current_provider(), Some(CONTROLLER));

    let (mut story, local) = with_local(true);
    let asked = story.ask_as(local, None, 0, info());
    assert_eq!(rc_of(&story, asked), Some(0));
    let asked = story.ask_as(local, None, 0, registration(Some(true)));
    assert_eq!(rc_of(&story, asked), Some(EACCES), "no process of this node provides the cluster's services");
}

#[test]
fn a_local_client_hears_results_even_without_a_name_and_takes_its_monitors_along() {
    let (mut story, local) = with_local(true);
    story.ask_as(local, None, 0, Operation::Poke { origin: None });
    story.exec("monitor", 10_000);
    story.ends(0);
    assert!(
        story
            .said
            .iter()
            .any(|(to, message)| { *to == local && matches!(message, Message::Notify(Notify::Result(_))) })
    );
    let own = ExecRequest {
        id: rsc("r"),
        action: Some("monitor".into()),
        interval_ms: 5_000,
        ..ExecRequest::default()
    };
    story.ask_as(local, None, 0, Operation::Exec(Box::new(own)));
    story.ends(0);
    story.outcomes();
    story.input(Input::Disconnected { client: local });
    assert_eq!(story.outcomes(), [cancelled("monitor", 0)]);
    story.pass(10_000);
    assert_eq!(story.started.len(), 3, "the cluster's own monitor goes on");
}

#[test]
fn a_local_client_without_privilege_hears_no_results() {
    let (mut story, local) = with_local(false);
    story.ask_as(local, None, 0, Operation::Poke { origin: None });
    let heard = |story: &Story| story.said.iter().filter(|(to, _)| *to == local).count();
    assert_eq!(heard(&story), 2, "its answer, and that it was answered");
    story.exec("start", 0);
    story.ends(0);
    assert_eq!(heard(&story), 2);
    assert_eq!(story.outcomes().len(), 1);
}

#[test]
fn schemas_are_fetched_from_a_provider_that_has_them() {
    let register = |story: &mut Story, version: &str, provider| {
        let version = Some(version.to_owned());
        story.ask(0, Operation::Register { protocol_version: version, is_ipc_provider: Some(provider) });
    };
    let mut story = Story::new();
    story.input(Input::Connected { client: CONTROLLER, token: "t".into(), origin: Origin::default() });
    for (version, provider) in [("1.1", true), ("1.2", false), ("0.9", true), ("banana", true)] {
        register(&mut story, version, provider);
        assert_eq!(story.schemas_from, [], "{version}");
    }
    for version in ["1.2", "1.10", "2.0"] {
        register(&mut story, version, true);
    }
    assert_eq!(story.schemas_from, [CONTROLLER; 3]);
}
