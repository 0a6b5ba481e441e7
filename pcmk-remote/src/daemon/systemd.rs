//! Tells systemd how far we are (`Type=notify`).

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The service manager that started us, if it wants to hear.
#[derive(Debug)]
pub(super) struct ServiceManager(Option<UnixDatagram>);

impl ServiceManager {
    /// Found through `NOTIFY_SOCKET`; agents never see that variable.
    pub(super) fn from_env() -> Self {
        Self(std::env::var_os("NOTIFY_SOCKET").and_then(|path| connect(path.as_encoded_bytes())))
    }

    pub(super) fn ready(&self) {
        self.tell("READY=1\nSTATUS=Waiting for the cluster\n");
    }

    pub(super) fn status(&self, text: &str) {
        self.tell(&format!("STATUS={text}\n"));
    }

    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Waiting for the cluster to stop resources\n");
    }

    fn tell(&self, state: &str) {
        if let Some(socket) = &self.0 {
            // Not worth waiting for.
            let _ = socket.send(state.as_bytes());
        }
    }
}

fn connect(path: &[u8]) -> Option<UnixDatagram> {
    let address = match path.split_first()? {
        (b'@', name) => SocketAddr::from_abstract_name(name).ok()?,
        _ => SocketAddr::from_pathname(std::str::from_utf8(path).ok()?).ok()?,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect_addr(&address).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_reach_the_service_manager() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let told = ServiceManager(connect(path.as_os_str().as_encoded_bytes()));
        told.ready();
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).unwrap();
        assert!(buffer[..length].starts_with(b"READY=1\n"));
        ServiceManager(None).stopping();
    }
}
