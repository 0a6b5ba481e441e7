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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_call() {
        let call = parse("1795349703845 w_start monitor 0 interval=1000").unwrap();
        assert_eq!((call.resource.as_str(), call.action.as_str(), call.code), ("w_start", "monitor", 0));
        assert_eq!((call.at, call.details.as_str()), (1_795_349_703_845, "interval=1000"));
        assert_eq!(parse("1795349703845 w_start stop 0 ").unwrap().details, "");
        assert_eq!(parse("half a li"), None);
    }
}
