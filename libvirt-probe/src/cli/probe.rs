//! The probe of any subject, set up for what the command line says.

use std::path::Path;
use std::time::Duration;

use super::look::{Look, PAUSE};
use crate::config::Config;
use crate::host::Host;
use crate::libvirt::{Deadlines, Libvirt, Settings};
use crate::nova_compute::NovaCompute;
use crate::services::Services;
use crate::units;
use crate::verdict::{Report, Subject};

/// A daemon that does not answer is looked at for so long, and the rest takes its time, too.
const ASIDE: Duration = Duration::from_millis(700);

/// One of them.
pub(super) enum Probe {
    Libvirt(Box<Libvirt>),
    NovaCompute(Box<NovaCompute>),
    Services(Box<Services>),
    Host(Box<Host>),
}

impl Probe {
    /// With a limit, a failure is seen twice within it.
    pub(super) fn new(
        subject: Subject,
        config: &Config,
        socket: Option<&Path>,
        limit: Option<Duration>,
    ) -> Self {
        // For each of the few waits of a check that is made twice.
        let part = |time: Duration| match limit {
            Some(limit) => time.min(limit.saturating_sub(PAUSE) / 8),
            None => time,
        };
        let systemd = |settings: &mut units::Settings| {
            (settings.connect, settings.call) = (part(settings.connect), part(settings.call));
        };
        match subject {
            Subject::Libvirt => {
                Self::Libvirt(Box::new(Libvirt::new(libvirt_settings(config, socket, limit))))
            }
            Subject::NovaCompute => {
                let mut settings = config.nova_compute.clone();
                settings.limits.find = part(settings.limits.find);
                systemd(&mut settings.systemd);
                Self::NovaCompute(Box::new(NovaCompute::new(settings)))
            }
            Subject::Services => {
                let mut settings = config.services.clone();
                systemd(&mut settings.systemd);
                Self::Services(Box::new(Services::new(settings)))
            }
            Subject::Host => {
                let mut settings = config.host.clone();
                if let Some(limit) = limit {
                    // A write that hangs goes on hanging: the second look does not wait for it again.
                    settings.storage.limit = settings.storage.limit.min(limit.mul_f64(0.7));
                }
                Self::Host(Box::new(Host::new(settings)))
            }
        }
    }

    /// Resolves when something deserves a check at once.
    pub(super) async fn changed(&mut self) {
        match self {
            Self::Libvirt(probe) => probe.changed().await,
            Self::NovaCompute(probe) => probe.changed().await,
            Self::Services(probe) => probe.changed().await,
            Self::Host(probe) => probe.changed().await,
        }
    }
}

impl Look for Probe {
    fn subject(&self) -> Subject {
        match self {
            Self::Libvirt(_) => Subject::Libvirt,
            Self::NovaCompute(_) => Subject::NovaCompute,
            Self::Services(_) => Subject::Services,
            Self::Host(_) => Subject::Host,
        }
    }

    async fn check(&mut self) -> Report {
        match self {
            Self::Libvirt(probe) => probe.check().await,
            Self::NovaCompute(probe) => probe.check().await,
            Self::Services(probe) => probe.check().await,
            Self::Host(probe) => probe.check().await,
        }
    }
}

/// The configured settings, for the socket that was named, and for two looks within a limit.
pub(super) fn libvirt_settings(config: &Config, socket: Option<&Path>, limit: Option<Duration>) -> Settings {
    let mut settings = config.libvirt.clone();
    if let Some(socket) = socket {
        settings = Settings { sockets: vec![socket.to_owned()], by_hand: true, vouched: true, ..settings };
    }
    if let Some(limit) = limit {
        settings.deadlines = twice_within(settings.deadlines, limit);
    }
    settings
}

/// A phase that fails leaves time for it to fail again; and one look comes to its end, whatever happens.
fn twice_within(deadlines: Deadlines, limit: Duration) -> Deadlines {
    let look = limit.saturating_sub(ASIDE).max(limit / 4);
    let most = look.saturating_sub(PAUSE).mul_f64(0.48).max(limit / 5);
    let Deadlines { connect, ping, call, workers, domains, .. } = deadlines;
    let [connect, ping, call, workers, domains] =
        [connect, ping, call, workers, domains].map(|time| time.min(most));
    // The others are asked together with the workers.
    let longest = connect + workers.max(ping).max(call) + domains;
    let share = (look.as_secs_f64() / longest.as_secs_f64()).min(1.0);
    let [connect, ping, call, workers, domains] =
        [connect, ping, call, workers, domains].map(|time| time.mul_f64(share));
    // There is no connection that could be lost.
    Deadlines { redial: Duration::ZERO, connect, ping, call, workers, domains }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_deadline_leaves_the_phases_their_time() {
        let deadlines = twice_within(Deadlines::default(), Duration::from_secs(8));
        assert!(deadlines.workers >= Duration::from_millis(2500), "{deadlines:?}");
        let plenty = twice_within(Deadlines::default(), Duration::from_secs(20));
        assert_eq!(plenty, Deadlines { redial: Duration::ZERO, ..Deadlines::default() });
    }

    #[test]
    fn two_looks_and_a_long_one_fit() {
        for limit in [200, 1000, 2000, 8000, 60_000].map(Duration::from_millis) {
            let deadlines = twice_within(Deadlines::default(), limit);
            let slowest = deadlines.connect.max(deadlines.ping).max(deadlines.workers).max(deadlines.domains);
            let long = deadlines.connect + deadlines.workers + deadlines.domains;
            assert!(slowest * 2 + PAUSE <= limit.max(PAUSE * 2), "{limit:?}: {deadlines:?}");
            assert!(long <= limit, "{limit:?}: {deadlines:?}");
        }
    }
}
