//! The record that the test agents (`tests/rig/agents`) keep of their calls.

use std::fs;
use std::path::Path;

use crate::error::Result;

/// One call of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When, in milliseconds of the epoch.
    pub at: u64,
    /// The resource.
    pub resource: String,
    /// What was asked of it.
    pub action: String,
    /// What it answered.
    pub code: i32,
    /// What it says of the call (parameters, interval).
    pub details: String,
}

/// The calls recorded on a node, oldest first.
pub fn on(share: &Path, node: &str) -> Result<Vec<Call>> {
    let path = share.join("calls").join(node);
    if !path.exists() {
        return Ok(Vec::new());
    }
    Ok(fs::read_to_string(path)?.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Call> {
    let mut words = line.splitn(5, ' ');
    Some(Call {
        at: words.next()?.parse().ok()?,
        resource: words.next()?.to_owned(),
        action: words.next()?.to_owned(),
        code: words.next()?.parse().ok()?,
        details: words.next().unwrap_or_default().trim().to_owned(),
    })
}
