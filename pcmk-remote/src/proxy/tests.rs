//! What tools and cluster nodes hear, told as short stories.

use pcmk_proto::lrmd::{IpcForward, IpcForwardKind, ProxyNotify};
use pcmk_proto::qb::IpcName;
use pcmk_proto::xml::Element;

use super::schemas::{Fetch, SchemaError, SchemaFile, Step, highest, is_schema_name};
use super::{Action, Input, NOT_ALLOWED, NOT_HERE, Proxy, Settings, TOO_MANY};
use crate::caller::{Access, Caller};
use crate::ids::{ClientId, ToolId};

const OLD: ClientId = ClientId(1);
const NEW: ClientId = ClientId(2);
const TOOL: ToolId = ToolId(10);
const SESSION: &str = "0f5c2a44-0000-4000-8000-000000000001";

fn caller(access: Access) -> Caller {
    Caller { pid: 16545, uid: 0, gid: 0, user: "root".into(), access }
}

fn connect(proxy: &mut Proxy, tool: ToolId, server: IpcName, provider: Option<ClientId>) -> Vec<Action> {
    let session = if tool == TOOL { SESSION.to_owned() } else { format!("session-{}", tool.0) };
    proxy.handle(Input::Connecting { tool, server, caller: caller(Access::Privileged), session, provider })
}

fn connected(server: IpcName) -> Proxy {
    let mut proxy = Proxy::new(Settings::default());
    connect(&mut proxy, TOOL, server, Some(OLD));
    proxy
}

fn forward(from: ClientId, kind: IpcForwardKind, msg_id: Option<i64>) -> Input {
    let payload = Some(Element::new("payload"));
    Input::Forward { from, forward: IpcForward { kind, session: Some(SESSION.into()), msg_id, payload } }
}

fn ask(proxy: &mut Proxy, msg_id: i32, flags: u32) -> Vec<Action> {
    proxy.handle(Input::Request { tool: TOOL, msg_id, flags, payload: Element::new("question") })
}

fn destroy(to: ClientId) -> Action {
    Action::Send { to, message: ProxyNotify::Destroy { session: SESSION.into() } }
}

#[test]
fn a_tool_is_let_in_and_announced_under_the_name_of_its_channel() {
    for server in IpcName::ALL {
        let mut proxy = Proxy::new(Settings::default());
        let actions = connect(&mut proxy, TOOL, server, Some(OLD));
        if matches!(server, IpcName::Pacemakerd | IpcName::Lrmd) {
            assert_eq!(actions, [Action::Refuse { tool: TOOL, errno: NOT_HERE }], "{server}");
            continue;
        }
        let channel = if server == IpcName::CibShm { "cib_rw" } else { server.as_str() };
        let message = ProxyNotify::New { session: SESSION.into(), server: channel.into() };
        assert_eq!(actions, [Action::Accept { tool: TOOL }, Action::Send { to: OLD, message }]);
    }
}

#[test]
fn without_a_cluster_or_without_the_group_nobody_is_let_in() {
    let mut proxy = Proxy::new(Settings::default());
    let refused = connect(&mut proxy, TOOL, IpcName::Attrd, None);
    assert_eq!(refused, [Action::Refuse { tool: TOOL, errno: NOT_HERE }]);
    // That this is a remote node may be known to everybody.
    for (server, errno) in [(IpcName::Attrd, NOT_ALLOWED), (IpcName::Pacemakerd, NOT_HERE)] {
        let caller = caller(Access::None);
        let (session, provider) = (SESSION.into(), Some(OLD));
        let stranger = Input::Connecting { tool: TOOL, server, caller, session, provider };
        assert_eq!(proxy.handle(stranger), [Action::Refuse { tool: TOOL, errno }]);
    }
    assert_eq!(proxy.session_count(), 0);
}

#[test]
fn sessions_are_bounded() {
    let mut proxy = Proxy::new(Settings { max_sessions: 1, ..Settings::default() });
    connect(&mut proxy, TOOL, IpcName::Attrd, Some(OLD));
    let other = ToolId(11);
    let refused = connect(&mut proxy, other, IpcName::Attrd, Some(OLD));
    assert_eq!(refused, [Action::Refuse { tool: other, errno: TOO_MANY }]);
}

#[test]
fn requests_carry_what_the_cluster_wants_to_know_of_the_tool() {
    let mut proxy = connected(IpcName::CibShm);
    let message = ProxyNotify::Request {
        session: SESSION.into(),
        client: "proxy-cib_rw-16545-0f5c2a44".into(),
        user: "root".into(),
        msg_id: 1,
        flags: 768,
        payload: Element::new("question"),
    };
    assert_eq!(ask(&mut proxy, 1, 512), [Action::Send { to: OLD, message }]);
}

#[test]
fn answers_and_events_reach_the_tool_in_whatever_order() {
    let mut proxy = connected(IpcName::Attrd);
    ask(&mut proxy, 1, 512);
    ask(&mut proxy, 2, 512);
    let payload = || Element::new("payload");
    for msg_id in [2, 1, 1, 77] {
        let answer = proxy.handle(forward(OLD, IpcForwardKind::Response, Some(msg_id)));
        let msg_id = i32::try_from(msg_id).unwrap();
        assert_eq!(answer, [Action::Respond { tool: TOOL, msg_id, payload: payload() }]);
    }
    let event = proxy.handle(forward(OLD, IpcForwardKind::Event, None));
    assert_eq!(event, [Action::Event { tool: TOOL, payload: payload() }]);
    assert_eq!(proxy.handle(forward(OLD, IpcForwardKind::Response, Some(i64::MAX))), []);
    assert_eq!(proxy.handle(forward(OLD, IpcForwardKind::Other("dance".into()), None)), []);
}

#[test]
fn whoever_ends_a_session_the_other_side_is_told() {
    let mut proxy = connected(IpcName::Attrd);
    assert_eq!(proxy.handle(Input::Closed { tool: TOOL }), [destroy(OLD)]);
    assert_eq!(proxy.handle(Input::Closed { tool: TOOL }), []);
    let late = proxy.handle(forward(OLD, IpcForwardKind::Response, Some(1)));
    assert_eq!(late, [destroy(OLD)], "an answer to a tool that died meanwhile");

    let mut proxy = connected(IpcName::Attrd);
    let ended = proxy.handle(forward(OLD, IpcForwardKind::Destroy, None));
    assert_eq!(ended, [destroy(OLD), Action::Close { tool: TOOL }]);
    assert_eq!(proxy.handle(Input::Closed { tool: TOOL }), []);
    assert_eq!(ask(&mut proxy, 1, 512), [], "a request that was under way");
}

#[test]
fn a_session_stays_with_its_provider_and_ends_with_it() {
    let mut proxy = connected(IpcName::CibRw);
    let other = ToolId(11);
    connect(&mut proxy, other, IpcName::CibRw, Some(NEW));
    assert!(matches!(ask(&mut proxy, 1, 512).as_slice(), [Action::Send { to: OLD, .. }]));
    // Another cluster node has no say in it.
    assert_eq!(proxy.handle(forward(NEW, IpcForwardKind::Response, Some(1))), [destroy(NEW)]);
    assert_eq!(proxy.handle(forward(NEW, IpcForwardKind::Destroy, None)), [destroy(NEW)]);
    // The tool waits for an answer that will not come.
    assert_eq!(proxy.handle(Input::ClientGone { client: OLD }), [Action::Close { tool: TOOL }]);
    assert_eq!(proxy.provider_of(other), Some(NEW));
    assert_eq!(proxy.session_count(), 1);
}

#[test]
fn a_tool_that_asks_without_end_is_cut() {
    let mut proxy = Proxy::new(Settings { max_waiting: 2, ..Settings::default() });
    connect(&mut proxy, TOOL, IpcName::Attrd, Some(OLD));
    ask(&mut proxy, 1, 512);
    assert_eq!(ask(&mut proxy, 2, 0).len(), 1, "nobody waits for a response to this one");
    ask(&mut proxy, 3, 512);
    assert_eq!(ask(&mut proxy, 4, 512), [destroy(OLD), Action::Close { tool: TOOL }]);

    let mut proxy = connected(IpcName::Attrd);
    assert_eq!(proxy.handle(Input::Overflow { tool: TOOL }), [destroy(OLD), Action::Close { tool: TOOL }]);
    assert_eq!(proxy.handle(Input::Overflow { tool: TOOL }), []);
}

fn parse(xml: &str) -> Element {
    Element::parse(xml.as_bytes(), &pcmk_proto::limits::Limits::default()).unwrap()
}

#[test]
fn schemas_are_asked_for_as_a_tool_would() {
    let (mut fetch, hello) = Fetch::begin("pacemaker-4.0", "pacemaker-remoted");
    assert_eq!((hello.msg_id, hello.flags), (1, 512));
    assert_eq!(
        hello.payload,
        parse(
            r#"<cib_command t="cib" cib_op="register" cib_clientname="pacemaker-remoted" cib_callid="2" cib_callopt="4096"/>"#
        )
    );
    assert_eq!(fetch.answer(7, &parse("<other/>")), None);
    let registered = parse(r#"<cib_common_callback_worker cib_op="register" cib_clientid="x"/>"#);
    let Some(Ok(Step::Ask(question))) = fetch.answer(1, &registered) else { panic!() };
    assert_eq!(question.msg_id, 2);
    assert_eq!(
        question.payload,
        parse(
            r#"<cib_command t="cib" cib_op="cib_schemas" cib_callid="3" cib_callopt="4096"><cib_calldata><schema version="pacemaker-4.0"/></cib_calldata></cib_command>"#
        )
    );
    let answer = parse(
        r#"<cib-reply cib_rc="0"><cib_calldata><schemas><schema version="pacemaker-4.1"><file path="pacemaker-4.1.rng"><![CDATA[<grammar/>]]></file><file path="empty.rng"/></schema><schema version="pacemaker-4.2"><file path="b.xsl"><![CDATA[two]]></file><file path="b.xsl"><![CDATA[again]]></file></schema></schemas></cib_calldata></cib-reply>"#,
    );
    let file = |name: &str, content: &str| SchemaFile { name: name.into(), content: content.into() };
    assert_eq!(
        fetch.answer(2, &answer),
        Some(Ok(Step::Done(vec![file("pacemaker-4.1.rng", "<grammar/>"), file("b.xsl", "two")])))
    );
}

#[test]
fn answers_that_are_none_or_name_other_places_are_refused() {
    let asked = || {
        let (mut fetch, _) = Fetch::begin("pacemaker-4.0", "x");
        fetch.answer(1, &parse(r#"<r cib_clientid="x"/>"#)).unwrap().unwrap();
        fetch
    };
    let (mut fetch, _) = Fetch::begin("pacemaker-4.0", "x");
    assert_eq!(fetch.answer(1, &parse("<nack/>")), Some(Err(SchemaError::Unexpected("nack".into()))));
    assert_eq!(asked().answer(2, &parse("<nack/>")), Some(Err(SchemaError::Unexpected("nack".into()))));
    assert_eq!(asked().answer(2, &parse(r#"<r cib_rc="-22"/>"#)), Some(Err(SchemaError::Refused(-22))));
    for name in ["../x.rng", "/etc/x.rng", "", ".rng", ".hidden.rng", "x", "x.sh", "a/b.rng", "a\\b.rng"] {
        let answer = parse(&format!(r#"<r cib_rc="0"><file path="{name}"><![CDATA[x]]></file></r>"#));
        assert_eq!(asked().answer(2, &answer), Some(Err(SchemaError::Name(name.into()))), "{name}");
        assert!(!is_schema_name(name), "{name}");
    }
    let many: Vec<String> =
        (0..2000).map(|n| format!(r#"<file path="f{n}.rng"><![CDATA[x]]></file>"#)).collect();
    let answer = parse(&format!(r#"<r cib_rc="0">{}</r>"#, many.concat()));
    assert_eq!(asked().answer(2, &answer), Some(Err(SchemaError::TooMany)));
}

#[test]
fn the_newest_schema_is_that_of_the_highest_number() {
    let names =
        ["pacemaker-2.10.rng", "pacemaker-3.9.rng", "pacemaker-3.10.rng", "nodes-4.0.rng", "pacemaker.rng"];
    assert_eq!(highest(names).as_deref(), Some("pacemaker-3.10"));
    assert_eq!(highest(["pacemaker-next.rng", "pacemaker-1.0.xsl", "pacemaker-300.1.rng"]), None);
}
