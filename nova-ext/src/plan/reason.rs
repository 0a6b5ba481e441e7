//! Why a server stays.

use std::collections::BTreeMap;
use std::fmt;

use uuid::Uuid;

use super::{Inventory, Server, VmState};
use crate::ids::HostName;
use crate::policy::{Choice, Mode, Policy, truth};

/// Tasks that died with the host: nobody else works on them, so that they can be reset.
const DIED_WITH_THE_HOST: &[&str] = &[
    "powering-on",
    "powering-off",
    "reboot_pending",
    "reboot_started",
    "reboot_started_hard",
    "rebooting",
    "rebooting_hard",
    "reboot_pending_hard",
    "pausing",
    "unpausing",
    "suspending",
    "resuming",
    "rescuing",
    "unrescuing",
    "updating_password",
    "image_snapshot",
    "image_snapshot_pending",
    "image_pending_upload",
    "image_uploading",
    "image_backup",
];

/// Tasks of an evacuation: this one's, or another's that is followed and not repeated.
const EVACUATING: &[&str] = &["rebuilding", "rebuild_block_device_mapping", "rebuild_spawning"];

/// Why a server stays where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Nova has it on another host, or on none.
    Elsewhere,
    /// It is or is being deleted.
    Deleted,
    /// It is shelved.
    Shelved,
    /// Its state is one in which Nova evacuates nothing.
    State(String),
    /// Another host may have a part in what is being done with it.
    Task(String),
    /// It was in ERROR and not running before the host failed.
    InError,
    /// Somebody says no.
    Refused(String),
    /// The mode is opt-in, and nobody says yes.
    NotAskedFor,
    /// It is one of Octavia's load balancers.
    Amphora,
    /// It has a virtual TPM, which Nova does not evacuate.
    VirtualTpm,
    /// Its root disk was on the host, which is off.
    LocalDisk,
    /// Its disks were on the host, and encrypted.
    EncryptedLocalDisk,
    /// It is locked.
    Locked,
}

impl Reason {
    /// Short and fixed, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Elsewhere => "elsewhere",
            Self::Deleted => "deleted",
            Self::Shelved => "shelved",
            Self::State(_) => "state",
            Self::Task(_) => "task",
            Self::InError => "in-error",
            Self::Refused(_) => "refused",
            Self::NotAskedFor => "not-asked-for",
            Self::Amphora => "amphora",
            Self::VirtualTpm => "virtual-tpm",
            Self::LocalDisk => "local-disk",
            Self::EncryptedLocalDisk => "encrypted-local-disk",
            Self::Locked => "locked",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elsewhere => f.write_str("Nova has it on another host"),
            Self::Deleted => f.write_str("it is being deleted"),
            Self::Shelved => f.write_str("it is shelved: unshelve it when it is needed"),
            Self::State(state) => write!(f, "its state is {state}, and Nova evacuates active, stopped and error only"),
            Self::Task(task) => {
                write!(f, "Nova is at {task} with it, and another host may have a part in that: look at it")
            }
            Self::InError => f.write_str("it was in ERROR and not running before the host failed ([leave_out] in_error)"),
            Self::Refused(by) => write!(f, "{by} says no"),
            Self::NotAskedFor => f.write_str("nobody says yes, and the policy's mode is opt-in"),
            Self::Amphora => f.write_str("it is an amphora, which Octavia replaces itself ([leave_out] amphorae)"),
            Self::VirtualTpm => f.write_str("it has a virtual TPM, which Nova does not evacuate"),
            Self::LocalDisk => f.write_str(
                "its root disk was on the host and would be built anew from its image ([storage] shared, rebuild_from_image)",
            ),
            Self::EncryptedLocalDisk => {
                f.write_str("its disks were on the host and encrypted ([leave_out] encrypted_local_disks)")
            }
            Self::Locked => f.write_str("it is locked ([leave_out] locked)"),
        }
    }
}

/// Why this server stays; nothing if it is to be moved. What Nova cannot do comes first, then what must not be, then
/// what nobody wants.
pub(super) fn to_stay(
    server: &Server,
    image: &BTreeMap<String, String>,
    inventory: &Inventory,
    choice: &Choice,
    policy: &Policy,
) -> Option<Reason> {
    state(server, &inventory.host).or_else(|| {
        let rules = &policy.leave_out;
        if rules.amphorae && is_amphora(server, policy) {
            Some(Reason::Amphora)
        } else if has_virtual_tpm(server, image) {
            Some(Reason::VirtualTpm)
        } else if !choice.evacuate.value {
            Some(match &choice.evacuate.by {
                Some(_) => Reason::Refused(choice.evacuate.to_string()),
                None => Reason::NotAskedFor,
            })
        } else if rules.encrypted_local_disks && local_and_encrypted(server, image, policy) {
            Some(Reason::EncryptedLocalDisk)
        } else if root_is_lost(server, policy) && !policy.storage.rebuild_from_image {
            Some(Reason::LocalDisk)
        } else if rules.locked && server.locked {
            Some(Reason::Locked)
        } else if rules.in_error
            && server.vm_state == VmState::Error
            && !server.ran()
            && !inventory.tried.contains(&server.id)
        {
            Some(Reason::InError)
        } else {
            debug_assert!(choice.evacuate.value || policy.mode == Mode::All, "somebody said yes");
            None
        }
    })
}

/// Whether its root disk went with the host. A server without an image has its root disk on a volume.
pub(super) fn root_is_lost(server: &Server, policy: &Policy) -> bool {
    server.image.is_some() && !policy.storage.shared
}

fn state(server: &Server, host: &HostName) -> Option<Reason> {
    if server.host.as_ref() != Some(host) {
        return Some(Reason::Elsewhere);
    }
    match &server.vm_state {
        VmState::Active | VmState::Stopped | VmState::Error => {}
        VmState::Deleted => return Some(Reason::Deleted),
        VmState::Shelved => return Some(Reason::Shelved),
        VmState::Other(state) => return Some(Reason::State(state.clone())),
    }
    match server.task_state.as_deref() {
        None => None,
        Some("deleting" | "soft-deleting") => Some(Reason::Deleted),
        Some(task) if DIED_WITH_THE_HOST.contains(&task) || EVACUATING.contains(&task) => None,
        Some(task) => Some(Reason::Task(task.chars().take(64).collect())),
    }
}

/// Octavia calls them `amphora-` and a UUID, and gives them neither metadata nor tags.
fn is_amphora(server: &Server, policy: &Policy) -> bool {
    let rules = &policy.leave_out;
    server.name.strip_prefix("amphora-").is_some_and(|rest| Uuid::try_parse(rest).is_ok())
        || rules.amphora_projects.contains(&server.project)
        || server.image.as_ref().is_some_and(|image| rules.amphora_images.contains(image))
}

fn has_virtual_tpm(server: &Server, image: &BTreeMap<String, String>) -> bool {
    server.flavor.extra_specs.contains_key("hw:tpm_version") || image.contains_key("hw_tpm_version")
}

fn local_and_encrypted(server: &Server, image: &BTreeMap<String, String>, policy: &Policy) -> bool {
    let local = server.image.is_some() || server.flavor.ephemeral_gb > 0;
    // A value that is neither yes nor no is taken for yes: who wrote it wanted something encrypted.
    let yes = |text: Option<&String>| text.is_some_and(|text| truth(text) != Some(false));
    local
        && !policy.storage.shared
        && (yes(server.flavor.extra_specs.get("hw:ephemeral_encryption"))
            || yes(image.get("hw_ephemeral_encryption")))
}
