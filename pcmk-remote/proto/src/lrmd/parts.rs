//! What requests and messages have in common: numbers, parameters, agents, errors.

use std::collections::HashMap;

use thiserror::Error;

use super::fields::{attr, element};
use crate::types::{AgentSpec, Params, ResourceId};
use crate::xml::{Element, Names, Sink, text};

/// Why a well-formed document is not a message of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessageError {
    /// Not what this side of a connection is told.
    #[error("<{element}> of type {kind:?} came where {expected} was expected")]
    WrongKind {
        /// Root element.
        element: String,
        /// Its `lrmd_remote_msg_type`.
        kind: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// An attribute without which the message has no meaning.
    #[error("<{element}> lacks {field}")]
    Missing {
        /// Element concerned.
        element: String,
        /// The attribute.
        field: &'static str,
    },
    /// An attribute that is not a number, or not one in its range.
    #[error("{field}={value:?} is not a number in its range")]
    Number {
        /// The attribute.
        field: &'static str,
        /// Its value, cut if long.
        value: String,
    },
    /// A proxy message of an unknown kind.
    #[error("unknown proxy message {kind:?}")]
    UnknownProxy {
        /// Its `lrmd_ipc_op`.
        kind: String,
    },
}

/// A number if there is one. Garbage is an error: a timeout that silently became 0 would be none.
pub(super) fn number<T: TryFrom<i64>>(
    from: &Element,
    field: &'static str,
) -> Result<Option<T>, MessageError> {
    let Some(text) = from.attr(field) else { return Ok(None) };
    let value = text.trim_ascii().parse::<i64>().ok().and_then(|value| T::try_from(value).ok());
    value.map(Some).ok_or_else(|| MessageError::Number { field, value: excerpt(text) })
}

/// A number that may not be missing.
pub(super) fn required<T: TryFrom<i64>>(from: &Element, field: &'static str) -> Result<T, MessageError> {
    number(from, field)?.ok_or_else(|| missing(from, field))
}

/// A time span; missing or negative ones are 0, as C, where they are signed, treats them.
pub(super) fn span<T: TryFrom<i64> + Default>(
    from: &Element,
    field: &'static str,
) -> Result<T, MessageError> {
    match number::<i64>(from, field)? {
        None | Some(..0) => Ok(T::default()),
        Some(_) => Ok(number(from, field)?.unwrap_or_default()),
    }
}

pub(super) fn missing(from: &Element, field: &'static str) -> MessageError {
    MessageError::Missing { element: excerpt(&from.name), field }
}

/// Every spelling of yes; anything else is no.
pub(super) fn is_true(text: &str) -> bool {
    ["true", "yes", "on", "y", "t", "1"].iter().any(|yes| text.eq_ignore_ascii_case(yes))
}

pub(super) fn owned(from: &Element, field: &str) -> Option<String> {
    from.attr(field).map(str::to_owned)
}

pub(super) fn resource_id(from: &Element) -> Option<ResourceId> {
    from.attr(attr::RSC_ID).and_then(ResourceId::new)
}

/// The agent; empty texts for what is missing.
pub(super) fn agent(from: &Element) -> AgentSpec {
    AgentSpec {
        class: owned(from, attr::CLASS).unwrap_or_default(),
        provider: owned(from, attr::PROVIDER),
        kind: owned(from, attr::TYPE).unwrap_or_default(),
    }
}

pub(super) fn put_agent(sink: &mut impl Sink, agent: &AgentSpec) {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    sink.optional(attr::CLASS, given(&agent.class).as_deref());
    sink.optional(attr::PROVIDER, agent.provider.as_deref());
    sink.optional(attr::TYPE, given(&agent.kind).as_deref());
}

/// The parameters inside an element: the attributes of `<attributes>`, then its `<param>` children.
///
/// Of a name that occurs twice the last value counts, as in C, so nothing is ever passed on twice.
pub(super) fn params(from: &Element) -> Params {
    let Some(list) = from.child(element::ATTRIBUTES) else { return Params::new() };
    let mut params: Params = list.attributes.clone();
    let mut more = list.child_elements().filter(|child| child.name == element::PARAM).peekable();
    if more.peek().is_none() {
        return params;
    }
    let mut places: HashMap<&str, usize> =
        list.attributes.iter().enumerate().map(|(place, (name, _))| (name.as_str(), place)).collect();
    for param in more {
        let (Some(name), Some(value)) = (param.attr(attr::NAME), param.attr(attr::VALUE)) else { continue };
        if name.is_empty() {
            continue;
        }
        let place = *places.entry(name).or_insert(params.len());
        match params.get_mut(place) {
            Some((_, old)) => value.clone_into(old),
            None => params.push((name.to_owned(), value.to_owned())),
        }
    }
    params
}

/// Writes parameters, each name once. Names that are no XML attribute names become `<param>` children,
/// which every release reads; those with a colon too, lest a peer's parser takes them for namespaces.
pub(super) fn put_params(sink: &mut impl Sink, params: &Params) {
    let mut names = Names::new(params.len());
    let is_attribute = |name: &str| text::is_name(name) && !name.contains(':') && name != "xmlns";
    let mut others = Vec::new();
    sink.open(element::ATTRIBUTES);
    for (name, value) in params {
        if name.is_empty() || !names.is_new(name) {
            continue;
        }
        if is_attribute(name) {
            sink.attr(name, value);
        } else {
            others.push((name, value));
        }
    }
    for (name, value) in others {
        sink.open(element::PARAM);
        sink.attr(attr::NAME, name);
        sink.attr(attr::VALUE, value);
        sink.close(element::PARAM);
    }
    sink.close(element::ATTRIBUTES);
}

/// Puts one element into `<lrmd_ipc_msg>`.
pub(super) fn put_payload(sink: &mut impl Sink, payload: &Element) {
    sink.open(element::IPC_MSG);
    sink.element(payload);
    sink.close(element::IPC_MSG);
}

/// The beginning of something that goes into an error.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT).collect()
}

const EXCERPT: usize = 100;
