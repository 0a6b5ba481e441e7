//! Nova and the way to it fail while servers are being moved.

use std::time::Duration;

use pcmk_interop::cloud::Cloud;
use pcmk_interop::cloud::calls;
use pcmk_interop::cloud::credentials::Login;
use pcmk_interop::cloud::faults::{Fault, Proxy, Rule};
use pcmk_interop::error::Context;
use pcmk_interop::wait::secs;
use pcmk_interop::{Result, fail};

use super::incident::{Incident, OTHERS};

/// Longer than the engine waits for an answer here.
const LATE: Duration = Duration::from_secs(20);

type Row = (&'static str, Rule);

/// Nova has done what the engine never heard of: this is what doubles are made of.
pub(crate) fn unheard(cloud: &Cloud) -> Result<()> {
    rows(
        cloud,
        vec![
            ("time out after Nova has acted", Rule::evacuate(Fault::DelayAfter(LATE)).every(2).times(2)),
            ("reset after Nova has acted", Rule::evacuate(Fault::ResetAfter).every(2).times(3)),
        ],
    )
}

/// Nobody knows whether Nova has done it.
pub(crate) fn uncertain(cloud: &Cloud) -> Result<()> {
    rows(
        cloud,
        vec![
            ("cut in the middle of the answer", Rule::evacuate(Fault::Cut(25)).every(2).times(3)),
            ("reset before Nova hears of it", Rule::evacuate(Fault::ResetBefore).every(2).times(3)),
            ("time out before Nova acts", Rule::evacuate(Fault::DelayBefore(LATE)).every(2).times(2)),
        ],
    )
}

/// Refusals, storms and lists that are cut or slow.
pub(crate) fn refusals(cloud: &Cloud) -> Result<()> {
    let busy = Fault::Answer(503, vec![("Retry-After".to_owned(), "1".to_owned())]);
    rows(
        cloud,
        vec![
            ("500", Rule::evacuate(Fault::answer(500)).every(2).times(3)),
            ("a storm of 503", Rule::new("", "/servers", busy).times(25)),
            ("409", Rule::evacuate(Fault::answer(409)).every(2).times(3)),
            ("401 in the middle", Rule::new("", "", Fault::answer(401)).skip(8).times(2)),
            (
                "slow lists",
                Rule::new("GET", "", Fault::DelayAfter(Duration::from_secs(2))).every(3).times(20),
            ),
            ("cut lists", Rule::new("GET", "/servers/detail", Fault::Cut(300)).times(2)),
        ],
    )
}

/// One after the other on the way to Nova. Each time all servers move, and what was accepted was accepted once.
fn rows(cloud: &Cloud, rows: Vec<Row>) -> Result<()> {
    let proxy = cloud.proxy()?;
    let result = rows.into_iter().try_for_each(|(name, rule)| row(cloud, &proxy, rule).context(name));
    cloud.unproxy()?;
    result
}

fn row(cloud: &Cloud, proxy: &Proxy, rule: Rule) -> Result<()> {
    let login = Login { more: "request_timeout = 15\n", ..cloud.login() };
    let incident = Incident::prepare(cloud, 6, &login)?;
    proxy.forget();
    proxy.inject(rule);
    let result = incident.fenced().and_then(|incident| {
        incident.wait_moved(secs(150))?;
        incident.check_once()
    });
    proxy.heal();
    result?;
    if proxy.hits() == 0 {
        return fail("it befell nothing");
    }
    cloud.reset()
}

/// Nova's API dies in the middle and comes back.
pub(crate) fn api_down(cloud: &Cloud) -> Result<()> {
    for host in OTHERS {
        cloud.guests(host, 1.0, false)?;
    }
    let incident = Incident::begin(cloud, 12, &cloud.login())?;
    incident.wait_requests(3)?;
    cloud.kill_service("cloud-nova")?;
    cloud.service("start", "cloud-nova")?;
    cloud.wait_api()?;
    incident.wait_moved(secs(150))?;
    // What was being answered when it died has left no line in the log of the calls.
    let twice: Vec<_> =
        calls::accepted(&incident.calls()?).into_iter().filter(|(_, count)| *count > 1).collect();
    if twice.is_empty() { Ok(()) } else { fail(format!("requested more than once: {twice:?}")) }
}
