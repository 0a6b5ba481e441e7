use super::*;
use crate::ids::{HostName, MigrationId, ServerId};
use crate::proof::{Evidence, FenceProof};

fn host() -> HostName {
    "compute-1".parse().unwrap()
}

fn server() -> ServerId {
    "6f70656e-7374-6163-6b20-342065766572".parse().unwrap()
}

fn migration() -> MigrationId {
    "daa1c5a2-45fc-4e1c-ad4f-6271377a7f86".parse().unwrap()
}

#[allow(clippy::too_many_lines, reason = "one of each")]
fn one_of_each() -> Vec<Event> {
    let proof = FenceProof::new(host(), Evidence::Operator { name: "ann".into() }, Stamp::now());
    let (host, server, migration) = (host(), server(), migration());
    let text = || "why".to_owned();
    vec![
        Event::Detected { host: host.clone(), seen: Stamp::now(), by: text() },
        Event::proved(&proof),
        Event::ProofEnded { host: host.clone(), why: text() },
        Event::ForcingDown { host: host.clone() },
        Event::ForcedDown {
            host: host.clone(),
            service: "69fdce77-581d-44b8-813d-3e451870fb45".parse().unwrap(),
            already: false,
            request_id: Some("req-1".into()),
        },
        Event::Disabled { host: host.clone(), reason: text() },
        Event::HandedOver { host: host.clone(), how: text() },
        Event::TakenUp { host: host.clone(), by: text() },
        Event::Gate { gate: Gate::TooManyHosts, verdict: Verdict::Hold, why: text() },
        Event::Planned { moves: 1, left_out: 2, to_stopped: true, newest_migration: 30 },
        Event::LeftOut { server, name: text(), reason: "amphora".into(), why: text() },
        Event::Queued {
            server,
            name: text(),
            ran: Some(true),
            priority: -3,
            group: Some("db".into()),
            why: text(),
        },
        Event::Posting { server, attempt: 1 },
        Event::Posted { server, attempt: 1, request_id: None, took_ms: 12 },
        Event::Unheard { server, attempt: 1, why: text() },
        Event::Refused { server, attempt: 1, why: text(), request_id: None },
        Event::Migration {
            server,
            number: 29,
            migration: Some(migration),
            status: "accepted".into(),
            destination: Some(host.clone()),
        },
        Event::Moved { server, destination: None },
        Event::Failed { server, attempt: 1, why: text(), retry_ms: Some(5000) },
        Event::WrittenOff { server, number: 29, why: text() },
        Event::Slow { server, why: text() },
        Event::PassedOn { server, to: IncidentId::new_random() },
        Event::Resetting { server, to: "active".into() },
        Event::Starting { server },
        Event::Started { server },
        Event::Stopping { server },
        Event::Done { server },
        Event::Gone { server },
        Event::GaveUp { server, why: text() },
        Event::Hook {
            hook: "10-dns".into(),
            point: "server-moved".into(),
            server: Some(server),
            outcome: "ok".into(),
            took_ms: 3,
            must: false,
        },
        Event::Limit { limit: 12, why: text() },
        Event::Resumed { on: "ctl1".into(), journal: true },
        Event::Ended { outcome: Outcome::Partial, moved: 1, failed: 2, left_out: 3 },
        Event::Quarantined { host: host.clone(), why: text() },
        Event::Released { host: host.clone(), by: text() },
        Event::Returning { host: host.clone(), step: text() },
        Event::ForcedUp { host: host.clone(), request_id: None },
        Event::Enabled { host: host.clone() },
        Event::Returned { host },
    ]
}

#[test]
fn what_is_written_is_read_back() {
    for event in one_of_each() {
        let entry = Entry::new(Stamp::now(), IncidentId::new_random(), event);
        let line = entry.to_line().unwrap();
        assert!(!line.contains('\n'), "{line}");
        assert_eq!(Entry::from_line(&line).unwrap(), entry, "{line}");
    }
}

#[test]
fn the_shape_of_a_line_is_fixed() {
    let line = r#"{"at":"2026-11-25T10:00:00.000Z","incident":"6f70656e-7374-6163-6b20-342065766572","event":{"kind":"posting","server":"6f70656e-7374-6163-6b20-342065766572","attempt":2}}"#;
    let entry = Entry::from_line(line).unwrap();
    assert_eq!(entry.event, Event::Posting { server: server(), attempt: 2 });
    assert_eq!(entry.event.server(), Some(server()));
    assert_eq!(entry.to_line().unwrap(), line);
}

#[test]
fn an_event_of_a_later_version_is_left_alone() {
    let line = r#"{"at":"2026-11-25T10:00:00Z","incident":"6f70656e-7374-6163-6b20-342065766572","event":{"kind":"teleported","to":"mars"}}"#;
    assert_eq!(Entry::from_line(line).unwrap().event, Event::Unknown);
}

#[test]
fn long_texts_are_cut_between_characters() {
    let why = "ä".repeat(LONGEST_TEXT);
    let entry = Entry::new(Stamp::now(), IncidentId::new_random(), Event::GaveUp { server: server(), why });
    assert!(
        matches!(&entry.event, Event::GaveUp { why, .. } if why.len() <= LONGEST_TEXT + 3 && why.ends_with('…'))
    );
    assert!(Entry::from_line(&entry.to_line().unwrap()).is_ok());
}
