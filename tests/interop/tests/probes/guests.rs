//! Faults of guests, and many of them.

use std::time::{Duration, Instant};

use pcmk_interop::error::Context;
use pcmk_interop::libvirt::Said;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};

use super::bed::{Bed, INTERVAL};

const FIRST: &str = "instance-00000001";
const SECOND: &str = "instance-00000002";

/// Calls that wait for one stuck guest take all of libvirtd's workers: nothing can be done with any guest, and
/// `virsh list` says that all is well.
pub(crate) fn workers_taken(bed: &Bed) -> Result<()> {
    let compute = &bed.compute;
    compute.create(2, &[])?;
    bed.during(
        ("workers: libvirt can do no work", secs(8)),
        || {
            compute.signal_guest(FIRST, "STOP")?;
            compute.load("stick", &["stick", FIRST, "24"])?;
            compute.wait_workers_taken()
        },
        || {
            bed.says("failed", &["workers"], "no work", secs(8))?;
            bed.is_content(&["virsh", "-q", "list"])?;
            bed.hangs(&["virsh", "-q", "domstats", SECOND])
        },
        || {
            compute.end_load("stick")?;
            compute.signal_guest(FIRST, "CONT")
        },
    )
}

/// Today's tools do not look at the process: to them the guest runs.
pub(crate) fn one_qemu_frozen(bed: &Bed) -> Result<()> {
    let compute = &bed.compute;
    compute.create(3, &[])?;
    bed.during(
        (SECOND, secs(30)),
        || compute.signal_guest(SECOND, "STOP"),
        || {
            bed.says("degraded", &["domains"], SECOND, secs(30))?;
            bed.is_content(&["virsh", "-q", "list"])
        },
        || compute.signal_guest(SECOND, "CONT"),
    )
}

/// Guests whose storage is lost are paused by libvirt. `VirtualDomain` calls them healthy.
pub(crate) fn storage_lost(bed: &Bed) -> Result<()> {
    let compute = &bed.compute;
    compute.start_storage()?;
    compute.create(3, &["--run", "--disk"])?;
    compute.create(1, &["--first", "9"])?;
    compute.wait_verdict("ok", secs(5))?;
    compute.wait_reading(FIRST)?;
    bed.during(
        // The first two are enough; how many they are by then is chance.
        (" of 4 domains are paused by I/O errors", secs(2)),
        || {
            compute.lose_storage()?;
            wait::until(secs(30), "the guests to be paused by libvirt", || {
                let domains = compute.official("qemu:///system")?.domains;
                let paused = domains.iter().filter(|domain| (domain.state, domain.reason) == (3, 5)).count();
                if paused == 3 { Ok(Some(())) } else { fail(format!("{domains:?}")) }
            })
        },
        || {
            bed.says("failed", &["storage"], "3 of 4 domains are paused by I/O errors", secs(2))?;
            match bed.virtual_domain(FIRST)? {
                0 => Ok(()),
                code => fail(format!("VirtualDomain has noticed something: {code}")),
            }
        },
        || {
            compute.start_storage()?;
            compute.resume_until_all_run(secs(20))
        },
    )
}

/// A thousand domains of libvirt's test driver, in the same daemon.
pub(crate) fn thousand_domains(bed: &Bed) -> Result<()> {
    const COUNT: usize = 1000;
    const PASS_MS: f64 = 20.0;
    let (compute, node) = (&bed.compute, bed.compute.node());
    node.sh(&format!(
        "guests many {COUNT} >/run/many.xml; printf '[libvirt]\\nuri = \"test:///run/many.xml\"\\n' >/run/many.toml"
    ))?;
    let official = compute.official("test+unix:///run/many.xml?socket=/run/libvirt/libvirt-sock")?;
    if official.domains.len() != COUNT {
        return fail(format!("the test driver has {} domains", official.domains.len()));
    }
    let words = [
        "libvirt-probe",
        "watch",
        "--json",
        "--interval",
        "300ms",
        "--count",
        "9",
        "--config",
        "/run/many.toml",
    ];
    let said = node.exec(&words)?;
    let passes = said.lines().map(serde_json::from_str).collect::<std::result::Result<Vec<Said>, _>>();
    let passes = passes.context(&said)?;
    // With the first pass the driver makes the domains, and all their monitors are asked for.
    let mut times: Vec<f64> = passes.iter().skip(1).map(|pass| pass.elapsed_ms).collect();
    times.sort_by(f64::total_cmp);
    // What else the machine does only makes it slower.
    let fastest = times.first().copied().context("passes")?;
    if passes.iter().any(|pass| pass.verdict != "ok") || fastest > PASS_MS {
        return fail(format!("passes over {COUNT} domains took {times:?} ms: {passes:?}"));
    }
    Ok(())
}

/// libvirtd reads its guests anew; nobody is to call that a failure.
pub(crate) fn restart_with_many(bed: &Bed) -> Result<()> {
    const COUNT: usize = 100;
    let (compute, node) = (&bed.compute, bed.compute.node());
    compute.create(COUNT, &[])?;
    compute.wait_verdict("ok", secs(10))?;
    let before = compute.pid()?;
    node.exec(&["systemctl", "--no-block", "restart", "libvirtd"])?;
    let (began, mut asked, mut well) = (Instant::now(), 0, 0);
    // Some more after it is back: the first answer of the new daemon is not its last word.
    while well < 5 {
        let check = compute.check(&[])?;
        asked += 1;
        if check.said.verdict == "failed" || began.elapsed() > secs(30) {
            return fail(format!("check {asked}, {:?} after the restart: {}", began.elapsed(), check.json));
        }
        let again = compute.pid().is_ok_and(|pid| pid != before);
        well += usize::from(again && check.said.verdict == "ok");
    }
    let domains = compute.official("qemu:///system")?.domains.len();
    if domains != COUNT {
        return fail(format!("{domains} domains after the restart"));
    }
    // Nor did the cluster hear of one; its next monitor would tell.
    let quiet = Instant::now() + INTERVAL + Duration::from_secs(1);
    wait::until(INTERVAL * 2, "a monitor after the restart", || match bed.failure()? {
        Some(failure) => fail(format!("the cluster shows {failure:?}")),
        None => Ok((Instant::now() > quiet).then_some(())),
    })?;
    // The guests are many: ended before the next trial is timed.
    compute.destroy()?;
    wait::until(Duration::from_secs(30), "the guests to be gone", || {
        Ok(compute.official("qemu:///system")?.domains.is_empty().then_some(()))
    })
}
