//! Clients that mean harm, or are broken. Whatever they do, others are served, and nothing of them stays.

use std::process::Stdio;
use std::time::{Duration, Instant};

use pcmk_proto::limits::Limits;
use pcmk_proto::qb::{Layout, SETUP_REQUEST_LEN, SetupRequest, Transport, flags, ring};
use pcmk_remote::ipc::{IpcEvent, IpcOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::client::{Client, Ways, address, dial};
use crate::*;

/// Asks and is answered, while others misbehave.
async fn is_served(client: &mut Client) {
    let id = client.ask(flags::CLIENT_RESPONSE, "<poke/>").await;
    assert_eq!(client.response().await, (id, "<echo of=\"poke\"/>".into()));
}

/// A server that waits for somebody would be late every time; a busy machine is late now and then. So a quarter
/// of the answers must come within 10 ms, and all of them soon.
async fn is_served_fast(client: &mut Client) {
    let mut times = Vec::new();
    for _ in 0..41 {
        times.push(timed(is_served(client)).await.1);
    }
    times.sort();
    assert!(times[10] < Duration::from_millis(10), "{times:?}");
    assert!(times[40] < Duration::from_secs(1), "{times:?}");
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A request in the layout of old tools, as it goes over the wire.
fn request(id: i32, xml: &str) -> Vec<u8> {
    let message =
        pcmk_proto::qb::Outgoing::new(Layout::Whole, 131_072, id, 0, xml.to_owned().into()).unwrap();
    message.piece().unwrap().slices().concat()
}

fn patched(mut message: Vec<u8>, at: usize, field: &[u8]) -> Vec<u8> {
    message[at..at + field.len()].copy_from_slice(field);
    message
}

#[test]
fn set_ups_that_are_none() {
    alone(async {
        let echo = Echo::start(IpcOptions::default());
        let good = SetupRequest { max_msg_size: 131_072 }.to_bytes();
        let wrong_id = patched(good.to_vec(), 0, &7i32.to_ne_bytes());
        let sizes =
            [0i32, -1, 23, 25, i32::MIN, i32::MAX].map(|size| patched(good.to_vec(), 8, &size.to_ne_bytes()));
        let mut attempts =
            vec![wrong_id, vec![0; 24], vec![0xff; 24], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()];
        attempts.extend(sizes);
        for bytes in attempts {
            let mut stream = dial("attrd").await;
            stream.write_all(&bytes).await.unwrap();
            let mut answer = Vec::new();
            let read = soon("an end", stream.read_to_end(&mut answer)).await;
            assert!(answer.is_empty(), "{bytes:?}: {read:?}");
        }
        // Cut off in the middle, and gone before the answer.
        for length in [0, 1, SETUP_REQUEST_LEN - 1, SETUP_REQUEST_LEN] {
            let mut stream = dial("attrd").await;
            stream.write_all(&good[..length]).await.unwrap();
        }
        let mut client = Client::connect("attrd", Layout::Whole).await;
        is_served(&mut client).await;
        drop(client);
        echo.end().await;
    });
}

#[test]
fn a_set_up_that_is_never_finished_is_given_up() {
    alone(async {
        let echo = Echo::start(IpcOptions::default());
        let mut idle: Vec<_> = Vec::new();
        for length in [0, 1, 23] {
            let mut stream = dial("attrd").await;
            stream.write_all(&[0xff; 24][..length]).await.unwrap();
            idle.push(stream);
        }
        let mut client = Client::connect("attrd", Layout::Whole).await;
        is_served_fast(&mut client).await;
        for mut stream in idle {
            let _ = soon("the end of an idle one", stream.read(&mut [0])).await;
        }
        drop(client);
        echo.end().await;
    });
}

/// As another user: this test program again, which only connects and says what it was told.
#[test]
fn strangers_are_refused_as_the_c_daemon_does() {
    const ROLE: &str = "PCMK_TEST_STRANGER";
    if std::env::var_os(ROLE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(Client::try_connect("cib_rw", Layout::Whole, 0)).err().unwrap_or(0);
        std::process::exit(-error);
    }
    alone(async {
        let echo = Echo::start(IpcOptions {
            user: "daemon".into(), // uid and gid 1 everywhere
            ..IpcOptions::default()
        });
        let attempt = |uid: u32, gid: u32| async move {
            // Where everybody may run it.
            let program = std::path::Path::new("/dev/shm/stranger");
            std::fs::copy(std::env::current_exe().unwrap(), program).unwrap();
            let mut command = Command::new(program);
            command.args(["--exact", "hostile::strangers_are_refused_as_the_c_daemon_does", "--nocapture"]);
            command.env(ROLE, "1").uid(uid).gid(gid).stdout(Stdio::null()).stderr(Stdio::null());
            let status = soon("the stranger", command.status()).await.unwrap();
            std::fs::remove_file(program).unwrap();
            status.code()
        };
        assert_eq!(attempt(65_534, 65_534).await, Some(libc::EACCES), "nobody");
        assert_eq!(attempt(65_534, 1).await, Some(0), "a member of the cluster's group");
        assert_eq!(attempt(1, 1).await, Some(0), "the cluster's user");
        assert_eq!(attempt(0, 0).await, Some(0), "root");
        assert_eq!((echo.handle.counters().accepted, echo.handle.counters().refused), (3, 1));
        echo.end().await;
    });
}

#[test]
fn requests_that_make_no_sense_end_the_connection_only() {
    alone(async {
        for transport in TRANSPORTS {
            let echo = Echo::start(IpcOptions {
                transport,
                limits: Limits { message: 1 << 20, ..Limits::default() },
                ..IpcOptions::default()
            });
            let mut witness = Client::connect("attrd", Layout::Whole).await;
            let good = request(1, "<a/>");
            let size = |size: i32| patched(good.clone(), 8, &size.to_ne_bytes());
            let length = |length: u32| patched(good.clone(), 24, &length.to_ne_bytes());
            let packed = |length: u32| patched(good.clone(), 28, &length.to_ne_bytes());
            let mut bomb =
                pcmk_proto::qb::Outgoing::new(Layout::Whole, 131_072, 1, 0, vec![b' '; 64 << 20].into())
                    .unwrap();
            let bomb_bytes = bomb.piece().unwrap().slices().concat();
            bomb.sent();
            let lying_bomb = patched(bomb_bytes.clone(), 24, &1000u32.to_ne_bytes());
            let attempts = [
                ("size 0", size(0)),
                ("size -1", size(-1)),
                ("size 2^31", size(i32::MIN)),
                ("size 2^31-1", size(i32::MAX)),
                ("text of 2^31 bytes", length(1 << 31)),
                ("no text", length(0)),
                ("packed into 2^32-1 bytes", packed(u32::MAX)),
                ("not packed at all", packed(5)),
                ("no version", patched(good.clone(), 36, &[0])),
                ("version 9", patched(good.clone(), 36, &[9])),
                ("only half a header", good[..20].to_vec()),
                ("no NUL", {
                    let mut bytes = good.clone();
                    *bytes.last_mut().unwrap() = b'x';
                    bytes
                }),
                ("no XML", request(1, "<a><b></a>")),
                ("nothing", request(1, "")),
                ("a bomb", bomb_bytes),
                ("a bomb that lies", lying_bomb),
                ("good-bye", patched(good.clone(), 0, &(-3i32).to_ne_bytes())),
            ];
            for (what, bytes) in attempts {
                let mut client = Client::connect("attrd", Layout::Whole).await;
                assert!(client.try_send(&bytes), "{what}");
                soon(what, client.cut()).await;
                is_served(&mut witness).await;
            }
            drop(witness);
            echo.end().await;
        }
    });
}

/// What a client writes to the shared files is nobody's business but its own.
#[test]
fn shared_memory_in_a_mess() {
    alone(async {
        let echo = Echo::start(IpcOptions::default());
        let mut witness = Client::connect("attrd", Layout::Parts).await;
        for mess in 0..9 {
            let mut client = Client::connect("attrd", Layout::Parts).await;
            is_served(&mut client).await;
            let Ways::Rings { request, response, event } = &mut client.ways else { panic!() };
            let write = |file: &std::fs::File, at: u64, value: u32| {
                std::os::unix::fs::FileExt::write_all_at(file, &value.to_ne_bytes(), at).unwrap();
            };
            match mess {
                0 => request.header.set_len(0).unwrap(),
                1 => {
                    request.data.set_len(0).unwrap();
                    request.commit(5000);
                }
                2 => response.header.set_len(0).unwrap(),
                3 => [&response.data, &event.data, &event.header]
                    .into_iter()
                    .for_each(|file| file.set_len(0).unwrap()),
                4 => request.commit(u32::MAX),
                5 => request.commit(131_073),
                6 => write(&request.header, ring::SEMAPHORE_AT, u32::MAX),
                7 => write(&request.header, ring::SEMAPHORE_AT, 1000),
                _ => write(&response.header, ring::READ_AT, u32::MAX),
            }
            if matches!(mess, 2 | 3 | 8) {
                let xml = b"<poke/>\0";
                let _ = client.try_send(&request_in_parts(77, xml));
            } else {
                let _ = client.stream.try_write(&[0]);
            }
            if mess != 3 {
                soon("the end of a mess", client.cut()).await;
            }
            is_served(&mut witness).await;
        }
        is_served_fast(&mut witness).await;
        drop(witness);
        echo.end().await;
    });
}

fn request_in_parts(id: i32, text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(text[..text.len() - 1].to_vec()).unwrap();
    let message =
        pcmk_proto::qb::Outgoing::new(Layout::Parts, 131_072, id, flags::CLIENT_RESPONSE, text.into())
            .unwrap();
    message.piece().unwrap().slices().concat()
}

#[test]
fn parts_without_an_end_are_bounded() {
    alone(async {
        for transport in TRANSPORTS {
            let limits = Limits { message: 1 << 20, ..Limits::default() };
            let echo = Echo::start(IpcOptions { transport, limits, ..IpcOptions::default() });
            let mut witness = Client::connect("attrd", Layout::Parts).await;
            let mut client = Client::connect("attrd", Layout::Parts).await;
            let mut message =
                pcmk_proto::qb::Outgoing::new(Layout::Parts, 131_072, 1, 0, vec![b' '; 2 << 20].into())
                    .unwrap();
            while let Some(piece) = message.piece() {
                let bytes = piece.slices().concat();
                let until_cut = async {
                    while !client.try_send(&bytes) && client.stream.try_read(&mut [0; 64]).is_err() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                soon("room or an end", until_cut).await;
                message.sent();
            }
            client.cut().await;
            is_served_fast(&mut witness).await;
            drop(witness);
            echo.end().await;
        }
    });
}

/// A client that never reads its events loses the connection; others do not notice.
#[test]
fn a_client_that_never_reads_is_cut() {
    alone(async {
        for transport in TRANSPORTS {
            let mut bed = Bed::start(transport);
            let clients = tokio::spawn(async {
                let mut deaf = Client::connect("cib_ro", Layout::Whole).await;
                deaf.ask(0, "<subscribe/>").await;
                let mut good = Client::connect("cib_ro", Layout::Whole).await;
                good.ask(0, "<subscribe/>").await;
                (deaf, good)
            });
            let deaf_tool = bed.accept().await;
            let _ = bed.request().await;
            let good_tool = bed.accept().await;
            let _ = bed.request().await;
            let (mut deaf, mut good) = clients.await.unwrap();
            let event = format!("<cib_notify a=\"{}\"/>", "x".repeat(20_000));
            for _ in 0..700 {
                bed.handle.event(deaf_tool, 0, event.clone());
            }
            let begin = Instant::now();
            let mut gone = false;
            while !gone {
                bed.handle.event(good_tool, 0, "<tick/>".into());
                let (told, took) = timed(good.event()).await;
                assert_eq!(told, "<tick/>");
                assert!(took < Duration::from_millis(500), "{took:?}");
                bed.handle.event(deaf_tool, 0, event.clone());
                tokio::time::sleep(Duration::from_millis(10)).await;
                gone = matches!(bed.events.try_recv(), Ok(IpcEvent::Closed { tool }) if tool == deaf_tool);
                assert!(begin.elapsed() < DEADLINE);
            }
            deaf.cut().await;
            assert_eq!(bed.handle.counters().cut, 1);
            drop(good);
            bed.end().await;
        }
    });
}

/// Fewer than that may wait as long as they like, but not more than so many bytes.
#[test]
fn bytes_that_wait_are_bounded() {
    alone(async {
        let mut bed = Bed::with(IpcOptions { queue_bytes: 1 << 20, ..IpcOptions::default() });
        let client = tokio::spawn(Client::connect("cib_ro", Layout::Whole));
        let tool = bed.accept().await;
        let mut client = client.await.unwrap();
        client.ask(0, "<subscribe/>").await;
        let _ = bed.request().await;
        for _ in 0..20 {
            bed.handle.event(tool, 0, "x".repeat(100_000));
        }
        client.cut().await;
        assert_eq!(bed.closed().await, tool);
        bed.end().await;
    });
}

#[test]
fn a_client_that_dies_while_its_request_is_held() {
    alone(async {
        for transport in TRANSPORTS {
            let mut bed = Bed::start(transport);
            let client = tokio::spawn(Client::connect("attrd", Layout::Whole));
            let tool = bed.accept().await;
            let mut client = client.await.unwrap();
            let id = client.ask(flags::CLIENT_RESPONSE, "<question/>").await;
            let _ = bed.request().await;
            drop(client);
            assert_eq!(bed.closed().await, tool);
            bed.handle.respond(tool, id, "<late/>".into());
            bed.handle.event(tool, 0, "<late/>".into());
            bed.end().await;
        }
    });
}

fn long(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(107, 0);
    bytes
}

/// Datagrams of another user who guesses the socket's name do not count.
#[test]
fn a_datagram_of_a_stranger_is_ignored() {
    const ROLE: &str = "PCMK_TEST_FORGER";
    if let Ok(name) = std::env::var(ROLE) {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::DGRAM, None).unwrap();
        socket.send_to(&request(1, "<forged/>"), &address(&name)).unwrap();
        // Larger than agreed; and with a descriptor, for which there is no room beside the credentials.
        socket.send_to(&vec![0; 140_000], &address(&name)).unwrap();
        let (std_in, name) = ([0], nix::sys::socket::UnixAddr::new_abstract(&long(&name)).unwrap());
        nix::sys::socket::sendmsg(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            &[std::io::IoSlice::new(b"descriptor")],
            &[nix::sys::socket::ControlMessage::ScmRights(&std_in)],
            nix::sys::socket::MsgFlags::empty(),
            Some(&name),
        )
        .unwrap();
        return;
    }
    alone(async {
        let mut bed = Bed::start(Transport::Socket);
        let client = tokio::spawn(Client::connect("attrd", Layout::Whole));
        let _ = bed.accept().await;
        let mut client = client.await.unwrap();
        let program = std::path::Path::new("/dev/shm/stranger");
        std::fs::copy(std::env::current_exe().unwrap(), program).unwrap();
        let mut command = Command::new(program);
        command.args(["--exact", "hostile::a_datagram_of_a_stranger_is_ignored"]);
        command.env(ROLE, format!("{}-request", client.reply.response)).uid(65_534).gid(65_534);
        command.stdout(Stdio::null());
        assert!(soon("the forger", command.status()).await.unwrap().success());
        std::fs::remove_file(program).unwrap();
        client.ask(0, "<true/>").await;
        let (.., payload) = bed.request().await;
        assert_eq!(payload.name, "true");
        drop(client);
        bed.end().await;
    });
}

/// A thousand connections are served, one more is told to try again, and everything comes back.
#[test]
fn a_thousand_connections() {
    alone(async {
        let echo = Echo::start(IpcOptions { max_tools: Some(1000), ..IpcOptions::default() });
        let mut witness = Client::connect("attrd", Layout::Whole).await;
        is_served(&mut witness).await;
        let before = descriptors();
        let mut clients = Vec::new();
        for _ in 0..700 {
            clients.push(Client::connect("cib_rw", Layout::Parts).await);
        }
        // Those that never finish count as well.
        let mut idle = Vec::new();
        for _ in 0..299 {
            let mut stream = dial("attrd").await;
            stream.write_all(&[0xff; 8]).await.unwrap();
            idle.push(stream);
        }
        for client in &mut clients {
            is_served(client).await;
        }
        is_served_fast(&mut witness).await;
        assert_eq!(echo.handle.tools().len(), 701);
        assert_eq!(Client::try_connect("attrd", Layout::Whole, 0).await.err(), Some(-libc::EAGAIN));
        drop((clients, idle));
        until("descriptors to come back", || descriptors() <= before).await;
        is_served_fast(&mut witness).await;
        drop(Client::connect("attrd", Layout::Whole).await);
        drop(witness);
        echo.end().await;
    });
}

/// Whoever cannot come in and does not even ask is closed at once, but for a few: descriptors are for others.
#[test]
fn a_crowd_that_never_finishes_connecting() {
    alone(async {
        let echo = Echo::start(IpcOptions { max_tools: Some(16), ..IpcOptions::default() });
        let mut witness = Client::connect("attrd", Layout::Whole).await;
        let before = descriptors();
        let mut crowd = Vec::new();
        for _ in 0..300 {
            crowd.push(dial("attrd").await);
        }
        let is_closed = |stream: &UnixStream| match stream.try_read(&mut [0]) {
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
            Ok(_) => true,
        };
        let begin = Instant::now();
        until("most to be closed", || crowd.iter().filter(|stream| is_closed(stream)).count() >= 220).await;
        assert!(begin.elapsed() < Duration::from_secs(5), "only when their time was over");
        is_served_fast(&mut witness).await;
        assert!(echo.handle.counters().refused >= 220);
        drop(crowd);
        until("descriptors to come back", || descriptors() <= before).await;
        drop(Client::connect("attrd", Layout::Whole).await);
        drop(witness);
        echo.end().await;
    });
}

/// Tools that come and go at every moment leave nothing behind.
#[test]
fn clients_that_leave_at_any_moment() {
    alone(async {
        for transport in TRANSPORTS {
            let echo = Echo::start(IpcOptions { transport, ..IpcOptions::default() });
            let mut witness = Client::connect("attrd", Layout::Whole).await;
            let mut leaving = tokio::task::JoinSet::new();
            for moment in 0..200u64 {
                leaving.spawn(async move {
                    let life = async {
                        let mut client = Client::connect("cib_rw", Layout::Parts).await;
                        loop {
                            client.ask(flags::CLIENT_RESPONSE, "<poke/>").await;
                            client.response().await;
                        }
                    };
                    let _ = tokio::time::timeout(Duration::from_micros(moment * 100), life).await;
                });
                if leaving.len() >= 20 {
                    let _ = leaving.join_next().await;
                }
            }
            while leaving.join_next().await.is_some() {}
            is_served_fast(&mut witness).await;
            drop(witness);
            echo.end().await;
        }
    });
}

/// 200 tools at once, each of which gets its own answers.
#[test]
fn two_hundred_tools_at_once() {
    alone(async {
        let (soft, hard) =
            nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
        assert!(hard >= 8192, "the test itself needs descriptors: {soft}, at most {hard}");
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard.min(65_536), hard)
            .unwrap();
        for transport in TRANSPORTS {
            let echo = Echo::start(IpcOptions { transport, ..IpcOptions::default() });
            let mut tools = tokio::task::JoinSet::new();
            for number in 0..200 {
                let layout = if number % 2 == 0 { Layout::Whole } else { Layout::Parts };
                tools.spawn(async move {
                    let mut client = Client::connect("attrd", layout).await;
                    for turn in 0..20 {
                        let id = client.ask(flags::CLIENT_RESPONSE, &format!("<t{number}-{turn}/>")).await;
                        let answer = format!("<echo of=\"t{number}-{turn}\"/>");
                        assert_eq!(client.response().await, (id, answer));
                    }
                    client
                });
            }
            let mut clients = Vec::new();
            while let Some(client) = tools.join_next().await {
                clients.push(client.unwrap());
            }
            assert_eq!(echo.handle.tools().len(), 200);
            assert_eq!(echo.handle.counters().requests, 4000);
            drop(clients);
            echo.end().await;
        }
    });
}
