//! Nova's API with the guard in front of it.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use nova_ext::proof::operator;
use nova_ext::proof::signed::Signer;
use nova_ext::stamp::Stamp;
use pcmk_interop::Result;
use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::error::{Context as _, fail};
use pcmk_interop::wait::{self, secs};
use serde_json::{Value, json};

use super::check::{HOST, has, same};
use super::installed::Installed;

/// No evacuation without a proof; with one it is done, and the host returns in order.
pub(crate) fn evacuation(it: &Installed) -> Result<()> {
    it.enable("[instance_ha]\nguard = enforce\n")?;
    let server = it.cloud.boot(&Wish::new("guarded", HOST, 1))?.pop().context("a server")?;
    it.cloud.fence(HOST)?;
    let refused = it.cloud.evacuate(&server, "2.95")?;
    same("without proof", &refused.status, &403)?;
    has("without proof", &refused.body["forbidden"]["message"].to_string(), "is not proven off")?;
    if refused.request.is_none() {
        return fail("the refusal has no request id");
    }
    same("what has happened", &it.cloud.evacuations(HOST)?.len(), &0)?;
    let signer = Signer::from_file(&it.key()).context("the key")?;
    let host = HOST.parse().context("a host")?;
    let proof = operator::confirms(&host, "a trial", Stamp::now()).context("a proof")?;
    let disable = |reason: &str| {
        let change = json!({"status": "disabled", "disabled_reason": reason});
        it.cloud.set_compute_service(HOST, &change)?.ok().map(drop)
    };
    // That of another host, at first.
    let other = "compute2".parse().context("a host")?;
    disable(&signer.sign(&operator::confirms(&other, "a trial", Stamp::now()).context("a proof")?))?;
    same("another host's proof", &it.cloud.evacuate(&server, "2.95")?.status, &403)?;
    disable(&signer.sign(&proof))?;
    same("with proof", &it.cloud.evacuate(&server, "2.95")?.status, &200)?;
    wait::until(secs(120), "the evacuation", || {
        Ok(it.cloud.evacuations(HOST)?.iter().any(|one| one.status == "done").then_some(()))
    })?;
    let up = |change: Value| it.cloud.set_compute_service(HOST, &change);
    let refused = up(json!({"forced_down": false}))?;
    same("too early", &refused.status, &409)?;
    has("too early", &refused.body.to_string(), "Start nova-compute there while it is forced down")?;
    same("enabled while down", &up(json!({"status": "enabled"}))?.status, &409)?;
    it.cloud.start_compute(HOST)?;
    wait::until(secs(120), "nova-compute to clean up", || {
        Ok(it.cloud.evacuations(HOST)?.iter().all(|one| one.status == "completed").then_some(()))
    })?;
    same("in order", &up(json!({"forced_down": false, "status": "enabled"}))?.status, &200)
}
