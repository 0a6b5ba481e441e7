//! Replies and notifications as XML.

use super::fields::{NO_SESSION, attr, element, ipc, kind, op};
use super::parts::{
    MessageError, agent, excerpt, missing, number, owned, params, put_agent, put_params, put_payload,
    required, resource_id, span,
};
use super::{Message, Notify, OpResult, ProxyNotify, RecurringOps, Reply, ReplyBody};
use crate::types::{ExecStatus, OcfRc, ResourceId};
use crate::xml::{Builder, Element, Sink, WriteXml, Writer};

impl Message {
    /// Reads what a daemon says. For clients.
    pub fn from_element(message: &Element) -> Result<Self, MessageError> {
        match message.attr(attr::MSG_TYPE) {
            Some(kind::REPLY) => read_reply(message).map(Self::Reply),
            Some(kind::NOTIFY) if message.attr(attr::IPC_SESSION).is_some() => {
                read_proxy(message).map(Self::Proxy)
            }
            Some(kind::NOTIFY) => read_notify(message).map(Self::Notify),
            other => Err(MessageError::WrongKind {
                element: excerpt(&message.name),
                kind: excerpt(other.unwrap_or_default()),
                expected: "a reply or a notification",
            }),
        }
    }

    /// The message as a tree.
    pub fn to_element(&self) -> Element {
        let mut builder = Builder::default();
        self.put(&mut builder, Envelope::Remote);
        builder.finish()
    }

    /// The message as a local client of the executor gets it: there the transport carries the numbers.
    pub fn to_local_xml(&self) -> String {
        let mut text = String::new();
        self.put(&mut Writer::new(&mut text), Envelope::Local);
        text
    }

    fn put(&self, sink: &mut impl Sink, envelope: Envelope) {
        match self {
            Self::Reply(reply) => put_reply(sink, reply, envelope),
            Self::Notify(notify) => put_notify(sink, notify, envelope),
            Self::Proxy(proxy) => put_proxy(sink, proxy, envelope),
        }
    }
}

impl WriteXml for Message {
    fn write_xml(&self, out: &mut String) {
        self.put(&mut Writer::new(out), Envelope::Remote);
    }
}

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Envelope {
    /// To a cluster node: number and type are attributes.
    Remote,
    /// To a process of this node.
    Local,
}

fn put_reply(sink: &mut impl Sink, reply: &Reply, envelope: Envelope) {
    sink.open(element::REPLY);
    sink.attr(attr::ORIGIN, &reply.origin);
    sink.number(attr::RC, reply.rc);
    sink.number(attr::CALLID, reply.call_id);
    match &reply.body {
        ReplyBody::Registered { client_id, protocol_version, uptime_s, node_start_state } => {
            sink.attr(attr::OP, op::REGISTER);
            if !client_id.is_empty() {
                sink.attr(attr::CLIENT_ID, client_id);
            }
            sink.attr(attr::PROTOCOL_VERSION, protocol_version);
            if let Some(uptime) = uptime_s {
                sink.number(attr::UPTIME, uptime);
            }
            sink.optional(attr::NODE_START_STATE, node_start_state.as_deref());
        }
        ReplyBody::ResourceInfo { id, agent } => {
            sink.attr(attr::RSC_ID, id.as_str());
            put_agent(sink, agent);
        }
        ReplyBody::Plain | ReplyBody::Recurring(_) => {}
    }
    envelope.put(sink, reply.msg_id, kind::REPLY);
    if let ReplyBody::Recurring(resources) = &reply.body {
        for resource in resources {
            put_recurring(sink, resource);
        }
    }
    sink.close(element::REPLY);
}

fn read_reply(message: &Element) -> Result<Reply, MessageError> {
    Ok(Reply {
        origin: origin(message),
        rc: required(message, attr::RC)?,
        call_id: number(message, attr::CALLID)?.unwrap_or_default(),
        msg_id: required(message, attr::MSG_ID)?,
        body: read_reply_body(message)?,
    })
}

fn read_reply_body(message: &Element) -> Result<ReplyBody, MessageError> {
    if message.attr(attr::OP) == Some(op::REGISTER) {
        return Ok(ReplyBody::Registered {
            client_id: owned(message, attr::CLIENT_ID).unwrap_or_default(),
            protocol_version: owned(message, attr::PROTOCOL_VERSION).unwrap_or_default(),
            uptime_s: number(message, attr::UPTIME)?,
            node_start_state: owned(message, attr::NODE_START_STATE),
        });
    }
    if let Some(id) = resource_id(message) {
        return Ok(ReplyBody::ResourceInfo { id, agent: agent(message) });
    }
    let resources = message.child_elements().filter(|child| child.name == element::RSC);
    let resources: Vec<RecurringOps> = resources.map(read_recurring).collect::<Result<_, _>>()?;
    Ok(if resources.is_empty() { ReplyBody::Plain } else { ReplyBody::Recurring(resources) })
}

fn put_recurring(sink: &mut impl Sink, resource: &RecurringOps) {
    sink.open(element::RSC);
    sink.attr(attr::RSC_ID, resource.id.as_str());
    for (action, interval_ms, timeout_ms) in &resource.ops {
        sink.open(element::RSC_OP);
        sink.attr(attr::ACTION, action);
        sink.number(attr::INTERVAL, interval_ms);
        sink.number(attr::TIMEOUT, timeout_ms);
        sink.close(element::RSC_OP);
    }
    sink.close(element::RSC);
}

fn read_recurring(resource: &Element) -> Result<RecurringOps, MessageError> {
    let ops = resource.child_elements().filter(|child| child.name == element::RSC_OP);
    Ok(RecurringOps {
        id: id(resource)?,
        ops: ops
            .map(|op| {
                let action = owned(op, attr::ACTION).unwrap_or_default();
                Ok((action, span(op, attr::INTERVAL)?, span(op, attr::TIMEOUT)?))
            })
            .collect::<Result<_, _>>()?,
    })
}

fn put_notify(sink: &mut impl Sink, notify: &Notify, envelope: Envelope) {
    sink.open(element::NOTIFY);
    match notify {
        Notify::NewClient { origin } => {
            sink.attr(attr::ORIGIN, origin);
            sink.attr(attr::OP, op::NEW_CLIENT);
            envelope.put(sink, 0, kind::NOTIFY);
        }
        Notify::Done { origin, rc, call_id, op, id } => {
            sink.attr(attr::ORIGIN, origin);
            sink.number(attr::RC, rc);
            sink.number(attr::CALLID, call_id);
            sink.attr(attr::OP, op);
            sink.optional(attr::RSC_ID, id.as_ref().map(ResourceId::as_str));
            envelope.put(sink, 0, kind::NOTIFY);
        }
        Notify::Result(result) => {
            put_result(sink, result);
            envelope.put(sink, 0, kind::NOTIFY);
            // Always there, even empty: the cluster compares it with its configuration.
            put_params(sink, &result.params);
        }
    }
    sink.close(element::NOTIFY);
}

fn read_notify(message: &Element) -> Result<Notify, MessageError> {
    match message.attr(attr::OP) {
        None => Err(missing(message, attr::OP)),
        Some(op::NEW_CLIENT) => Ok(Notify::NewClient { origin: origin(message) }),
        Some(op::EXEC) => read_result(message).map(|result| Notify::Result(Box::new(result))),
        Some(op) => Ok(Notify::Done {
            origin: origin(message),
            rc: required(message, attr::RC)?,
            call_id: number(message, attr::CALLID)?.unwrap_or_default(),
            op: op.to_owned(),
            id: resource_id(message),
        }),
    }
}

fn put_result(sink: &mut impl Sink, result: &OpResult) {
    sink.attr(attr::ORIGIN, &result.origin);
    sink.number(attr::TIMEOUT, result.timeout_ms);
    sink.number(attr::INTERVAL, result.interval_ms);
    sink.number(attr::START_DELAY, result.start_delay_ms);
    sink.number(attr::EXEC_RC, result.rc.0);
    sink.number(attr::EXEC_STATUS, result.status.code());
    sink.number(attr::CALLID, result.call_id);
    sink.number(attr::RSC_DELETED, i32::from(result.rsc_deleted));
    sink.number(attr::RUN_TIME, result.run_time);
    sink.number(attr::RCCHANGE_TIME, result.rcchange_time);
    sink.number(attr::EXEC_TIME, result.exec_time_ms);
    sink.number(attr::QUEUE_TIME, result.queue_time_ms);
    sink.attr(attr::OP, op::EXEC);
    sink.attr(attr::RSC_ID, result.id.as_str());
    sink.attr(attr::ACTION, &result.action);
    sink.optional(attr::USERDATA, result.userdata.as_deref());
    sink.optional(attr::EXIT_REASON, result.exit_reason.as_deref());
    sink.optional(attr::OUTPUT, result.output.as_deref());
}

fn read_result(message: &Element) -> Result<OpResult, MessageError> {
    let status = required(message, attr::EXEC_STATUS)?;
    let status = ExecStatus::from_code(status)
        .ok_or(MessageError::Number { field: attr::EXEC_STATUS, value: status.to_string() })?;
    Ok(OpResult {
        origin: origin(message),
        timeout_ms: span(message, attr::TIMEOUT)?,
        interval_ms: span(message, attr::INTERVAL)?,
        start_delay_ms: span(message, attr::START_DELAY)?,
        rc: OcfRc(required(message, attr::EXEC_RC)?),
        status,
        call_id: required(message, attr::CALLID)?,
        rsc_deleted: number::<i64>(message, attr::RSC_DELETED)?.unwrap_or_default() != 0,
        run_time: span(message, attr::RUN_TIME)?,
        rcchange_time: span(message, attr::RCCHANGE_TIME)?,
        exec_time_ms: span(message, attr::EXEC_TIME)?,
        queue_time_ms: span(message, attr::QUEUE_TIME)?,
        id: id(message)?,
        action: owned(message, attr::ACTION).unwrap_or_default(),
        userdata: owned(message, attr::USERDATA),
        exit_reason: owned(message, attr::EXIT_REASON),
        output: owned(message, attr::OUTPUT),
        params: params(message),
    })
}

fn put_proxy(sink: &mut impl Sink, proxy: &ProxyNotify, envelope: Envelope) {
    sink.open(element::IPC_PROXY);
    match proxy {
        ProxyNotify::New { session, server } => {
            sink.attr(attr::IPC_OP, ipc::NEW);
            sink.attr(attr::IPC_SERVER, server);
            sink.attr(attr::IPC_SESSION, session);
        }
        ProxyNotify::Request { session, client, user, msg_id, flags, .. } => {
            sink.attr(attr::IPC_OP, ipc::REQUEST);
            sink.attr(attr::IPC_SESSION, session);
            sink.attr(attr::IPC_CLIENT, client);
            sink.attr(attr::IPC_USER, user);
            sink.number(attr::IPC_MSG_ID, msg_id);
            sink.number(attr::IPC_MSG_FLAGS, flags);
        }
        ProxyNotify::Destroy { session } => {
            sink.attr(attr::IPC_OP, ipc::DESTROY);
            sink.attr(attr::IPC_SESSION, session);
        }
        ProxyNotify::ShutdownRequest => {
            sink.attr(attr::IPC_OP, ipc::SHUTDOWN_REQUEST);
            sink.attr(attr::IPC_SESSION, NO_SESSION);
        }
    }
    envelope.put(sink, 0, kind::NOTIFY);
    if let ProxyNotify::Request { payload, .. } = proxy {
        put_payload(sink, payload);
    }
    sink.close(element::IPC_PROXY);
}

fn read_proxy(message: &Element) -> Result<ProxyNotify, MessageError> {
    let text = |field| owned(message, field).ok_or_else(|| missing(message, field));
    let session = text(attr::IPC_SESSION)?;
    match message.attr(attr::IPC_OP).unwrap_or_default() {
        ipc::NEW => Ok(ProxyNotify::New { session, server: text(attr::IPC_SERVER)? }),
        ipc::REQUEST => {
            let payload = message.child(element::IPC_MSG).and_then(Element::first_child_element);
            Ok(ProxyNotify::Request {
                session,
                client: text(attr::IPC_CLIENT)?,
                user: text(attr::IPC_USER)?,
                msg_id: required(message, attr::IPC_MSG_ID)?,
                flags: required(message, attr::IPC_MSG_FLAGS)?,
                payload: payload.cloned().ok_or_else(|| missing(message, element::IPC_MSG))?,
            })
        }
        ipc::DESTROY => Ok(ProxyNotify::Destroy { session }),
        ipc::SHUTDOWN_REQUEST => Ok(ProxyNotify::ShutdownRequest),
        other => Err(MessageError::UnknownProxy { kind: excerpt(other) }),
    }
}

impl Envelope {
    fn put(self, sink: &mut impl Sink, msg_id: i64, kind: &str) {
        if self == Self::Remote {
            sink.number(attr::MSG_ID, msg_id);
            sink.attr(attr::MSG_TYPE, kind);
        }
    }
}

fn origin(message: &Element) -> String {
    owned(message, attr::ORIGIN).unwrap_or_default()
}

fn id(message: &Element) -> Result<ResourceId, MessageError> {
    resource_id(message).ok_or_else(|| missing(message, attr::RSC_ID))
}
