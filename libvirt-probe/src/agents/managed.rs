//! The systemd units that a resource stands for: whether they run, starting and stopping them.

use std::time::Duration;

use tokio::time::Instant;

use super::Kind;
use super::parameters::UnitName;
use crate::units::{Active, Error, Load, Systemd, Task, Unit};

/// Left of an action's time for what comes after the unit.
const RESERVE: Duration = Duration::from_millis(500);

/// A unit and those that go with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Managed {
    /// The service.
    pub(super) unit: String,
    /// Its sockets, which would start it again.
    sockets: Vec<String>,
    /// Some of them is active or about to be.
    pub(super) runs: bool,
}

/// Why there is no unit.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoUnit {
    #[error("none of these units is installed: {}; name one with parameter unit, or none", .0.join(", "))]
    None(Vec<String>),
    #[error("unit {0} is not installed")]
    Missing(String),
    #[error("unit {0} is masked")]
    Masked(String),
    #[error(transparent)]
    Systemd(#[from] Error),
}

impl NoUnit {
    /// Whether there is none for sure.
    pub(super) fn is_certain(&self) -> bool {
        !matches!(self, Self::Systemd(_))
    }
}

fn sockets(unit: &str) -> Vec<String> {
    const KINDS: [&str; 3] = ["", "-ro", "-admin"];
    let Some(stem) = unit.strip_suffix(".service") else { return Vec::new() };
    KINDS.iter().map(|kind| format!("{stem}{kind}.socket")).collect()
}

fn is_up(unit: &Unit) -> bool {
    matches!(unit.active, Active::Active | Active::Activating)
}

/// Finds the unit. `candidates` are those that "auto" chooses from, by preference.
pub(super) async fn find(
    systemd: &Systemd,
    kind: Kind,
    name: &UnitName,
    candidates: &[String],
) -> Result<Managed, NoUnit> {
    let names = match name {
        UnitName::Named(name) => vec![name.clone()],
        UnitName::Auto | UnitName::None => candidates.to_vec(),
    };
    let mut asked = Vec::new();
    for name in &names {
        asked.push(name.clone());
        if kind == Kind::Libvirt {
            asked.extend(sockets(name));
        }
    }
    let units = systemd.units(&asked).await?;
    choose(kind, name, &names, &units)
}

fn choose(kind: Kind, wanted: &UnitName, names: &[String], units: &[Unit]) -> Result<Managed, NoUnit> {
    let of = |name: &str| units.iter().find(|unit| unit.name == name);
    let managed = |unit: &Unit| {
        let with: Vec<String> = if kind == Kind::Libvirt { sockets(&unit.name) } else { Vec::new() };
        let sockets: Vec<&Unit> =
            with.iter().filter_map(|name| of(name)).filter(|s| s.load == Load::Loaded).collect();
        Managed {
            unit: unit.name.clone(),
            runs: is_up(unit) || sockets.iter().any(|socket| is_up(socket)),
            sockets: sockets.into_iter().map(|socket| socket.name.clone()).collect(),
        }
    };
    let loaded: Vec<Managed> = names
        .iter()
        .filter_map(|name| of(name))
        .filter(|unit| unit.load == Load::Loaded)
        .map(managed)
        .collect();
    if let Some(found) = loaded.iter().find(|managed| managed.runs).or(loaded.first()) {
        return Ok(found.clone());
    }
    match wanted {
        UnitName::Named(name) if of(name).is_some_and(|unit| unit.load == Load::Masked) => {
            Err(NoUnit::Masked(name.clone()))
        }
        UnitName::Named(name) => Err(NoUnit::Missing(name.clone())),
        UnitName::Auto | UnitName::None => Err(NoUnit::None(names.to_vec())),
    }
}

impl Managed {
    /// Starts it.
    pub(super) async fn start(&self, systemd: &Systemd, deadline: Instant) -> Result<(), Error> {
        // One that failed too often would be refused.
        let _ = systemd.reset_failed(&self.unit).await;
        systemd.run(Task::Start, &self.unit, left(deadline)).await
    }

    /// Stops it, sockets first, so that nobody starts it again.
    pub(super) async fn stop(&self, systemd: &Systemd, deadline: Instant) -> Result<(), Error> {
        for unit in self.sockets.iter().chain([&self.unit]) {
            systemd.run(Task::Stop, unit, left(deadline)).await?;
        }
        Ok(())
    }
}

/// Restarts a unit, unless systemd is at it already.
pub(super) async fn restart(systemd: &Systemd, unit: &str, deadline: Instant) -> Result<(), Error> {
    if systemd.unit(unit).await?.active == Active::Activating {
        return Ok(());
    }
    let _ = systemd.reset_failed(unit).await;
    systemd.run(Task::Restart, unit, left(deadline)).await
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).saturating_sub(RESERVE).max(RESERVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, load: Load, active: Active) -> Unit {
        let path = zbus::OwnedObjectPath::try_from("/x").unwrap();
        Unit { name: name.into(), load, active, sub: String::new(), job: None, path }
    }

    fn loaded(name: &str, active: Active) -> Unit {
        unit(name, Load::Loaded, active)
    }

    fn missing(name: &str) -> Unit {
        unit(name, Load::NotFound, Active::Inactive)
    }

    fn chosen(units: &[Unit]) -> Result<(String, bool, Vec<String>), String> {
        let names = ["virtqemud.service".to_owned(), "libvirtd.service".to_owned()];
        choose(Kind::Libvirt, &UnitName::Auto, &names, units)
            .map(|managed| (managed.unit, managed.runs, managed.sockets))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_one_that_runs_is_chosen_and_else_the_one_that_is_installed() {
        let both =
            [loaded("virtqemud.service", Active::Inactive), loaded("libvirtd.service", Active::Active)];
        assert_eq!(chosen(&both), Ok(("libvirtd.service".into(), true, vec![])));
        let none =
            [loaded("virtqemud.service", Active::Inactive), loaded("libvirtd.service", Active::Failed)];
        assert_eq!(chosen(&none), Ok(("virtqemud.service".into(), false, vec![])));
        let one = [missing("virtqemud.service"), loaded("libvirtd.service", Active::Inactive)];
        assert_eq!(chosen(&one), Ok(("libvirtd.service".into(), false, vec![])));
        let problem = chosen(&[missing("virtqemud.service")]).unwrap_err();
        assert!(
            problem.contains("virtqemud.service, libvirtd.service; name one with parameter unit"),
            "{problem}"
        );
    }

    #[test]
    fn a_socket_that_listens_is_as_good_as_the_daemon() {
        let units = [
            loaded("libvirtd.service", Active::Inactive),
            loaded("libvirtd.socket", Active::Active),
            loaded("libvirtd-ro.socket", Active::Inactive),
            missing("libvirtd-admin.socket"),
        ];
        let sockets = vec!["libvirtd.socket".to_owned(), "libvirtd-ro.socket".to_owned()];
        assert_eq!(chosen(&units), Ok(("libvirtd.service".into(), true, sockets)));
    }

    #[test]
    fn a_unit_that_was_named_must_be_there() {
        let wanted = UnitName::Named("x.service".into());
        let names = ["x.service".to_owned()];
        let choose = |load| {
            let units = [unit("x.service", load, Active::Inactive)];
            choose(Kind::NovaCompute, &wanted, &names, &units).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(choose(Load::Loaded), Ok(()));
        assert_eq!(choose(Load::NotFound), Err("unit x.service is not installed".into()));
        assert_eq!(choose(Load::Masked), Err("unit x.service is masked".into()));
    }
}
