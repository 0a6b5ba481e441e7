//! Parameters whose value the cluster configuration only names: it is in a file on each node.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use md5::{Digest, Md5};
use pcmk_proto::types::{ExecStatus, OcfRc, Params};
use thiserror::Error;

use super::HostSettings;
use crate::agent::{AgentCall, Outcome};

/// What stands in place of a secret value.
const MAGIC: &str = "lrm://";
/// Far above any secret; keeps a wrong file from filling memory.
const MAX_SIZE: u64 = 64 << 10;

/// Why a secret could not be used.
#[derive(Debug, Error)]
pub(super) enum SecretError {
    #[error("could not read {}: {error}", .path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{} is empty", .path.display())]
    Empty { path: PathBuf },
    #[error("{} does not match its checksum in {}.sign: copy both files again", .path.display(), .path.display())]
    Mismatch { path: PathBuf },
}

/// Replaces every secret of a call, where that may take its time.
pub(super) async fn resolve(settings: &Arc<HostSettings>, call: &mut AgentCall) -> Result<(), Outcome> {
    if !call.params.iter().any(|(_, value)| value == MAGIC) {
        return Ok(());
    }
    let (settings, mut own) = (Arc::clone(settings), call.clone());
    let done = tokio::task::spawn_blocking(move || of_call(&settings, &mut own).map(|()| own.params));
    call.params = done.await.unwrap_or_else(|_| Err(unconfigured()))?;
    Ok(())
}

/// Replaces every secret of a call; the outcome of one that cannot do without. May block.
pub(super) fn of_call(settings: &HostSettings, call: &mut AgentCall) -> Result<(), Outcome> {
    let Err(error) = fill_in(&settings.secrets_dir, call.id.as_str(), &mut call.params) else {
        return Ok(());
    };
    if call.action.eq_ignore_ascii_case("stop") {
        tracing::info!(
            "Proceeding with stop operation for {} despite being unable to load CIB secrets ({error})",
            call.id
        );
        return Ok(());
    }
    tracing::error!("Considering {} unconfigured because unable to load CIB secrets: {error}", call.id);
    Err(unconfigured())
}

fn unconfigured() -> Outcome {
    Outcome::failed(ExecStatus::Done, OcfRc::INVALID_PARAM, "Unable to load CIB secrets")
}

/// Replaces every secret among the parameters. All that can be are replaced even if one fails; the last
/// failure is returned. May block.
fn fill_in(dir: &Path, resource: &str, params: &mut Params) -> Result<(), SecretError> {
    let mut result = Ok(());
    for (name, value) in params.iter_mut().filter(|(_, value)| value == MAGIC) {
        match read(&dir.join(resource), name) {
            Ok(secret) => *value = secret,
            Err(error) => result = Err(error),
        }
    }
    result
}

fn read(dir: &Path, name: &str) -> Result<String, SecretError> {
    let path = dir.join(name);
    let whole = contents(&path)?;
    let sign = contents(&dir.join(format!("{name}.sign")))?;
    // Older releases take the first line, newer ones all of it: the checksum tells what was meant.
    let first = whole.lines().next().unwrap_or_default().trim_end();
    [first, whole.as_str()]
        .into_iter()
        .find(|secret| !secret.is_empty() && hex(&Md5::digest(secret)).eq_ignore_ascii_case(&sign))
        .map(str::to_owned)
        .ok_or(SecretError::Mismatch { path })
}

/// Text of a file without trailing white space.
fn contents(path: &Path) -> Result<String, SecretError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_SIZE).read_to_string(&mut text))
        .map_err(|error| SecretError::Unreadable { path: path.to_owned(), error })?;
    if text.is_empty() {
        return Err(SecretError::Empty { path: path.to_owned() });
    }
    text.truncate(text.trim_end().len());
    Ok(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(list: &[(&str, &str)]) -> Params {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn store(dir: &Path, name: &str, value: &str, signed: &str) {
        std::fs::create_dir_all(dir.join("rsc")).unwrap();
        std::fs::write(dir.join("rsc").join(name), value).unwrap();
        std::fs::write(
            dir.join("rsc").join(format!("{name}.sign")),
            format!("{}\n", hex(&Md5::digest(signed))),
        )
        .unwrap();
    }

    #[test]
    fn only_the_exact_word_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        store(dir.path(), "password", "geheim \n", "geheim");
        store(dir.path(), "long", "one\ntwo\n", "one\ntwo");
        store(dir.path(), "first", "one\ntwo\n", "one");
        let mut list = params(&[
            ("password", "lrm://"),
            ("long", "lrm://"),
            ("first", "lrm://"),
            ("other", "lrm://x"),
            ("plain", "y"),
        ]);
        fill_in(dir.path(), "rsc", &mut list).unwrap();
        let expected = params(&[
            ("password", "geheim"),
            ("long", "one\ntwo"),
            ("first", "one"),
            ("other", "lrm://x"),
            ("plain", "y"),
        ]);
        assert_eq!(list, expected);
    }

    #[test]
    fn one_failure_leaves_the_others() {
        let dir = tempfile::tempdir().unwrap();
        store(dir.path(), "good", "x", "x");
        store(dir.path(), "tampered", "x", "y");
        let mut list = params(&[("missing", "lrm://"), ("tampered", "lrm://"), ("good", "lrm://")]);
        let error = fill_in(dir.path(), "rsc", &mut list).unwrap_err();
        assert!(matches!(error, SecretError::Mismatch { .. }), "{error}");
        assert_eq!(list, params(&[("missing", "lrm://"), ("tampered", "lrm://"), ("good", "x")]));
    }
}
