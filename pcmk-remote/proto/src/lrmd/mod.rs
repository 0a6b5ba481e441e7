//! Executor messages: typed requests, replies and notifications, and their XML.

mod fields;
mod message;
mod message_xml;
mod parts;
mod request;
mod request_xml;

pub use message::{Message, Notify, OpResult, ProxyNotify, RecurringOps, Reply, ReplyBody};
pub use parts::MessageError;
pub use request::{
    AlertRequest, CallOptions, ExecRequest, IpcForward, IpcForwardKind, Operation, Request, Style,
};
