//! What real Novas answer, and anything else: the first is read, the second never does harm.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const RELEASES: [&str; 2] = ["2024.1", "2026.2"];

fn sample(release: &str, name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/nova/{release}/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn versions() {
    for (release, max) in [("2024.1", "2.96"), ("2026.2", "2.104")] {
        let Ok(Offer::Here(range)) = read(&sample(release, "version")) else { panic!("{release}") };
        assert_eq!(range.max.to_string(), max);
    }
}

#[test]
fn services() {
    for release in RELEASES {
        let services = service::tests::read(&sample(release, "services")).unwrap();
        assert_eq!(services.known.len(), 5, "{release}");
        let compute = services.known.iter().find(|service| service.host.as_str() == "c1").unwrap();
        assert!(compute.up && compute.status_enabled && !compute.forced_down && compute.updated_at.is_some());
        let down = service::tests::read_one(&sample(release, "service-forced-down")).unwrap();
        assert!(!down.up && !down.status_enabled && down.forced_down);
        assert_eq!(down.disabled_reason.as_deref(), Some("fenced by cluster"));
    }
}

#[test]
fn servers() {
    for release in RELEASES {
        let server = server::tests::read_one(&sample(release, "server")).unwrap();
        assert_eq!((server.name.as_str(), server.status.as_str()), ("s1", "ACTIVE"));
        assert_eq!(server.power_state, PowerState::Running);
        assert_eq!(server.metadata["HA_Enabled"], "True");
        assert_eq!(server.tags, ["evacuable"]);
        assert_eq!(server.image.as_deref(), Some("11111111-2222-3333-4444-555555555555"));
        assert_eq!(server.flavor.ram_mb, 64);
        assert_eq!(server.image_properties.is_some(), release == "2026.2", "2.98 and later have them");
        assert!(!server.unknown && !server.locked && server.created.is_some());
        let servers = server::tests::read_list(&sample(release, "servers")).unwrap();
        assert_eq!(servers.len(), 2);
        assert!(servers.iter().all(|server| server.host.as_ref().is_some_and(|host| host.as_str() == "c1")));
        let failed = server::tests::read_one(&sample(release, "server-failed-to-move")).unwrap();
        assert_eq!(failed.status, "ERROR");
        assert!(failed.fault.is_some_and(|fault| fault.contains("storage")));
        let moved = server::tests::read_one(&sample(release, "server-moved")).unwrap();
        assert_ne!(moved.host.map(String::from).as_deref(), Some("c1"));
        server::tests::read_one(&sample(release, "server-of-a-dead-host")).unwrap();
    }
}

#[test]
fn migrations() {
    for release in RELEASES {
        let new = migration::tests::read(&sample(release, "migrations-2.59")).unwrap();
        assert_eq!(new[0].status, MigrationStatus::Accepted);
        assert!(new.iter().all(|migration| migration.id.is_some() && migration.kind == "evacuation"));
        let old = migration::tests::read(&sample(release, "migrations-2.53")).unwrap();
        assert!(old.iter().all(|migration| migration.id.is_none() && migration.created.is_some()));
        assert!(old.iter().any(|migration| migration.status.has_failed()));
        assert!(old.iter().any(|migration| migration.status.has_moved() && migration.target.is_some()));
        migration::tests::read(&sample(release, "migrations-after-restart")).unwrap();
    }
}

#[test]
fn refusals() {
    for release in RELEASES {
        for (name, part) in [
            ("refused-still-in-use", "still in use"),
            ("refused-unknown-service", "could not be found"),
            ("refused-unknown-host", "not found"),
            ("refused-force-up", "evacuation migration records remain"),
        ] {
            let text = refusal::message(&sample(release, name), reqwest::StatusCode::BAD_REQUEST);
            assert!(text.contains(part), "{text}");
        }
    }
}

#[tokio::test]
async fn actions() {
    for release in RELEASES {
        let fake = Fake::new("2.96", move |seen| {
            let path = seen
                .path
                .strip_prefix("/v2.1/servers/00000000-0000-4000-9000-000000000001/os-instance-actions")?;
            match path {
                "" => Some(Reply::Headed(200, Vec::new(), sample(release, "actions"))),
                "/req-1" => Some(Reply::Headed(200, Vec::new(), sample(release, "action-failed"))),
                _ => None,
            }
        })
        .await;
        let cloud = connect(&fake).await;
        let actions = cloud.instance_actions(&server_id(1)).await.unwrap();
        assert_eq!(
            actions.iter().map(|action| action.action.as_str()).collect::<Vec<_>>(),
            ["evacuate", "create"]
        );
        assert!(actions.iter().all(|action| action.request.is_some() && action.started.is_some()));
        let id = |text: &str| RequestId::try_from(text.to_owned()).unwrap();
        let failed = cloud.instance_action(&server_id(1), &id("req-1")).await.unwrap().unwrap();
        assert_eq!(failed.message.as_deref(), Some("Error"));
        assert!(
            failed
                .events
                .iter()
                .any(|event| event.result.as_deref() == Some("Error") && event.details.is_some())
        );
        assert_eq!(cloud.instance_action(&server_id(1), &id("req-2")).await.unwrap(), None);
        assert!(cloud.instance_action(&server_id(1), &id("../x")).await.is_err());
    }
}

#[tokio::test]
async fn aggregates_and_hypervisors() {
    for release in RELEASES {
        let fake = Fake::new("2.53", move |seen| {
            let name = match seen.path.as_str() {
                "/v2.1/os-aggregates" => "aggregates",
                "/v2.1/os-hypervisors/detail" => "hypervisors",
                _ => return None,
            };
            Some(Reply::Headed(200, Vec::new(), sample(release, name)))
        })
        .await;
        let cloud = connect(&fake).await;
        let aggregate = cloud.aggregates().await.unwrap().remove(0);
        assert_eq!((aggregate.name.as_str(), aggregate.metadata["evacuable"].as_str()), ("ha", "true"));
        let hypervisors = cloud.hypervisors().await.unwrap();
        assert_eq!(hypervisors.len(), 3);
        assert!(hypervisors.iter().all(|hypervisor| hypervisor.up && hypervisor.kind == "fake"));
    }
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("[a-z_]{1,8}", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Puts something into the place of one of the fields, wherever it is.
fn replace(value: &mut Value, at: &mut usize, with: &Value) {
    if *at == 0 {
        *value = with.clone();
        *at = usize::MAX;
        return;
    }
    if *at == usize::MAX {
        return;
    }
    *at -= 1;
    match value {
        Value::Array(list) => list.iter_mut().for_each(|inner| replace(inner, at, with)),
        Value::Object(map) => map.iter_mut().for_each(|(_, inner)| replace(inner, at, with)),
        _ => {}
    }
}

fn read_all(body: &[u8]) {
    let _ = service::tests::read(body);
    let _ = service::tests::read_one(body);
    let _ = server::tests::read_one(body);
    let _ = server::tests::read_list(body);
    let _ = migration::tests::read(body);
    let _ = serde_json::from_slice::<catalog::Catalog>(body);
    let _ = read(body);
}

proptest! {
    #[test]
    fn a_changed_sample_never_panics(
        name in prop_oneof![
            Just("services"), Just("server"), Just("servers"), Just("migrations-2.59"), Just("server-failed-to-move")
        ],
        mut at in 0usize..120,
        with in anything(),
    ) {
        let mut value: Value = serde_json::from_slice(&sample("2026.2", name)).unwrap();
        replace(&mut value, &mut at, &with);
        read_all(value.to_string().as_bytes());
    }

    #[test]
    fn a_cut_sample_never_panics(at in 0usize..4000) {
        let whole = sample("2026.2", "servers");
        read_all(&whole[..at.min(whole.len())]);
    }

    #[test]
    fn nothing_at_all_panics(value in anything()) {
        read_all(value.to_string().as_bytes());
    }
}
