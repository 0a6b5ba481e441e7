//! Enabled by the manual's snippets as they are.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use pcmk_interop::Result;
use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::error::{Context as _, fail};
use serde_json::Value;

use super::check::{HOST, has, same};
use super::installed::Installed;

/// It is in the processes, complains of nothing, and the doctor finds nothing to mend.
pub(crate) fn with_the_manual_s_settings(it: &Installed) -> Result<()> {
    let list = "for p in /proc/[0-9]*; do grep -qs nova_ext/_native $p/maps && tr '\\0' ' ' <$p/cmdline && echo; done; true";
    let loaded = it.cloud.node().sh(list)?;
    for name in ["nova-scheduler", "nova-conductor", "cloud-serve"] {
        has("where it is loaded", &loaded, name)?;
    }
    let said = it.said()?;
    same("complaints", &said.lines().filter(|line| line.contains("ERROR")).collect::<Vec<_>>(), &Vec::new())?;
    let doctor = it.cloud.node().run(&[
        "/opt/cloud/bin/python3",
        "-m",
        "nova_ext.cli",
        "doctor",
        "--nova-conf",
        "/etc/nova/nova.conf",
        "--nova-conf",
        "/etc/nova/own.conf",
        "--json",
    ])?;
    let found: Value = serde_json::from_str(&doctor.stdout).context(doctor.stderr)?;
    // What is said of the cloud and the engine is of a controller that has nova-ha, and tried without Nova.
    for about in ["package", "filter", "weigher", "head-room", "guard", "events", "processes"] {
        let all = found.as_array().context("a list")?.iter().filter(|one| one["about"] == about);
        let all: Vec<_> = all.collect();
        if !all.iter().any(|one| one["level"] == "ok") || all.iter().any(|one| one["level"] == "fail") {
            return fail(format!("{about}: {all:?}"));
        }
    }
    // And servers are placed.
    it.cloud.boot(&Wish::new("first", HOST, 1)).map(drop)
}
