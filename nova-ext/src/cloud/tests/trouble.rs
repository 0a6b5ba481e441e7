//! Answers that are late, broken, too long or none.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use tokio::time::Instant;

use super::http::next_attempt;
use super::*;

const AGGREGATES: &str = "/v2.1/os-aggregates";
const ACTION: &str = "/v2.1/servers/00000000-0000-4000-9000-000000000001/action";

fn none() -> Reply {
    Reply::Json(200, json!({"aggregates": []}))
}

/// Asks once more and gets it.
async fn recovers(first: fn() -> Reply) {
    let fake = scripted("GET", AGGREGATES, vec![first, first, none]).await;
    connect(&fake).await.aggregates().await.unwrap();
    assert_eq!(fake.seen("GET", AGGREGATES).len(), 3);
}

#[tokio::test]
async fn reading_is_repeated_while_that_may_help() {
    for first in [
        (|| Reply::Json(502, json!({}))) as fn() -> Reply,
        || Reply::Json(503, json!({})),
        || Reply::Json(504, json!({})),
        || Reply::Json(500, json!({})),
        || Reply::Headed(429, vec![("retry-after", "0".into())], Vec::new()),
        || Reply::Cut,
        || Reply::CutBody(200),
    ] {
        recovers(first).await;
    }
}

#[tokio::test]
async fn reading_is_not_repeated_for_ever() {
    let fake = scripted("GET", AGGREGATES, vec![|| Reply::Json(503, json!({}))]).await;
    let error = connect(&fake).await.aggregates().await.unwrap_err();
    assert_eq!(error.status(), Some(503));
    assert_eq!(fake.seen("GET", AGGREGATES).len(), 5);
}

#[tokio::test]
async fn what_is_wrong_stays_wrong() {
    let forbidden =
        || Reply::Json(403, json!({"forbidden": {"code": 403, "message": "Policy doesn't allow it"}}));
    let fake = scripted("GET", AGGREGATES, vec![forbidden]).await;
    let error = connect(&fake).await.aggregates().await.unwrap_err();
    assert_eq!((error.kind(), error.fate()), (Retry::Never, Fate::Refused));
    assert!(error.to_string().contains("Policy doesn't allow it (req-of-the-cloud)"), "{error}");
    assert_eq!(fake.seen("GET", AGGREGATES).len(), 1);
}

#[tokio::test]
async fn the_pause_that_the_cloud_asks_for_is_kept() {
    let busy = || Reply::Headed(503, vec![("retry-after", "1".into())], Vec::new());
    let fake = scripted("GET", AGGREGATES, vec![busy, none]).await;
    let cloud = connect(&fake).await;
    let begun = Instant::now();
    cloud.aggregates().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    // But nobody waits longer than there is time.
    let fake = scripted(
        "GET",
        AGGREGATES,
        vec![|| Reply::Headed(503, vec![("retry-after", "100".into())], Vec::new())],
    )
    .await;
    let cloud = connect(&fake).await.within(Duration::from_secs(20));
    let begun = Instant::now();
    let error = cloud.aggregates().await.unwrap_err();
    assert_eq!(error.kind(), Retry::After(Duration::from_secs(100)));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn every_wait_ends() {
    let fake = scripted("GET", AGGREGATES, vec![|| Reply::Never]).await;
    let mut settings = fake.settings();
    settings.limits.request = Duration::from_millis(100);
    settings.limits.attempts = 2;
    let cloud = Cloud::connect(&settings).await.unwrap();
    let error = cloud.aggregates().await.unwrap_err();
    assert_eq!(error.fate(), Fate::Unheard);
    assert!(error.to_string().contains("no answer within"), "{error}");
    assert_eq!(fake.seen("GET", AGGREGATES).len(), 2);

    let cloud = connect(&fake).await.within(Duration::from_millis(150));
    let begun = Instant::now();
    assert!(cloud.aggregates().await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(matches!(cloud.aggregates().await.unwrap_err(), CloudError::Late { .. } | CloudError::Login(_)));
    // One with more time does not wait longer than one that made it.
    assert!(cloud.within(Duration::from_secs(100)).aggregates().await.is_err());
}

#[tokio::test]
async fn a_slow_answer_is_an_answer() {
    let fake =
        scripted("GET", AGGREGATES, vec![|| Reply::Slow(Duration::from_millis(300), Box::new(none()))]).await;
    connect(&fake).await.aggregates().await.unwrap();
}

async fn evacuation(reply: fn() -> Reply) -> (Result<RequestId, CloudError>, usize) {
    let fake = scripted("POST", ACTION, vec![reply]).await;
    let mut settings = fake.settings();
    settings.limits.request = Duration::from_millis(500);
    let cloud = Cloud::connect(&settings).await.unwrap();
    let result = cloud.evacuate(&server_id(1), &host("c1"), &proof("c1"), None).await;
    (result, fake.seen("POST", ACTION).len())
}

#[tokio::test]
async fn an_evacuation_is_sent_once_whatever_happens() {
    let unheard: [fn() -> Reply; 8] = [
        || Reply::Json(408, json!({})),
        || Reply::Json(500, json!({"computeFault": {"message": "Unexpected API Error"}})),
        || Reply::Json(502, json!({})),
        || Reply::Json(503, json!({})),
        || Reply::Json(504, json!({})),
        || Reply::Cut,
        || Reply::Never,
        || Reply::Headed(503, vec![("retry-after", "0".into())], b"<h1>busy</h1>".into()),
    ];
    for reply in unheard {
        let (result, posts) = evacuation(reply).await;
        let error = result.unwrap_err();
        assert_eq!((error.fate(), posts), (Fate::Unheard, 1), "{error}");
        assert!(error.request_id().is_some(), "{error}");
    }
    let refused: [fn() -> Reply; 5] = [
        || Reply::Json(400, json!({"badRequest": {"message": "Compute service of c1 is still in use."}})),
        || Reply::Json(403, json!({})),
        || Reply::Json(404, json!({})),
        || Reply::Json(409, json!({"conflictingRequest": {"message": "Cannot 'evacuate' instance"}})),
        || Reply::Headed(429, vec![("retry-after", "0".into())], Vec::new()),
    ];
    for reply in refused {
        let (result, posts) = evacuation(reply).await;
        let error = result.unwrap_err();
        assert_eq!((error.fate(), posts), (Fate::Refused, 1), "{error}");
    }
    let accepted: [fn() -> Reply; 4] = [
        || Reply::Headed(200, Vec::new(), Vec::new()),
        || Reply::Json(202, json!({})),
        || Reply::CutBody(200),
        || Reply::Json(200, json!({"adminPass": null})),
    ];
    for reply in accepted {
        let (result, posts) = evacuation(reply).await;
        assert_eq!((result.unwrap().as_str(), posts), ("req-of-the-cloud", 1));
    }
}

/// The cloud goes away between two calls.
#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    let fake = Fake::new("2.104", |_| None).await;
    let mut settings = fake.settings();
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    settings.limits.attempts = 2;
    settings.endpoints.image = Url::parse(&format!("http://{gone}/")).ok();
    let cloud = Cloud::connect(&settings).await.unwrap();
    let error = cloud.image_properties("11111111-2222-3333-4444-555555555555").await.unwrap_err();
    assert_eq!((error.fate(), error.kind()), (Fate::NotSent, Retry::Backoff));
    assert!(error.to_string().contains(&gone.to_string()), "{error}");

    settings.auth_url = Url::parse(&format!("http://{gone}/")).unwrap();
    let error = Cloud::connect(&settings).await.unwrap_err();
    assert_eq!((error.fate(), error.kind()), (Fate::NotSent, Retry::Backoff));
}

#[tokio::test]
async fn an_answer_has_a_largest_size() {
    let path = "/v2.1/servers/00000000-0000-4000-9000-000000000001";
    let long = scripted("GET", path, vec![|| Reply::Long(2 * 1024 * 1024)]).await;
    let error = connect(&long).await.server(&server_id(1)).await.unwrap_err();
    assert!(error.to_string().contains("more than 1024 KiB"), "{error}");
    let big = || Reply::Headed(200, Vec::new(), vec![b' '; 2 * 1024 * 1024]);
    let announced = scripted("GET", path, vec![big]).await;
    let error = connect(&announced).await.server(&server_id(1)).await.unwrap_err();
    assert!(error.to_string().contains("more than 1024 KiB"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_none_is_said_so() {
    for body in [
        "",
        "<html>hello</html>",
        "[]",
        "{\"server\": {}}",
        "{\"server\": {\"id\": \"x\", \"status\": \"A\"}}",
    ] {
        let fake = Fake::new("2.104", move |seen| {
            seen.path.contains("/servers/").then(|| Reply::Headed(200, Vec::new(), body.into()))
        })
        .await;
        let error = connect(&fake).await.server(&server_id(1)).await.unwrap_err();
        assert!(matches!(error, CloudError::Malformed { .. }), "{body}: {error}");
    }
    let deep = format!("{{\"server\": {}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let fake = Fake::new("2.104", move |seen| {
        seen.path.contains("/servers/").then(|| Reply::Headed(200, Vec::new(), deep.clone().into()))
    })
    .await;
    let error = connect(&fake).await.server(&server_id(1)).await.unwrap_err();
    assert!(matches!(error, CloudError::Malformed { .. }), "{error}");
}

fn unheard(status: Option<u16>, after: Option<Duration>) -> CloudError {
    let id = RequestId::try_from("req-1".to_owned()).unwrap();
    CloudError::Unheard { call: "GET /x".into(), why: "x".into(), status, after, id }
}

#[test]
fn pauses_double_and_spread() {
    let limits = Limits::default();
    let pause = |attempt, luck| next_attempt(&unheard(Some(503), None), attempt, &limits, luck);
    assert_eq!(pause(1, 1.0), Some(Duration::from_millis(250)));
    assert_eq!(pause(1, 0.0), Some(Duration::from_millis(125)));
    assert_eq!(pause(3, 1.0), Some(Duration::from_secs(1)));
    assert_eq!(pause(5, 1.0), None, "five attempts are all");
    let asked = Some(Duration::from_secs(7));
    assert_eq!(next_attempt(&unheard(Some(503), asked), 1, &limits, 0.5), asked);
}

proptest! {
    #[test]
    fn no_pause_is_endless(attempt in 1u32..1000, attempts in 1u32..1000, luck in -2.0f64..2.0) {
        let limits = Limits { attempts, ..Limits::default() };
        let pause = next_attempt(&unheard(None, None), attempt, &limits, luck);
        prop_assert_eq!(pause.is_some(), attempt < attempts);
        prop_assert!(pause.is_none_or(|pause| pause <= Duration::from_secs(10)));
    }
}
