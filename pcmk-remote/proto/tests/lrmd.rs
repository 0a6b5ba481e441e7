//! Requests and messages beyond what the recordings contain.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use pcmk_proto::limits::Limits;
use pcmk_proto::lrmd::{
    AlertRequest, CallOptions, ExecRequest, IpcForward, IpcForwardKind, Message, MessageError, Notify,
    OpResult, Operation, ProxyNotify, RecurringOps, Reply, ReplyBody, Request, Style,
};
use pcmk_proto::types::{AgentSpec, ExecStatus, OcfRc, Params, ResourceId};
use pcmk_proto::xml::{Element, WriteXml};
use proptest::prelude::*;

fn tree(xml: &str) -> Element {
    Element::parse(xml.as_bytes(), &Limits::default()).unwrap()
}

fn request(xml: &str) -> Request {
    Request::from_element(&tree(xml)).unwrap()
}

fn id(name: &str) -> ResourceId {
    ResourceId::new(name).unwrap()
}

fn exec(request: &Request) -> &ExecRequest {
    let Operation::Exec(exec) = &request.operation else { panic!("{request:?}") };
    exec
}

fn owned(params: &[(&str, &str)]) -> Params {
    params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn result(params: Params) -> OpResult {
    OpResult {
        origin: "o".into(),
        timeout_ms: 20_000,
        interval_ms: 0,
        start_delay_ms: 0,
        rc: OcfRc::OK,
        status: ExecStatus::Done,
        call_id: 6,
        rsc_deleted: false,
        run_time: 1_795_339_584,
        rcchange_time: 0,
        exec_time_ms: 82,
        queue_time_ms: 0,
        id: id("r1"),
        action: "start".into(),
        userdata: None,
        exit_reason: None,
        output: None,
        params,
    }
}

fn notify(result: OpResult) -> Message {
    Message::Notify(Notify::Result(Box::new(result)))
}

#[test]
fn the_exec_request_of_the_reference() {
    let request = request(
        "<lrmd_command t='lrmd' lrmd_op='lrmd_rsc_exec' lrmd_timeout='1' lrmd_callopt='4' \
         lrmd_remote_msg_id='9' lrmd_remote_msg_type='request'><lrmd_calldata>\
         <lrmd_rsc lrmd_origin='lrmd_api_exec' lrmd_rsc_id='nova' lrmd_rsc_action='monitor' \
         lrmd_rsc_userdata_str='12:34:0:uuid' lrmd_rsc_interval='10000' lrmd_timeout='20000' \
         lrmd_rsc_start_delay='0'><attributes CRM_meta_timeout='20000' ip='10.0.0.1'>\
         <param name='1st' value='x'/></attributes></lrmd_rsc></lrmd_calldata></lrmd_command>",
    );
    let exec = exec(&request);
    assert_eq!(exec.timeout_ms, 20_000, "not the one of the envelope");
    assert_eq!(request.call_timeout_ms, Some(1));
    assert!(request.options.unwrap().notify_changes_only());
    assert_eq!(exec.params, owned(&[("CRM_meta_timeout", "20000"), ("ip", "10.0.0.1"), ("1st", "x")]));
    assert_eq!(exec.userdata.as_deref(), Some("12:34:0:uuid"));
    assert_eq!(Request::from_element(&request.to_element()).unwrap(), request);
}

#[test]
fn what_is_missing_is_left_to_the_executor() {
    let nothing = request("<lrmd_command lrmd_op='lrmd_rsc_exec'/>");
    assert_eq!((nothing.msg_id, nothing.options, nothing.call_timeout_ms), (0, None, None));
    assert_eq!(exec(&nothing), &ExecRequest::default());

    let empty_id = request(
        "<lrmd_command lrmd_op='lrmd_rsc_info'><lrmd_calldata><lrmd_rsc lrmd_rsc_id=''/></lrmd_calldata>\
         </lrmd_command>",
    );
    assert_eq!(empty_id.operation, Operation::ResourceInfo { origin: None, id: None });

    let agentless = request(
        "<lrmd_command lrmd_op='lrmd_rsc_register'><lrmd_calldata><lrmd_rsc lrmd_rsc_id='a'/>\
         </lrmd_calldata></lrmd_command>",
    );
    let agent = AgentSpec { class: String::new(), provider: None, kind: String::new() };
    let expected = Operation::ResourceRegister { origin: None, id: Some(id("a")), agent };
    assert_eq!(agentless.operation, expected);

    assert_eq!(request("<x/>").operation, Operation::Other(String::new()));
    assert_eq!(request("<x t='crmd' lrmd_op='nonsense'/>").operation, Operation::Other("nonsense".into()));
}

#[test]
fn numbers_are_decimal_and_in_range_or_an_error() {
    let with = |field: &str, value: &str| {
        Request::from_element(&tree(&format!(
            "<c lrmd_op='lrmd_rsc_exec'><lrmd_calldata><lrmd_rsc {field}='{value}'/></lrmd_calldata></c>"
        )))
    };
    for field in ["lrmd_rsc_interval", "lrmd_timeout", "lrmd_rsc_start_delay"] {
        for bad in ["", "x", "1s", "0x10", "1.5", "4294967296", "99999999999999999999"] {
            match with(field, bad) {
                Err(MessageError::Number { field: said, value }) => assert_eq!((said, &*value), (field, bad)),
                other => panic!("{other:?}"),
            }
        }
        assert!(with(field, "4294967295").is_ok());
        assert!(with(field, " 20 ").is_ok());
        assert_eq!(exec(&with(field, "-1").unwrap()), &ExecRequest::default());
    }
    for field in ["lrmd_remote_msg_id", "lrmd_timeout", "lrmd_callopt"] {
        let garbage = tree(&format!("<c lrmd_op='lrmd_rsc_poke' {field}='{}'/>", "9".repeat(9999)));
        let error = Request::from_element(&garbage).unwrap_err().to_string();
        assert!(error.contains(field) && error.len() < 300, "{error}");
    }
    let answerable = tree("<c lrmd_op='lrmd_rsc_poke' lrmd_remote_msg_id='7' lrmd_callopt='x'/>");
    assert_eq!(Request::msg_id_of(&answerable), Some(7));
    assert_eq!(Request::msg_id_of(&tree("<c lrmd_remote_msg_id='x'/>")), None);
}

#[test]
fn every_spelling_of_yes_is_understood() {
    let provider = |spelling: &str| {
        let xml = format!("<c lrmd_op='register' lrmd_is_ipc_provider='{spelling}'/>");
        match request(&xml).operation {
            Operation::Register { is_ipc_provider, .. } => is_ipc_provider.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    for yes in ["true", "TRUE", "1", "yes", "Yes", "on", "y", "t", "T"] {
        assert!(provider(yes), "{yes}");
    }
    for no in ["false", "0", "no", "off", "", "2", "truee"] {
        assert!(!provider(no), "{no}");
    }
}

#[test]
fn call_options_overlap() {
    assert!(CallOptions(3).drop_recurring() && !CallOptions(2).drop_recurring());
    assert!(CallOptions(2).notify_orig_only() && !CallOptions(4).notify_orig_only());
    assert!(CallOptions(4).notify_changes_only() && !CallOptions(3).notify_changes_only());
}

#[test]
fn a_check_takes_the_first_child_whatever_its_name() {
    let check = |data: &str| {
        request(&format!("<c lrmd_op='lrmd_check'><lrmd_calldata>{data}</lrmd_calldata></c>")).operation
    };
    let expected = Operation::Check { origin: None, watchdog: Some("10s".into()) };
    assert_eq!(check("\n <anything lrmd_watchdog='10s'/><lrmd_op lrmd_watchdog='2s'/>"), expected);
    assert_eq!(check(""), Operation::Check { origin: None, watchdog: None });
}

#[test]
fn an_answer_is_not_a_request_nor_a_request_an_answer() {
    let reply = tree("<lrmd_reply lrmd_rc='0' lrmd_remote_msg_id='1' lrmd_remote_msg_type='reply'/>");
    assert!(matches!(Request::from_element(&reply), Err(MessageError::WrongKind { .. })));
    assert!(matches!(Request::parse(reply), Err(MessageError::WrongKind { .. })));
    let command = tree("<lrmd_command lrmd_op='register' lrmd_remote_msg_type='request'/>");
    assert!(matches!(Message::from_element(&command), Err(MessageError::WrongKind { .. })));
    assert!(matches!(Message::from_element(&tree("<x/>")), Err(MessageError::WrongKind { .. })));
    for incomplete in [
        "<r lrmd_remote_msg_type='reply' lrmd_remote_msg_id='1'/>",
        "<r lrmd_remote_msg_type='reply' lrmd_rc='0'/>",
        "<n lrmd_remote_msg_type='notify'/>",
        "<n lrmd_remote_msg_type='notify' lrmd_op='lrmd_rsc_exec'/>",
        "<p lrmd_remote_msg_type='notify' lrmd_ipc_session='s' lrmd_ipc_op='new'/>",
    ] {
        let error = Message::from_element(&tree(incomplete)).unwrap_err();
        assert!(matches!(error, MessageError::Missing { .. }), "{incomplete}: {error}");
    }
}

#[test]
fn parameters_that_are_no_attribute_names_travel_as_elements() {
    let params = [("1st", "x"), ("ip", "1"), ("a/b", "y"), ("a b", "<"), ("x:y", "z"), ("xmlns", "n")];
    let text = notify(result(owned(&params))).to_xml();
    let expected = "<attributes ip=\"1\"><param name=\"1st\" value=\"x\"/><param name=\"a/b\" value=\"y\"/>\
                    <param name=\"a b\" value=\"&lt;\"/><param name=\"x:y\" value=\"z\"/>\
                    <param name=\"xmlns\" value=\"n\"/></attributes></lrmd_notify>";
    assert!(text.ends_with(expected), "{text}");
    assert!(notify(result(Params::new())).to_xml().ends_with("<attributes/></lrmd_notify>"));
}

#[test]
fn no_parameter_is_ever_sent_twice() {
    let read = request(
        "<c lrmd_op='lrmd_rsc_exec'><lrmd_calldata><lrmd_rsc><attributes a='1' A='2'>\
         <param name='a' value='3'/><param name='9' value='4'/><param name='9' value='5'/>\
         <param name='' value='6'/><param name='b'/><param value='7'/></attributes></lrmd_rsc>\
         </lrmd_calldata></c>",
    );
    let expected = owned(&[("a", "3"), ("A", "2"), ("9", "5")]);
    assert_eq!(exec(&read).params, expected, "the last value counts, as in C");

    let twice = result(owned(&[("a", "1"), ("9", "2"), ("a", "3"), ("9", "4"), ("", "5")]));
    let Message::Notify(Notify::Result(back)) =
        Message::from_element(&tree(&notify(twice).to_xml())).unwrap()
    else {
        panic!()
    };
    assert_eq!(back.params, owned(&[("a", "1"), ("9", "2")]));
}

#[test]
fn a_hundred_thousand_parameters_are_no_work() {
    let params: String = (0..100_000)
        .map(|n: u32| ["<param name='", &(n % 50_000).to_string(), "' value='v'/>"].concat())
        .collect();
    let read = request(&format!(
        "<c lrmd_op='lrmd_rsc_exec'><lrmd_calldata><lrmd_rsc><attributes>{params}</attributes></lrmd_rsc>\
         </lrmd_calldata></c>"
    ));
    assert_eq!(exec(&read).params.len(), 50_000);
    assert_eq!(request(&read.to_xml()), read);
}

#[test]
fn a_result_carries_output_of_any_kind() {
    let mut with_output = result(Params::new());
    with_output.output = Some("out line1\nout\ttab <&> \"é\" 😀\r\n".into());
    with_output.exit_reason = Some("it's \"bad\"".into());
    with_output.userdata = Some("1:2:0:uuid".into());
    let message = notify(with_output);
    let text = message.to_xml();
    assert!(text.contains(
        " lrmd_rsc_userdata_str=\"1:2:0:uuid\" lrmd_rsc_exit_reason=\"it's &quot;bad&quot;\" \
         lrmd_rsc_output=\"out line1&#x0A;out&#x09;tab &lt;&amp;&gt; &quot;é&quot; 😀&#x0D;&#x0A;\" \
         lrmd_remote_msg_id=\"0\" lrmd_remote_msg_type=\"notify\"><attributes/>"
    ));
    assert_eq!(Message::from_element(&tree(&text)).unwrap(), message);
    assert_eq!(message.to_element().to_xml(), text);
}

#[test]
fn a_shutdown_request_has_session_zero() {
    assert_eq!(
        Message::Proxy(ProxyNotify::ShutdownRequest).to_xml(),
        "<lrmd_ipc_proxy lrmd_ipc_op=\"shutdown_req\" lrmd_ipc_session=\"0\" lrmd_remote_msg_id=\"0\" \
         lrmd_remote_msg_type=\"notify\"/>"
    );
}

#[test]
fn messages_that_the_recordings_lack() {
    let reply = |body| Message::Reply(Reply { origin: "o".into(), rc: 0, call_id: 1, msg_id: 2, body });
    let ops = vec![("monitor".to_owned(), 500, 20_000)];
    let recurring = vec![RecurringOps { id: id("r1"), ops }, RecurringOps { id: id("r2"), ops: Vec::new() }];
    let registered = ReplyBody::Registered {
        client_id: "uuid".into(),
        protocol_version: "1.2".into(),
        uptime_s: Some(7),
        node_start_state: Some("standby".into()),
    };
    for (message, expected) in [
        (
            reply(ReplyBody::Recurring(recurring)),
            "<lrmd_reply lrmd_origin=\"o\" lrmd_rc=\"0\" lrmd_callid=\"1\" lrmd_remote_msg_id=\"2\" \
             lrmd_remote_msg_type=\"reply\"><lrmd_rsc lrmd_rsc_id=\"r1\"><lrmd_rsc_op \
             lrmd_rsc_action=\"monitor\" lrmd_rsc_interval=\"500\" lrmd_timeout=\"20000\"/></lrmd_rsc>\
             <lrmd_rsc lrmd_rsc_id=\"r2\"/></lrmd_reply>",
        ),
        (
            reply(registered),
            "<lrmd_reply lrmd_origin=\"o\" lrmd_rc=\"0\" lrmd_callid=\"1\" lrmd_op=\"register\" \
             lrmd_clientid=\"uuid\" lrmd_protocol_version=\"1.2\" uptime=\"7\" \
             node_start_state=\"standby\" lrmd_remote_msg_id=\"2\" lrmd_remote_msg_type=\"reply\"/>",
        ),
    ] {
        assert_eq!(message.to_xml(), expected);
        assert_eq!(Message::from_element(&tree(expected)).unwrap(), message);
    }
    let payload = Some(tree("<ack>a &lt; b<![CDATA[c]]></ack>"));
    let nack = IpcForward { kind: IpcForwardKind::ShutdownNack, session: None, msg_id: None, payload };
    let alert = AlertRequest {
        origin: Some("lrmd_api_exec_alert".into()),
        id: Some("a1".into()),
        path: Some("/path".into()),
        timeout_ms: 30_000,
        params: owned(&[("CRM_alert_kind", "node"), ("2nd", "x")]),
    };
    let recurring = |id| Operation::Recurring { origin: None, id };
    for (operation, length) in [
        (Operation::IpcForward(Box::new(nack)), 197),
        (Operation::Alert(Box::new(alert)), 337),
        (recurring(None), 121),
        (recurring(Some(id("r1"))), 193),
    ] {
        let request = Request {
            msg_id: 3,
            client_name: None,
            token: None,
            call_timeout_ms: None,
            options: Some(CallOptions(2)),
            style: Style { name_attribute: false, t_attribute: true },
            operation,
        };
        let text = request.to_xml();
        assert_eq!(Request::parse(tree(&text)).unwrap(), request, "{length}");
        assert_eq!(request.to_element().to_xml(), text);
    }
}

prop_compose! {
    fn exec_request()(
        origin in prop::option::of("[a-z_]{0,8}"),
        name in "[ -~é]{1,12}",
        action in prop::option::of("\\PC{0,9}"),
        userdata in prop::option::of("\\PC{0,9}"),
        numbers: (u32, u32, u32),
        params in prop::collection::vec(("\\PC{1,6}|[0-9a-z/ :]{1,4}", "\\PC{0,9}|[\n\r\t\"<&]{0,4}"), 0..9),
    ) -> ExecRequest {
        let mut seen = std::collections::HashSet::new();
        let mut params: Params = params.into_iter().filter(|(name, _)| seen.insert(name.clone())).collect();
        // Attributes come first on the wire.
        let is_attribute = |name: &str| {
            pcmk_proto::xml::text::is_name(name) && !name.contains(':') && name != "xmlns"
        };
        params.sort_by_key(|(name, _)| !is_attribute(name));
        ExecRequest {
            origin, id: ResourceId::new(name), action, userdata,
            interval_ms: numbers.0, timeout_ms: numbers.1, start_delay_ms: numbers.2, params,
        }
    }
}

proptest! {
    #[test]
    fn any_exec_request_survives_the_wire(
        exec in exec_request(),
        msg_id: i64,
        options: Option<i64>,
        call_timeout_ms: Option<i64>,
        token: Option<u64>,
        style: (bool, bool),
    ) {
        let request = Request {
            msg_id,
            client_name: None,
            token: token.map(|token| token.to_string()),
            call_timeout_ms,
            options: options.map(CallOptions),
            style: Style { name_attribute: style.0, t_attribute: style.1 },
            operation: Operation::Exec(Box::new(exec)),
        };
        prop_assert_eq!(Request::parse(tree(&request.to_xml())).unwrap(), request.clone());
        prop_assert_eq!(request.to_element(), tree(&request.to_xml()));
    }
}
