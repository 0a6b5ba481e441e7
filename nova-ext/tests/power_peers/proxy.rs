//! A network between a driver and a simulator: loses, doubles, delays, changes the order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::sleep;

/// What happens to a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Arrives,
    Lost,
    Twice,
    Late(u64),
}

/// Where to send to, instead of to `board`. Fates are those of its answers, one after the other; then `rest`.
pub async fn start(board: SocketAddr, fates: Vec<Fate>, rest: Fate) -> SocketAddr {
    let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    back.connect(board).await.unwrap();
    let address = front.local_addr().unwrap();
    tokio::spawn(async move {
        let mut fates = fates.into_iter();
        let mut client = None;
        let (mut to, mut from) = ([0; 2048], [0; 2048]);
        loop {
            tokio::select! {
                heard = front.recv_from(&mut to) => {
                    let Ok((length, sender)) = heard else { return };
                    client = Some(sender);
                    let _ = back.send(&to[..length]).await;
                }
                heard = back.recv(&mut from) => {
                    // A board that is gone is silent behind a network.
                    let Ok(length) = heard else { sleep(Duration::from_millis(10)).await; continue };
                    let Some(client) = client else { continue };
                    let answer = from[..length].to_vec();
                    let (copies, after) = match fates.next().unwrap_or(rest) {
                        Fate::Arrives => (1, 0),
                        Fate::Lost => (0, 0),
                        Fate::Twice => (2, 0),
                        Fate::Late(ms) => (1, ms),
                    };
                    let front = Arc::clone(&front);
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(after)).await;
                        for _ in 0..copies {
                            let _ = front.send_to(&answer, client).await;
                        }
                    });
                }
            }
        }
    });
    address
}
