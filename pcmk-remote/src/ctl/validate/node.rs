//! The node itself: port, users, folders, what else runs here.

use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;

use nix::unistd::{Group, User};
use socket2::{Domain, Protocol, Socket, Type};

use super::Findings;
use crate::daemon::Settings;

pub(super) fn check(settings: &Settings, findings: &mut Findings) {
    check_port(settings, findings);
    check_accounts(findings);
    check_folders(settings, findings);
    check_others(settings, findings);
}

/// Takes the port without listening: a cluster that tries to connect just now is refused as before.
fn check_port(settings: &Settings, findings: &mut Findings) {
    let name = settings.address.as_deref();
    let place = findings.place_of(if name.is_some() { "remote_address" } else { "remote_port" });
    let place = place.unwrap_or_else(|| format!("port {}", settings.port));
    let addresses: Vec<SocketAddr> = match name {
        None => vec![(Ipv6Addr::UNSPECIFIED, settings.port).into()],
        Some(name) => match (name, settings.port).to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                findings.error(place, format!("PCMK_remote_address={name} cannot be resolved: {error}"));
                return;
            }
        },
    };
    let mut last = None;
    for address in addresses {
        match bind(address) {
            Ok(()) => return,
            Err(error) => last = Some((address, error)),
        }
    }
    let Some((address, error)) = last else { return };
    match error.kind() {
        std::io::ErrorKind::AddrInUse if runs(&["pacemaker-remoted"]) => {
            findings
                .info(place, format!("{address} is in use, as it should be: pacemaker-remoted is running"));
        }
        std::io::ErrorKind::AddrInUse => findings.error(
            place,
            format!("{address} is in use by something else: see ss -ltnp sport = :{}", settings.port),
        ),
        std::io::ErrorKind::AddrNotAvailable => {
            findings.error(place, format!("{address} is no address of this node (ip addr)"));
        }
        _ => findings.error(place, format!("{address} cannot be used: {error}")),
    }
}

fn bind(address: SocketAddr) -> std::io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    // Two may hold a port as long as neither listens; a listener would have been noticed above.
    Ok(())
}

fn check_accounts(findings: &mut Findings) {
    let user = User::from_name("hacluster").ok().flatten();
    let group = Group::from_name("haclient").ok().flatten();
    if group.is_none() {
        findings.warning("haclient", "there is no such group: only root can use crm_mon and the like here");
    }
    match (user, group) {
        (None, _) => findings.warning("hacluster", "there is no such user: log files stay root's"),
        (Some(user), Some(group)) if user.gid != group.gid && !group.mem.contains(&user.name) => {
            findings.warning("hacluster", "is not a member of haclient: usermod -a -G haclient hacluster");
        }
        _ => {}
    }
}

fn check_folders(settings: &Settings, findings: &mut Findings) {
    for file in &settings.log_files {
        if let Some(dir) = file.parent().filter(|dir| !dir.is_dir()) {
            let place = findings.place_of("logfile").unwrap_or_else(|| file.display().to_string());
            findings.warning(place, format!("there is no folder {} for the log", dir.display()));
        }
    }
    if !Path::new("/usr/lib/ocf/resource.d").is_dir() {
        findings.warning("/usr/lib/ocf/resource.d", "there are no OCF agents: install resource-agents");
    }
}

fn check_others(settings: &Settings, findings: &mut Findings) {
    if runs(&["pacemakerd"]) {
        findings.error(
            "pacemakerd",
            "a full cluster node runs here: it and the remote daemon cannot share a machine",
        );
    }
    if settings.sbd_timeout_ms > 0 && !runs(&["sbd"]) {
        let place = findings.places.get("SBD_WATCHDOG_TIMEOUT").cloned();
        let place = place.unwrap_or_else(|| "SBD_WATCHDOG_TIMEOUT".to_owned());
        findings
            .warning(place, "sbd is not running: a cluster with stonith-watchdog-timeout will not be served");
    }
}

/// Whether a process of one of these names runs here, not in a container. The kernel keeps 15 characters.
fn runs(names: &[&str]) -> bool {
    let here = std::fs::read_link("/proc/self/ns/pid").ok();
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .filter(|entry| {
            let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            names.iter().any(|name| comm.trim_end() == name.get(..15).unwrap_or(name))
        })
        .any(|entry| std::fs::read_link(entry.path().join("ns/pid")).ok() == here)
}
