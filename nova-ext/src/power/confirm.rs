//! Switching by what is read: an order once, then readings until the state has been read twice in a row.

mod watch;

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Device, Look, Order, PowerError, PowerState};
use crate::ids::HostName;
use crate::proof::{Evidence, FenceProof, Reading};
use crate::stamp::Stamp;
use watch::{APART, Next, Watch};

/// So long leaving may take.
const LEAVING: Duration = Duration::from_millis(500);

/// What came of switching.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// What the device reads now.
    pub state: PowerState,
    /// The readings that show it, oldest first.
    pub readings: Vec<Reading>,
    /// Whether nothing had to be done.
    pub already: bool,
}

/// One reading.
pub async fn status(device: &mut dyn Device, within: Duration) -> Result<Outcome, PowerError> {
    let until = Instant::now() + within;
    let look = one_look(device, until).await;
    leave(device).await;
    let Look { state, said } = look?;
    Ok(Outcome { state, readings: vec![Reading { at: Stamp::now(), said }], already: true })
}

/// Switches a host off, unless it is off, and proves it: the device has read off twice in a row.
pub async fn confirm_off(
    device: &mut dyn Device,
    host: &HostName,
    within: Duration,
) -> Result<FenceProof, PowerError> {
    off_with_proof(device, host, within).await.map(|(_, proof)| proof)
}

/// The same, and says what was done.
pub async fn off_with_proof(
    device: &mut dyn Device,
    host: &HostName,
    within: Duration,
) -> Result<(Outcome, FenceProof), PowerError> {
    let outcome = switch_off(device, within).await?;
    let proof = proof(device, host, &outcome);
    Ok((outcome, proof))
}

/// Reads whether a host is off, and gives it no order: a proof if its device reads off twice in a row, none if not.
pub async fn read_off(
    device: &mut dyn Device,
    host: &HostName,
    within: Duration,
) -> Result<Option<FenceProof>, PowerError> {
    let until = Instant::now() + within;
    let mut readings = Vec::new();
    let mut failed = None;
    while readings.len() < 2 {
        if !readings.is_empty() {
            // As far apart as those after an order.
            sleep(APART).await;
        }
        match one_look(device, until).await {
            Ok(Look { state: PowerState::Off, said }) => readings.push(Reading { at: Stamp::now(), said }),
            Ok(_) => break,
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    leave(device).await;
    match failed {
        Some(error) => Err(error),
        None if readings.len() < 2 => Ok(None),
        None => {
            let outcome = Outcome { state: PowerState::Off, readings, already: true };
            Ok(Some(proof(device, host, &outcome)))
        }
    }
}

/// Switches off, unless it is off, and reads it twice in a row. Proves nothing of any host: whose device this is, the
/// caller does not say.
pub async fn switch_off(device: &mut dyn Device, within: Duration) -> Result<Outcome, PowerError> {
    let outcome = switch(device, Order::Off, Instant::now() + within).await;
    leave(device).await;
    outcome
}

/// Switches a host on, unless it is on, and reads it twice in a row.
pub async fn confirm_on(device: &mut dyn Device, within: Duration) -> Result<Outcome, PowerError> {
    let outcome = switch(device, Order::On, Instant::now() + within).await;
    leave(device).await;
    outcome
}

/// Off until that is read twice in a row, and then on. Gives no proof: the host is on.
pub async fn cycle(device: &mut dyn Device, within: Duration) -> Result<Outcome, PowerError> {
    let until = Instant::now() + within;
    let outcome = match switch(device, Order::Off, until).await {
        Ok(off) => switch(device, Order::On, until).await.map(|mut on| {
            on.readings.splice(0..0, off.readings);
            on
        }),
        Err(error) => Err(error),
    };
    leave(device).await;
    outcome
}

/// Only here does a reading become a proof.
fn proof(device: &dyn Device, host: &HostName, outcome: &Outcome) -> FenceProof {
    let at = outcome.readings.last().map_or_else(Stamp::now, |reading| reading.at);
    let evidence = Evidence::PowerOff { device: device.name(), readings: outcome.readings.clone() };
    FenceProof::new(host.clone(), evidence, at)
}

async fn switch(device: &mut dyn Device, order: Order, until: Instant) -> Result<Outcome, PowerError> {
    let started = Instant::now();
    let mut watch = Watch::new(device.name(), order, until.saturating_duration_since(started));
    let mut next = watch.start();
    loop {
        next = match next {
            Next::Read => {
                let look = one_look(device, until).await;
                watch.heard(look, Stamp::now(), started.elapsed())
            }
            Next::Order => {
                let answer = one_order(device, order, until).await;
                watch.ordered(answer, started.elapsed())
            }
            Next::Wait(span) => {
                sleep(span).await;
                Next::Read
            }
            Next::Done(outcome) => return Ok(outcome),
            Next::Failed(error) => return Err(error),
        };
    }
}

async fn one_look(device: &mut dyn Device, until: Instant) -> Result<Look, PowerError> {
    let now = Instant::now();
    let until = until.min(now + device.reads_within(until.saturating_duration_since(now)));
    let name = device.name();
    // The driver keeps the deadline; this is the belt to its braces.
    match timeout_at(until + LEAVING, device.status(until)).await {
        Ok(look) => look,
        Err(_) => Err(PowerError::Silent { device: name, waiting: "its power was read".into() }),
    }
}

async fn one_order(device: &mut dyn Device, order: Order, until: Instant) -> Result<(), PowerError> {
    let now = Instant::now();
    let until = until.min(now + device.answers_within(until.saturating_duration_since(now)));
    let name = device.name();
    match timeout_at(until + LEAVING, device.order(order, until)).await {
        Ok(answer) => answer,
        Err(_) => Err(PowerError::Silent { device: name, waiting: format!("{order} was ordered") }),
    }
}

/// Whatever came of it, the session ends. Its failure changes nothing that was read.
async fn leave(device: &mut dyn Device) {
    let until = Instant::now() + LEAVING;
    let _ = timeout_at(until, device.close(until)).await;
}

#[cfg(test)]
mod tests;
