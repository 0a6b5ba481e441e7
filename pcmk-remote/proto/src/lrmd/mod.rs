//! Executor messages: typed requests, replies and notifications, and their XML.

mod fields;
mod message;
mod request;

pub use message::{Message, Notify, OpResult, ProxyNotify, RecurringOps, Reply, ReplyBody};
pub use request::{
    AlertRequest, CallOptions, ExecRequest, IpcForward, IpcForwardKind, Operation, Request, Style,
};
