#![allow(clippy::useless_vec, reason = "rows of tables are joined")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::power::{Answer, Retry};

/// What a device answers to one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    On,
    Off,
    Changing,
    Nothing,
    Refuses,
    Denies,
    /// Never, whatever the deadline.
    Hangs,
}

/// What it answers to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Obeys after so many milliseconds.
    Obeys(u64),
    /// Says that it does, and does nothing.
    Lies,
    /// Obeys, and the answer is lost.
    Unheard,
    /// The order is lost.
    Lost,
    /// The order could not be sent.
    NotSent,
    /// Says that it cannot in this state.
    Refuses,
    /// Says that it may not.
    Denies,
}

/// A device that is told what to do.
#[derive(Debug, Clone)]
struct Toy {
    on: bool,
    /// When it changes, and to what.
    change: Option<(Instant, bool)>,
    readings: VecDeque<Says>,
    orders: VecDeque<Does>,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    /// Those that were not sent as well.
    orders: Vec<Order>,
    sent: usize,
    readings: Vec<(Instant, Says)>,
    closed: bool,
}

impl Toy {
    fn new(on: bool, readings: &[Says], orders: &[Does]) -> Self {
        let (readings, orders) = (readings.iter().copied().collect(), orders.iter().copied().collect());
        Self { on, change: None, readings, orders, log: Arc::default() }
    }

    fn truth(&mut self) -> Says {
        if let Some((_, on)) = self.change.filter(|(at, _)| *at <= Instant::now()) {
            (self.on, self.change) = (on, None);
        }
        if self.on { Says::On } else { Says::Off }
    }
}

impl Device for Toy {
    fn name(&self) -> String {
        "toy".into()
    }

    fn status(&mut self, until: Instant) -> Answer<'_, Look> {
        Box::pin(async move {
            let truth = self.truth();
            let says = self.readings.pop_front().unwrap_or(truth);
            self.log.lock().unwrap().readings.push((Instant::now(), says));
            let look = |state: PowerState| Ok(Look { state, said: state.to_string() });
            let device = self.name();
            match says {
                Says::On => look(PowerState::On),
                Says::Off => look(PowerState::Off),
                Says::Changing => look(PowerState::Changing),
                Says::Nothing => {
                    tokio::time::sleep_until(until).await;
                    Err(PowerError::Silent { device, waiting: "reading".into() })
                }
                Says::Refuses => Err(PowerError::Unreachable { device, why: "connection refused".into() }),
                Says::Denies => Err(PowerError::Denied { device, why: "wrong password".into() }),
                Says::Hangs => std::future::pending().await,
            }
        })
    }

    fn order(&mut self, order: Order, until: Instant) -> Answer<'_, ()> {
        Box::pin(async move {
            let does = self.orders.pop_front().unwrap_or(Does::Obeys(0));
            {
                let mut log = self.log.lock().unwrap();
                log.orders.push(order);
                log.sent += usize::from(does != Does::NotSent);
            }
            let on = order == Order::On;
            let device = self.name();
            let silent = PowerError::Silent { device: device.clone(), waiting: "ordering".into() };
            match does {
                Does::Obeys(ms) => {
                    self.change = Some((Instant::now() + Duration::from_millis(ms), on));
                    Ok(())
                }
                Does::Lies => Ok(()),
                Does::Unheard => {
                    self.change = Some((Instant::now(), on));
                    tokio::time::sleep_until(until).await;
                    Err(silent)
                }
                Does::NotSent => {
                    let why = "connection refused".into();
                    Err(PowerError::Unsent(Box::new(PowerError::Unreachable { device, why })))
                }
                Does::Lost => {
                    tokio::time::sleep_until(until).await;
                    Err(silent)
                }
                Does::Refuses => Err(PowerError::Refused { device, order, why: "not in this state".into() }),
                Does::Denies => Err(PowerError::Denied { device, why: "privilege".into() }),
            }
        })
    }

    fn close(&mut self, _until: Instant) -> Answer<'_, ()> {
        self.log.lock().unwrap().closed = true;
        Box::pin(async { Ok(()) })
    }
}

const TIME: Duration = Duration::from_secs(20);

fn host() -> HostName {
    "compute-1".parse().unwrap()
}

/// The proof or the error, the orders, and how long it took.
async fn off(mut toy: Toy) -> (Result<FenceProof, PowerError>, usize, Duration) {
    let started = Instant::now();
    let result = confirm_off(&mut toy, &host(), TIME).await;
    let log = toy.log.lock().unwrap();
    assert!(log.closed, "the session is closed");
    (result, log.orders.len(), started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn two_readings_without_an_order_are_apart_as_well() {
    let started = Instant::now();
    let mut toy = Toy::new(false, &[], &[]);
    let proof = read_off(&mut toy, &host(), TIME).await.unwrap().unwrap();
    assert_eq!(readings(&proof), 2);
    assert!(started.elapsed() >= Duration::from_millis(250), "{:?}", started.elapsed());
    {
        let log = toy.log.lock().unwrap();
        assert!(log.closed && log.orders.is_empty());
        assert!(log.readings[1].0 - log.readings[0].0 >= Duration::from_millis(250));
    }
    for not in [vec![Says::On], vec![Says::Off, Says::On], vec![Says::Off, Says::Changing]] {
        let mut toy = Toy::new(false, &not, &[]);
        assert!(read_off(&mut toy, &host(), TIME).await.unwrap().is_none(), "{not:?}");
    }
    // There was no time for the second one.
    let mut toy = Toy::new(false, &[Says::Off, Says::Nothing], &[]);
    assert!(read_off(&mut toy, &host(), Duration::from_millis(100)).await.is_err());
}

fn readings(proof: &FenceProof) -> usize {
    match proof.evidence() {
        Evidence::PowerOff { readings, .. } => readings.len(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn off_is_two_readings_apart() {
    let (proof, orders, took) = off(Toy::new(true, &[], &[])).await;
    let proof = proof.unwrap();
    assert_eq!((proof.host(), readings(&proof), orders), (&host(), 2, 1));
    assert!((Duration::from_millis(250)..Duration::from_millis(400)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn already_off_is_success_without_an_order() {
    let (proof, orders, took) = off(Toy::new(false, &[], &[])).await;
    assert_eq!((readings(&proof.unwrap()), orders), (2, 0));
    assert!(took < Duration::from_millis(300), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_says_ok_and_stays_on_proves_nothing() {
    let (proof, orders, took) = off(Toy::new(true, &[], &[Does::Lies; 9])).await;
    assert!(matches!(proof, Err(PowerError::NotReached { .. })), "{proof:?}");
    // It was answered: repeating it would change nothing.
    assert_eq!(orders, 1);
    assert!(took <= TIME + Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_device_is_waited_for() {
    let (proof, orders, took) = off(Toy::new(true, &[], &[Does::Obeys(7_000)])).await;
    assert_eq!((readings(&proof.unwrap()), orders), (2, 1));
    assert!((Duration::from_secs(7)..Duration::from_secs(9)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_refused_or_unheard_is_judged_by_what_is_read() {
    for does in [Does::Unheard, Does::Obeys(3_000)] {
        let (proof, orders, _) = off(Toy::new(true, &[], &[does])).await;
        assert_eq!((readings(&proof.unwrap()), orders), (2, 1), "{does:?}");
    }
    let (proof, orders, _) = off(Toy::new(true, &[], &[Does::Refuses])).await;
    assert!(proof.unwrap_err().to_string().contains("not in this state"));
    assert_eq!(orders, 1);
    // What it said is not forgotten when it says nothing any more.
    let silent = [vec![Says::On], vec![Says::Nothing; 9]].concat();
    let (proof, ..) = off(Toy::new(true, &silent, &[Does::Refuses])).await;
    assert!(proof.unwrap_err().to_string().contains("not in this state"));
    // It was off by itself in the meantime.
    let (proof, ..) = off(Toy::new(false, &[Says::On], &[Does::Refuses])).await;
    assert!(proof.is_ok());
    let (proof, _, took) = off(Toy::new(true, &[], &[Does::Denies])).await;
    assert!(matches!(proof, Err(PowerError::Denied { .. })) && took < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_lost_order_is_not_given_again() {
    let (proof, orders, took) = off(Toy::new(true, &[], &[Does::Lost])).await;
    let error = proof.unwrap_err();
    assert_eq!(
        error.to_string(),
        "toy did not read off twice in a row within 20 s (last reading: on); the order was sent once and its answer \
         did not come: toy does not answer (ordering). It may have lost its power together with the host; if it was \
         lost, trying again helps"
    );
    assert_eq!((orders, error.retry()), (1, Retry::Again));
    assert!((Duration::from_secs(18)..=TIME).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_was_not_sent_is_given_again() {
    let (proof, orders, took) = off(Toy::new(true, &[], &[Does::NotSent; 4])).await;
    assert_eq!((readings(&proof.unwrap()), orders), (2, 5));
    assert!(took < Duration::from_secs(2), "{took:?}");
    let (proof, orders, took) = off(Toy::new(true, &[], &[Does::NotSent; 99])).await;
    let error = proof.unwrap_err().to_string();
    assert!(error.contains("cannot be reached") && !error.contains("sent once"), "{error}");
    assert!((10..40).contains(&orders) && took <= TIME, "{orders} in {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_flaps_proves_nothing() {
    use Says::{Changing, Nothing, Off, On};
    for flaps in [vec![On, Off, On], vec![On, Off, Changing], vec![On, On, Off, On, Off, Off]] {
        let (proof, ..) = off(Toy::new(true, &flaps, &[])).await;
        assert!(matches!(&proof, Err(PowerError::Unstable { .. })), "{flaps:?}: {proof:?}");
    }
    // Before an order, it is taken for what it is: a host that is on.
    let (proof, orders, _) = off(Toy::new(true, &[Off, On], &[])).await;
    assert!(proof.is_ok() && orders == 1);
    // One reading is missing: the row begins anew.
    let toy = Toy::new(true, &[On, Off, Nothing, Off], &[]);
    let (proof, ..) = off(toy.clone()).await;
    assert!(proof.is_ok() && toy.log.lock().unwrap().readings.len() >= 5);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_dies_proves_nothing() {
    use Says::{Denies, Hangs, Nothing, On, Refuses};
    for (says, at_once) in [
        (vec![Refuses; 99], true),
        (vec![Denies], true),
        (vec![Nothing; 99], false),
        (vec![Hangs; 99], false),
        (vec![[On].to_vec(), vec![Refuses; 99]].concat(), false),
        (vec![[On].to_vec(), vec![Nothing; 99]].concat(), false),
        (vec![[On].to_vec(), vec![Hangs; 99]].concat(), false),
        (vec![On, Denies], true),
        (vec![[On, Says::Off].to_vec(), vec![Hangs; 99]].concat(), false),
    ] {
        let (proof, _, took) = off(Toy::new(true, &says, &[])).await;
        assert!(proof.is_err(), "{says:?}");
        assert_eq!(took < Duration::from_secs(1), at_once, "{took:?} {says:?}");
        assert!(took < TIME + Duration::from_secs(2), "{took:?} {says:?}");
    }
    // It comes back in time.
    let (proof, ..) = off(Toy::new(true, &[On, Refuses, Nothing, Refuses], &[])).await;
    assert!(proof.is_ok());
}

#[tokio::test(start_paused = true)]
async fn cycle_orders_on_after_off_is_stable() {
    let mut toy = Toy::new(true, &[], &[Does::Obeys(2_000)]);
    let outcome = cycle(&mut toy, TIME).await.unwrap();
    assert_eq!((outcome.state, outcome.readings.len()), (PowerState::On, 4));
    assert_eq!(toy.log.lock().unwrap().orders, [Order::Off, Order::On]);
    let mut liar = Toy::new(true, &[], &[Does::Lies; 9]);
    assert!(cycle(&mut liar, TIME).await.is_err());
    assert_eq!(liar.log.lock().unwrap().orders, [Order::Off]);
}

#[tokio::test(start_paused = true)]
async fn status_is_one_reading() {
    let mut toy = Toy::new(true, &[], &[]);
    assert_eq!(status(&mut toy, TIME).await.unwrap().state, PowerState::On);
    assert_eq!(toy.log.lock().unwrap().readings.len(), 1);
    let mut dead = Toy::new(true, &[Says::Denies], &[]);
    assert_eq!(status(&mut dead, TIME).await.unwrap_err().retry(), Retry::Never);
}

#[tokio::test(start_paused = true)]
async fn no_time_is_no_proof() {
    let mut toy = Toy::new(false, &[], &[]);
    assert!(confirm_off(&mut toy, &host(), Duration::ZERO).await.is_err());
    assert!(confirm_off(&mut toy, &host(), Duration::from_millis(200)).await.is_err());
}

fn says() -> impl Strategy<Value = Says> {
    prop_oneof![
        4 => Just(Says::On),
        4 => Just(Says::Off),
        1 => Just(Says::Changing),
        1 => Just(Says::Nothing),
        1 => Just(Says::Refuses),
        1 => Just(Says::Hangs),
    ]
}

fn does() -> impl Strategy<Value = Does> {
    prop_oneof![
        (0_u64..9_000).prop_map(Does::Obeys),
        Just(Does::Lies),
        Just(Does::Unheard),
        Just(Does::Lost),
        Just(Does::NotSent),
        Just(Does::Refuses),
        Just(Does::Denies),
    ]
}

proptest! {
    #[test]
    fn whatever_a_device_does_a_proof_is_two_readings_in_a_row(
        on: bool,
        readings in prop::collection::vec(says(), 0..20),
        orders in prop::collection::vec(does(), 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (proof, log, took) = runtime.block_on(async {
            let mut toy = Toy::new(on, &readings, &orders);
            let started = Instant::now();
            let proof = confirm_off(&mut toy, &host(), TIME).await;
            (proof, std::mem::take(&mut *toy.log.lock().unwrap()), started.elapsed())
        });
        prop_assert!(log.closed);
        prop_assert!(log.sent <= 1 && log.orders.iter().all(|order| *order == Order::Off));
        prop_assert!(took < TIME + Duration::from_secs(3));
        if proof.is_ok() {
            let last: Vec<_> = log.readings.iter().rev().take_while(|(_, says)| *says == Says::Off).collect();
            prop_assert!(last.len() >= 2, "{:?}", log.readings);
            prop_assert!(last[0].0 - last[last.len() - 1].0 >= Duration::from_millis(250));
        }
    }
}
