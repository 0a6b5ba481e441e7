//! What flavors may say: refused where Nova asks, found where it does not.

use pcmk_interop::Result;
use pcmk_interop::cloud::ours::Ours;
use pcmk_interop::error::fail;
use pcmk_interop::run::Output;
use serde_json::json;

use super::check::{has, same};
use super::installed::Installed;

/// From 2.86 on a slip is refused, and said what was meant; before it is taken.
pub(crate) fn are_refused(it: &Installed) -> Result<()> {
    let set = |key: &str, value: &str, version: &str| {
        let body = json!({"extra_specs": {key: value}});
        it.cloud.admin().nova("POST", "/flavors/tiny/os-extra_specs", &body, version)
    };
    same("a right one", &set("instance_ha:evacuate", "yes", "2.86")?.status, &200)?;
    let slip = set("instance_ha:evacuat", "yes", "2.86")?;
    same("a slip", &slip.status, &400)?;
    has("a slip", &slip.body.to_string(), "did you mean instance_ha:evacuate?")?;
    same("a wrong value", &set("instance_ha:priority", "high", "2.86")?.status, &400)?;
    same("an older microversion", &set("instance_ha:evacuat", "yes", "2.85")?.status, &200)?;
    let delete = |key: &str| {
        let path = format!("/flavors/tiny/os-extra_specs/{key}");
        it.cloud.admin().nova("DELETE", &path, &serde_json::Value::Null, "2.1")?.ok()
    };
    delete("instance_ha:evacuat")?;
    delete("instance_ha:evacuate").map(drop)
}

/// With the client that operators have; and what an older microversion has let in is found over the whole cloud.
pub(crate) fn are_found(it: &Installed) -> Result<()> {
    let client = |version: &str, words: &[&str]| -> Result<Output> {
        let login = [
            "env",
            "OS_AUTH_URL=http://controller:5000/v3",
            "OS_USERNAME=admin",
            "OS_PASSWORD=for-admins",
            "OS_PROJECT_NAME=admin",
            "OS_USER_DOMAIN_ID=default",
            "OS_PROJECT_DOMAIN_ID=default",
            "OS_IDENTITY_API_VERSION=3",
            "openstack",
            "--os-compute-api-version",
            version,
        ];
        it.cloud.node().run(&[&login[..], words].concat())
    };
    let set =
        |version: &str, property: &str| client(version, &["flavor", "set", "tiny", "--property", property]);
    let well = |what: &str, output: Output| {
        if output.code() == 0 { Ok(()) } else { fail(format!("{what}: {}", output.stderr)) }
    };
    well("a right one", set("2.86", "instance_ha:evacuate=yes")?)?;
    let slip = set("2.86", "instance_ha:evacuat=yes")?;
    if slip.code() == 0 {
        return fail("the client's slip is taken");
    }
    has("the client's slip", &slip.stderr, "did you mean instance_ha:evacuate?")?;
    let ours = Ours::new(&it.cloud, "lint")?;
    let lint = || ours.nova_ha(&["lint"]);
    let before = lint()?;
    if before.stdout.contains("evacuat\"") {
        return fail(format!("something is found before it is there: {}", before.stdout));
    }
    well("an older microversion", set("2.85", "instance_ha:evacuat=yes")?)?;
    let found = lint()?;
    same("its exit code", &found.code(), &1)?;
    let wanted = "WRONG  flavor tiny (tiny): there is no key \"instance_ha:evacuat\": did you mean instance_ha:evacuate?";
    has("the slip", &found.stdout, wanted)?;
    let unset = |key: &str| client("2.86", &["flavor", "unset", "tiny", "--property", key]);
    well("to take it back", unset("instance_ha:evacuat")?)?;
    well("to take it back", unset("instance_ha:evacuate")?)?;
    let after = lint()?;
    same("what is left", &after.stdout, &before.stdout)
}
