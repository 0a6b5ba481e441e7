//! The client of nova-ext against real services.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use nova_ext::cloud::{Cloud as Client, Fate, Level, MigrationQuery, ServiceChange, Settings, Source};
use nova_ext::ids::{HostName, ServerId};
use nova_ext::proof::operator::confirms;
use nova_ext::stamp::Stamp;
use pcmk_interop::cloud::calls;
use pcmk_interop::cloud::credentials::Login;
use pcmk_interop::cloud::faults::{Fault, Rule};
use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::cloud::{Cloud, READER};
use pcmk_interop::error::Context;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};

/// Runs what the client does.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Logs in with a credentials file.
async fn connect(file: &Path) -> Result<Client> {
    let settings = Settings::load(&Source::File(file.to_owned()), &std::env::vars().collect());
    Client::connect(&settings.context("settings")?).await.context("connecting")
}

fn host(name: &str) -> Result<HostName> {
    name.parse().context(name)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: &T, wanted: &T) -> Result<()> {
    if seen == wanted { Ok(()) } else { fail(format!("{what}: {seen:?} instead of {wanted:?}")) }
}

/// What there is, as it is: hosts, servers in several pages with all that policies ask for, images, capacity.
pub(crate) fn reads(cloud: &Cloud) -> Result<()> {
    let plain = cloud.boot(&Wish::new("plain", "compute1", 45))?;
    let rich = Wish {
        flavor: "marked",
        image: 2,
        metadata: vec![("HA_Enabled", "True")],
        tags: vec!["ha"],
        ..Wish::new("rich", "compute1", 1)
    };
    let rich = cloud.boot(&rich)?.pop().context("no server")?;
    let file = cloud.credentials("admin.toml", &cloud.login())?;
    block_on(async {
        let client = connect(&file).await?;
        let bad: Vec<_> = client.check().await.into_iter().filter(|it| it.level == Level::Fail).collect();
        same("what is wrong with an administrator", &bad, &Vec::new())?;
        let services = client.compute_services().await.context("services")?;
        let up = services.iter().filter(|service| service.up && service.status_enabled).count();
        same("services that are up", &up, &cloud.computes().len())?;
        if client.schedulers_alive().await.context("schedulers")? != 1 {
            return fail("not one scheduler");
        }
        let servers = client.servers_on(&host("compute1")?).await.context("servers")?;
        let seen: BTreeSet<_> = servers.iter().map(|server| server.id.to_string()).collect();
        same("servers", &seen, &plain.iter().chain([&rich]).cloned().collect())?;
        same("servers, each once", &servers.len(), &46)?;
        let server = servers.iter().find(|server| server.id.to_string() == rich).context("the rich one")?;
        same("metadata", &server.metadata.get("HA_Enabled").map(String::as_str), &Some("True"))?;
        same("tags", &server.tags, &vec!["ha".to_owned()])?;
        let spec = server.flavor.extra_specs.get("evacuable").map(String::as_str);
        same("the flavor's extra spec", &spec, &Some("true"))?;
        let image = server.image.clone().context("no image")?;
        let properties = client.image_properties(&image).await.context("the image")?;
        if !format!("{properties:?}").contains("evacuable") {
            return fail(format!("the image: {properties:?}"));
        }
        same("servers elsewhere", &client.servers_on(&host("compute2")?).await.context("none")?.len(), &0)?;
        match client.servers_on(&host("compute9")?).await {
            Ok(servers) => fail(format!("a host that is not there has servers: {}", servers.len()))?,
            Err(error) if error.to_string().contains("compute9") => {}
            Err(error) => fail(error.to_string())?,
        }
        let providers = client.resource_providers().await.context("providers")?;
        same("resource providers", &providers.len(), &cloud.computes().len())?;
        for provider in &providers {
            client.resources(provider).await.context("resources")?;
        }
        Ok(())
    })
}

/// Forcing down, with a reason, and back.
pub(crate) fn forces_down(cloud: &Cloud) -> Result<()> {
    let file = cloud.credentials("admin.toml", &cloud.login())?;
    block_on(async {
        let client = connect(&file).await?;
        let compute = host("compute1")?;
        let service = client.force_down(&compute, Some("fenced: a test")).await.context("down")?;
        same("down", &(service.up, service.forced_down, service.status_enabled), &(false, true, false))?;
        same("the reason", &service.disabled_reason.as_deref(), &Some("fenced: a test"))?;
        let change =
            ServiceChange { forced_down: Some(false), enabled: Some(true), ..ServiceChange::default() };
        let service = client.set_service(service.id, &change).await.context("up")?;
        same("up", &(service.forced_down, service.status_enabled), &(false, true))
    })
}

/// A user who may only read is found out before it matters, and is refused.
pub(crate) fn small_role(cloud: &Cloud) -> Result<()> {
    let file = cloud.credentials("reader.toml", &Login { user: READER, ..cloud.login() })?;
    block_on(async {
        let client = connect(&file).await?;
        let findings = client.check().await;
        if !findings.iter().any(|finding| finding.level == Level::Fail) {
            return fail(format!("nothing is wrong with a reader: {findings:?}"));
        }
        match client.force_down(&host("compute1")?, None).await {
            Ok(_) => fail("a reader has forced a host down"),
            Err(error) if error.status() == Some(403) || error.to_string().contains("role") => Ok(()),
            Err(error) => fail(error.to_string()),
        }
    })
}

/// A token that is not accepted any more, a cut list, a slow list, a storm of 503: reads survive each.
pub(crate) fn survives_faults(cloud: &Cloud) -> Result<()> {
    cloud.boot(&Wish::new("guest", "compute1", 30))?;
    let proxy = cloud.proxy()?;
    let file = cloud.credentials("admin.toml", &cloud.login())?;
    let busy = || Fault::Answer(503, vec![("Retry-After".to_owned(), "1".to_owned())]);
    let rules = [
        ("401 in the middle", Rule::new("GET", "/servers", Fault::answer(401)).skip(1).times(1)),
        ("a list cut", Rule::new("GET", "/servers", Fault::Cut(400)).skip(1).times(1)),
        ("a slow list", Rule::new("GET", "/servers", Fault::DelayAfter(Duration::from_secs(4))).times(1)),
        ("503, twice", Rule::new("GET", "/servers", busy()).times(2)),
        ("500", Rule::new("GET", "/servers", Fault::answer(500)).times(1)),
        ("a reset", Rule::new("GET", "/servers", Fault::ResetBefore).times(1)),
    ];
    let result = block_on(async {
        let client = connect(&file).await?;
        for (name, rule) in rules {
            proxy.heal();
            proxy.forget();
            proxy.inject(rule);
            let servers = client.servers_on(&host("compute1")?).await.context(name)?;
            same(name, &servers.len(), &30)?;
            if proxy.hits() == 0 {
                return fail(format!("{name}: it befell nothing"));
            }
        }
        // A change whose answer is lost is not known to be made, and nothing repeats it blindly.
        proxy.heal();
        let query = MigrationQuery::evacuations_from(&host("compute1")?);
        same("evacuations", &client.migrations(&query).await.context("migrations")?.len(), &0)?;
        let service = client.compute_service(&host("compute1")?).await.context("service")?;
        proxy.forget();
        proxy.inject(Rule::new("POST", "/action", Fault::ResetAfter).times(1));
        let server = client.servers_on(&host("compute1")?).await.context("servers")?;
        let server = server.first().context("no server")?.id;
        match client.reset_state(&server, nova_ext::cloud::ResetTo::Active).await {
            Ok(_) => fail("it was told that all is well")?,
            Err(error) => same("what became of it", &error.fate(), &Fate::Unheard)?,
        }
        let sent = proxy.calls().iter().filter(|call| call.method == "POST").count();
        same("requests", &sent, &1)?;
        same("the service", &service.up, &true)
    });
    cloud.unproxy()?;
    result
}

/// One server each at the lowest version, at two that changed something, and at the newest: with a person's word as the
/// proof. Without one for that very host, nothing is sent.
pub(crate) fn evacuates(cloud: &Cloud) -> Result<()> {
    let versions = [Some("2.53"), Some("2.68"), Some("2.95"), None];
    let servers = cloud.boot(&Wish::new("guest", "compute1", versions.len() + 1))?;
    cloud.fence("compute1")?;
    let (compute, other) = (host("compute1")?, host("compute2")?);
    let mark = cloud.mark()?;
    for (version, id) in versions.iter().zip(&servers) {
        let file = cloud.credentials("admin.toml", &Login { version: *version, ..cloud.login() })?;
        let id: ServerId = id.parse().context("an id")?;
        block_on(async {
            let client = connect(&file).await?;
            let proof = confirms(&compute, "Ann Lee", Stamp::now()).context("a proof")?;
            client.evacuate(&id, &compute, &proof, None).await.context(version.unwrap_or("latest")).map(drop)
        })?;
    }
    let file = cloud.credentials("admin.toml", &cloud.login())?;
    let last: ServerId = servers.last().context("no server")?.parse().context("an id")?;
    block_on(async {
        let client = connect(&file).await?;
        let proof = confirms(&other, "Ann Lee", Stamp::now()).context("a proof")?;
        match client.evacuate(&last, &compute, &proof, None).await {
            Ok(_) => fail("the proof of another host was good enough"),
            Err(error) => same("what became of it", &error.fate(), &Fate::NotSent),
        }
    })?;
    wait::until(secs(90), "four servers elsewhere", || {
        let done = cloud.evacuations("compute1")?.iter().filter(|one| one.status == "done").count();
        Ok((done == versions.len()).then_some(()))
    })?;
    let accepted = calls::accepted(&cloud.calls(&mark)?);
    same("requests", &accepted.values().copied().collect::<Vec<_>>(), &vec![1; versions.len()])?;
    let states: Vec<_> = servers.iter().map(|id| Ok(cloud.server(id)?.status)).collect::<Result<_>>()?;
    same("states", &states, &["ACTIVE", "ACTIVE", "SHUTOFF", "SHUTOFF", "ACTIVE"].map(str::to_owned).to_vec())
}
