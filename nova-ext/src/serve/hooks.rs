//! The operator's hooks, for the engine.

use std::time::Duration;

use tracing::warn;

use crate::config::{Config, Names};
use crate::engine::journal::Event;
use crate::engine::run::{Hooks as EngineHooks, Occasion as EngineOccasion};
use crate::hooks::{Hooks, Occasion, Outcome, Point, Ran, must_failed};
use crate::ids::ServerId;

/// For all hooks of a point.
const ALL: Duration = Duration::from_secs(300);

/// Those of the configured folder.
pub(super) struct Configured {
    hooks: Hooks,
    names: Names,
}

impl Configured {
    pub(super) fn new(config: &Config) -> Self {
        let names = Names::new(&config.hosts).unwrap_or_default();
        Self { hooks: Hooks::new(&config.hooks.folder, config.hooks.limit), names }
    }

    /// Runs them: what is to be written down, and why not to go on.
    pub(super) async fn at(&self, occasion: &Occasion) -> (Vec<Event>, Option<String>) {
        match self.hooks.run(occasion, ALL).await {
            Ok(ran) => {
                let stop = must_failed(&ran).map(ToString::to_string);
                (ran.iter().map(|one| event(one, occasion.point, occasion.server)).collect(), stop)
            }
            Err(error) => {
                // Not to be run is not to have failed.
                warn!("hooks: {error}");
                (Vec::new(), None)
            }
        }
    }
}

impl EngineHooks for Configured {
    async fn run(&self, occasion: EngineOccasion) -> (Vec<Event>, Option<String>) {
        let EngineOccasion { incident, host, point, server, outcome } = occasion;
        let node = self.names.node(&host).cloned();
        let outcome = outcome.map(|outcome| outcome.to_string());
        let (server, destination) = server.unzip();
        let destination = destination.flatten();
        let occasion = Occasion { point: point.into(), incident, host, node, server, outcome, destination };
        self.at(&occasion).await
    }
}

fn event(ran: &Ran, point: Point, server: Option<ServerId>) -> Event {
    if ran.outcome != Outcome::Ok {
        warn!("{ran}");
    }
    Event::Hook {
        hook: ran.hook.clone(),
        point: point.to_string(),
        server,
        outcome: ran.outcome.word().into(),
        took_ms: u64::try_from(ran.took.as_millis()).unwrap_or(u64::MAX),
        must: ran.must,
    }
}
