//! What the probe of libvirt may be told.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Where libvirt is and what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Sockets, tried in this order.
    pub sockets: Vec<PathBuf>,
    /// The sockets were given by hand: one that was never there may just be a wrong path.
    #[serde(skip)]
    pub by_hand: bool,
    /// Somebody sits in front of the probe and vouches for the socket: who owns it and does not answer has failed,
    /// even if that is no program of libvirt.
    #[serde(skip)]
    pub vouched: bool,
    /// Driver to open, as the daemon sees it.
    pub uri: String,
    /// Opens it read-only, over the read-only sockets (`…-ro`) where the others are closed to us.
    pub read_only: bool,
    /// How long each phase may take.
    pub deadlines: Deadlines,
    /// A daemon that was started less than this ago, has not answered yet and is at work, has not failed.
    #[serde(with = "crate::config::span")]
    pub grace: Duration,
    /// A daemon that is busy and does not answer has failed after this.
    #[serde(with = "crate::config::span")]
    pub patience: Duration,
    /// When domains that are paused by I/O errors count.
    pub paused: Paused,
    /// A domain's monitor that is occupied for longer is stuck.
    #[serde(with = "crate::config::span")]
    pub occupied: Duration,
    /// Domains whose monitor is asked for in one check; in the first check it is all of them.
    pub batch: usize,
    /// In this time the processes of all domains are looked at once.
    #[serde(with = "crate::config::span")]
    pub round: Duration,
    /// How often [`Libvirt::changed`](super::Libvirt::changed) pings.
    #[serde(with = "crate::config::span")]
    pub watch: Duration,
    /// Programs that serve such sockets.
    pub programs: Vec<String>,
    /// Where these programs would be installed.
    pub folders: Vec<PathBuf>,
    /// Files with the daemon's process number.
    pub pid_files: Vec<PathBuf>,
    /// Where the daemon keeps the process numbers of its domains.
    pub run: PathBuf,
}

/// How long each phase of a check may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deadlines {
    /// Waiting for a new socket after the daemon was lost.
    #[serde(with = "crate::config::span")]
    pub redial: Duration,
    /// Connecting, authentication, opening the driver.
    #[serde(with = "crate::config::span")]
    pub connect: Duration,
    /// A ping.
    #[serde(with = "crate::config::span")]
    pub ping: Duration,
    /// A cheap call.
    #[serde(with = "crate::config::span")]
    pub call: Duration,
    /// The states of all domains.
    #[serde(with = "crate::config::span")]
    pub workers: Duration,
    /// The domains' monitors, all that are asked for in one check.
    #[serde(with = "crate::config::span")]
    pub domains: Duration,
}

/// When domains that are paused by I/O errors count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Paused {
    /// So many are degraded.
    pub degraded: usize,
    /// So many have failed, if they are also…
    pub failed: usize,
    /// …this many of a hundred of the active domains.
    pub percent: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sockets: vec!["/run/libvirt/virtqemud-sock".into(), "/run/libvirt/libvirt-sock".into()],
            by_hand: false,
            vouched: false,
            uri: "qemu:///system".into(),
            read_only: false,
            deadlines: Deadlines::default(),
            grace: Duration::from_secs(60),
            patience: Duration::from_secs(30),
            paused: Paused::default(),
            occupied: Duration::from_secs(20),
            batch: 8,
            round: Duration::from_secs(25),
            watch: Duration::from_millis(500),
            programs: vec!["virtqemud".into(), "libvirtd".into(), "virtproxyd".into()],
            folders: vec!["/usr/sbin".into(), "/usr/bin".into(), "/usr/local/sbin".into()],
            pid_files: vec!["/run/virtqemud.pid".into(), "/run/libvirtd.pid".into()],
            run: "/run/libvirt/qemu".into(),
        }
    }
}

impl Settings {
    /// For one socket that was given by hand.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { sockets: vec![socket.into()], by_hand: true, ..Self::default() }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            redial: Duration::from_millis(400),
            connect: Duration::from_secs(2),
            ping: Duration::from_secs(2),
            call: Duration::from_secs(2),
            workers: Duration::from_secs(3),
            domains: Duration::from_secs(3),
        }
    }
}

impl Deadlines {
    /// The longest that a check may take.
    pub fn total(&self) -> Duration {
        // Ping, call and states are asked together: the longest of them counts. A connection that breaks is
        // tried once more.
        let asked = self.ping.max(self.call).max(self.workers);
        self.redial + self.connect * 2 + asked + self.domains + LOOKS
    }

    /// Shortened so that a check takes no longer than this. Never lengthened.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        let (total, limit) = (self.total().saturating_sub(LOOKS), limit.saturating_sub(LOOKS));
        if total <= limit {
            return self;
        }
        // A little less, for what rounding adds.
        let share = limit.as_secs_f64() / total.as_secs_f64() * 0.9999;
        let part = |time: Duration| time.mul_f64(share).max(SHORTEST);
        Self {
            redial: part(self.redial),
            connect: part(self.connect),
            ping: part(self.ping),
            call: part(self.call),
            workers: part(self.workers),
            domains: part(self.domains),
        }
    }
}

/// Looking at a daemon that does not answer, and at a queue in front of its socket.
const LOOKS: Duration = Duration::from_millis(600);
/// Nothing can be said in less.
const SHORTEST: Duration = Duration::from_millis(5);

impl Default for Paused {
    fn default() -> Self {
        Self { degraded: 1, failed: 2, percent: 50 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_shortened_to_fit_and_never_lengthened() {
        let usual = Deadlines::default();
        assert_eq!(usual.within(usual.total()), usual);
        assert_eq!(usual.within(Duration::from_secs(3600)), usual);
        for limit in [1, 2, 5].map(Duration::from_secs) {
            let short = usual.within(limit);
            assert!(short.total() <= limit, "{short:?} {:?}", short.total());
            assert!(short.total() + Duration::from_millis(5) > limit, "{short:?}");
        }
        assert!(usual.within(Duration::ZERO).connect > Duration::ZERO);
    }
}
