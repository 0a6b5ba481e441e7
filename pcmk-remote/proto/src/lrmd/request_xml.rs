//! Requests as XML.

use super::fields::{T_LRMD, attr, element, ipc, kind, op};
use super::parts::{
    MessageError, agent, excerpt, is_true, number, owned, params, put_agent, put_params, put_payload,
    resource_id, span,
};
use super::{AlertRequest, CallOptions, ExecRequest, IpcForward, IpcForwardKind, Operation, Request, Style};
use crate::types::ResourceId;
use crate::xml::{Builder, Element, Sink, WriteXml, Writer};

impl Request {
    /// Reads a request.
    ///
    /// What is missing becomes `None` or 0, as for the C daemon, whose answers depend on it; numbers that
    /// are none are an error. Unknown attributes and elements are ignored.
    pub fn from_element(request: &Element) -> Result<Self, MessageError> {
        let payload = is_forward(request)
            .then(|| request.child(element::IPC_MSG).and_then(Element::first_child_element).cloned())
            .flatten();
        read(request, payload)
    }

    /// Reads a request without copying a payload in it.
    pub fn parse(mut request: Element) -> Result<Self, MessageError> {
        let payload = is_forward(&request)
            .then(|| request.take_child(element::IPC_MSG).and_then(|mut m| m.take_first_child_element()))
            .flatten();
        read(&request, payload)
    }

    /// Reads a request of a local client, whose number the transport carried.
    pub fn parse_local(request: Element, msg_id: i32) -> Result<Self, MessageError> {
        Self::parse(request).map(|read| Self { msg_id: i64::from(msg_id), ..read })
    }

    /// The number that an answer to this request needs, even if the rest of it makes no sense.
    pub fn msg_id_of(request: &Element) -> Option<i64> {
        number(request, attr::MSG_ID).ok().flatten()
    }

    /// The request as a tree.
    pub fn to_element(&self) -> Element {
        let mut builder = Builder::default();
        self.put(&mut builder);
        builder.finish()
    }

    fn put(&self, sink: &mut impl Sink) {
        let forward = matches!(self.operation, Operation::IpcForward(_));
        let root = if forward { element::IPC_PROXY } else { element::COMMAND };
        sink.open(root);
        if self.style.name_attribute {
            sink.attr(attr::NAME_REPEATED, root);
        }
        if self.style.t_attribute {
            sink.attr(attr::T, T_LRMD);
        }
        sink.optional(attr::TOKEN, self.token.as_deref());
        if let Operation::IpcForward(forward) = &self.operation {
            put_forward_head(sink, forward);
        }
        sink.attr(attr::OP, self.operation.name());
        sink.optional(attr::CLIENT_NAME, self.client_name.as_deref());
        if let Operation::Register { protocol_version, is_ipc_provider } = &self.operation {
            sink.optional(attr::PROTOCOL_VERSION, protocol_version.as_deref());
            let provider = is_ipc_provider.map(|yes| if yes { "true" } else { "false" });
            sink.optional(attr::IS_IPC_PROVIDER, provider);
        }
        if let Some(timeout) = self.call_timeout_ms {
            sink.number(attr::TIMEOUT, timeout);
        }
        if let Some(CallOptions(options)) = self.options {
            sink.number(attr::CALLOPT, options);
        }
        sink.number(attr::MSG_ID, self.msg_id);
        sink.attr(attr::MSG_TYPE, kind::REQUEST);
        self.operation.put_data(sink);
        sink.close(root);
    }
}

impl WriteXml for Request {
    fn write_xml(&self, out: &mut String) {
        self.put(&mut Writer::new(out));
    }
}

impl Operation {
    /// `lrmd_op`.
    pub fn name(&self) -> &str {
        match self {
            Self::Register { .. } => op::REGISTER,
            Self::ResourceRegister { .. } => op::RSC_REGISTER,
            Self::ResourceInfo { .. } => op::INFO,
            Self::ResourceUnregister { .. } => op::RSC_UNREGISTER,
            Self::Exec(_) => op::EXEC,
            Self::Cancel { .. } => op::CANCEL,
            Self::Poke { .. } => op::POKE,
            Self::Check { .. } => op::CHECK,
            Self::Recurring { .. } => op::RECURRING,
            Self::Alert(_) => op::ALERT,
            Self::IpcForward(_) => op::IPC_FORWARD,
            Self::Other(name) => name,
        }
    }

    /// Everything below the root.
    fn put_data(&self, sink: &mut impl Sink) {
        let name = match self {
            Self::Register { .. } | Self::Other(_) | Self::Recurring { origin: None, id: None } => return,
            Self::IpcForward(forward) => {
                if let Some(payload) = &forward.payload {
                    put_payload(sink, payload);
                }
                return;
            }
            Self::Check { .. } => element::CHECK,
            Self::Alert(_) => element::ALERT,
            _ => element::RSC,
        };
        sink.open(element::CALLDATA);
        sink.open(name);
        match self {
            Self::ResourceRegister { origin, id, agent } => {
                put_resource(sink, origin.as_deref(), id.as_ref());
                put_agent(sink, agent);
            }
            Self::ResourceInfo { origin, id }
            | Self::ResourceUnregister { origin, id }
            | Self::Recurring { origin, id } => put_resource(sink, origin.as_deref(), id.as_ref()),
            Self::Exec(exec) => put_exec(sink, exec),
            Self::Cancel { origin, action, id, interval_ms } => {
                sink.optional(attr::ORIGIN, origin.as_deref());
                sink.optional(attr::ACTION, action.as_deref());
                sink.optional(attr::RSC_ID, id.as_ref().map(ResourceId::as_str));
                sink.number(attr::INTERVAL, interval_ms);
            }
            Self::Poke { origin } => sink.optional(attr::ORIGIN, origin.as_deref()),
            Self::Check { origin, watchdog } => {
                sink.optional(attr::ORIGIN, origin.as_deref());
                sink.optional(attr::WATCHDOG, watchdog.as_deref());
            }
            Self::Alert(alert) => {
                sink.optional(attr::ORIGIN, alert.origin.as_deref());
                sink.optional(attr::ALERT_ID, alert.id.as_deref());
                sink.optional(attr::ALERT_PATH, alert.path.as_deref());
                sink.number(attr::TIMEOUT, alert.timeout_ms);
                put_params(sink, &alert.params);
            }
            Self::Register { .. } | Self::IpcForward(_) | Self::Other(_) => {}
        }
        sink.close(name);
        sink.close(element::CALLDATA);
    }
}

impl IpcForwardKind {
    /// `lrmd_ipc_op`.
    pub fn name(&self) -> &str {
        match self {
            Self::Response => ipc::RESPONSE,
            Self::Event => ipc::EVENT,
            Self::Destroy => ipc::DESTROY,
            Self::ShutdownAck => ipc::SHUTDOWN_ACK,
            Self::ShutdownNack => ipc::SHUTDOWN_NACK,
            Self::Other(name) => name,
        }
    }

    fn from_name(name: &str) -> Self {
        match name {
            ipc::RESPONSE => Self::Response,
            ipc::EVENT => Self::Event,
            ipc::DESTROY => Self::Destroy,
            ipc::SHUTDOWN_ACK => Self::ShutdownAck,
            ipc::SHUTDOWN_NACK => Self::ShutdownNack,
            other => Self::Other(other.to_owned()),
        }
    }
}

fn is_forward(request: &Element) -> bool {
    request.attr(attr::OP) == Some(op::IPC_FORWARD)
}

fn read(request: &Element, payload: Option<Element>) -> Result<Request, MessageError> {
    // A type is not demanded, but an answer must not be taken for a request.
    if let Some(other) = request.attr(attr::MSG_TYPE).filter(|given| *given != kind::REQUEST) {
        let (element, kind) = (excerpt(&request.name), excerpt(other));
        return Err(MessageError::WrongKind { element, kind, expected: "a request" });
    }
    Ok(Request {
        msg_id: number(request, attr::MSG_ID)?.unwrap_or_default(),
        client_name: owned(request, attr::CLIENT_NAME),
        token: owned(request, attr::TOKEN),
        call_timeout_ms: number(request, attr::TIMEOUT)?,
        options: number(request, attr::CALLOPT)?.map(CallOptions),
        style: Style {
            name_attribute: request.attr(attr::NAME_REPEATED).is_some(),
            t_attribute: request.attr(attr::T).is_some(),
        },
        operation: read_operation(request, payload)?,
    })
}

fn read_operation(request: &Element, payload: Option<Element>) -> Result<Operation, MessageError> {
    let nothing = Element::default();
    // C looks for the element wherever it is, and for a check takes the first one, whatever its name.
    let calldata = request.child(element::CALLDATA).unwrap_or(&nothing);
    let data = |name| calldata.child(name).or(calldata.first_child_element()).unwrap_or(&nothing);
    let rsc = data(element::RSC);
    let origin = || owned(rsc, attr::ORIGIN);
    let id = || resource_id(rsc);
    Ok(match request.attr(attr::OP).unwrap_or_default() {
        op::REGISTER => Operation::Register {
            protocol_version: owned(request, attr::PROTOCOL_VERSION),
            is_ipc_provider: request.attr(attr::IS_IPC_PROVIDER).map(is_true),
        },
        op::RSC_REGISTER => Operation::ResourceRegister { origin: origin(), id: id(), agent: agent(rsc) },
        op::INFO => Operation::ResourceInfo { origin: origin(), id: id() },
        op::RSC_UNREGISTER => Operation::ResourceUnregister { origin: origin(), id: id() },
        op::EXEC => Operation::Exec(Box::new(read_exec(rsc)?)),
        op::CANCEL => Operation::Cancel {
            origin: origin(),
            action: owned(rsc, attr::ACTION),
            id: id(),
            interval_ms: span(rsc, attr::INTERVAL)?,
        },
        op::POKE => Operation::Poke { origin: origin() },
        op::CHECK => {
            let check = calldata.first_child_element().unwrap_or(&nothing);
            Operation::Check { origin: owned(check, attr::ORIGIN), watchdog: owned(check, attr::WATCHDOG) }
        }
        op::RECURRING => Operation::Recurring { origin: origin(), id: id() },
        op::ALERT => {
            let alert = data(element::ALERT);
            Operation::Alert(Box::new(AlertRequest {
                origin: owned(alert, attr::ORIGIN),
                id: owned(alert, attr::ALERT_ID),
                path: owned(alert, attr::ALERT_PATH),
                timeout_ms: span(alert, attr::TIMEOUT)?,
                params: params(alert),
            }))
        }
        op::IPC_FORWARD => Operation::IpcForward(Box::new(IpcForward {
            kind: IpcForwardKind::from_name(request.attr(attr::IPC_OP).unwrap_or_default()),
            session: owned(request, attr::IPC_SESSION),
            msg_id: number(request, attr::IPC_MSG_ID)?,
            payload,
        })),
        other => Operation::Other(other.to_owned()),
    })
}

fn read_exec(rsc: &Element) -> Result<ExecRequest, MessageError> {
    Ok(ExecRequest {
        origin: owned(rsc, attr::ORIGIN),
        id: resource_id(rsc),
        action: owned(rsc, attr::ACTION),
        userdata: owned(rsc, attr::USERDATA),
        interval_ms: span(rsc, attr::INTERVAL)?,
        timeout_ms: span(rsc, attr::TIMEOUT)?,
        start_delay_ms: span(rsc, attr::START_DELAY)?,
        params: params(rsc),
    })
}

fn put_resource(sink: &mut impl Sink, origin: Option<&str>, id: Option<&ResourceId>) {
    sink.optional(attr::ORIGIN, origin);
    sink.optional(attr::RSC_ID, id.map(ResourceId::as_str));
}

fn put_exec(sink: &mut impl Sink, exec: &ExecRequest) {
    put_resource(sink, exec.origin.as_deref(), exec.id.as_ref());
    sink.optional(attr::ACTION, exec.action.as_deref());
    sink.optional(attr::USERDATA, exec.userdata.as_deref());
    sink.number(attr::INTERVAL, exec.interval_ms);
    sink.number(attr::TIMEOUT, exec.timeout_ms);
    sink.number(attr::START_DELAY, exec.start_delay_ms);
    put_params(sink, &exec.params);
}

fn put_forward_head(sink: &mut impl Sink, forward: &IpcForward) {
    sink.attr(attr::IPC_OP, forward.kind.name());
    sink.optional(attr::IPC_SESSION, forward.session.as_deref());
    if let Some(msg_id) = forward.msg_id {
        sink.number(attr::IPC_MSG_ID, msg_id);
    }
}
