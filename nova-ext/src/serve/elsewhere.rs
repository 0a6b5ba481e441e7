//! What the cluster says of a request that lies in a file here: the engine of another controller may be at it, or have
//! done it.

use std::time::Duration;

use crate::handover::{AttributeError, Attributes, EVACUATE, Evacuate, PROOF, Request, value_of};
use crate::stamp::Stamp;

/// Whoever repeats a request tells the cluster after the file was written: until then it shows how the last one ended.
pub(super) const TELLING: Duration = Duration::from_secs(15);
/// For a tool of the cluster.
const TOOL: Duration = Duration::from_secs(5);

/// Whose a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    /// To be taken up here.
    Ours,
    /// It has ended.
    Over,
    /// It waits for another controller, or for the cluster's word.
    Theirs(String),
}

/// Asks the cluster. Where there is none, all requests are ours. `stale`: what another controller has not renewed for so
/// many seconds has stopped.
pub(super) async fn whose(request: &Request, me: &str, stale: u64) -> Whose {
    let attributes = Attributes::new(TOOL);
    let (evacuate, proof) = tokio::join!(attributes.values(EVACUATE), attributes.values(PROOF));
    match (evacuate, proof) {
        (Ok(evacuate), Ok(proof)) => {
            let said = (value_of(&evacuate, &request.node), value_of(&proof, &request.node));
            judge(request, said, me, Stamp::now(), stale)
        }
        (Err(error), _) | (_, Err(error)) => unheard(request, &error, Stamp::now(), stale),
    }
}

/// By the values that the node has of `evacuate` and `fence-proof`.
fn judge(
    request: &Request,
    (evacuate, proof): (Option<&str>, Option<&str>),
    me: &str,
    now: Stamp,
    stale: u64,
) -> Whose {
    let on = proof.is_some_and(|proof| crate::handover::is_on(proof).is_some());
    if request.is_over(evacuate, proof) && (on || now.since(request.at) >= TELLING) {
        return Whose::Over;
    }
    match evacuate.map(Evacuate::parse) {
        Some(Evacuate::Begun { by, since }) if by != me && is_fresh(since, now, stale) => {
            Whose::Theirs(format!("{by} is at it, or was less than {stale} s ago"))
        }
        _ => Whose::Ours,
    }
}

/// Whether what was begun or renewed then is under way. What a clock that is far ahead has written never goes stale.
pub(super) fn is_fresh(since: u64, now: Stamp, stale: u64) -> bool {
    now.as_secs().abs_diff(since) <= stale
}

/// A cluster that does not run has no other controllers; one that does not answer in time may have. Whoever was at it has
/// ended after a while.
fn unheard(request: &Request, error: &AttributeError, now: Stamp, stale: u64) -> Whose {
    if error.is_late() && now.since(request.at).as_secs() <= stale {
        Whose::Theirs(error.to_string())
    } else {
        Whose::Ours
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{self, stamp};
    use super::*;
    use crate::handover::Wish;
    use crate::process::ProcessError;

    fn request() -> Request {
        Request { proof: Some("nova-ha: off a".into()), ..tests::request(Wish::Evacuate, "c1", 0) }
    }

    #[test]
    fn what_another_controller_is_at_is_left_alone_until_it_has_stopped() {
        let (request, ours) = (request(), Some("nova-ha: off a"));
        let begun = |seconds| format!("ctl1@{}", stamp(seconds).as_secs());
        let whose = |evacuate: &str, now| judge(&request, (Some(evacuate), ours), "ctl2", stamp(now), 90);
        assert!(matches!(whose(&begun(5), 6), Whose::Theirs(_)));
        assert!(matches!(whose(&begun(5), 95), Whose::Theirs(_)));
        assert_eq!(whose(&begun(5), 96), Whose::Ours);
        assert!(matches!(whose(&begun(70), 96), Whose::Theirs(_)), "it was renewed");
        assert_eq!(whose("yes", 1), Whose::Ours);
        // Ours of an earlier life.
        assert_eq!(judge(&request, (Some(&begun(5)), ours), "ctl1", stamp(6), 90), Whose::Ours);
        assert_eq!(judge(&request, (None, None), "ctl2", stamp(6), 90), Whose::Ours);
    }

    #[test]
    fn what_another_controller_has_done_is_over() {
        let request = request();
        let whose = |said, now| judge(&request, said, "ctl2", stamp(now), 90);
        let ours = Some("nova-ha: off a");
        assert_eq!(whose((Some("no"), ours), 60), Whose::Over);
        assert_eq!(whose((Some("no"), ours), 5), Whose::Ours, "it is being repeated");
        assert_eq!(whose((Some("no"), Some("nova-ha: off b")), 60), Whose::Ours);
        let on = crate::handover::on_since(stamp(3));
        assert_eq!(whose((Some("no"), Some(&on)), 5), Whose::Over);
    }

    #[test]
    fn a_cluster_that_is_not_there_is_not_waited_for() {
        let request = request();
        let late = ProcessError::Late("attrd_updater".into(), TOOL);
        let missing = ProcessError::Spawn("attrd_updater".into(), std::io::ErrorKind::NotFound.into());
        for (error, now, ours) in [
            (AttributeError::Process(missing), 0, true),
            (AttributeError::Refused("no connection".into()), 0, true),
            (AttributeError::Process(late), 10, false),
        ] {
            assert_eq!(unheard(&request, &error, stamp(now), 90) == Whose::Ours, ours, "{error}");
        }
        let late = AttributeError::Process(ProcessError::Late("attrd_updater".into(), TOOL));
        assert_eq!(unheard(&request, &late, stamp(91), 90), Whose::Ours);
    }
}
