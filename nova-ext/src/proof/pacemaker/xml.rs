//! What Pacemaker's tools print.

use std::time::Duration;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{FenceEvent, State};
use crate::stamp::Stamp;

/// The largest output that is read.
const LARGEST: usize = 16 << 20;

/// Output that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what Pacemaker says cannot be read: {0}")]
pub struct BadXml(pub(super) String);

/// Calls `each` with every element and its attributes, parents first.
pub(super) fn elements(
    text: &str,
    mut each: impl FnMut(&str, &dyn Fn(&str) -> Option<String>) -> Result<(), BadXml>,
) -> Result<(), BadXml> {
    if text.len() > LARGEST {
        return Err(BadXml("it is larger than 16 MiB".into()));
    }
    let mut reader = Reader::from_str(text);
    loop {
        match reader.read_event().map_err(|error| BadXml(error.to_string()))? {
            Event::Start(element) | Event::Empty(element) => {
                let name = element.name().as_ref().to_owned();
                each(&name, &|attribute| value(&element, attribute))?;
            }
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

fn value(element: &BytesStart<'_>, attribute: &str) -> Option<String> {
    let found = element.try_get_attribute(attribute).ok().flatten()?;
    quick_xml::escape::unescape(&found.value).ok().map(std::borrow::Cow::into_owned)
}

pub(super) fn history(text: &str) -> Result<Vec<FenceEvent>, BadXml> {
    let mut events = Vec::new();
    let mut is_result = false;
    elements(text, |name, get| {
        is_result |= name == "pacemaker-result";
        if name != "fence_event" {
            return Ok(());
        }
        let needed = |what: &str| get(what).ok_or_else(|| BadXml(format!("a fence_event has no {what}")));
        let state = match needed("status")?.as_str() {
            "success" => State::Success,
            "failed" => State::Failed,
            _ => State::Pending,
        };
        let completed = get("completed").map(|text| {
            time(&text).ok_or_else(|| BadXml(format!("{text:?} is no time that is understood here")))
        });
        events.push(FenceEvent {
            target: needed("target")?,
            action: needed("action")?,
            state,
            client: get("client").unwrap_or_default(),
            delegate: get("delegate"),
            completed: completed.transpose()?,
        });
        Ok(())
    })?;
    if is_result { Ok(events) } else { Err(BadXml("it is no pacemaker-result".into())) }
}

pub(super) fn is_online(text: &str, node: &str) -> Result<bool, BadXml> {
    let mut online = false;
    elements(text, |name, get| {
        // Where a resource runs is said with elements of this name, too.
        let is = |what: &str, word: &str| get(what).is_some_and(|value| value == word);
        let named = get("name").is_some_and(|it| it.eq_ignore_ascii_case(node));
        online |= name == "node"
            && named
            && is("online", "true")
            && is("unclean", "false")
            && is("pending", "false");
        Ok(())
    })?;
    Ok(online)
}

pub(super) fn is_lost(text: &str, node: &str) -> Result<Option<bool>, BadXml> {
    let (mut is_result, mut lost) = (false, None);
    elements(text, |name, get| {
        is_result |= name == "pacemaker-result";
        let is = |what: &str, word: &str| get(what).is_some_and(|value| value == word);
        let named = get("name").is_some_and(|it| it.eq_ignore_ascii_case(node));
        // Where a resource runs says nothing of how the node is.
        if name == "node" && named && get("online").is_some() {
            let so = is("online", "false") || is("unclean", "true");
            lost = Some(so && lost.unwrap_or(true));
        }
        Ok(())
    })?;
    if is_result { Ok(lost) } else { Err(BadXml("it is no pacemaker-result".into())) }
}

/// `2026-11-30 10:00:00.123456 +01:00`, with or without fraction, `Z` for +00:00.
pub(super) fn time(text: &str) -> Option<Stamp> {
    let text = text.trim();
    let (local, ahead, offset) = if let Some(local) = text.strip_suffix('Z') {
        (local, true, Duration::ZERO)
    } else {
        let (local, zone) = text.rsplit_once(' ')?;
        let (ahead, zone) = match zone.split_at_checked(1)? {
            ("+", zone) => (true, zone),
            ("-", zone) => (false, zone),
            _ => return None,
        };
        let (hours, minutes) = zone.split_once(':')?;
        let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
        if hours > 24 || minutes > 59 {
            return None;
        }
        (local, ahead, Duration::from_secs((hours * 60 + minutes) * 60))
    };
    let local: Stamp = local.trim().parse().ok()?;
    let since = Duration::from_millis(local.as_millis());
    let utc = if ahead { since.checked_sub(offset)? } else { since.checked_add(offset)? };
    std::time::SystemTime::UNIX_EPOCH.checked_add(utc).map(Stamp::from)
}
