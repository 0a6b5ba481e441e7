//! What must not end a service of Nova: all of them start and serve, and say what is off.

use std::fs;

use pcmk_interop::Result;
use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::error::Context as _;
use pcmk_interop::wait::{self, secs};
use serde_json::json;

use super::check::{HOST, has, same};
use super::installed::{Installed, SITE};

/// Of each kind of setting one that nobody can use.
const WRONG: [(&str, &str); 8] = [
    ("guard", "perhaps"),
    ("guard_failure", "ajar"),
    ("headroom", "plenty"),
    ("proof_lifetime", "5"),
    ("spread_weight_multiplier", "much"),
    ("spread_host", "-1"),
    ("spread_domain", "nan"),
    ("events_waiting", "1e3"),
];
/// Where a process of the cloud looks, when it starts, for what it is to do wrong.
const BUGS: &str = "zz_bugs.pth";
const HOOK: &str =
    "import os; exec(open('/rig/bugs.py').read()) if os.path.exists('/rig/bugs.py') else None\n";

/// Settings that nobody can use.
pub(crate) fn wrong_settings(it: &Installed) -> Result<()> {
    let lines = WRONG.map(|(name, value)| format!("{name} = {value}")).join("\n");
    it.enable(&format!("[instance_ha]\n{lines}\nengines = http://ctl1\n"))?;
    let said = it.said_by("cloud-nova")?;
    for (name, value) in WRONG {
        has("nova-api", &said, &format!("{name} = {value} cannot be used"))?;
    }
    for unit in ["nova-scheduler", "nova-conductor", "cloud-nova"] {
        has(
            unit,
            &it.said_by(unit)?,
            "no events for the engine: \"http://ctl1\" is no address of an engine",
        )?;
    }
    evacuate_one(it)?;
    has("nova-scheduler", &it.said_by("nova-scheduler")?, "headroom = plenty cannot be used")
}

/// A bug of ours in each of the services.
pub(crate) fn bugs(it: &Installed) -> Result<()> {
    let hook = it.cloud.node().path(&format!("{SITE}/{BUGS}"))?;
    let list = it.cloud.dir().join("bugs.py");
    fs::write(&hook, HOOK)?;
    let tried = in_each_service(it, &|text| Ok(fs::write(&list, text)?));
    fs::remove_file(&hook)?;
    // What is loaded has them still.
    it.restart()?;
    tried
}

fn in_each_service(it: &Installed, put: &dyn Fn(String) -> Result<()>) -> Result<()> {
    let begin = |bugs: &[(&str, &str)]| {
        let pairs: Vec<_> =
            bugs.iter().map(|(service, function)| format!("{service:?}: {function:?}")).collect();
        put(format!(
            "import sys\nfor service, function in {{{}}}.items():\n    if service in ' '.join(sys.orig_argv):\n        \
             from nova_ext import _native\n        _native.inject_panic(function)\n",
            pairs.join(", ")
        ))?;
        it.restart()
    };
    begin(&[
        ("nova-scheduler", "Scheduler.filter"),
        ("nova-conductor", "Signal.offer"),
        ("cloud-serve nova", "Gate.judge"),
    ])?;
    evacuate_one(it)?;
    for (unit, said) in [
        ("nova-scheduler", "the filter has failed, every host passes"),
        ("nova-conductor", "an event is lost"),
        ("cloud-nova", "cannot be judged, and is let through"),
    ] {
        has(unit, &it.said_by(unit)?, said)?;
    }
    it.cloud.reset()?;
    begin(&[("nova-scheduler", "Scheduler.weigh"), ("cloud-serve nova", "check_key")])?;
    evacuate_one(it)?;
    has(
        "nova-scheduler",
        &it.said_by("nova-scheduler")?,
        "the weigher has failed, all hosts weigh the same",
    )?;
    // Nova's own checks of extra specs are left.
    let set = |value: &str| {
        let body = json!({"extra_specs": {"instance_ha:evacuate": value}});
        it.cloud.admin().nova("POST", "/flavors/tiny/os-extra_specs", &body, "2.86")
    };
    same("a wrong value", &set("perhaps")?.status, &400)?;
    same("a right one", &set("yes")?.status, &200)?;
    let path = "/flavors/tiny/os-extra_specs/instance_ha:evacuate";
    it.cloud.admin().nova("DELETE", path, &serde_json::Value::Null, "2.1")?.ok().map(drop)
}

/// The native part missing, cut off, and of something else.
pub(crate) fn absence(it: &Installed) -> Result<()> {
    let node = it.cloud.node();
    let (library, kept) = (Installed::package("_native.abi3.so"), Installed::package("kept"));
    node.sh(&format!("mv {library} {kept}"))?;
    let tried = without_library(it, &library, &kept);
    node.sh(&format!("rm -f {library} && mv {kept} {library}"))?;
    it.restart()?;
    tried
}

fn without_library(it: &Installed, library: &str, kept: &str) -> Result<()> {
    for (what, spoil) in [
        ("missing", "true".to_owned()),
        ("cut off", format!("head -c 100000 {kept} >{library}")),
        ("another", format!("cp $(ls {SITE}/_cffi_backend*.so) {library}")),
    ] {
        it.cloud.node().sh(&spoil)?;
        it.restart().context(what)?;
        for unit in ["nova-scheduler", "cloud-nova"] {
            has(what, &it.said_by(unit)?, "the native part cannot be loaded")?;
        }
        it.cloud.boot(&Wish::new("survives", HOST, 1)).context(what)?;
        it.cloud.delete_servers()?;
        it.cloud.node().sh(&format!("rm -f {library}"))?;
    }
    Ok(())
}

/// All services have something to do: a server is made, its host fails, and it is evacuated.
fn evacuate_one(it: &Installed) -> Result<()> {
    let server = it.cloud.boot(&Wish::new("survives", HOST, 1))?.pop().context("a server")?;
    it.cloud.fence(HOST)?;
    it.cloud.evacuate(&server, "2.95")?.ok()?;
    wait::until(secs(120), "the evacuation", || {
        Ok(it.cloud.evacuations(HOST)?.iter().any(|one| one.status == "done").then_some(()))
    })
}
