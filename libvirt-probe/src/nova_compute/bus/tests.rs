use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::sys::diag::Info;

const SECOND: Duration = Duration::from_secs(1);

/// A connection on which data came just now and everything is confirmed.
fn connection(inode: u32, received: u64, unread: u32) -> Socket {
    Socket {
        phase: Phase::Established,
        inode,
        local_port: 40_000,
        remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
        remote_port: 5672,
        unread,
        unconfirmed: 0,
        info: Some(Info { received, ..Info::default() }),
    }
}

fn quiet(socket: Socket, seconds: u64, unconfirmed: u32) -> Socket {
    let age = SECOND * u32::try_from(seconds).unwrap();
    let info = Info { data_age: age, confirmation_age: age, ..socket.info.unwrap() };
    Socket { unconfirmed, info: Some(info), ..socket }
}

/// Looks once a second at what there is at that second; the first second of each fault.
fn faults(seconds: u64, at: impl Fn(u64) -> Vec<Socket>) -> Vec<(u64, Cause, Health)> {
    let mut watch = Watch::default();
    let begin = Instant::now();
    let mut seen: Vec<(u64, Cause, Health)> = Vec::new();
    for second in 0..seconds {
        let now = begin + SECOND * u32::try_from(second).unwrap();
        let view = watch.look(now, &at(second));
        if let Some(fault) = view.fault(&Limits::default())
            && seen.last().is_none_or(|(_, cause, health)| (*cause, *health) != (fault.cause, fault.health))
        {
            assert!(!fault.reason(&view).is_empty());
            seen.push((second, fault.cause, fault.health));
        }
    }
    seen
}

#[test]
fn a_bus_that_is_read_and_speaks_is_fine() {
    assert_eq!(faults(600, |second| vec![connection(1, second, 0), connection(2, second / 7, 0)]), []);
    // A heartbeat every 30 s, on a connection of the pool that is read every 15 s.
    let pooled = |second: u64| {
        let unread = if second % 30 < 15 && second >= 30 { 8 } else { 0 };
        vec![quiet(connection(1, second / 30 * 8 + 8, unread), second % 30, 0)]
    };
    assert_eq!(faults(600, pooled), []);
}

#[test]
fn a_closed_bus_fails_after_its_limit_and_not_for_a_moment() {
    let gone = |from: u64| move |second| if second < from { vec![connection(1, 9, 0)] } else { vec![] };
    assert_eq!(
        faults(60, gone(20)),
        [(20, Cause::Closed, Health::Degraded), (28, Cause::Closed, Health::Failed)]
    );
    let closed_by_broker = |second| {
        let phase = if second < 5 { Phase::Established } else { Phase::ClosedByPeer };
        vec![Socket { phase, ..connection(1, 9, 0) }]
    };
    assert_eq!(faults(60, closed_by_broker).last(), Some(&(13, Cause::Closed, Health::Failed)));
    let connecting = |second| {
        let phase = if second < 5 { Phase::Established } else { Phase::Connecting };
        vec![Socket { phase, inode: u32::try_from(second).unwrap(), info: None, ..connection(1, 9, 0) }]
    };
    assert_eq!(faults(60, connecting).last(), Some(&(13, Cause::Unreachable, Health::Failed)));
}

#[test]
fn a_queue_that_is_not_read_is_a_freeze_even_while_more_comes() {
    let frozen = |second: u64| {
        let arrived = second / 10 * 40;
        let read = arrived.min(80);
        vec![connection(1, arrived, u32::try_from(arrived - read).unwrap()), connection(2, 5, 0)]
    };
    assert_eq!(faults(120, frozen), [(60, Cause::Frozen, Health::Failed)]);
}

#[test]
fn a_slow_reader_is_not_frozen() {
    let slow = |second: u64| vec![connection(1, second * 1000, u32::try_from(second * 900).unwrap())];
    assert_eq!(faults(300, slow), []);
}

#[test]
fn one_connection_that_is_not_read_takes_longer_to_be_believed() {
    let partly = |second: u64| {
        let unread = if second < 10 { 0 } else { 8 };
        vec![connection(1, if second < 10 { 0 } else { 8 }, unread), connection(2, second, 0)]
    };
    assert_eq!(
        faults(120, partly),
        [(40, Cause::PartlyFrozen, Health::Degraded), (70, Cause::PartlyFrozen, Health::Failed)]
    );
    // The broker gives such a connection up after a while.
    let given_up = |second: u64| {
        let phase = if second < 65 { Phase::Established } else { Phase::ClosedByPeer };
        let mut sockets = partly(second);
        sockets[0] = Socket { phase, unread: sockets[0].unread + u32::from(second >= 65), ..sockets[0] };
        sockets
    };
    assert_eq!(faults(120, given_up), faults(120, partly));
}

#[test]
fn the_end_of_a_connection_is_not_unread_data() {
    let closed = |second: u64| {
        vec![connection(1, second, 0), Socket { phase: Phase::ClosedByPeer, ..connection(2, 8, 1) }]
    };
    assert_eq!(faults(120, closed), []);
}

#[test]
fn a_blackhole_is_told_by_what_is_not_confirmed_and_by_silence() {
    // Cut off at 20: the next heartbeat goes out at 30 and is not confirmed.
    let cut = |second: u64| {
        let ago = second.saturating_sub(20);
        vec![quiet(connection(1, 9, 0), ago, u32::from(second >= 30)); 2]
    };
    assert_eq!(
        faults(120, cut),
        [(43, Cause::Blackholed, Health::Degraded), (65, Cause::Blackholed, Health::Failed)]
    );
    let silent = |second: u64| vec![quiet(connection(1, 9, 0), second.saturating_sub(20), 0)];
    assert_eq!(
        faults(120, silent),
        [(70, Cause::Silent, Health::Degraded), (95, Cause::Silent, Health::Failed)]
    );
}

#[test]
fn silence_goes_on_over_new_connections_that_say_nothing() {
    let renewed = |second: u64| {
        let inode = u32::try_from(second / 20).unwrap();
        let received = u64::from(second < 20);
        vec![quiet(connection(inode, received, 0), second % 20, 0)]
    };
    assert_eq!(faults(120, renewed).last(), Some(&(75, Cause::Silent, Health::Failed)));
}

#[test]
fn the_next_limit_is_when_something_changes() {
    let limits = Limits::default();
    let mut watch = Watch::default();
    let begin = Instant::now();
    assert_eq!(watch.look(begin, &[connection(1, 0, 0)]).next_limit(&limits), None);
    assert_eq!(watch.look(begin, &[connection(1, 8, 8)]).next_limit(&limits), Some(limits.unread));
    let view = watch.look(begin + SECOND, &[]);
    assert_eq!(
        (view.fault(&limits).unwrap().health, view.next_limit(&limits)),
        (Health::Degraded, Some(limits.closed))
    );
}

proptest! {
    #[test]
    fn whatever_is_seen_is_judged(
        looks in prop::collection::vec(
            prop::collection::vec((0_u32..4, any::<u64>(), any::<u32>(), 0_u8..4, any::<u32>()), 0..5), 0..40),
    ) {
        let mut watch = Watch::default();
        let mut now = Instant::now();
        for look in looks {
            now += SECOND;
            let sockets: Vec<Socket> = look.into_iter().map(|(inode, received, unread, phase, age)| {
                let phase = [Phase::Established, Phase::Connecting, Phase::ClosedByPeer, Phase::Closing]
                    [usize::from(phase)];
                let data_age = Duration::from_millis(age.into());
                let info = (age % 5 > 0).then_some(Info { data_age, received, ..Info::default() });
                Socket { phase, info, ..connection(inode, 0, unread) }
            }).collect();
            let view = watch.look(now, &sockets);
            let fault = view.fault(&Limits::default());
            prop_assert_eq!(view.established == 0, view.none_for.is_some());
            prop_assert!(view.established > 0 || fault.is_some());
            prop_assert!(watch.seen.len() <= sockets.len());
        }
    }
}
