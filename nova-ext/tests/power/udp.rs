//! The board on a real socket, and what can be wrong with it as a whole.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nova_ext::power::{Ipmi, IpmiSettings};
use nova_ext::secret::Secret;
use tokio::net::UdpSocket;
use tokio::time::sleep;

use crate::bmc::Bmc;

/// What it does with datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    Good,
    /// Each answer comes twice.
    Doubles,
    /// Each answer comes once more a little later, after the next.
    Reorders,
    /// Each third answer is lost.
    Loses,
    /// Each answer takes so many milliseconds.
    Late(u64),
    /// Says nothing any more once it has got an order.
    DiesAtOrder,
    /// Executes the order, and then says nothing any more.
    DiesAfterOrder,
}

pub struct Board {
    pub bmc: Arc<Mutex<Bmc>>,
    pub address: SocketAddr,
}

impl Board {
    pub async fn start(bmc: Bmc, line: Line) -> Self {
        Self::at("127.0.0.1:0", bmc, line).await
    }

    pub async fn at(address: &str, bmc: Bmc, line: Line) -> Self {
        let socket = Arc::new(UdpSocket::bind(address).await.unwrap());
        let address = socket.local_addr().unwrap();
        let bmc = Arc::new(Mutex::new(bmc));
        tokio::spawn(serve(socket, Arc::clone(&bmc), line));
        Self { bmc, address }
    }

    pub fn device(&self) -> Ipmi {
        self.device_with(|_| ())
    }

    pub fn device_with(&self, change: impl FnOnce(&mut IpmiSettings)) -> Ipmi {
        let mut settings = IpmiSettings {
            place: self.address.to_string().parse().unwrap(),
            user: "fencer".into(),
            password: Secret::new("hunter2".into()),
            kg_file: None,
            privlvl: None,
            cipher: None,
        };
        change(&mut settings);
        Ipmi::new(settings).unwrap()
    }

    pub fn on(&self) -> bool {
        self.bmc.lock().unwrap().on
    }

    pub fn orders(&self) -> Vec<u8> {
        self.bmc.lock().unwrap().orders.clone()
    }

    /// The last goodbye may still be on its way.
    pub async fn is_left(&self) -> bool {
        for _ in 0..200 {
            if self.bmc.lock().unwrap().open_sessions() == 0 {
                return true;
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    }
}

async fn serve(socket: Arc<UdpSocket>, bmc: Arc<Mutex<Bmc>>, line: Line) {
    let mut buffer = [0; 2048];
    let mut answers = 0;
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let (answer, ordered) = {
            let mut bmc = bmc.lock().unwrap();
            let before = bmc.orders.len();
            let was = bmc.on;
            let answer = bmc.hear(&buffer[..length]);
            let ordered = bmc.orders.len() > before;
            if ordered && line == Line::DiesAtOrder {
                bmc.on = was;
            }
            (answer, ordered)
        };
        if ordered && matches!(line, Line::DiesAtOrder | Line::DiesAfterOrder) {
            // The port stays taken: nobody refuses, nobody answers.
            while socket.recv_from(&mut buffer).await.is_ok() {}
        }
        let Some(answer) = answer else { continue };
        answers += 1;
        let send = |after: u64| {
            let (socket, answer) = (Arc::clone(&socket), answer.clone());
            tokio::spawn(async move {
                sleep(Duration::from_millis(after)).await;
                let _ = socket.send_to(&answer, from).await;
            })
        };
        match line {
            Line::Loses if answers % 3 == 0 => {}
            Line::Late(ms) => drop(send(ms)),
            Line::Reorders => {
                let _ = socket.send_to(&answer, from).await;
                drop(send(20));
            }
            Line::Doubles => {
                let _ = socket.send_to(&answer, from).await;
                let _ = socket.send_to(&answer, from).await;
            }
            _ => {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    }
}
