//! The disk with the instances' path.

use std::time::Instant;

use pcmk_interop::wait::{self, secs};
use pcmk_interop::watch::Watch;
use pcmk_interop::{Node, Result};

use super::bed::{Bed, was_fine_since};

const PATH: &str = "/var/lib/nova/instances";

/// A real file system on a loop device whose file is on a file system in user space: while that is stopped, the disk
/// hangs as a dead array does (processes wait in the kernel and cannot be killed), and when it is ended, all wake up.
struct Disk<'a> {
    node: &'a Node,
}

impl<'a> Disk<'a> {
    fn attach(node: &'a Node) -> Result<Self> {
        let disk = Self { node };
        node.sh(
            "[ -e /dev/fuse ] || mknod /dev/fuse c 10 229; [ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
             for n in $(seq 0 63); do [ -e /dev/loop$n ] || mknod /dev/loop$n b 7 $n; done
             mkdir -p /srv/behind /srv/array && truncate -s 32M /srv/behind/disk && mkfs.ext4 -q -F /srv/behind/disk",
        )?;
        node.exec(&["systemd-run", "-q", "--unit=rig-array", "bindfs", "-f", "/srv/behind", "/srv/array"])?;
        wait::until(secs(20), "the array", || node.exec(&["test", "-e", "/srv/array/disk"]).map(Some))?;
        node.sh(&format!("mkdir -p {PATH} && mount -o loop /srv/array/disk {PATH}"))?;
        Ok(disk)
    }

    fn hang(&self, hangs: bool) -> Result<()> {
        let signal = if hangs { "STOP" } else { "CONT" };
        self.node.exec(&["systemctl", "kill", "-s", signal, "rig-array"]).map(drop)
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = self.hang(false);
        let _ = self.node.run(&["umount", PATH]);
        let _ = self.node.run(&["systemctl", "stop", "rig-array"]);
    }
}

pub(crate) fn disk_blocks(bed: &Bed) -> Result<()> {
    let r1 = bed.r1();
    let nova = r1.watch()?;
    let disk = Disk::attach(&r1.node)?;
    let watch = Watch::start(&r1.node, &["--interval", "1", "host"])?;
    watch.wait(Instant::now(), "host", "ok", secs(20))?;
    let fault = Instant::now();
    disk.hang(true)?;
    watch.wait(fault, "host", "failed", secs(10))?.expect("storage", PATH)?;
    // Nobody else notices.
    r1.ps_is_content()?;
    was_fine_since(&nova, fault)?;
    disk.hang(false)?;
    watch.wait(Instant::now(), "host", "ok", secs(20)).map(drop)
}
