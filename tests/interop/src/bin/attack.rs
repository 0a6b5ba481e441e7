//! Somebody who has the cluster's key and wants an agent run on another node:
//! `attack ADDRESS KEYFILE CLASS:PROVIDER:TYPE ACTION [NAME=VALUE...]`.
//!
//! Prints what became of it: `refused: WHY` (no connection), or `ran: RC STATUS REASON`.
#![allow(clippy::print_stdout, reason = "its answer is what the tests read")]

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use pcmk_remote::net::test_client::Client;
use roxmltree::{Document, Node};

const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let said = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, attack(&words))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    });
    match said {
        Ok(result) => println!("ran: {result}"),
        Err(error) => println!("refused: {error}"),
    }
    ExitCode::SUCCESS
}

async fn attack(words: &[String]) -> io::Result<String> {
    let [address, key, agent, action, params @ ..] = words else {
        return Err(io::Error::other("usage: attack ADDRESS KEYFILE AGENT ACTION [NAME=VALUE...]"));
    };
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let [class, provider, kind] = agent.split(':').collect::<Vec<_>>()[..] else {
        return Err(io::Error::other("the agent is not CLASS:PROVIDER:TYPE"));
    };
    let params = params.iter().filter_map(|param| param.split_once('='));
    let params = params.map(|(name, value)| format!(" {name}='{value}'")).collect::<Vec<_>>().concat();
    let mut client = Client::connect(address, &std::fs::read(key)?).await?;
    let rsc = |more: &str| {
        format!(
            "<lrmd_calldata><lrmd_rsc lrmd_origin='attack' lrmd_rsc_id='attack' {more}</lrmd_rsc></lrmd_calldata>"
        )
    };
    let requests = [
        ("register", "lrmd_clientname='attacker' lrmd_protocol_version='1.1'".to_owned(), String::new()),
        (
            "lrmd_rsc_register",
            String::new(),
            rsc(&format!("lrmd_class='{class}' lrmd_provider='{provider}' lrmd_type='{kind}'>")),
        ),
        (
            "lrmd_rsc_exec",
            String::new(),
            rsc(&format!(
                "lrmd_rsc_action='{action}' lrmd_rsc_interval='0' lrmd_timeout='15000' lrmd_rsc_start_delay='0'>\
                 <attributes{params}/>"
            )),
        ),
    ];
    for ((op, attributes, data), id) in requests.into_iter().zip(1..) {
        client
            .send(format!(
                "<lrmd_command t='lrmd' lrmd_op='{op}' {attributes} lrmd_timeout='15000' lrmd_callopt='0' \
                 lrmd_remote_msg_id='{id}' lrmd_remote_msg_type='request'>{data}</lrmd_command>"
            ))
            .await?;
        // One at a time: the C daemon does not look for a second one in what it has read.
        until(&mut client, |answer| answer.has_tag_name("lrmd_reply")).await?;
    }
    let is_result = |answer: Node<'_, '_>| {
        answer.has_tag_name("lrmd_notify") && answer.attribute("lrmd_op") == Some("lrmd_rsc_exec")
    };
    let result = until(&mut client, is_result).await?;
    let result = Document::parse(&result).map_err(io::Error::other)?;
    let get = |name| result.root_element().attribute(name).unwrap_or_default();
    Ok(format!("{} {} {}", get("lrmd_exec_rc"), get("lrmd_exec_op_status"), get("lrmd_rsc_exit_reason")))
}

/// The first message of this kind.
async fn until(client: &mut Client, wanted: impl Fn(Node<'_, '_>) -> bool) -> io::Result<String> {
    loop {
        let frame = client.recv().await?.ok_or(io::ErrorKind::ConnectionReset)?;
        let text = String::from_utf8_lossy(&frame.payload).trim_end_matches('\0').to_owned();
        let found = wanted(Document::parse(&text).map_err(io::Error::other)?.root_element());
        if found {
            return Ok(text);
        }
    }
}
