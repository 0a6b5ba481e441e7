//! A thousand probes of a libvirtd that hangs, run by a daemon that no cluster knows: nothing of them stays behind.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use pcmk_interop::error::{Context, Error};
use pcmk_interop::pulse::Pulse;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Node, Result, fail};
use pcmk_remote::net::test_client::Client;
use roxmltree::Document;

use super::bed::{ANSWER, Bed};

/// Resources that are monitored at the same time.
const RESOURCES: usize = 50;
const ROUNDS: usize = 20;
/// Rounds before the daemon's memory is looked at.
const WARM_UP: usize = 5;
/// What is given to each monitor while libvirtd hangs.
const TIMEOUT: Duration = Duration::from_millis(400);
/// What is given to each while it does not.
const LONG: Duration = secs(10);
/// A round is over by then.
const PATIENCE: Duration = secs(20);
/// More memory than this is a leak: a thousand times a kilobyte.
const GROWTH_KB: usize = 1000;

/// What a process has taken.
#[derive(Debug)]
struct Taken {
    threads: usize,
    descriptors: usize,
    heap_kb: usize,
}

pub(crate) fn leave_nothing(bed: &Bed) -> Result<()> {
    let alone = bed.alone();
    // Room for all who connect at once.
    alone.write_configuration(&format!("max_anonymous_clients = {}\n", RESOURCES * 2))?;
    alone.start()?;
    let node = alone.node();
    node.exec(&["systemctl", "start", "pacemaker_remote"])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let key = fs::read(node.path("/etc/pacemaker/authkey")?)?;
    let address: SocketAddr = format!("{}:3121", node.address()).parse().context("the node's address")?;
    let mut controller = runtime.block_on(Controller::new(address, &key)).context("as a controller")?;
    let mut round = |number: usize, timeout: Duration| {
        runtime.block_on(controller.round(number, timeout)).context("a round of monitors")
    };
    let all_well = |codes: &[String]| codes.iter().all(|code| code == "0");

    let well = |round: &mut dyn FnMut(usize, Duration) -> Result<Vec<String>>| {
        wait::until(secs(60), "all monitors of a libvirtd that is well to be so", || {
            let codes = round(0, LONG)?;
            if all_well(&codes) { Ok(Some(())) } else { fail(format!("{codes:?}")) }
        })
    };
    let mut round_after_round = |rounds: usize| -> Result<()> {
        for _ in 0..3 {
            well(&mut round)?;
        }
        alone.signal("STOP")?;
        for number in 1..=rounds {
            let codes = round(number, TIMEOUT)?;
            if codes.iter().any(|code| code == "0") {
                return fail(format!(
                    "round {number}: some monitors of a frozen libvirtd are content: {codes:?}"
                ));
            }
        }
        alone.signal("CONT")?;
        well(&mut round)
    };
    // The first time, the memory that so many at once need is taken, and kept for the next time.
    round_after_round(WARM_UP)?;
    let before = settled(node)?;
    let pulse = Pulse::start(node)?;
    round_after_round(ROUNDS)?;
    pulse.stop()?.within(ANSWER)?;
    // Threads of the runtime that had something to do live on for ten seconds.
    wait::until(secs(30), &format!("nothing to be left of {} probes", ROUNDS * RESOURCES), || {
        let after = taken(node)?;
        let more = after.threads > before.threads
            || after.descriptors > before.descriptors
            || after.heap_kb > before.heap_kb + GROWTH_KB;
        if more { fail(format!("{before:?} before, {after:?} after")) } else { Ok(Some(())) }
    })
}

/// What the daemon has taken once that no longer changes.
fn settled(node: &Node) -> Result<Taken> {
    let mut last = taken(node)?;
    wait::until(secs(30), "the daemon to come to rest", || {
        std::thread::sleep(secs(1));
        let now = taken(node)?;
        let same = now.threads == last.threads && now.descriptors == last.descriptors;
        last = now;
        Ok(same.then_some(()))
    })?;
    Ok(last)
}

fn taken(node: &Node) -> Result<Taken> {
    let said = node.sh(
        "pid=$(systemctl show -P MainPID pacemaker_remote); ls /proc/$pid/task | wc -l; ls /proc/$pid/fd | wc -l; \
         awk '/^Anonymous:/ { print $2 }' /proc/$pid/smaps_rollup",
    )?;
    let numbers: Vec<usize> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [threads, descriptors, heap_kb] => Ok(Taken { threads, descriptors, heap_kb }),
        _ => fail(format!("the daemon's process: {said}")),
    }
}

/// A cluster node in the eyes of the daemon.
struct Controller {
    client: Client,
    sent: usize,
}

impl Controller {
    /// Connects and registers the resources.
    async fn new(address: SocketAddr, key: &[u8]) -> io::Result<Self> {
        let mut this = Self { client: Client::connect(address, key).await?, sent: 0 };
        this.ask("register", "lrmd_clientname='rig' lrmd_protocol_version='1.1'", "").await?;
        for number in 0..RESOURCES {
            let resource = format!(
                "<lrmd_calldata><lrmd_rsc lrmd_origin='rig' lrmd_rsc_id='p{number}' lrmd_class='ocf' \
                 lrmd_provider='pcmk-remote' lrmd_type='libvirt'/></lrmd_calldata>"
            );
            this.ask("lrmd_rsc_register", "", &resource).await?;
        }
        Ok(this)
    }

    /// Monitors all of them at once; the exit codes.
    async fn round(&mut self, number: usize, timeout: Duration) -> Result<Vec<String>> {
        tokio::time::timeout(PATIENCE, self.monitor_all(number, timeout))
            .await
            .map_err(|_| Error::new(format!("round {number} is not over after {PATIENCE:?}")))?
            .map_err(Error::from)
    }

    async fn monitor_all(&mut self, number: usize, timeout: Duration) -> io::Result<Vec<String>> {
        let timeout = timeout.as_millis();
        let mut awaited = BTreeSet::new();
        for resource in 0..RESOURCES {
            let call = format!(
                "<lrmd_calldata><lrmd_rsc lrmd_origin='rig' lrmd_rsc_id='p{resource}' lrmd_rsc_action='monitor' \
                 lrmd_rsc_userdata_str='{number}' lrmd_rsc_interval='0' lrmd_timeout='{timeout}' \
                 lrmd_rsc_start_delay='0'><attributes CRM_meta_timeout='{timeout}'/></lrmd_rsc></lrmd_calldata>"
            );
            self.send("lrmd_rsc_exec", "", &call).await?;
            awaited.insert(format!("p{resource}"));
        }
        let mut codes = Vec::new();
        while !awaited.is_empty() {
            let message = self.receive().await?;
            let document = Document::parse(&message).map_err(io::Error::other)?;
            let root = document.root_element();
            let get = |name| root.attribute(name).unwrap_or_default();
            if root.has_tag_name("lrmd_notify")
                && get("lrmd_op") == "lrmd_rsc_exec"
                && awaited.remove(get("lrmd_rsc_id"))
            {
                let done = get("lrmd_exec_op_status") == "0";
                codes.push(if done { get("lrmd_exec_rc") } else { "not done" }.to_owned());
            }
        }
        Ok(codes)
    }

    /// Sends a request and waits for its reply.
    async fn ask(&mut self, op: &str, attributes: &str, data: &str) -> io::Result<()> {
        self.send(op, attributes, data).await?;
        while !self.receive().await?.contains("<lrmd_reply") {}
        Ok(())
    }

    async fn send(&mut self, op: &str, attributes: &str, data: &str) -> io::Result<()> {
        self.sent += 1;
        let id = self.sent;
        let request = format!(
            "<lrmd_command t='lrmd' lrmd_op='{op}' {attributes} lrmd_timeout='15000' lrmd_callopt='0' \
             lrmd_remote_msg_id='{id}' lrmd_remote_msg_type='request'>{data}</lrmd_command>"
        );
        self.client.send(request).await
    }

    async fn receive(&mut self) -> io::Result<String> {
        let frame = self.client.recv().await?.ok_or(io::ErrorKind::ConnectionReset)?;
        Ok(String::from_utf8_lossy(&frame.payload).trim_end_matches('\0').to_owned())
    }
}
