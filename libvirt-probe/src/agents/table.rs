//! The parameters of the agents: names, types, defaults, and what they are for.

use super::Kind;

/// A parameter as the metadata describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) of: Of,
    /// The default; empty if there is none.
    pub(super) default: &'static str,
    /// A change of it needs no restart of the resource.
    pub(super) reloadable: bool,
    /// Accepted for those who come from another agent.
    pub(super) deprecated: bool,
    pub(super) short: &'static str,
    pub(super) long: &'static str,
}

/// What values a parameter takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    Text,
    Yes,
    Number,
    Time,
    /// One of these.
    One(&'static [&'static str]),
}

/// An action as the metadata describes it: name, timeout and interval in seconds, 0 for none.
pub(super) type Action = (&'static str, u32, u32);

const fn parameter(name: &'static str, of: Of, default: &'static str) -> Parameter {
    Parameter { name, of, default, reloadable: true, deprecated: false, short: "", long: "" }
}

impl Parameter {
    const fn says(mut self, short: &'static str, long: &'static str) -> Self {
        (self.short, self.long) = (short, long);
        self
    }

    const fn needs_restart(mut self) -> Self {
        self.reloadable = false;
        self
    }

    /// Of `NovaCompute` or `nova-compute-wait`, and without effect.
    const fn idle(mut self) -> Self {
        self.deprecated = true;
        self.short = "Not used";
        self.long = "Accepted so that a configuration of NovaCompute or nova-compute-wait can be taken over; it has \
                     no effect, as this agent does not talk to Nova's API.";
        self
    }
}

const CONFIG: Parameter = parameter("config", Of::Text, "").says(
    "Settings of the probes",
    "File with the settings of the probes: deadlines, sockets, thresholds. Without it, \
     /etc/pcmk-remote/probes.toml is read if it exists.",
);
const FAILURES: Parameter = parameter("failures", Of::Number, "").says(
    "Failures in a row that count",
    "So many failed checks in a row are a failure; until then the resource is degraded. What leaves no doubt, such \
     as a process that is gone, counts at once. Without it, what the settings of the probes say: 2 unless changed.",
);
const DEGRADED: Parameter = parameter("degraded", Of::One(&["report", "hide"]), "report").says(
    "Whether restrictions are shown",
    "What works with restrictions, or cannot be told, is never a failure. With \"report\" a monitor ends with 190 \
     (degraded), so that cluster status shows the reason; with \"hide\" it ends with 0.",
);
const ATTRIBUTE: Parameter = parameter("attribute", Of::Text, "").says(
    "Node attribute with the verdict",
    "A node attribute that is set to ok, degraded, failed or unknown whenever that changes, at once and not only \
     when a monitor runs. Nothing is set without it.",
);
const SOCKET: Parameter = parameter("socket", Of::Text, "").says(
    "libvirt's socket",
    "The socket to connect to, instead of those that the settings of the probes list.",
);

const LIBVIRT: &[Parameter] = &[
    parameter("unit", Of::Text, "auto").needs_restart().says(
        "systemd unit of libvirt",
        "The unit that is started and stopped, with its sockets. \"auto\" takes virtqemud.service or \
         libvirtd.service, whichever is active or installed. \"none\" leaves starting and stopping to others: the \
         resource then only watches. Guests go on running whatever happens to the unit.",
    ),
    SOCKET,
    CONFIG,
    FAILURES,
    DEGRADED,
    ATTRIBUTE,
];

const NOVA_COMPUTE: &[Parameter] = &[
    parameter("unit", Of::Text, "auto").needs_restart().says(
        "systemd unit of nova-compute",
        "The unit that is started and stopped. \"auto\" takes the first of those that the settings of the probes list \
         (nova-compute.service, openstack-nova-compute.service and others) which is installed. \"none\" leaves \
         starting and stopping to others: the resource then only watches, and waits for evacuations.",
    ),
    parameter("host", Of::Text, "").needs_restart().says(
        "Nova's name of this host",
        "By it a pending evacuation is found, besides by the cluster's name of the node. Without it, what \
         /etc/nova/nova.conf says as host, else the host's name.",
    ),
    parameter("domain", Of::Text, "").needs_restart().says(
        "DNS domain",
        "DNS domain of the hosts, if the cluster uses short names and Nova full ones.",
    ),
    parameter("evacuation_delay", Of::Time, "120s").says(
        "Pause after an evacuation",
        "Once the evacuation of this host has been asked for in full, nova-compute is started so much later, for \
         Nova to complete it. Applies only if there was one. The timeout of start must be longer.",
    ),
    CONFIG,
    FAILURES,
    DEGRADED,
    ATTRIBUTE,
    parameter("auth_url", Of::Text, "").idle(),
    parameter("username", Of::Text, "").idle(),
    parameter("password", Of::Text, "").idle(),
    parameter("tenant_name", Of::Text, "").idle(),
    parameter("endpoint_type", Of::Text, "").idle(),
    parameter("region_name", Of::Text, "").idle(),
    parameter("insecure", Of::Yes, "0").idle(),
    parameter("no_shared_storage", Of::Yes, "0").idle(),
];

const REACTIONS: Of = Of::One(&["report", "restart", "evict", "fail"]);
const WITHOUT_RESTART: Of = Of::One(&["report", "evict", "fail"]);

const COMPUTE_HEALTH: &[Parameter] = &[
    parameter("checks", Of::Text, "").says(
        "What is looked at",
        "Any of libvirt, nova-compute, services and host, with spaces between them; without it, all that the host \
         has. What is listed here and cannot be checked is reported.",
    ),
    parameter("on_libvirt", REACTIONS, "restart").says(
        "When libvirt has failed",
        "report: nothing is done, the resource is degraded. restart: its unit is restarted, and if that does not \
         help, what parameter then says is done. evict: the node's health becomes red. fail: the resource fails, \
         and on-fail of its monitor decides. Guests that lost their storage count as a failure of the host.",
    ),
    parameter("on_nova_compute", REACTIONS, "restart")
        .says("When nova-compute has failed", "As on_libvirt. Guests do not notice a restart of nova-compute."),
    parameter("on_services", REACTIONS, "restart")
        .says("When another service has failed", "As on_libvirt; the failed units are restarted."),
    parameter("on_host", WITHOUT_RESTART, "evict").says(
        "When the host has failed",
        "A read-only root, storage of the instances that blocks, guests that lost their storage. As on_libvirt; there \
         is nothing to restart.",
    ),
    parameter("then", WITHOUT_RESTART, "evict").says(
        "When restarts have not helped",
        "What is done once a unit has been restarted as often as is allowed.",
    ),
    parameter("restarts", Of::Number, "2")
        .says("Restarts that are tried", "So often within restart_window is a unit restarted."),
    parameter("restart_window", Of::Time, "10min").says(
        "Time for these restarts",
        "After this time a restart is forgotten.",
    ),
    parameter("fail_with_guests", Of::Yes, "false").says(
        "Whether the resource may fail while guests run",
        "As long as guests run on the host, a failure is held back: the node's health is red and the resource is \
         degraded, but does not fail. Set it if the monitor's on-fail does not fence, or if it shall.",
    ),
    parameter("health_attribute", Of::Text, "#health-compute").says(
        "Node health attribute",
        "Set to green, yellow or red. It takes effect if the cluster's node-health-strategy says so. Its name must \
         begin with #health for that; an empty name sets nothing.",
    ),
    SOCKET,
    CONFIG,
    FAILURES,
    DEGRADED,
    ATTRIBUTE,
];

const USUAL: &[Action] = &[
    ("start", 120, 0),
    ("stop", 120, 0),
    ("monitor", 30, 10),
    ("reload-agent", 20, 0),
    ("validate-all", 20, 0),
    ("meta-data", 5, 0),
];
/// As `NovaCompute` has them: an evacuation is waited for.
const PATIENT: &[Action] = &[
    ("start", 600, 0),
    ("stop", 300, 0),
    ("monitor", 30, 10),
    ("reload-agent", 20, 0),
    ("validate-all", 20, 0),
    ("meta-data", 5, 0),
];

/// An agent as the metadata describes it.
pub(super) struct Described {
    pub(super) parameters: &'static [Parameter],
    pub(super) actions: &'static [Action],
    pub(super) short: &'static str,
    pub(super) long: &'static str,
}

pub(super) fn described(kind: Kind) -> Described {
    match kind {
        Kind::Libvirt => Described {
            parameters: LIBVIRT,
            actions: USUAL,
            short: "libvirt on a compute node",
            long: "Starts and stops libvirt's daemon and finds out whether it works: its socket, its event loop, its \
                   workers, the monitors of its domains, the storage of its domains. A daemon that hangs is found \
                   within seconds, by a connection that is kept open. pacemaker-remoted of pcmk-remote runs this \
                   agent without a process.",
        },
        Kind::NovaCompute => Described {
            parameters: NOVA_COMPUTE,
            actions: PATIENT,
            short: "nova-compute, when its host may have it",
            long: "Starts nova-compute once no evacuation of the host is pending, and finds out whether it works: its \
                   process, and whether it reads what the message bus sends. Takes over what NovaCompute and \
                   nova-compute-wait did, with their parameters. pacemaker-remoted of pcmk-remote runs this agent \
                   without a process.",
        },
        Kind::ComputeHealth => Described {
            parameters: COMPUTE_HEALTH,
            actions: USUAL,
            short: "Health of a compute node, with a policy",
            long: "Watches libvirt, nova-compute, other services and the host, and reacts by degrees: a service that \
                   failed is restarted; if that does not help, or if the host itself is in a bad way, the node's \
                   health becomes red, so that the cluster takes its resources away from it; and where the operator \
                   wants it the resource fails. A host with running guests is never fenced unless the operator says \
                   so. pacemaker-remoted of pcmk-remote runs this agent without a process.",
        },
    }
}
