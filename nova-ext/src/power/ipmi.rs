//! IPMI 2.0 over RMCP+.
//!
//! `packet`, `message` and `crypto` say what the bytes mean, `session` decides, and this file is the socket around
//! them.

pub mod crypto;
pub mod message;
pub mod packet;
pub mod session;
mod settings;
mod trouble;

use std::io;
use std::net::SocketAddr;

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Answer, Device, Look, Order, Place, PowerError, PowerState};
use message::Command;
use session::{Event, Login, Session};
pub use settings::IpmiSettings;
pub use trouble::Trouble;

/// The port of RMCP.
pub const PORT: u16 = 623;

/// A board's controller that speaks IPMI.
pub struct Ipmi {
    host: String,
    port: u16,
    name: String,
    login: Login,
    /// The address at which it has answered.
    answers: Option<SocketAddr>,
    line: Option<Line>,
}

/// A socket and the session on it.
struct Line {
    socket: UdpSocket,
    session: Session,
    name: String,
}

impl Ipmi {
    /// Checks the settings; sends nothing.
    pub fn new(settings: IpmiSettings) -> Result<Self, PowerError> {
        let login = settings.login()?;
        let name = format!("ipmi {}", settings.place);
        let Place { host, port } = settings.place;
        Ok(Self { host, port: port.unwrap_or(PORT), name, login, answers: None, line: None })
    }

    /// The open session; logs in if there is none.
    async fn line(&mut self, until: Instant) -> Result<&mut Line, PowerError> {
        match self.line.take() {
            Some(line) if line.session.is_ready() => Ok(self.line.insert(line)),
            _ => {
                let line = self.log_in(until).await?;
                Ok(self.line.insert(line))
            }
        }
    }

    async fn log_in(&mut self, until: Instant) -> Result<Line, PowerError> {
        let addresses = self.addresses(until).await?;
        self.log_in_at_any(addresses, until).await
    }

    /// Logs in at the first address that answers; each has its share of the time. Nothing but a login is tried twice.
    async fn log_in_at_any(
        &mut self,
        mut addresses: Vec<SocketAddr>,
        until: Instant,
    ) -> Result<Line, PowerError> {
        // The one that has answered before comes first.
        addresses.sort_by_key(|address| Some(*address) != self.answers);
        let mut failed = self.unreachable("its name has no address");
        for (tried, address) in addresses.iter().enumerate() {
            let begun = Instant::now();
            let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let share = until.saturating_duration_since(begun) / left;
            match self.log_in_at(*address, begun + share).await {
                Ok(line) => {
                    self.answers = Some(*address);
                    return Ok(line);
                }
                Err(error @ (PowerError::Silent { .. } | PowerError::Unreachable { .. })) => failed = error,
                Err(error) => return Err(error),
            }
        }
        Err(failed)
    }

    async fn log_in_at(&self, address: SocketAddr, until: Instant) -> Result<Line, PowerError> {
        let mut line = self.connect(address).await?;
        line.session.log_in(now(), until.into_std());
        match line.event(until).await? {
            Event::Ready(suite) => {
                tracing::debug!(device = self.name, %address, suite = suite.number(), "logged in");
                Ok(line)
            }
            Event::Failed(trouble) => Err(self.error(trouble)),
            Event::Answer(..) | Event::Closed => Err(self.error(Trouble::Silent("the login was under way"))),
        }
    }

    async fn addresses(&self, until: Instant) -> Result<Vec<SocketAddr>, PowerError> {
        let lookup = timeout_at(until, lookup_host((self.host.as_str(), self.port))).await;
        let found = lookup.map_err(|_| self.unreachable("its name is not resolved in time"))?;
        let found =
            found.map_err(|error| self.unreachable(&format!("its name cannot be resolved: {error}")))?;
        let mut addresses = Vec::new();
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    fn unreachable(&self, why: &str) -> PowerError {
        PowerError::Unreachable { device: self.name.clone(), why: why.to_owned() }
    }

    async fn connect(&self, address: SocketAddr) -> Result<Line, PowerError> {
        let any: SocketAddr = if address.is_ipv4() {
            (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let plug = |error: io::Error| self.unreachable(&error.to_string());
        let socket = UdpSocket::bind(any).await.map_err(plug)?;
        // Only what comes from there is heard, and a refusal comes back as an error.
        socket.connect(address).await.map_err(plug)?;
        let random = Box::new(|bytes: &mut [u8]| getrandom::fill(bytes).is_ok());
        Ok(Line { socket, session: Session::new(self.login.clone(), random), name: self.name.clone() })
    }

    async fn ask(
        &mut self,
        command: Command,
        once: bool,
        until: Instant,
    ) -> Result<(u8, Vec<u8>), PowerError> {
        let line = self.line(until).await?;
        line.session.request(command, once, now(), until.into_std());
        let failed = match line.event(until).await {
            Ok(Event::Answer(code, data)) => return Ok((code, data)),
            Ok(Event::Failed(trouble)) => self.error(trouble),
            Ok(Event::Ready(_) | Event::Closed) => self.error(Trouble::Silent("a command was sent")),
            Err(error) => error,
        };
        if !once {
            // A session in which nothing is answered is of no use; dropping it says goodbye.
            self.line = None;
        }
        Err(failed)
    }

    fn error(&self, trouble: Trouble) -> PowerError {
        let device = self.name.clone();
        match trouble {
            Trouble::Silent(waiting) => PowerError::Silent { device, waiting: waiting.into() },
            Trouble::Full(why) => PowerError::Full { device, why: why.into() },
            Trouble::Denied(why) => PowerError::Denied { device, why },
            Trouble::Garbled(why) => PowerError::Garbled { device, why },
        }
    }
}

/// The session's clock is the runtime's.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

impl Device for Ipmi {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn status(&mut self, until: Instant) -> Answer<'_, Look> {
        Box::pin(async move {
            let (code, data) = self.ask(Command::ChassisStatus, false, until).await?;
            let device = self.name.clone();
            if code != 0 {
                return Err(PowerError::Garbled { device, why: message::words(code) });
            }
            let (on, fault) = message::chassis_power(&data).ok_or_else(|| PowerError::Garbled {
                device,
                why: "its chassis status is too short".into(),
            })?;
            let state = if on { PowerState::On } else { PowerState::Off };
            let fault = if fault { ", and it reports a fault of the power" } else { "" };
            Ok(Look { state, said: format!("chassis power is {state}{fault}") })
        })
    }

    fn order(&mut self, order: Order, until: Instant) -> Answer<'_, ()> {
        Box::pin(async move {
            let what = match order {
                Order::Off => 0,
                Order::On => 1,
            };
            self.line(until).await.map_err(|error| PowerError::Unsent(Box::new(error)))?;
            let (code, _) = self.ask(Command::ChassisControl(what), true, until).await?;
            let device = self.name.clone();
            match code {
                0 => Ok(()),
                0xD4 => {
                    let why = format!("{}: set privlvl to administrator", message::words(code));
                    Err(PowerError::Denied { device, why })
                }
                _ => Err(PowerError::Refused { device, order, why: message::words(code) }),
            }
        })
    }

    fn close(&mut self, until: Instant) -> Answer<'_, ()> {
        Box::pin(async move {
            if let Some(mut line) = self.line.take() {
                line.session.close(now(), until.into_std());
                line.event(until).await?;
            }
            Ok(())
        })
    }
}

impl Line {
    /// Sends and hears until something has happened.
    async fn event(&mut self, until: Instant) -> Result<Event, PowerError> {
        let mut buffer = [0; packet::LONGEST + 1];
        loop {
            while let Some(datagram) = self.session.datagram() {
                self.socket.send(&datagram).await.map_err(|error| self.broken(&error))?;
            }
            if let Some(event) = self.session.event() {
                return Ok(event);
            }
            let wake = self.session.wake().map_or(until, Instant::from_std);
            tokio::select! {
                heard = self.socket.recv(&mut buffer) => {
                    let length = heard.map_err(|error| self.broken(&error))?;
                    let datagram = buffer.get(..length).unwrap_or_default();
                    self.session.hear(datagram, now());
                }
                () = sleep_until(wake) => {
                    if self.session.wake().is_none() {
                        return Ok(Event::Failed(Trouble::Silent("nothing was under way")));
                    }
                    self.session.tick(now());
                }
            }
        }
    }

    fn broken(&self, error: &io::Error) -> PowerError {
        let why = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                "nothing listens on this UDP port (connection refused)".into()
            }
            _ => error.to_string(),
        };
        PowerError::Unreachable { device: self.name.clone(), why }
    }
}

impl Drop for Line {
    /// A board has few sessions: whoever stops waiting still says goodbye, once and without waiting for the answer.
    fn drop(&mut self) {
        let at = std::time::Instant::now();
        self.session.close(at, at);
        while let Some(datagram) = self.session.datagram() {
            let _ = self.socket.try_send(&datagram);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::secret::Secret;

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_says_nothing() {
        let mut device = Ipmi::new(IpmiSettings {
            place: "bmc".parse().unwrap(),
            user: "fencer".into(),
            password: Secret::new("hunter2".into()),
            kg_file: None,
            privlvl: None,
            cipher: Some("3".into()),
        })
        .unwrap();
        let (one, other) =
            (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let (silent, second) = (one.local_addr().unwrap(), other.local_addr().unwrap());
        let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let refuses = closed.local_addr().unwrap();
        drop(closed);
        let heard = |socket: &UdpSocket| socket.try_recv(&mut [0; 1024]).is_ok();
        for (first, within) in [(silent, 2), (refuses, 1)] {
            let until = Instant::now() + Duration::from_secs(within);
            let error = device.log_in_at_any(vec![first, second], until).await.map(drop).unwrap_err();
            assert!(matches!(error, PowerError::Silent { .. }), "{error}");
            assert!(heard(&other), "the second address was not asked");
            while heard(&other) {}
        }
        assert!(heard(&one), "the first address was not asked");
        while heard(&one) {}
        // The one that has answered before comes first, with its share of the time.
        device.answers = Some(second);
        let until = Instant::now() + Duration::from_millis(400);
        let at_once = tokio::time::timeout(
            Duration::from_millis(100),
            device.log_in_at_any(vec![silent, second], until),
        );
        assert!(at_once.await.is_err() && heard(&other) && !heard(&one));
    }
}
