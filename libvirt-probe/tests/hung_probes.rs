//! A thousand probes that hang leave nothing behind. Alone in its process, which it measures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail")]

mod fake;

use std::time::{Duration, Instant};

use fake::{Behaviour, Fake};
use libvirt_probe::libvirt::{Deadlines, Libvirt, Settings};
use libvirt_probe::verdict::Health;
use tokio::task::JoinSet;

/// Threads, descriptors, KiB of memory of this process.
fn usage() -> (usize, usize, u64) {
    let count = |folder| std::fs::read_dir(folder).unwrap().count();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let memory = memory.trim().trim_end_matches(" kB").parse().unwrap();
    (count("/proc/self/task"), count("/proc/self/fd"), memory)
}

async fn hang(settings: Settings, dropped: bool) {
    let mut probe = Libvirt::new(settings);
    if dropped {
        let _ = tokio::time::timeout(Duration::from_millis(20), probe.check()).await;
    } else {
        let report = probe.check().await;
        assert_eq!(report.health(), Health::Failed, "{report:?}");
        let _ = tokio::time::timeout(Duration::from_millis(5), probe.changed()).await;
    }
}

async fn many(settings: &Settings, count: u32) {
    let mut probes = JoinSet::new();
    for number in 0..count {
        probes.spawn(hang(settings.clone(), number % 2 == 0));
        if probes.len() >= 100 {
            probes.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(result) = probes.join_next().await {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_thousand_hung_probes_leave_nothing_behind() {
    let fake = Fake::behaving(Behaviour::Silent);
    let alone = sockets();
    let short = Duration::from_millis(50);
    let deadlines =
        Deadlines { redial: short, connect: short, ping: short, call: short, workers: short, domains: short };
    let settings = Settings { deadlines, ..fake.settings() };
    // What is made once is made now.
    many(&settings, 200).await;
    settle(alone).await;
    let before = usage();
    many(&settings, 1000).await;
    assert!(fake.connections() >= 1000, "{}", fake.connections());
    settle(alone).await;
    let after = usage();
    assert_eq!((after.0, after.1), (before.0, before.1), "threads and descriptors");
    assert!(after.2 < before.2 + 1024, "{} KiB before, {} KiB after", before.2, after.2);
}

/// Until the other side has noticed that all connections are over.
async fn settle(sockets: usize) {
    let start = Instant::now();
    while self::sockets() > sockets {
        assert!(start.elapsed() < Duration::from_secs(20), "{} sockets, not {sockets}", self::sockets());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn sockets() -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}
