//! The cluster that the trials of a suite share, and what is done around each of them.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use pcmk_interop::cib::Primitive;
use pcmk_interop::error::Context;
use pcmk_interop::libvirt::{Check, Compute};
use pcmk_interop::pulse::Pulse;
use pcmk_interop::run::Output;
use pcmk_interop::status::Failure;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Cluster, Daemon, Result, Suite, World, fail};

/// A trial.
pub(crate) type Test = fn(&Bed) -> Result<()>;

/// In this time the daemon answers, whatever goes on.
pub(crate) const ANSWER: Duration = Duration::from_millis(10);
/// The resource that watches libvirt on r1, in the daemon.
const WATCH: &str = "watch";
/// How often the cluster has it monitored. A failure is reported at once, a restriction with the next monitor.
pub(crate) const INTERVAL: Duration = secs(5);
/// What the cluster needs to write down and to show what it was told.
const CLUSTER: Duration = secs(2);
/// A probe that does not excuse a libvirtd that was just started, as those of the trials before may have been.
pub(crate) const STRICT: [&str; 2] = ["--config", "/run/strict.toml"];
/// What `timeout` says of a command that it had to kill.
const HUNG: i32 = 137;

/// A cluster with a compute.
pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    /// r1, where the resource [`WATCH`] runs in the daemon.
    pub(crate) compute: Compute,
    /// One with a daemon that the cluster does not know.
    alone: Compute,
    /// One trial at a time.
    turn: Mutex<()>,
}

impl Bed {
    /// Starts the cluster.
    pub(crate) fn start(world: &World, suite: Suite) -> Result<Self> {
        let started = Instant::now();
        let cluster = Cluster::start(world, suite, 1).context(suite)?;
        let compute = Compute::add(&cluster, world, "r1", 1, Daemon::Ours).context(suite)?;
        compute.start()?;
        compute.node().sh(&format!("printf '[libvirt]\\ngrace = \"1ms\"\\n' >{}", STRICT[1]))?;
        cluster.join(compute.node()).context(suite)?;
        let alone = Compute::add(&cluster, world, "alone", 2, Daemon::Ours).context(suite)?;
        // It only watches: whatever it finds, nothing is done about it.
        let watch = Primitive::new(WATCH, "ocf:pcmk-remote:libvirt").param("unit", "none").op(
            "monitor",
            &format!("{}s", INTERVAL.as_secs()),
            "timeout='30s' on-fail='ignore'",
        );
        cluster.add(&watch.on("r1", 1000))?;
        cluster.wait_place(WATCH, "Started on r1", secs(40)).context(suite)?;
        cluster.settle()?;
        println!("cluster of {suite} with a compute is up after {} s", started.elapsed().as_secs());
        Ok(Self { cluster, compute, alone, turn: Mutex::new(()) })
    }

    pub(crate) fn suite(&self) -> Suite {
        self.cluster.suite()
    }

    /// A compute with a daemon that the cluster does not know. Nothing on it runs.
    pub(crate) fn alone(&self) -> &Compute {
        &self.alone
    }

    /// A node with the probe that has no libvirt.
    pub(crate) fn bare(&self) -> Result<Compute> {
        Compute::bare(self.cluster.node("c1")?)
    }

    /// Runs a trial, with an eye on the daemon, and leaves the compute as it was.
    pub(crate) fn run(&self, test: Test) -> Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (started, at) = (Instant::now(), SystemTime::now());
        let pulse = Pulse::start(self.compute.node())?;
        let result = test(self);
        let answers = pulse.stop();
        let took = started.elapsed().as_secs_f32();
        let reset = self.reset().context("putting the compute back in order");
        if std::env::var_os("PCMK_RIG_TIMES").is_some() {
            println!("({took:.1} s, order again after {:.1} s)", started.elapsed().as_secs_f32() - took);
            if let Ok(answers) = &answers {
                println!("(daemon: {answers})");
            }
        }
        if let Err(error) = &result {
            println!("{}: {error}", self.suite());
        }
        result?;
        reset?;
        answers?.within(ANSWER)?;
        let fenced = self.cluster.fenced_since(at, "r1");
        if fenced.is_empty() { Ok(()) } else { fail(format!("r1 was fenced: {fenced:?}")) }
    }

    fn reset(&self) -> Result<()> {
        let compute = &self.compute;
        for load in ["linger", "connect", "stick"] {
            compute.end_load(load)?;
        }
        compute
            .node()
            .sh("for file in /run/libvirt/qemu/*.pid; do kill -CONT $(cat $file); done 2>/dev/null || :")?;
        compute.reset()?;
        compute.wait_verdict("ok", secs(20))?;
        self.forget()
    }

    /// Has the cluster forget failures and look at the resource anew: it is to be well.
    fn forget(&self) -> Result<()> {
        self.cluster.exec(&["crm_resource", "--cleanup", "-r", WATCH])?;
        self.cluster.settle()?;
        match self.failure()? {
            None => Ok(()),
            Some(failure) => fail(format!("in the cluster's eyes libvirt is not well again: {failure:?}")),
        }
    }

    /// What the cluster shows as a failure of the resource.
    pub(crate) fn failure(&self) -> Result<Option<Failure>> {
        let failures = self.cluster.status()?.failures;
        Ok(failures.into_iter().find(|failure| failure.op_key.starts_with(&format!("{WATCH}_"))))
    }

    /// Makes a fault, asks the probe, and mends it again. Meanwhile the cluster is to show a failure of which this is a
    /// part of the reason, within this time and what the cluster needs itself.
    pub(crate) fn during(
        &self,
        (word, within): (&str, Duration),
        fault: impl FnOnce() -> Result<()>,
        look: impl FnOnce() -> Result<()>,
        mend: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let within = within + CLUSTER;
        fault()?;
        let began = Instant::now();
        thread::scope(|scope| {
            let shown = scope.spawn(|| {
                let failure = wait::until(within, &format!("the cluster to show '{word}'"), || {
                    match self.failure()? {
                        Some(failure) if failure.reason.contains(word) => Ok(Some(failure)),
                        other => fail(format!("{other:?}")),
                    }
                })?;
                Ok((failure, began.elapsed()))
            });
            let looked = look();
            let shown = shown.join().unwrap_or_else(|_| fail("who looked at the cluster panicked"));
            looked?;
            let (failure, took) = shown?;
            if std::env::var_os("PCMK_RIG_TIMES").is_some() {
                println!(
                    "(crm_mon after {:.1} s: {}: {})",
                    took.as_secs_f32(),
                    failure.status,
                    failure.reason
                );
            }
            Result::Ok(())
        })?;
        mend()?;
        self.compute.wait_verdict("ok", secs(20)).map(drop)
    }

    /// The probe says this, within this time.
    pub(crate) fn says(&self, verdict: &str, steps: &[&str], word: &str, within: Duration) -> Result<Check> {
        let check = self.compute.check(&STRICT)?;
        check.expect(verdict, steps, within)?.says(word)?;
        Ok(check)
    }

    /// One of today's tools hangs: it says nothing within some seconds.
    pub(crate) fn hangs(&self, words: &[&str]) -> Result<()> {
        let output = self.tool(words)?;
        if output.code() == HUNG {
            Ok(())
        } else {
            fail(format!("`{}` did not hang: {output:?}", words.join(" ")))
        }
    }

    /// One of today's tools finds nothing.
    pub(crate) fn is_content(&self, words: &[&str]) -> Result<()> {
        let output = self.tool(words)?;
        if output.code() == 0 { Ok(()) } else { fail(format!("`{}`: {output:?}", words.join(" "))) }
    }

    fn tool(&self, words: &[&str]) -> Result<Output> {
        self.compute.official_tool(3, words)
    }

    /// What the resource agent `VirtualDomain` finds of a guest.
    pub(crate) fn virtual_domain(&self, guest: &str) -> Result<i32> {
        let line = format!(
            "virsh dumpxml {guest} >/run/{guest}.xml; OCF_ROOT=/usr/lib/ocf OCF_RESOURCE_INSTANCE={guest} \
             OCF_RESKEY_config=/run/{guest}.xml OCF_RESKEY_hypervisor=qemu:///system \
             OCF_RESKEY_CRM_meta_timeout=20000 OCF_RESKEY_CRM_meta_interval=10000 \
             /usr/lib/ocf/resource.d/heartbeat/VirtualDomain monitor"
        );
        Ok(self.compute.node().run(&["sh", "-c", &line])?.code())
    }
}
