//! Keys, certificates, policy: are they there, whole, and nobody else's?

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User};

use super::{Findings, shown};
use crate::daemon::Settings;
use crate::net::tls::CertificateFiles;
use crate::policy::file::PolicyFile;

/// Pacemaker's documentation tells people to make 4096 bytes; less than this is easy to guess.
const SHORT_KEY: u64 = 32;
const LARGE_KEY: u64 = 1 << 20;

pub(super) fn check(settings: &Settings, findings: &mut Findings) {
    match &settings.certificates {
        Some(files) => check_certificates(files, findings),
        None => check_key(settings, findings),
    }
    let mut policy = PolicyFile::new(settings.policy_file.as_deref());
    if let Err(error) = policy.read() {
        let place = shown(policy.path());
        findings.error(place, format!("the daemon does not start with this policy: {error}"));
    }
}

/// The first file in the daemon's order that can be used, and what is wrong with those before it.
fn check_key(settings: &Settings, findings: &mut Findings) {
    let mut paths: Vec<(PathBuf, bool)> =
        settings.key_location.iter().map(|path| (path.clone(), true)).collect();
    paths.extend(crate::net::tls::KEY_LOCATIONS.iter().map(|path| (PathBuf::from(path), false)));
    let named = paths.first().filter(|(_, named)| *named).map(|(path, _)| path.clone());
    for (path, is_named) in &paths {
        let place = shown(path);
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if *is_named {
                    let where_set = findings.place_of("authkey_location").unwrap_or_else(|| place.clone());
                    findings.error(where_set, format!("PCMK_authkey_location: there is no {place}"));
                }
            }
            Err(error) => findings.error(place, format!("cannot be looked at: {error}")),
            Ok(metadata) => {
                if key_is_usable(path, &metadata, findings) {
                    if named.as_ref().is_some_and(|named| named != path) {
                        findings.warning(place, "this key is used instead of the one that is set");
                    }
                    return;
                }
            }
        }
    }
    findings.error(
        "/etc/pacemaker/authkey",
        "no key: copy the cluster nodes' file here (pcs cluster node add-remote does), root:haclient 0640",
    );
}

fn key_is_usable(path: &Path, metadata: &Metadata, findings: &mut Findings) -> bool {
    let place = shown(path);
    if !metadata.is_file() {
        findings.error(place, "the key is not a regular file");
        return false;
    }
    if let Err(error) = File::open(path) {
        let who = if Uid::effective().is_root() { "" } else { " (try as root)" };
        findings.error(place, format!("the key cannot be read: {error}{who}"));
        return false;
    }
    match metadata.len() {
        0 => {
            findings.error(place, "the key is empty");
            return false;
        }
        length if length > LARGE_KEY => {
            findings.error(place, format!("{length} bytes is too large for a key: the limit is {LARGE_KEY}"));
            return false;
        }
        length if length < SHORT_KEY => {
            findings.warning(
                &place,
                format!("a key of {length} bytes may be guessed: dd if=/dev/urandom bs=4096 count=1"),
            );
        }
        _ => {}
    }
    check_secrecy(&place, metadata, "whoever has this key is root on every node that has it", findings);
    true
}

fn check_secrecy(place: &str, metadata: &Metadata, why: &str, findings: &mut Findings) {
    let hacluster = User::from_name("hacluster").ok().flatten().map(|user| user.uid);
    let haclient = Group::from_name("haclient").ok().flatten().map(|group| group.gid);
    let owner = Uid::from_raw(metadata.uid());
    if !owner.is_root() && Some(owner) != hacluster {
        findings.error(place, format!("belongs to user {owner}: chown root:haclient {place} ({why})"));
    }
    if metadata.mode() & 0o007 != 0 {
        findings.error(place, format!("everybody on this node has access to it: chmod o= {place} ({why})"));
    }
    let group = Gid::from_raw(metadata.gid());
    if metadata.mode() & 0o070 != 0 && group.as_raw() != 0 && Some(group) != haclient {
        findings.error(place, format!("group {group} has access to it: chgrp haclient {place} ({why})"));
    }
}

fn check_certificates(files: &CertificateFiles, findings: &mut Findings) {
    let public = [Some(&files.certificate), Some(&files.authority), files.revocations.as_ref()];
    for path in public.into_iter().flatten() {
        if std::fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o002 != 0) {
            findings.error(
                shown(path),
                format!("everybody on this node can change it: chmod o-w {}", path.display()),
            );
        }
    }
    if let Ok(metadata) = std::fs::metadata(&files.key) {
        let why = "whoever has this key and its certificate is root on every node";
        check_secrecy(&shown(&files.key), &metadata, why, findings);
    }
    match files.check() {
        Ok(warnings) => {
            for warning in warnings {
                findings.warning(shown(&files.certificate), warning);
            }
        }
        Err(error) => {
            findings.error(shown(&files.certificate), format!("the daemon does not start: {error}"));
        }
    }
}
