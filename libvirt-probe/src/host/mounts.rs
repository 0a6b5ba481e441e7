//! The root file system: whether the kernel has made it read-only.

use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use crate::aside;
use crate::sys::proc::Roots;
use crate::verdict::{Finding, Health, Step};

/// A host with thousands of containers has a longer list; its first mounts are in the beginning.
const LIMIT: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(1);

/// A mount, as far as it matters.
#[derive(Debug, PartialEq, Eq)]
struct Mount<'a> {
    kind: &'a str,
    source: &'a str,
    /// Options of the file system itself, not of this view of it.
    options: &'a str,
}

/// The list is not given while something is being mounted or unmounted, which may hang.
pub(super) async fn look(roots: &Roots) -> Finding {
    let begun = Instant::now();
    let path = roots.proc.join("self/mountinfo");
    let read = move || -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        File::open(path)?.take(LIMIT).read_to_end(&mut text)?;
        Ok(text)
    };
    let unknown = |reason| Finding::new(Step::Root, Health::Unknown, reason, begun.elapsed());
    let text = match aside::run("listing mounts", PATIENCE, read).await {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => return unknown(format!("mounts cannot be listed: {error}")),
        Err(error) => return unknown(format!("listing mounts {error}")),
    };
    let text = String::from_utf8_lossy(&text);
    let Some(root) = root(&text) else { return unknown("no root file system is listed".to_owned()) };
    let finding = match fault(&root) {
        None => Finding::ok(Step::Root, begun.elapsed()),
        Some(why) => {
            let reason = format!("the root file system ({}, {}) {why}", root.source, root.kind);
            Finding::new(Step::Root, Health::Failed, reason, begun.elapsed())
                .advise("see the disk's errors (dmesg); a check of the file system needs a reboot")
        }
    };
    finding.with("source", root.source).with("type", root.kind)
}

/// The one that is seen: the last that was mounted at `/`.
fn root(text: &str) -> Option<Mount<'_>> {
    text.lines().filter_map(mount).next_back()
}

fn mount(line: &str) -> Option<Mount<'_>> {
    let (before, after) = line.split_once(" - ")?;
    if before.split(' ').nth(4)? != "/" {
        return None;
    }
    let mut fields = after.split(' ');
    Some(Mount { kind: fields.next()?, source: fields.next()?, options: fields.next()? })
}

/// A view that is read-only by intent (an image-based system) has another one that is not.
fn fault(root: &Mount<'_>) -> Option<&'static str> {
    let writable = ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "nilfs2", "bcachefs"];
    if !writable.contains(&root.kind) {
        return None;
    }
    root.options.split(',').find_map(|option| match option {
        "ro" => Some("is read-only"),
        // ext4 after an error, since Linux 6.13
        "emergency_ro" => Some("was made read-only after an error"),
        "shutdown" => Some("was shut down after an error"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn health(text: &str) -> (Health, String) {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { proc: dir.path().into(), sys: dir.path().into() };
        std::fs::create_dir(dir.path().join("self")).unwrap();
        std::fs::write(dir.path().join("self/mountinfo"), text).unwrap();
        let finding = look(&roots).await;
        (finding.health, finding.reason)
    }

    #[tokio::test]
    async fn what_the_kernel_has_done_is_told() {
        let line = |options: &str, kind: &str, of: &str| {
            format!(
                "21 1 8:1 / / {options} shared:1 - {kind} /dev/sda1 {of}\n22 21 0:5 / /proc rw - proc proc ro\n"
            )
        };
        assert_eq!(health(&line("rw,relatime", "ext4", "rw,errors=remount-ro")).await.0, Health::Ok);
        assert_eq!(health(&line("rw", "xfs", "rw,inode64")).await.0, Health::Ok);
        let read_only = "the root file system (/dev/sda1, ext4) is read-only";
        assert_eq!(health(&line("ro,relatime", "ext4", "ro")).await, (Health::Failed, read_only.to_owned()));
        assert_eq!(health(&line("rw", "ext4", "rw,emergency_ro")).await.0, Health::Failed);
        assert_eq!(health(&line("ro", "ext4", "rw")).await.0, Health::Ok);
        for kind in ["erofs", "squashfs", "overlay", "9p"] {
            assert_eq!(health(&line("ro", kind, "ro")).await.0, Health::Ok);
        }
    }

    #[tokio::test]
    async fn the_last_root_counts() {
        let text = "1 1 0:2 / / rw - rootfs rootfs rw\n21 1 8:1 / / rw - ext4 /dev/sda1 ro\n";
        assert_eq!(health(text).await.0, Health::Failed);
        assert_eq!(health("").await.0, Health::Unknown);
        assert_eq!(
            look(&Roots { proc: "/nonexistent".into(), sys: "/".into() }).await.health,
            Health::Unknown
        );
    }

    #[tokio::test]
    async fn this_machine_can_be_written_to() {
        assert_eq!(look(&Roots::default()).await.health, Health::Ok);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[ -~\n]{0,200}") {
            root(&text);
        }
    }
}
