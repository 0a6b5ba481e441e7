//! What well-behaved clients get.

use pcmk_proto::qb::{IpcName, Layout, SetupRequest, Transport, flags};
use pcmk_proto::xml::WriteXml as _;
use pcmk_remote::caller::Access;
use pcmk_remote::ipc::{IpcError, IpcEvent, IpcOptions, IpcServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{Client, dial, set_up};
use crate::*;

const LAYOUTS: [Layout; 2] = [Layout::Whole, Layout::Parts];

#[test]
fn requests_responses_and_events_find_their_way() {
    alone(async {
        for transport in TRANSPORTS {
            for layout in LAYOUTS {
                let mut bed = Bed::start(transport);
                let client = tokio::spawn(Client::connect("attrd", layout));
                let (tool, server, caller) = bed.connecting().await;
                assert_eq!(server, IpcName::Attrd);
                assert_eq!((caller.pid, caller.uid), (std::process::id(), 0));
                assert_eq!((caller.user.as_str(), caller.access), ("root", Access::Privileged));
                bed.handle.accept(tool);
                let mut client = client.await.unwrap();
                let id = client.ask(flags::CLIENT_RESPONSE, "<one a=\"ü\"/>").await;
                let (from, msg_id, said, payload) = bed.request().await;
                assert_eq!((from, msg_id, said), (tool, id, flags::CLIENT_RESPONSE));
                assert_eq!(payload.to_xml(), "<one a=\"ü\"/>");
                // The event does not hold up the response, nor the other way round.
                bed.handle.event(tool, 0, "<event/>".into());
                bed.handle.respond(tool, id, "<response/>".into());
                assert_eq!(client.response().await, (id, "<response/>".into()));
                assert_eq!(client.event().await, "<event/>");
                let status = bed.handle.tools();
                assert_eq!((status.len(), status[0].tool, status[0].queued_bytes), (1, tool, 0));
                drop(client);
                assert_eq!(bed.closed().await, tool);
                bed.end().await;
            }
        }
    });
}

/// Packed or in parts, in both directions, until the rings have wrapped around many times.
#[test]
fn long_documents_pass_in_both_directions() {
    alone(async {
        for transport in TRANSPORTS {
            for layout in LAYOUTS {
                let mut bed = Bed::start(transport);
                let client = tokio::spawn(Client::connect("cib_rw", layout));
                let tool = bed.accept().await;
                let mut client = client.await.unwrap();
                for length in [10, 40_000, 90_000, 131_030, 131_031, 131_072, 300_000, 1_500_000, 77] {
                    let xml = format!("<cib a=\"{}\"/>", "value ".repeat(length / 6));
                    let asking = async {
                        client.ask(0, &xml).await;
                        (client.event().await, client)
                    };
                    let answering = async {
                        let (.., payload) = bed.request().await;
                        assert_eq!(payload.to_xml(), xml, "{transport:?}, {layout:?}");
                        bed.handle.event(tool, 0, xml.clone());
                    };
                    let ((event, returned), ()) = tokio::join!(asking, answering);
                    client = returned;
                    assert_eq!(event, xml, "{transport:?}, {layout:?}");
                }
                drop(client);
                bed.end().await;
            }
        }
    });
}

#[test]
fn a_refusal_reaches_the_tool() {
    alone(async {
        let mut bed = Bed::start(Transport::SharedMemory);
        let client = tokio::spawn(Client::try_connect("pacemakerd", Layout::Whole, 0));
        let (tool, server, _) = bed.connecting().await;
        assert_eq!(server, IpcName::Pacemakerd);
        bed.handle.refuse(tool, -121);
        assert_eq!(client.await.unwrap().err(), Some(-121));
        assert_eq!(bed.closed().await, tool);
        assert!(leftovers().is_empty());
        bed.end().await;
    });
}

#[test]
fn what_is_queued_goes_out_before_a_close() {
    alone(async {
        for transport in TRANSPORTS {
            let mut bed = Bed::start(transport);
            let client = tokio::spawn(Client::connect("crmd", Layout::Whole));
            let tool = bed.accept().await;
            let mut client = client.await.unwrap();
            let id = client.ask(flags::CLIENT_RESPONSE, "<last/>").await;
            let _ = bed.request().await;
            bed.handle.respond(tool, id, "<yes/>".into());
            bed.handle.close(tool);
            bed.handle.respond(tool, id, "<late/>".into());
            assert_eq!(client.response().await, (id, "<yes/>".into()));
            client.cut().await;
            assert_eq!(bed.closed().await, tool);
            bed.end().await;
        }
    });
}

/// More answers than are sent in a row go out without anything else having to happen.
#[test]
fn a_burst_of_answers_arrives_whole() {
    alone(async {
        for transport in TRANSPORTS {
            let mut bed = Bed::start(transport);
            let client = tokio::spawn(Client::connect("attrd", Layout::Whole));
            let tool = bed.accept().await;
            let mut client = client.await.unwrap();
            client.ask(flags::CLIENT_RESPONSE, "<all/>").await;
            let _ = bed.request().await;
            for id in 0..250 {
                bed.handle.respond(tool, id, "<part/>".into());
            }
            for id in 0..250 {
                assert_eq!(client.response().await, (id, "<part/>".into()));
            }
            drop(client);
            bed.end().await;
        }
    });
}

/// Tools whose requests nobody takes any more, and one that nobody lets in, do not hold up the end.
#[test]
fn the_end_does_not_wait_for_requests_that_nobody_takes() {
    alone(async {
        let bed = Bed::with_room_for(3, IpcOptions::default());
        let Bed { handle, mut events } = bed;
        let asking = tokio::spawn(async {
            let mut client = Client::connect("attrd", Layout::Whole).await;
            for _ in 0..10 {
                client.ask(flags::CLIENT_RESPONSE, "<question/>").await;
            }
            client
        });
        let Some(IpcEvent::Connecting { tool, .. }) = soon("a tool", events.recv()).await else { panic!() };
        handle.accept(tool);
        let mut client = asking.await.unwrap();
        until("the requests to pile up", || handle.counters().requests == 4).await;
        let mut late = dial("attrd").await;
        late.write_all(&SetupRequest { max_msg_size: 0 }.to_bytes()).await.unwrap();
        until("the late one", || handle.tools().len() == 2).await;
        let ((), took) = timed(handle.shut_down(DEADLINE)).await;
        assert!(took < DEADLINE / 2, "{took:?}");
        assert!(handle.tools().is_empty());
        client.cut().await;
        soon("the end of the late one", late.read_to_end(&mut Vec::new())).await.unwrap();
        until("files to go", || leftovers().is_empty()).await;
    });
}

/// How many requests may wait says nothing of their size.
#[test]
fn large_requests_wait_with_their_tool() {
    alone(async {
        let mut bed = Bed::start(Transport::SharedMemory);
        let client = tokio::spawn(Client::connect("cib_rw", Layout::Parts));
        let _ = bed.accept().await;
        let mut client = client.await.unwrap();
        let asking = tokio::spawn(async move {
            let xml = format!("<large a=\"{}\"/>", "x".repeat(100_000));
            for _ in 0..5 {
                client.ask(0, &xml).await;
            }
            client
        });
        let requests = || bed.handle.counters().requests;
        until("one here and one outside", || requests() == 2).await;
        let more = async {
            while requests() == 2 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(std::time::Duration::from_millis(300), more).await.is_err());
        for _ in 0..5 {
            let _ = bed.request().await;
        }
        drop(asking.await.unwrap());
        let _ = bed.closed().await;
        bed.end().await;
    });
}

#[test]
fn a_taken_name_is_named() {
    alone(async {
        let bed = Bed::start(Transport::SharedMemory);
        let (sender, _receiver) = tokio::sync::mpsc::channel(1);
        let error = IpcServer::start(IpcOptions::default(), sender).unwrap_err();
        assert!(matches!(error, IpcError::Taken { name: IpcName::Lrmd }), "{error}");
        assert!(error.to_string().contains("another pacemaker-remoted"), "{error}");
        bed.end().await;
    });
}

/// One who only listens for who comes costs nothing but a line in the books.
#[test]
fn buffers_are_as_large_as_both_wish_within_bounds() {
    alone(async {
        let echo = Echo::start(IpcOptions { buffer: 200_000, ..IpcOptions::default() });
        for (wish, got) in [(0, 200_000), (524_288, 524_288), (u32::MAX, 24 << 20)] {
            let mut stream = dial("cib_ro").await;
            assert_eq!(set_up(&mut stream, wish).await.unwrap().max_msg_size, got);
        }
        echo.end().await;
    });
}

/// The names are free, and tools disconnected, when the last handle is gone.
#[test]
fn the_last_handle_ends_everything() {
    alone(async {
        let mut bed = Bed::start(Transport::SharedMemory);
        let client = tokio::spawn(Client::connect("attrd", Layout::Parts));
        let _ = bed.accept().await;
        let mut client = client.await.unwrap();
        let Bed { handle, mut events } = bed;
        drop(handle);
        client.cut().await;
        soon("the tool's end", async {
            while !matches!(events.recv().await, Some(IpcEvent::Closed { .. })) {}
        })
        .await;
        until("files to go", || leftovers().is_empty()).await;
        Bed::start(Transport::SharedMemory).end().await;
    });
}
