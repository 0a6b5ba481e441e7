//! The client against a cloud in this process.

pub(crate) mod fake;
mod login;
mod logs;
mod nova;
mod samples;
mod trouble;

use self::fake::{Fake, PASSWORD, Reply, Seen, ok};
use super::*;
use crate::ids::{HostName, ServerId};
use crate::proof::{Evidence, FenceProof};
use crate::stamp::Stamp;

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn server_id(number: usize) -> ServerId {
    format!("00000000-0000-4000-9000-{number:012}").parse().unwrap()
}

fn proof(name: &str) -> FenceProof {
    FenceProof::new(host(name), Evidence::Operator { name: "test".into() }, Stamp::now())
}

/// A cloud whose answers to one method and path are these, in turn, the last for ever.
async fn scripted(method: &'static str, path: &'static str, replies: Vec<fn() -> Reply>) -> Fake {
    Fake::new("2.104", move |seen| {
        let reply = replies.get(seen.before).or(replies.last())?;
        seen.is(method, path).then(reply)
    })
    .await
}

async fn connect(fake: &Fake) -> Cloud {
    Cloud::connect(&fake.settings()).await.unwrap()
}

#[test]
fn the_name_that_was_meant() {
    let names = ["compute-1.example.org", "compute-2.example.org", "gpu-7"];
    assert_eq!(near_all("compute-1", names).first().map(String::as_str), Some("compute-1.example.org"));
    assert_eq!(
        near_all("COMPUTE-2.example.net", names).first().map(String::as_str),
        Some("compute-2.example.org")
    );
    assert!(near_all("storage", names).is_empty());
}
