//! Who hears what, and how the daemon ends.

use super::*;

#[test]
fn results_go_to_every_named_client_or_only_to_the_one_that_asked() {
    let mut story = Story::with_resource();
    story.input(Input::Connected { client: OTHER, token: "t".into() });
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
