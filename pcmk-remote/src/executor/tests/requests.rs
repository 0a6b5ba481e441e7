//! Each request and its answer.

use super::*;

#[test]
fn registration_tells_version_uptime_and_token() {
    let mut story = Story::new();
    story.now = 65_000;
    story.join(CONTROLLER, true);
    let Message::Reply(reply) = &story.said[0].1 else { panic!("a reply") };
    assert_eq!(reply.rc, 0);
    assert_eq!(
        reply.body,
        ReplyBody::Registered {
            client_id: "token-1".into(),
            protocol_version: "1.2".into(),
            uptime_s: Some(65),
            node_start_state: None
        }
    );
}

#[test]
fn ancient_protocol_versions_are_refused_and_provide_nothing() {
    let mut story = Story::new();
    story.input(Input::Connected { client: CONTROLLER, token: "t".into(), origin: Origin::default() });
    for (version, rc) in [(Some("0.9"), -71), (Some("x"), -71), (None, -71), (Some("1"), 0), (Some("2.0"), 0)]
    {
        let operation =
            Operation::Register { protocol_version: version.map(Into::into), is_ipc_provider: Some(true) };
        assert_eq!(story.ask(0, operation).rc, rc, "{version:?}");
        if rc != 0 {
            assert!(story.executor.clients.current_provider().is_none());
        }
    }
}

#[test]
fn the_heartbeat_is_a_reply_and_then_a_notification() {
    let mut story = Story::with_resource();
    story.ask(0, Operation::Poke { origin: None });
    let [(_, Message::Reply(reply)), (_, Message::Notify(Notify::Done { rc: 0, call_id, op, id: None, .. }))] =
        &story.said[..]
    else {
        panic!("reply, then notification: {:?}", story.said)
    };
    assert_eq!((reply.rc, reply.call_id), (0, *call_id));
    assert_eq!(op, "lrmd_rsc_poke");
}

#[test]
fn call_ids_count_every_request() {
    let mut story = Story::with_resource();
    let first = story.ask(0, Operation::Poke { origin: None }).call_id;
    let second = story.exec("start", 0);
    assert_eq!(second, first + 1);
    story.executor.call_id_for_test(i32::MAX);
    assert_eq!(story.ask(0, Operation::Poke { origin: None }).call_id, 1);
}

#[test]
fn unknown_and_incomplete_requests_get_their_errno() {
    let mut story = Story::with_resource();
    assert_eq!(story.ask(0, Operation::Other("lrmd_rsc_metadata".into())).rc, -95);
    assert_eq!(story.ask(0, Operation::Exec(Box::default())).rc, -22);
    assert_eq!(story.exec_with(ExecRequest { id: rsc("nobody"), ..ExecRequest::default() }), -19);
    assert_eq!(story.ask(0, Operation::ResourceInfo { origin: None, id: None }).rc, -19);
    assert_eq!(story.ask(0, Operation::ResourceInfo { origin: None, id: rsc("nobody") }).rc, -19);
    assert_eq!(story.ask(0, Operation::ResourceUnregister { origin: None, id: None }).rc, -19);
    assert_eq!(story.unregister("nobody"), 0);
    assert_eq!(story.cancel("monitor", 10), -95);
    let incomplete = Operation::Cancel { origin: None, action: None, id: rsc("r"), interval_ms: 0 };
    assert_eq!(story.ask(0, incomplete).rc, -22);
    assert_eq!(story.ask(0, Operation::Recurring { origin: None, id: rsc("nobody") }).rc, -19);
    assert_eq!(story.ask(0, Operation::Alert(Box::default())).rc, -22);
    assert!(story.started.is_empty() && story.alerts == 0);
}

#[test]
fn unregistering_reports_what_never_ran_and_marks_what_still_runs() {
    let mut story = Story::with_resource();
    assert_eq!(story.unregister("r"), 0);
    story.register("r", "Dummy");
    story.exec("start", 0);
    story.exec("monitor", 10_000);
    story.said.clear();
    assert_eq!(story.unregister("r"), -115);
    let results = story.results();
    assert_eq!(
        results.iter().map(|r| (r.status, r.rsc_deleted)).collect::<Vec<_>>(),
        [(ExecStatus::Cancelled, true)]
    );
    story.said.clear();
    story.ends(0);
    let results = story.results();
    assert_eq!(results.iter().map(|r| (r.rc.0, r.rsc_deleted)).collect::<Vec<_>>(), [(0, true)]);
    assert_eq!(story.executor.operation_count(), 0);
}

#[test]
fn another_agent_under_the_same_name_replaces_the_old_registration() {
    let mut story = Story::with_resource();
    story.exec("monitor", 10_000);
    story.ends(0);
    story.said.clear();
    assert_eq!(story.register("r", "DUMMY"), 0);
    assert_eq!(story.outcomes(), [], "the same agent in other letters changes nothing");
    assert_eq!(story.register("r", "Stateful"), 0);
    assert_eq!(story.outcomes(), [cancelled("monitor", 0)]);
    // A run of the old registration still keeps the name occupied.
    story.exec("start", 0);
    let old = story.last_run();
    story.register("r", "Dummy");
    story.exec("start", 0);
    assert_eq!(story.started.last().map(|(op, _)| *op), Some(old));
    story.run_ends(old, 0);
    assert_ne!(story.last_run(), old);
}

#[test]
fn what_the_cluster_says_to_a_tool_is_passed_on_and_answered() {
    let mut story = Story::with_resource();
    let forward = IpcForward {
        kind: IpcForwardKind::Event,
        session: Some("somebody".into()),
        msg_id: None,
        payload: None,
    };
    assert_eq!(story.ask(0, Operation::IpcForward(Box::new(forward.clone()))).rc, 0);
    assert_eq!(story.forwarded, [(CONTROLLER, forward)]);
}

#[test]
fn registrations_and_operations_are_bounded() {
    let mut story = Story::new();
    story.executor = Executor::new(Settings { max_resources: 2, max_operations: 3, ..Settings::default() });
    story.join(CONTROLLER, true);
    assert_eq!((story.register("a", "D"), story.register("b", "D"), story.register("c", "D")), (0, 0, -105));
    assert_eq!(story.register("a", "Other"), 0, "replacing needs no room");
    for rc in [true, true, true, false] {
        let exec = ExecRequest { id: rsc("a"), action: Some("start".into()), ..ExecRequest::default() };
        assert_eq!(story.exec_with(exec) > 0, rc);
    }
}

#[test]
fn recurring_operations_are_listed_once_they_have_run() {
    let mut story = Story::with_resource();
    story.exec("start", 0);
    story.exec("monitor", 10_000);
    let listed = |story: &mut Story| match story.ask(0, Operation::Recurring { origin: None, id: None }).body
    {
        ReplyBody::Recurring(list) => list[0].ops.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(listed(&mut story), []);
    story.ends(0);
    assert_eq!(listed(&mut story), [("monitor".to_string(), 10_000, 20_000)]);
}

#[test]
fn a_request_that_cannot_be_made_out_is_answered() {
    let mut story = Story::with_resource();
    story.input(Input::Unreadable { client: CONTROLLER, msg_id: 77 });
    story.input(Input::Unreadable { client: OTHER, msg_id: 78 });
    let [(CONTROLLER, Message::Reply(reply))] = &story.said[..] else {
        panic!("one reply: {:?}", story.said)
    };
    assert_eq!((reply.msg_id, reply.rc), (77, -22));
}
