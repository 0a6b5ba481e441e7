# What the nodes' file systems are made of. A change here rebuilds the images.

# Every node: systemd as PID 1, D-Bus, the agents' shell library, what the tests look with.
PKGS_BASE="systemd systemd-sysv dbus procps iproute2 iputils-ping gawk python3-minimal resource-agents
 libxml2-utils"
# A full cluster node.
PKGS_FULL="pacemaker corosync pacemaker-cli-utils pacemaker-resource-agents"
# A remote node, with what Pacemaker's own executor tests want at run time.
# ("pacemaker" and "pacemaker-remote" conflict in Debian: hence two layers.)
PKGS_REMOTE="pacemaker-remote pacemaker-cli-utils pacemaker-resource-agents
 python3 python3-psutil python3-systemd python3-lxml"

# Units that mean nothing in a namespace.
MASKED_UNITS="systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket
 systemd-udev-trigger.service systemd-timesyncd.service systemd-networkd.service
 systemd-resolved.service systemd-logind.service getty.target console-getty.service
 dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount
 sys-kernel-config.mount sys-fs-fuse-connections.mount systemd-modules-load.service
 systemd-sysctl.service systemd-remount-fs.service apt-daily.timer apt-daily-upgrade.timer
 dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-tmpfiles-clean.timer
 tmp.mount proc-sys-fs-binfmt_misc.automount"

# Started by the rig when a test asks for it, never by the boot.
DISABLED_UNITS="corosync pacemaker pacemaker_remote corosync-notifyd"

base_layer() { # suite tree mirror
    script=
    # A debootstrap older than the suite knows it through the script of "sid".
    [ -e "/usr/share/debootstrap/scripts/$1" ] || script=/usr/share/debootstrap/scripts/sid
    retry debootstrap --variant=minbase "$1" "$2" "$3" $script
    printf '#!/bin/sh\nexit 101\n' >"$2/usr/sbin/policy-rc.d"
    chmod 755 "$2/usr/sbin/policy-rc.d"
    cp -L /etc/resolv.conf "$2/etc/resolv.conf"
    cat >"$2/etc/apt/apt.conf.d/90rig" <<X
Acquire::Retries "5";
APT::Install-Recommends "false";
X
    echo force-unsafe-io >"$2/etc/dpkg/dpkg.cfg.d/rig"
    printf 'path-exclude=/usr/share/%s/*\n' doc man locale >>"$2/etc/dpkg/dpkg.cfg.d/rig"
    mount_system "$2"
    retry in_tree "$2" apt-get -q update
    retry in_tree "$2" apt-get -q install -y $PKGS_BASE
    for unit in $MASKED_UNITS; do ln -sf /dev/null "$2/etc/systemd/system/$unit"; done
    : >"$2/etc/machine-id"
}

package_layer() { # tree packages...
    tree=$1; shift
    mount_system "$tree"
    retry in_tree "$tree" apt-get -q install -y "$@"
    for unit in $DISABLED_UNITS; do
        rm -f "$tree/etc/systemd/system/multi-user.target.wants/$unit.service"
    done
}
