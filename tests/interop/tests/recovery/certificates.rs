//! HTTPS in front of Keystone, with certificates that are not to be trusted.

use pcmk_interop::cloud::Cloud;
use pcmk_interop::cloud::calls;
use pcmk_interop::cloud::ours::Ours;
use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::wait::secs;
use pcmk_interop::{Result, fail};

use super::incident::{HOST, Incident, controller};

/// What a certificate is called, and what is said of it.
const BAD: [(&str, &str); 3] = [
    ("expired", "its certificate has expired"),
    ("stranger", "of an authority that is not trusted here"),
    ("elsewhere", "its certificate is for another name"),
];

/// An authority that is not trusted, a name that is another's, an expired certificate: each is said in one line, and
/// keeps no host from being fenced. When the certificate is right again, the engine catches up.
pub(crate) fn keystone(cloud: &Cloud) -> Result<()> {
    let front = cloud.keystone_front(|certificates| {
        certificates.authority("authority")?;
        certificates.authority("stranger-authority")?;
        certificates.issue("authority", "good", &[])?;
        certificates.issue("authority", "expired", &["from=20200101000000Z", "to=20200201000000Z"])?;
        certificates.issue("stranger-authority", "stranger", &[])?;
        certificates.issue_for_another("authority", "elsewhere")?;
        Ok("good".to_owned())
    })?;
    let ours = controller(cloud, "certificates")?;
    let url = format!("https://{}/v3", front.address());
    let authority = front.authority("authority");
    ours.write(
        "cloud.toml",
        &format!(
            "auth_url = \"{url}\"\nusername = \"admin\"\npassword = \"for-admins\"\nproject_name = \"admin\"\n\
             cafile = \"{}\"\n",
            authority.display()
        ),
    )?;
    status(&ours, 0, "")?;
    for (certificate, said) in BAD {
        front.show(certificate)?;
        status(&ours, 1, said)?;
    }

    front.show("expired")?;
    let servers = cloud.boot(&Wish::new("guest", HOST, 2))?;
    let mark = cloud.mark()?;
    let output = ours.fence_nova("off", HOST, "")?;
    let told = output.stderr.lines().filter(|line| line.contains("has expired")).count();
    if output.code() != 0 || told != 1 || cloud.board_is_on(HOST)? {
        return fail(format!("fencing: {}: {}", output.code(), output.stderr));
    }
    let engine = ours.start_engine()?;
    engine.until(secs(30), "the engine to say what it waits for", || {
        Ok(engine.log().contains("has expired").then_some(()))
    })?;
    if !calls::evacuations(&cloud.calls(&mark)?).is_empty() {
        return fail("it was evacuated all the same");
    }
    front.show("good")?;
    let incident = Incident::going_on(cloud, servers, ours, engine, mark);
    incident.wait_moved(secs(120))?;
    incident.check_once()
}

/// What Nova says of the host, asked by the agent.
fn status(ours: &Ours, code: i32, said: &str) -> Result<()> {
    let output = ours.fence_nova("status", HOST, "power=no\n")?;
    let errors: Vec<_> = output.stderr.lines().filter(|line| line.contains("ERROR")).collect();
    let clear = errors.iter().all(|line| line.contains(said)) && errors.len() == usize::from(code != 0);
    if output.code() == code && clear {
        return Ok(());
    }
    fail(format!("{said}: {}: {}", output.code(), output.stderr))
}
