//! Faults of libvirtd itself.

use std::time::{Duration, Instant};

use pcmk_interop::cib::Primitive;
use pcmk_interop::error::Context;
use pcmk_interop::libvirt::{ANONYMOUS, SOCKET};
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};

use super::bed::{Bed, INTERVAL, STRICT};

const LIST: &[&str] = &["virsh", "-q", "list"];
const AT_ONCE: Duration = secs(1);
const HANG: Duration = secs(6);

pub(crate) fn stopped(bed: &Bed) -> Result<()> {
    let compute = &bed.compute;
    bed.during(
        ("not running", AT_ONCE),
        || compute.stop(),
        || bed.says("failed", &["connect"], "not running", AT_ONCE).map(drop),
        || compute.start(),
    )
}

/// It crashes until systemd gives it up.
pub(crate) fn crashed(bed: &Bed) -> Result<()> {
    let compute = &bed.compute;
    bed.during(
        ("not running", AT_ONCE),
        || {
            compute.write_configuration("max_clients = \"many\"\n")?;
            compute.signal("KILL")?;
            wait::until(secs(20), "systemd to give libvirtd up", || {
                let state =
                    compute.node().run(&["systemctl", "is-active", "libvirtd.service", "libvirtd.socket"])?;
                if state.stdout == "failed\nfailed\n" { Ok(Some(())) } else { fail(state.stdout) }
            })
        },
        || bed.says("failed", &["connect"], "not running", AT_ONCE).map(drop),
        || compute.reset(),
    )
}

pub(crate) fn socket_removed(bed: &Bed) -> Result<()> {
    let compute = &bed.compute;
    bed.during(
        ("there is no socket", AT_ONCE),
        || compute.node().exec(&["rm", SOCKET]).map(drop),
        || bed.says("failed", &["connect"], "there is no socket", AT_ONCE).map(drop),
        || compute.restart(),
    )
}

/// It is there, it has its sockets, connections to it succeed: and it does nothing. `virsh` waits for ever.
pub(crate) fn frozen(bed: &Bed) -> Result<()> {
    let compute = &bed.compute;
    bed.during(
        ("event-loop: libvirtd is stopped (state T)", HANG),
        || compute.signal("STOP"),
        || {
            bed.says("failed", &["event-loop"], "stopped (state T)", HANG)?;
            bed.hangs(LIST)
        },
        || compute.signal("CONT"),
    )
}

/// Any local process can keep all others out by connecting and saying nothing.
pub(crate) fn anonymous_slots_taken(bed: &Bed) -> Result<()> {
    let compute = &bed.compute;
    bed.during(
        ("overloaded", HANG + INTERVAL),
        || compute.load("linger", &["linger", &(ANONYMOUS + 3).to_string()]),
        || {
            bed.says("degraded", &["connect"], "overloaded", HANG)?;
            bed.hangs(LIST)
        },
        || compute.end_load("linger"),
    )
}

pub(crate) fn client_slots_taken(bed: &Bed) -> Result<()> {
    let compute = &bed.compute;
    compute.configure("max_clients = 12\nmax_anonymous_clients = 8\n")?;
    let info = compute.node().exec(&["virt-admin", "server-clients-info", "libvirtd"])?;
    let taken = info.lines().find(|line| line.starts_with("nclients ")).context(&info)?;
    let taken: usize = taken.rsplit(' ').next().unwrap_or_default().parse().context("nclients")?;
    bed.during(
        ("overloaded", HANG + INTERVAL),
        || {
            compute.load("connect", &["connect", &(12 - taken).to_string()])?;
            compute.load("linger", &["linger", "2"])
        },
        || {
            bed.says("degraded", &["connect"], "overloaded", HANG)?;
            bed.hangs(LIST)
        },
        || {
            compute.end_load("linger")?;
            compute.end_load("connect")
        },
    )
}

/// Whoever may not ask does not know; that is no failure of libvirt.
pub(crate) fn no_permission(bed: &Bed) -> Result<()> {
    let (compute, node) = (&bed.compute, bed.compute.node());
    let nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"];
    let ask = |word: &str| {
        compute.check_as(&nobody, &STRICT)?.expect("unknown", &["connect"], AT_ONCE)?.says(word).map(drop)
    };
    // The socket is open to all, and polkit says no.
    ask("authentication")?;
    node.exec(&["chmod", "600", SOCKET])?;
    let refused = ask("no permission");
    node.exec(&["chmod", "666", SOCKET])?;
    refused
}

/// libvirt is not installed, or the path is that of something else.
pub(crate) fn not_libvirt(bed: &Bed) -> Result<()> {
    let compute = &bed.compute;
    for (path, word) in [
        ("/etc/hostname", "not a socket"),
        ("/run/dbus/system_bus_socket", "no libvirt"),
        ("/run/nothing/libvirt-sock", "no socket"),
    ] {
        let check = compute.check(&["--socket", path, STRICT[0], STRICT[1]])?;
        check.expect("unknown", &["socket", "connect"], AT_ONCE)?.says(word)?;
    }
    let bare = bed.bare()?;
    bare.check(&[])?.expect("unknown", &["socket"], AT_ONCE)?.says("not installed").map(drop)
}

/// As the agent is meant to be used: the cluster restarts what hangs, guests go on running, and nobody is fenced.
pub(crate) fn frozen_is_restarted(bed: &Bed) -> Result<()> {
    const RESOURCE: &str = "libvirt";
    let (compute, cluster) = (&bed.compute, &bed.cluster);
    compute.create(2, &[])?;
    let guests = compute.node().pids_of("qemu-system-x86_64")?;
    let resource = Primitive::new(RESOURCE, "ocf:pcmk-remote:libvirt").monitor("10s", "30s");
    cluster
        .add(&resource.op("start", "0s", "timeout='60s'").op("stop", "0s", "timeout='60s'").on("r1", 1000))?;
    cluster.wait_place(RESOURCE, "Started on r1", secs(40))?;
    cluster.settle()?;
    let before = compute.pid()?;
    let began = Instant::now();
    compute.signal("STOP")?;
    let again =
        wait::until(secs(40), "libvirtd to be started again by the cluster", || match compute.pid() {
            Ok(pid) if pid != before => Ok(Some(began.elapsed())),
            other => fail(format!("{other:?}")),
        });
    if again.is_err() {
        compute.signal("CONT")?;
    }
    let again = again?;
    cluster.wait_place(RESOURCE, "Started on r1", secs(40))?;
    cluster.settle()?;
    compute.wait_verdict("ok", secs(5))?;
    if std::env::var_os("PCMK_RIG_TIMES").is_some() {
        println!("(a frozen libvirtd was restarted after {:.1} s)", again.as_secs_f32());
    }
    let after = compute.node().pids_of("qemu-system-x86_64")?;
    // Unmanaged, its deletion does not stop libvirtd.
    cluster.set_meta(RESOURCE, "is-managed", "false")?;
    cluster.exec(&[
        "cibadmin",
        "--delete-all",
        "--force",
        "--xpath",
        &format!("//rsc_location[@rsc='{RESOURCE}']"),
    ])?;
    cluster.exec(&[
        "cibadmin",
        "--delete-all",
        "--force",
        "--xpath",
        &format!("//primitive[@id='{RESOURCE}']"),
    ])?;
    cluster.settle()?;
    if after == guests { Ok(()) } else { fail(format!("guests {guests:?} before, {after:?} after")) }
}
