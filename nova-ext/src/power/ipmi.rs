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
        Ok(Self { host, port: port.unwrap_or(PORT), name, login, line: None })
    }

    /// The open session; logs in if there is none.
    async fn line(&mut self, until: Instant) -> Result<&mut Line, PowerError> {
        match self.line.take() {
            Some(line) if line.session.is_ready() => Ok(self.line.insert(line)),
            _ => {
                let mut line = self.connect(until).await?;
                line.session.log_in(now(), until.into_std());
                match line.event(until).await? {
                    Event::Ready(suite) => {
                        tracing::debug!(device = self.name, suite = suite.number(), "logged in");
                        Ok(self.line.insert(line))
                    }
                    Event::Failed(trouble) => Err(self.error(trouble)),
                    Event::Answer(..) | Event::Closed => {
                        Err(self.error(Trouble::Silent("the login was under way")))
                    }
                }
            }
        }
    }

    async fn connect(&self, until: Instant) -> Result<Line, PowerError> {
        let unreachable = |why: String| PowerError::Unreachable { device: self.name.clone(), why };
        let lookup = timeout_at(until, lookup_host((self.host.as_str(), self.port))).await;
        let mut addresses = match lookup {
            Ok(found) => {
                found.map_err(|error| unreachable(format!("its name cannot be resolved: {error}")))?
            }
            Err(_) => return Err(unreachable("its name is not resolved in time".into())),
        };
        let address = addresses.next().ok_or_else(|| unreachable("its name has no address".into()))?;
        let any: SocketAddr = if address.is_ipv4() {
            (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let plug = |error: io::Error| unreachable(error.to_string());
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
