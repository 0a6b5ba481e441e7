//! Reports of a made-up incident.

use std::time::Duration;

use super::*;
use crate::ids::ServerId;
use crate::proof::{Evidence, FenceProof};

fn began() -> Stamp {
    "2026-11-25T10:00:00Z".parse().unwrap()
}

fn at(ms: u64) -> Stamp {
    began().after(Duration::from_millis(ms))
}

fn server(n: u8) -> ServerId {
    format!("00000000-0000-4000-8000-0000000000{n:02}").parse().unwrap()
}

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn id() -> IncidentId {
    "6f70656e-7374-6163-6b20-342065766572".parse().unwrap()
}

fn queued(n: u8, name: &str) -> Event {
    let why = "evacuable=true".to_owned();
    Event::Queued { server: server(n), name: name.into(), ran: Some(true), priority: 0, group: None, why }
}

/// Two servers that are moved (one at the second attempt), one that is left out, one that is given up.
fn entries() -> Vec<Entry> {
    let proof = FenceProof::new(host("c1"), Evidence::Operator { name: "ann".into() }, at(1500));
    let post = |n, attempt| Event::Posting { server: server(n), attempt };
    let posted = |n, attempt| Event::Posted { server: server(n), attempt, request_id: None, took_ms: 9 };
    let moved = |n| Event::Moved { server: server(n), destination: Some(host("c2")) };
    let story = [
        (1400, Event::Detected { host: host("c1"), seen: at(0), by: "pacemaker".into() }),
        (1600, Event::proved(&proof)),
        (
            1700,
            Event::ForcedDown {
                host: host("c1"),
                service: "69fdce77-581d-44b8-813d-3e451870fb45".parse().unwrap(),
                already: false,
                request_id: None,
            },
        ),
        (1800, Event::TakenUp { host: host("c1"), by: "fence_nova".into() }),
        (1900, queued(1, "web <script>alert(1)</script>")),
        (1900, queued(2, "db & co")),
        (1900, queued(4, "cache")),
        (
            1900,
            Event::LeftOut {
                server: server(3),
                name: "lb".into(),
                reason: "amphora".into(),
                why: "an amphora".into(),
            },
        ),
        (1950, Event::Planned { moves: 3, left_out: 1, to_stopped: true, newest_migration: 0 }),
        (2000, post(1, 1)),
        (2100, posted(1, 1)),
        (2200, post(2, 1)),
        (2300, Event::Refused { server: server(2), attempt: 1, why: "503".into(), request_id: None }),
        (4000, post(2, 2)),
        (4100, posted(2, 2)),
        (4200, moved(1)),
        (4300, Event::Starting { server: server(1) }),
        (4800, Event::Started { server: server(1) }),
        (4800, Event::Done { server: server(1) }),
        (6000, moved(2)),
        (6000, Event::Done { server: server(2) }),
        (7000, Event::GaveUp { server: server(4), why: "NoValidHost".into() }),
        (8000, Event::Ended { outcome: Outcome::Partial, moved: 2, failed: 1, left_out: 1 }),
    ];
    story.into_iter().map(|(ms, event)| Entry::new(at(ms), id(), event)).collect()
}

#[test]
fn the_way_of_each_server_is_followed() {
    let timeline = timeline(&entries(), id()).unwrap();
    let Summary { moved, failed, left_out, open, outcome, began: first, .. } = timeline.summary;
    assert_eq!((moved, failed, left_out, open, outcome), (2, 1, 1, 0, Some(Outcome::Partial)));
    assert_eq!(first, began());
    let marks: Vec<_> = timeline.marks.iter().map(|mark| (mark.name, mark.after_ms)).collect();
    assert_eq!(
        marks,
        [
            ("detected", 0),
            ("proven off", 1500),
            ("forced down", 1700),
            ("taken up", 1800),
            ("planned", 1950),
            ("ended", 8000)
        ]
    );
    let phases = |n: usize| timeline.servers[n].spans.iter().map(|span| span.phase).collect::<Vec<_>>();
    assert_eq!(phases(0), [Phase::Waiting, Phase::Asking, Phase::Moving, Phase::Starting]);
    assert_eq!(phases(1), [Phase::Waiting, Phase::Asking, Phase::Retrying, Phase::Asking, Phase::Moving]);
    assert_eq!((timeline.servers[1].attempts, timeline.servers[1].took_ms), (2, Some(4100)));
    assert_eq!(timeline.servers[0].destination, Some(host("c2")));
    assert_eq!(timeline.servers[2].fate, Fate::GivenUp);
    assert_eq!(timeline.servers[3].fate, Fate::LeftOut);
    // Whatever is waited for ends where the next begins.
    for lane in &timeline.servers {
        for pair in lane.spans.windows(2) {
            assert!(pair[0].to.unwrap() <= pair[1].from);
        }
    }
}

#[test]
fn what_the_engine_finds_done_has_one_mark() {
    let mut story = entries();
    let marks = |story: &[Entry]| timeline(story, id()).unwrap().marks;
    let before = marks(&story);
    // As it takes up the host: the proof that it was given, and what Nova knows already.
    let again = |event: &Event| match event.clone() {
        Event::ForcedDown { host, service, request_id, .. } => {
            Event::ForcedDown { host, service, already: true, request_id }
        }
        event => event,
    };
    let known: Vec<_> = [1, 2].map(|n| Entry::new(at(1850), id(), again(&story[n].event))).into();
    story.splice(4..4, known);
    assert_eq!(marks(&story), before);
}

#[test]
fn an_incident_that_lasts_has_open_ends() {
    let mut entries = entries();
    entries.truncate(12);
    let timeline = timeline(&entries, id()).unwrap();
    assert_eq!((timeline.summary.outcome, timeline.summary.open), (None, 3));
    assert_eq!(timeline.servers[0].spans.last().unwrap().to, None);
    assert!(text(&timeline).contains("c1: under way: 0 moved, 0 not, 1 left out, 3 on their way"));
    assert_eq!(super::timeline(&entries, IncidentId::new_random()), None);
}

#[test]
fn the_text_says_what_happened() {
    let entries = entries();
    let text = text(&timeline(&entries, id()).unwrap());
    for part in [
        "c1: partial: 2 moved, 1 not, 1 left out, 0 on their way",
        "     1.500 s  proven off",
        "to c2, 2 attempts",
        "NoValidHost",
        "c1 is off: ann confirms it",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert_eq!(overview(&incidents(&entries)).lines().count(), 1);
}

#[test]
fn nothing_from_outside_becomes_markup() {
    let page = html(&timeline(&entries(), id()).unwrap());
    assert!(!page.contains("<script"), "{page}");
    assert!(page.contains("web &lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("db &amp; co"));
    // Self-contained: the only address is the name of a name space.
    assert_eq!(page.matches("http").count() - page.matches("http-equiv").count(), 1);
    // The page is well-formed XML too, but for the first line.
    let mut reader = quick_xml::Reader::from_str(page.split_once('\n').unwrap().1);
    loop {
        match reader.read_event() {
            Ok(quick_xml::events::Event::Eof) => break,
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(page.matches("<g>").count(), 4);
}

#[test]
fn a_host_that_returns_much_later_does_not_squeeze_the_picture() {
    let mut story = entries();
    let end_of_bar = |entries: &[Entry]| {
        let page = html(&timeline(entries, id()).unwrap());
        let bar = page.split("class=\"starting\" x=\"").nth(1).unwrap();
        bar.split('"').next().unwrap().parse::<u64>().unwrap()
    };
    let before = end_of_bar(&story);
    // Soon: all is to scale.
    story.push(Entry::new(at(12_000), id(), Event::ForcedUp { host: host("c1"), request_id: None }));
    assert!(end_of_bar(&story) < before);
    // Days later: it is said, and not to scale.
    story.push(Entry::new(at(200_000_000), id(), Event::Returned { host: host("c1") }));
    assert_eq!(end_of_bar(&story), before);
    let page = html(&timeline(&story, id()).unwrap());
    assert!(page.contains("back in service <tspan class=\"tick\">2days 7h 33m 20s →</tspan>"), "{page}");
}

#[test]
fn the_page_says_where_each_server_is_and_folds_long_stories() {
    let mut story = entries();
    let page = html(&timeline(&story, id()).unwrap());
    for part in [">✓ c2</text>", ">✗ NoValidHost</text>", ">– stays: an amphora</text>", "<details open"]
    {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    let slow = Event::Slow { server: server(1), why: "it is large".into() };
    story.extend((0..200).map(|n| Entry::new(at(4400 + n), id(), slow.clone())));
    assert!(html(&timeline(&story, id()).unwrap()).contains("<details><summary>"));
}

#[test]
fn it_can_be_read_by_programs() {
    let json = serde_json::to_value(timeline(&entries(), id()).unwrap()).unwrap();
    assert_eq!(json["servers"][1]["spans"][2]["phase"], "retrying");
    assert_eq!(json["servers"][3]["fate"], "left-out");
    assert_eq!(json["summary"]["moved"], 2);
}
