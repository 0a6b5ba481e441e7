//! Evidence that is asked for: Pacemaker's history with its configuration, its nodes, and a host's crash kernel. The judging is in
//! `proof`.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::ids::{HostName, NodeName};
use crate::process::{Ended, ProcessError, Program};
use crate::proof::pacemaker::{self, BadXml, FenceEvent, NoProof, Topology};
use crate::proof::{FenceProof, kdump};
use crate::stamp::Stamp;

/// Of what the cluster's tools print, so much is read.
const PRINTED: usize = 16 << 20;
/// The name of Pacemaker's fencer, as the kernel cuts it off.
const FENCER: &str = "pacemaker-fence";

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The tool does not run.
    #[error(transparent)]
    Run(#[from] ProcessError),
    /// It says no.
    #[error("{tool} failed: {said}")]
    Tool {
        /// Which.
        tool: &'static str,
        /// What it said.
        said: String,
    },
    /// It says what is not understood.
    #[error(transparent)]
    Xml(#[from] BadXml),
    /// What it says proves nothing.
    #[error(transparent)]
    NoProof(#[from] NoProof),
    /// The socket cannot be had.
    #[error("UDP port 7410 cannot be listened on: {0}. Is another listener (fence_kdump) running?")]
    Listen(#[source] io::Error),
    /// Nothing came.
    #[error("{0} has sent no kdump message in time")]
    NoMessage(HostName),
    /// Nothing could come.
    #[error("{0} has no kdump address in the map of power devices")]
    NoAddress(HostName),
}

/// Pacemaker's record of a fencing that is newer than `seen`, the node's last sign of life.
pub async fn pacemaker_history(
    node: &NodeName,
    host: &HostName,
    seen: Stamp,
    reboot_counts: bool,
    within: Duration,
) -> Result<FenceProof, EvidenceError> {
    let until = Instant::now() + within;
    let events = history(node, within).await?;
    let left = until.saturating_duration_since(Instant::now());
    let tool = Program::new("cibadmin").with(["--query", "--scope", "configuration"]);
    let tool = Program { kept: PRINTED, ..tool };
    let topology = Topology::parse(&output("cibadmin", tool.run(left).await?)?)?;
    Ok(pacemaker::completed(&events, &topology, node, host, seen, reboot_counts)?)
}

async fn history(node: &NodeName, within: Duration) -> Result<Vec<FenceEvent>, EvidenceError> {
    let arguments = ["--history", node.as_str(), "--verbose", "--output-as=xml"].map(str::to_owned);
    let tool = Program { kept: PRINTED, ..Program::new("stonith_admin").with(arguments) };
    let text = output("stonith_admin", tool.run(within).await?)?;
    Ok(pacemaker::history(&text)?)
}

fn output(tool: &'static str, ended: Ended) -> Result<String, EvidenceError> {
    if ended.code == Some(0) && !ended.cut {
        return Ok(ended.output);
    }
    let said = if ended.cut { "it prints more than 16 MiB" } else { ended.errors.trim() };
    let said = said.lines().last().unwrap_or("it does not say why").chars().take(200).collect();
    Err(EvidenceError::Tool { tool, said })
}

/// Whether the cluster has lost a node; the error says why not.
pub async fn is_lost(node: &NodeName, within: Duration) -> Result<(), EvidenceError> {
    let tool = Program::new("crm_mon").with(["-1", "--output-as=xml"]);
    let text = output("crm_mon", Program { kept: PRINTED, ..tool }.run(within).await?)?;
    match pacemaker::is_lost(&text, node)? {
        Some(true) => Ok(()),
        Some(false) => Err(NoProof::Online(node.clone()).into()),
        None => Err(NoProof::NoNode(node.clone()).into()),
    }
}

/// Whether Pacemaker's fencer has started this process.
pub fn run_by_fencer() -> bool {
    let parent = nix::unistd::getppid();
    let name = std::fs::read_to_string(format!("/proc/{parent}/comm"));
    name.is_ok_and(|name| name.trim_end() == FENCER)
}

/// Waits for a host's crash kernel to speak.
pub async fn kdump_message(
    senders: &kdump::Senders,
    host: &HostName,
    within: Duration,
) -> Result<FenceProof, EvidenceError> {
    if !senders.has(host) {
        return Err(EvidenceError::NoAddress(host.clone()));
    }
    let until = Instant::now() + within;
    // Both families where there is IPv6.
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, kdump::PORT));
    let socket = match UdpSocket::bind(any).await {
        Ok(socket) => socket,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(EvidenceError::Listen(error)),
        Err(_) => UdpSocket::bind(("0.0.0.0", kdump::PORT)).await.map_err(EvidenceError::Listen)?,
    };
    heard(&socket, senders, host, until).await
}

async fn heard(
    socket: &UdpSocket,
    senders: &kdump::Senders,
    host: &HostName,
    until: Instant,
) -> Result<FenceProof, EvidenceError> {
    let mut message = [0; kdump::LENGTH + 1];
    loop {
        let (length, from): (usize, IpAddr) = match timeout_at(until, socket.recv_from(&mut message)).await {
            Ok(Ok((length, from))) => (length, from.ip()),
            Ok(Err(error)) => return Err(EvidenceError::Listen(error)),
            Err(_) => return Err(EvidenceError::NoMessage(host.clone())),
        };
        let message = message.get(..length).unwrap_or_default();
        match senders.proof(from, message, Stamp::now()) {
            Some(proof) if proof.host() == host => return Ok(proof),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_message_of_that_host_is_waited_for() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = socket.local_addr().unwrap();
        let mut senders = kdump::Senders::default();
        let (one, other): (HostName, HostName) = ("one".parse().unwrap(), "other".parse().unwrap());
        senders.add(&one, "127.0.0.1".parse().unwrap()).unwrap();
        senders.add(&other, "127.0.0.2".parse().unwrap()).unwrap();
        let message = [0x40, 0x2A, 0x30, 0x1B, 1, 0, 0, 0];
        let stranger = UdpSocket::bind("127.0.0.3:0").await.unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        stranger.send_to(&message, to).await.unwrap();
        sender.send_to(&message[..7], to).await.unwrap();
        let soon = || Instant::now() + Duration::from_millis(200);
        assert!(matches!(heard(&socket, &senders, &one, soon()).await, Err(EvidenceError::NoMessage(_))));
        sender.send_to(&message, to).await.unwrap();
        assert!(matches!(heard(&socket, &senders, &other, soon()).await, Err(EvidenceError::NoMessage(_))));
        sender.send_to(&message, to).await.unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        assert_eq!(heard(&socket, &senders, &one, until).await.unwrap().host(), &one);
        let none = kdump_message(&kdump::Senders::default(), &one, Duration::from_secs(1)).await;
        assert!(matches!(none, Err(EvidenceError::NoAddress(_))));
    }
}
