//! What a real engine has around it: the operator's hooks, and the proofs that hold.

use std::path::PathBuf;
use std::time::Duration;

use super::journal::{Event, Outcome};
use super::run::{self, Occasion};
use super::values::{Point, Read, Trouble};
use crate::config::Names;
use crate::hooks;
use crate::ids::HostName;
use crate::power::{self, Map};
use crate::proof::FenceProof;
use crate::proof::ledger;

/// For the hooks of one point.
const HOOKS: Duration = Duration::from_secs(300);
/// For a power device to read off twice.
const POWER: Duration = Duration::from_secs(20);

/// The hooks of a folder.
#[derive(Debug)]
pub struct Folder {
    /// They.
    pub hooks: hooks::Hooks,
    /// Which node of the cluster a host is.
    pub names: Names,
}

impl run::Hooks for Folder {
    async fn run(&self, occasion: Occasion) -> (Vec<Event>, Option<String>) {
        let Occasion { incident, host, point, server, outcome } = occasion;
        let (place, word) = match point {
            Point::BeforeForceDown => (hooks::Point::BeforeForceDown, None),
            Point::AfterForceDown => (hooks::Point::AfterForceDown, None),
            Point::ServerDone => (hooks::Point::Server, Some("moved")),
            Point::ServerFailed => (hooks::Point::Server, Some("given-up")),
            Point::ServerLeftOut => (hooks::Point::Server, Some("left-out")),
            Point::End => (hooks::Point::End, None),
        };
        let (server, destination) = server.unzip();
        let node = self.names.node(&host).cloned();
        let outcome = word.map(str::to_owned).or_else(|| outcome.as_ref().map(Outcome::to_string));
        let destination = destination.flatten();
        let told = hooks::Occasion { point: place, incident, host, node, server, outcome, destination };
        match self.hooks.run(&told, HOOKS).await {
            Ok(ran) => {
                let stop = hooks::must_failed(&ran).map(ToString::to_string);
                let events = ran.into_iter().map(|one| Event::Hook {
                    hook: one.hook,
                    point: place.name().to_owned(),
                    server,
                    outcome: one.outcome.word().to_owned(),
                    took_ms: u64::try_from(one.took.as_millis()).unwrap_or(u64::MAX),
                    must: one.must,
                });
                (events.collect(), stop)
            }
            // Hooks that cannot be looked for may be hooks that must succeed.
            Err(error) => (Vec::new(), point.is_waited_for().then(|| error.to_string())),
        }
    }
}

/// The proofs that hold: what the host's power device reads now; if it cannot be read, what the ledger says.
#[derive(Debug)]
pub struct Ledger {
    /// Where the ledger is.
    pub path: PathBuf,
    /// The power devices, if any are known.
    pub map: Option<Map>,
}

impl run::Proofs for Ledger {
    async fn current(&self, host: &HostName) -> Read<Option<FenceProof>> {
        let path = self.path.clone();
        let on = host.clone();
        let stored = tokio::task::spawn_blocking(move || {
            let proofs = ledger::Proofs::load(&path)?;
            Ok::<_, ledger::LedgerError>((proofs.current(&on).cloned(), proofs.is_on(&on)))
        });
        let stored = stored.await.map_err(trouble)?.map_err(trouble);
        if let Ok((None, true)) = stored {
            return Ok(None);
        }
        let device = self.map.as_ref().map(|map| map.own_device(host));
        let read = match device {
            Some(Ok(mut device)) => power::read_off(device.as_mut(), host, POWER).await.map_err(trouble),
            Some(Err(error)) => Err(trouble(error)),
            None => Err(trouble("no map of power devices is configured")),
        };
        match (stored, read) {
            // The device knows best. An older proof that still holds keeps its name in journal and reports.
            (_, Ok(None)) => Ok(None),
            (Ok((Some(proof), _)), _) | (_, Ok(Some(proof))) => Ok(Some(proof)),
            (Ok((None, _)), Err(error)) => Err(trouble(format!(
                "no proof of {host} is known on this controller, and its power cannot be read: {}",
                error.why
            ))),
            (Err(error), Err(_)) => Err(error),
        }
    }
}

fn trouble(error: impl std::fmt::Display) -> Trouble {
    Trouble { why: error.to_string(), hopeless: false, overload: false }
}

#[cfg(test)]
mod tests {
    use super::run::Proofs as _;
    use super::*;
    use crate::proof::Evidence;
    use crate::stamp::Stamp;

    fn host() -> HostName {
        "c1".parse().unwrap()
    }

    #[tokio::test]
    async fn what_is_not_known_is_no_return_of_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proofs");
        let known = Ledger { path: path.clone(), map: None };
        assert!(
            known.current(&host()).await.is_err_and(|error| error.why.contains("no proof of c1 is known"))
        );
        let mut ledger = ledger::Proofs::load(&path).unwrap();
        let proof = FenceProof::new(host(), Evidence::Operator { name: "ann".into() }, Stamp::now());
        ledger.record(&proof).unwrap();
        assert_eq!(known.current(&host()).await, Ok(Some(proof)));
        ledger.powered_on(&host(), Stamp::now().after(Duration::from_secs(1))).unwrap();
        assert_eq!(known.current(&host()).await, Ok(None));
    }

    #[tokio::test]
    async fn hooks_are_written_down_and_those_that_must_succeed_stop() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let point = folder.path().join("before-force-down");
        std::fs::create_dir(&point).unwrap();
        for (name, text) in [("10-fine", "#!/bin/sh\nexit 0\n"), ("20-not.must", "#!/bin/sh\nexit 3\n")] {
            let path = point.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let names = Names::new(&[]).unwrap();
        let hooks = Folder { hooks: hooks::Hooks::new(folder.path(), Duration::from_secs(20)), names };
        let occasion = Occasion {
            incident: crate::ids::IncidentId::new_random(),
            host: host(),
            point: Point::BeforeForceDown,
            server: None,
            outcome: None,
        };
        let (events, stop) = run::Hooks::run(&hooks, occasion).await;
        assert_eq!(events.len(), 2, "{events:?} {stop:?}");
        assert!(stop.is_some_and(|why| why.contains("20-not.must")));
    }
}
