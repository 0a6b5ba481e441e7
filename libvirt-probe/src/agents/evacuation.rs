//! Whether the guests of this host may run elsewhere: nova-compute must not be started then.
//!
//! What fenced the host says so in the node attribute `evacuate`: `yes`, or who is at it, until all guests
//! have been sent elsewhere, then `no`.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::attributes::{AttributeError, Attributes, Value};
use super::parameters::Evacuation;
use crate::aside;

/// The attribute.
const NAME: &str = "evacuate";
const DONE: &str = "no";
const AGAIN: Duration = Duration::from_secs(2);
const NOVA_CONF: &str = "/etc/nova/nova.conf";
/// In the kernel's memory: reading it never blocks.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
const LOOK: Duration = Duration::from_secs(2);

/// Why nova-compute must not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    /// Guests are being sent elsewhere.
    Pending { node: String, value: String },
    /// Nobody can tell.
    Unknown(AttributeError),
    /// The pause would take longer than the start may.
    NoTime(Duration),
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending { node, value } => {
                write!(
                    f,
                    "the evacuation of {node} is not done (evacuate={value}): its guests may run elsewhere"
                )
            }
            Self::Unknown(error) => {
                write!(f, "whether guests were evacuated from here is not known: {error}")
            }
            Self::NoTime(delay) => {
                let delay = delay.as_secs();
                write!(f, "the timeout of start is shorter than evacuation_delay ({delay} s)")
            }
        }
    }
}

/// What the attribute says of nodes of these names.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Done(Vec<String>),
    Pending { node: String, value: String },
}

fn said(values: &[Value], names: &BTreeSet<String>) -> Said {
    let ours = || values.iter().filter(|value| names.contains(&value.node) && !value.value.is_empty());
    if let Some(Value { node, value }) = ours().find(|value| value.value != DONE).cloned() {
        return Said::Pending { node, value };
    }
    let done: Vec<String> = ours().map(|value| value.node.clone()).collect();
    if done.is_empty() { Said::Nothing } else { Said::Done(done) }
}

/// Waits until nova-compute may be started, or until the time is over.
pub(super) async fn over(
    attributes: &Attributes,
    names: &BTreeSet<String>,
    delay: Duration,
    deadline: Instant,
) -> Result<(), Held> {
    loop {
        let held = match attributes.values(NAME).await.map(|values| said(&values, names)) {
            Ok(Said::Nothing) => return Ok(()),
            Ok(Said::Done(nodes)) => {
                if Instant::now() + delay > deadline {
                    return Err(Held::NoTime(delay));
                }
                sleep(delay).await;
                for node in nodes {
                    // No harm if it stays: the next start waits once more.
                    let _ = attributes.remove(NAME, &node).await;
                }
                return Ok(());
            }
            Ok(Said::Pending { node, value }) => Held::Pending { node, value },
            Err(error) => Held::Unknown(error),
        };
        if Instant::now() + AGAIN > deadline {
            return Err(held);
        }
        sleep_until(Instant::now() + AGAIN).await;
    }
}

/// The names that this host may have for the cluster and for Nova.
pub(super) async fn names(told: &Evacuation, node: Option<&str>) -> BTreeSet<String> {
    let configured = if let Some(host) = &told.host {
        Some(host.clone())
    } else {
        let read = || std::fs::read_to_string(NOVA_CONF).ok();
        aside::run("nova.conf", LOOK, read).await.ok().flatten().and_then(|text| configured_host(&text))
    };
    let system = || std::fs::read_to_string(HOST_NAME).unwrap_or_default().trim().to_owned();
    all_names(&configured.unwrap_or_else(system), node, told.domain.as_deref())
}

fn all_names(host: &str, node: Option<&str>, domain: Option<&str>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for name in [Some(host), node].into_iter().flatten() {
        names.insert(name.to_owned());
        if let Some(domain) = domain {
            let short = name.strip_suffix(domain).and_then(|name| name.strip_suffix('.')).unwrap_or(name);
            names.insert(short.to_owned());
            names.insert(format!("{short}.{domain}"));
        }
    }
    names
}

/// `host` in section `DEFAULT`; the last counts.
fn configured_host(text: &str) -> Option<String> {
    let mut section = "";
    let mut host = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.trim();
        } else if section == "DEFAULT"
            && let Some((name, value)) = line.split_once(['=', ':'])
            && name.trim() == "host"
        {
            host = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    host
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::Receiver;

    use super::super::attributes::{Answer, Wanted};
    use super::*;

    fn values(list: &[(&str, &str)]) -> Vec<Value> {
        list.iter().map(|(node, value)| Value { node: (*node).into(), value: (*value).into() }).collect()
    }

    /// A cluster that gives these answers, the last one again and again, and the names that were removed.
    async fn cluster(mut asked: Receiver<(Wanted, Answer)>, answers: &[Vec<Value>]) -> Vec<String> {
        let (mut removed, mut turn) = (Vec::new(), 0);
        while let Some((wanted, answer)) = asked.recv().await {
            let values = match wanted {
                Wanted::Values { .. } => {
                    turn += 1;
                    answers[(turn - 1).min(answers.len() - 1)].clone()
                }
                Wanted::Set { node, value: None, .. } => {
                    removed.push(node.unwrap());
                    Vec::new()
                }
                set @ Wanted::Set { .. } => panic!("{set:?}"),
            };
            let _ = answer.send(Ok(values));
        }
        removed
    }

    /// How the wait ends, how many seconds it takes, and what is removed.
    async fn wait(answers: &[Vec<Value>], delay: u64, limit: u64) -> (Result<(), Held>, u64, Vec<String>) {
        let (attributes, asked) = Attributes::channel();
        let begun = Instant::now();
        let names = all_names("compute1", None, None);
        let waited = async move {
            let deadline = begun + Duration::from_secs(limit);
            over(&attributes, &names, Duration::from_secs(delay), deadline).await
        };
        let (ended, removed) = tokio::join!(waited, cluster(asked, answers));
        (ended, begun.elapsed().as_secs(), removed)
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_evacuation_nothing_is_waited_for() {
        for answer in [values(&[]), values(&[("compute2", "yes")]), values(&[("compute1", "")])] {
            assert_eq!(wait(&[answer], 120, 600).await, (Ok(()), 0, vec![]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_evacuation_is_waited_for_and_then_a_while() {
        let answers = [
            values(&[("compute1", "yes")]),
            values(&[("compute1", "controller1@1700000000")]),
            values(&[("compute1", "no"), ("compute2", "yes")]),
        ];
        assert_eq!(wait(&answers, 120, 600).await, (Ok(()), 124, vec!["compute1".to_owned()]));
    }

    #[tokio::test(start_paused = true)]
    async fn while_guests_may_run_elsewhere_it_is_not_started() {
        let (ended, took, removed) = wait(&[values(&[("compute1", "yes")])], 0, 60).await;
        let Err(held) = ended else { panic!("started") };
        assert!(held.to_string().contains("(evacuate=yes): its guests may run elsewhere"), "{held}");
        assert!((56..=60).contains(&took) && removed.is_empty(), "{took} s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_does_not_fit_is_not_begun() {
        let ended = wait(&[values(&[("compute1", "no")])], 120, 60).await;
        assert_eq!(ended, (Err(Held::NoTime(Duration::from_secs(120))), 0, vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn when_nobody_can_tell_it_is_not_started() {
        let (attributes, asked) = Attributes::channel();
        drop(asked);
        let deadline = Instant::now() + Duration::from_secs(10);
        let ended = over(&attributes, &BTreeSet::new(), Duration::ZERO, deadline).await;
        assert!(matches!(ended, Err(Held::Unknown(_))), "{ended:?}");
    }

    #[test]
    fn a_host_has_several_names() {
        let names = |host, node, domain| all_names(host, node, domain).into_iter().collect::<Vec<_>>();
        assert_eq!(names("c1.example.org", None, None), ["c1.example.org"]);
        assert_eq!(names("c1", Some("remote1"), None), ["c1", "remote1"]);
        assert_eq!(names("c1", Some("c1"), Some("example.org")), ["c1", "c1.example.org"]);
        assert_eq!(names("c1.example.org", Some("c1"), Some("example.org")), ["c1", "c1.example.org"]);
    }

    #[test]
    fn nova_says_how_it_calls_the_host() {
        let text = "[DEFAULT]\n# host = a\nhost = b\nmy_host=c\n[x]\nhost = d\n";
        assert_eq!(configured_host(text).as_deref(), Some("b"));
        assert_eq!(configured_host("[ DEFAULT ]\nhost:e\nhost=f\n").as_deref(), Some("f"));
        assert_eq!(configured_host("host=a\n[DEFAULT]\n"), None);
        assert_eq!(configured_host("[DEFAULT]\nhost =\n"), None);
    }
}
