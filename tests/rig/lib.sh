# What the rig's shell scripts share: where the cache lies, which mirror to use, how to run a
# command inside a tree. Sourced by them; needs $RIG_DIR (the folder of the scripts).
set -eu

CACHE=${PCMK_RIG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pcmk-remote}

say() { printf '%s\n' "rig: $*" >&2; }
die() { printf '%s\n' "rig: error: $*" >&2; exit 1; }

need() { # command package
    command -v "$1" >/dev/null 2>&1 || die "'$1' is missing; install it with: apt-get install $2 (or run tests/rig/setup)"
}

# The Debian mirror that this machine's apt uses; nothing if it has no lists of one.
machine_mirror() {
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk '$1 == "Debian" && $2 == "Debian" { print $3; exit }'
}

# Where packages for the nodes come from.
mirror() {
    m=${PCMK_RIG_MIRROR:-$(machine_mirror)}
    [ -n "$m" ] || die "no Debian mirror is known; set PCMK_RIG_MIRROR, or run apt-get update if apt has one"
    echo "$m"
}

# Runs a command up to four times: mirrors have bad moments.
retry() {
    for pause in 3 10 30 end; do
        "$@" && return 0
        [ "$pause" = end ] || { say "failed, again in $pause s: $1"; sleep "$pause"; }
    done
    return 1
}

# One builder per thing; released by the kernel however this process ends.
lock() { # name
    mkdir -p "$CACHE/lock"
    exec 9>"$CACHE/lock/$1"
    flock -n 9 || { say "$1 is being built by another process, waiting"; flock 9; }
}

# The hash of the given files: a stamp that changes with the recipe.
recipe_hash() { cat "$@" | sha256sum | cut -c1-16; }

# Runs the script again in mount and PID namespaces of its own, so that the mounts and processes
# it makes vanish with it.
own_namespaces() { # script arguments...
    [ -z "${PCMK_RIG_INNER:-}" ] || return 0
    [ "$(id -u)" = 0 ] || die "root is needed (namespaces, overlay file systems)"
    PCMK_RIG_INNER=1 exec unshare --mount --pid --fork --kill-child --mount-proc --propagation private "$@"
}

# Runs a command chrooted in a tree.
in_tree() { # tree command...
    tree=$1; shift
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
        ${http_proxy:+http_proxy="$http_proxy"} chroot "$tree" "$@"
}

# Mounts what package scripts and builds need in a tree.
mount_system() { mount -t proc proc "$1/proc"; mount --rbind /dev "$1/dev"; }

overlay() { # lower upper work mountpoint
    mkdir -p "$2" "$3" "$4"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4"
}
