//! Nova's own ways: services, lists in pages, what a small role hides, evacuation.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

const DETAIL: &str = "/v2.1/servers/detail";

/// Pages as Nova makes them, out of these servers.
fn paged(seen: &Seen, all: &[Value]) -> Option<Reply> {
    if seen.path != DETAIL {
        return None;
    }
    let limit: usize = seen.query("limit").unwrap().parse().unwrap();
    let after =
        seen.query("marker").map(|marker| all.iter().position(|server| server["id"] == json!(marker)));
    let begin = match after {
        None => 0,
        Some(Some(at)) => at + 1,
        Some(None) => return Some(Reply::Json(400, json!({"badRequest": {"message": "marker not found"}}))),
    };
    let page: Vec<&Value> = all.iter().skip(begin).take(limit).collect();
    let mut body = json!({"servers": page});
    if page.len() == limit {
        let marker = page.last().unwrap()["id"].as_str().unwrap();
        let href = format!("https://wrong.example.org/v2.1/servers/detail?limit={limit}&marker={marker}");
        body["servers_links"] = json!([{"rel": "next", "href": href}]);
    }
    ok(body)
}

#[tokio::test]
async fn two_thousand_servers_in_pages() {
    let all: Vec<Value> = (0..2000).map(|number| fake::server(number, "c1")).collect();
    let fake = Fake::new("2.104", move |seen| paged(seen, &all)).await;
    let servers = connect(&fake).await.servers_on(&host("c1")).await.unwrap();
    assert_eq!(servers.len(), 2000);
    let asked = fake.seen("GET", DETAIL);
    assert_eq!(asked.len(), 5);
    assert!(
        asked.iter().all(|seen| seen.query("all_tenants") == Some("1") && seen.query("host") == Some("c1"))
    );
}

#[tokio::test]
async fn a_marker_that_was_deleted_begins_the_list_again() {
    let all: Vec<Value> = (0..1200).map(|number| fake::server(number, "c1")).collect();
    let fake = Fake::new("2.104", move |seen| {
        // Before the second page the last server of the first one is deleted.
        let gone = if seen.before > 0 { 499 } else { usize::MAX };
        let left: Vec<Value> =
            all.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, server)| server.clone()).collect();
        paged(seen, &left)
    })
    .await;
    let servers = connect(&fake).await.servers_on(&host("c1")).await.unwrap();
    assert_eq!(servers.len(), 1199);
}

#[tokio::test]
async fn a_circle_of_pages_is_noticed() {
    let fake = Fake::new("2.104", |seen| {
        let links = json!([{"rel": "next", "href": "/v2.1/servers/detail?marker=same"}]);
        let page = json!({"servers": [fake::server(1, "c1")], "servers_links": links});
        if seen.path == DETAIL { ok(page) } else { None }
    })
    .await;
    let error = connect(&fake).await.servers_on(&host("c1")).await.unwrap_err();
    assert!(error.to_string().contains("circle"), "{error}");
    assert_eq!(error.kind(), Retry::Never);
}

/// A list that looks complete and is not, or has what was not asked for.
#[tokio::test]
async fn a_small_role_is_not_taken_for_a_small_list() {
    let changed = |change: fn(&mut Value)| {
        let mut server = fake::server(1, "c1");
        change(&mut server);
        server
    };
    for (server, part) in [
        (
            changed(|server| drop(server.as_object_mut().unwrap().remove("OS-EXT-SRV-ATTR:host"))),
            "which host",
        ),
        (
            changed(|server| drop(server["flavor"].as_object_mut().unwrap().remove("extra_specs"))),
            "extra specs",
        ),
        (changed(|server| server["OS-EXT-SRV-ATTR:host"] = json!("c7")), "others too"),
    ] {
        let fake = Fake::new("2.104", move |seen| paged(seen, std::slice::from_ref(&server))).await;
        let error = connect(&fake).await.servers_on(&host("c1")).await.unwrap_err();
        assert!(matches!(error, CloudError::Role { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_database_that_does_not_tell_c1_from_capital_c1() {
    let all = vec![fake::server(1, "c1"), fake::server(2, "C1")];
    let fake = Fake::new("2.104", move |seen| paged(seen, &all)).await;
    let servers = connect(&fake).await.servers_on(&host("c1")).await.unwrap();
    assert_eq!(servers.iter().map(|server| server.id).collect::<Vec<_>>(), [server_id(1)]);
}

#[tokio::test]
async fn a_host_without_servers_and_a_host_that_is_none() {
    let fake = Fake::new("2.104", |seen| paged(seen, &[])).await;
    let cloud = connect(&fake).await;
    assert!(cloud.servers_on(&host("c2")).await.unwrap().is_empty());
    for name in ["c22", "C2", "c2.example.org"] {
        let error = cloud.servers_on(&host(name)).await.unwrap_err();
        let CloudError::UnknownHost { near, .. } = &error else { panic!("{error}") };
        assert_eq!(near[0], "c2", "{name}");
        assert!(error.to_string().contains("did you mean c2"), "{error}");
    }
}

/// With a filter Nova leaves out the servers of a cell that is down, without a word.
#[tokio::test]
async fn a_cell_that_is_down_is_no_host_without_servers() {
    let down = |seen: &Seen| match seen.path.as_str() {
        "/v2.1/os-services" => {
            ok(json!({"services": [{"binary": "nova-compute", "host": "c1", "status": "UNKNOWN"}]}))
        }
        _ => paged(seen, &[]),
    };
    let fake = Fake::new("2.104", down).await;
    let cloud = connect(&fake).await;
    let error = cloud.servers_on(&host("c1")).await.unwrap_err();
    assert!(matches!(error, CloudError::CellDown { .. }), "{error}");
    assert_eq!((error.kind(), error.fate()), (Retry::Backoff, Fate::NotSent));
    assert!(matches!(cloud.compute_service(&host("c1")).await, Err(CloudError::CellDown { .. })));
    assert!(cloud.compute_services().await.unwrap().is_empty());
    assert_eq!(cloud.services("nova-compute", None).await.unwrap().unknown, [host("c1")]);
}

#[tokio::test]
async fn one_server_of_a_cell_that_is_down() {
    let fake = Fake::new("2.104", |seen| {
        let partial = json!({"server": {"id": "00000000-0000-4000-9000-000000000001", "status": "UNKNOWN",
            "tenant_id": "p2", "created": "2018-06-29T15:07:29Z", "user_id": "u", "image": "",
            "OS-EXT-AZ:availability_zone": "UNKNOWN", "OS-EXT-STS:power_state": 0}});
        if seen.path.starts_with("/v2.1/servers/") { ok(partial) } else { None }
    })
    .await;
    let server = connect(&fake).await.server(&server_id(1)).await.unwrap();
    assert!(server.unknown);
    assert_eq!((server.host, server.power_state, server.project.as_str()), (None, PowerState::NoState, "p2"));
}

#[tokio::test]
async fn down_disabled_and_why_in_one_call() {
    let fake = Fake::new("2.53", |seen| {
        if seen.method != "PUT" {
            return None;
        }
        let mut service = fake::services(&["c1"])[0].clone();
        service["forced_down"] = seen.body["forced_down"].clone();
        service["state"] = json!("down");
        if let Some(status) = seen.body.get("status") {
            service["status"] = status.clone();
            service["disabled_reason"] = seen.body["disabled_reason"].clone();
        }
        ok(json!({"service": service}))
    })
    .await;
    let cloud = connect(&fake).await;
    let service = cloud.force_down(&host("c1"), Some("fenced by the cluster")).await.unwrap();
    assert!(service.forced_down && !service.up && !service.status_enabled);
    assert_eq!(service.disabled_reason.as_deref(), Some("fenced by the cluster"));
    cloud.force_down(&host("c1"), None).await.unwrap();
    let puts: Vec<Value> =
        fake.all().into_iter().filter(|seen| seen.method == "PUT").map(|seen| seen.body).collect();
    let first =
        json!({"forced_down": true, "status": "disabled", "disabled_reason": "fenced by the cluster"});
    assert_eq!(puts, [first, json!({"forced_down": true})]);
}

#[tokio::test]
async fn a_change_is_repeated_and_what_it_did_is_looked_at() {
    let fake = Fake::new("2.104", |seen| {
        let service = fake::services(&["c1"])[0].clone();
        match (seen.method.as_str(), seen.before) {
            ("PUT", 0) => Some(Reply::Json(503, json!({}))),
            ("PUT", _) => ok(json!({"service": service})),
            _ => None,
        }
    })
    .await;
    let cloud = connect(&fake).await;
    let error = cloud.force_down(&host("c1"), None).await.unwrap_err();
    assert!(error.to_string().contains("not as it was asked"), "{error}");
    assert_eq!(fake.all().iter().filter(|seen| seen.method == "PUT").count(), 2);
}

#[tokio::test]
async fn changes_that_nova_would_refuse_are_not_sent() {
    let fake = Fake::new("2.104", |_| None).await;
    let cloud = connect(&fake).await;
    let id = cloud.compute_service(&host("c1")).await.unwrap().id;
    let reason = |text: &str, enabled| ServiceChange {
        enabled,
        disabled_reason: Some(text.into()),
        ..ServiceChange::default()
    };
    for change in [
        ServiceChange::default(),
        reason("x", None),
        reason("x", Some(true)),
        reason(" ", Some(false)),
        reason(&"x".repeat(256), Some(false)),
    ] {
        let error = cloud.set_service(id, &change).await.unwrap_err();
        assert_eq!(error.fate(), Fate::NotSent, "{change:?}");
    }
    assert!(fake.all().iter().all(|seen| seen.method != "PUT"));
}

#[tokio::test]
async fn schedulers_are_counted_if_they_are_up() {
    let fake = Fake::new("2.104", |_| None).await;
    assert_eq!(connect(&fake).await.schedulers_alive().await.unwrap(), 1);
}

#[tokio::test]
async fn an_evacuation_of_each_version() {
    for (max, stopped) in [("2.53", false), ("2.68", false), ("2.94", false), ("2.95", true), ("2.104", true)]
    {
        let fake = Fake::new(max, |seen| {
            seen.path.ends_with("/action").then(|| Reply::Headed(200, Vec::new(), Vec::new()))
        })
        .await;
        let cloud = connect(&fake).await;
        assert_eq!(cloud.evacuates_stopped(), stopped, "{max}");
        cloud.evacuate(&server_id(1), &host("c1"), &proof("c1"), None).await.unwrap();
        cloud.evacuate(&server_id(2), &host("c1"), &proof("c1"), Some(&host("c2"))).await.unwrap();
        let posts: Vec<Seen> = fake.all().into_iter().filter(|seen| seen.path.ends_with("/action")).collect();
        assert_eq!(posts[0].body, json!({"evacuate": {}}));
        assert_eq!(posts[1].body, json!({"evacuate": {"host": "c2"}}));
        assert!(posts.iter().all(|seen| seen.header("openstack-api-version") == format!("compute {max}")));
    }
}

#[tokio::test]
async fn a_guard_is_shown_the_signed_proof() {
    let (_folder, signer) = crate::guard::tests::signer();
    let fake = Fake::new("2.104", |seen| {
        seen.path.ends_with("/action").then(|| Reply::Headed(200, Vec::new(), Vec::new()))
    })
    .await;
    let cloud = connect(&fake).await;
    cloud.evacuate(&server_id(1), &host("c1"), &proof("c1"), None).await.unwrap();
    let signing = cloud.signing(Some(signer.clone())).within(Duration::from_secs(60));
    signing.evacuate(&server_id(2), &host("c1"), &proof("c1"), None).await.unwrap();
    let posts: Vec<Seen> = fake.all().into_iter().filter(|seen| seen.path.ends_with("/action")).collect();
    assert_eq!(posts[0].header("x-instance-ha-proof"), "");
    let line = posts[1].header("x-instance-ha-proof");
    assert_eq!(signer.verify(&host("c1"), line).unwrap().host(), &host("c1"));
}

#[tokio::test]
async fn no_evacuation_with_the_proof_of_another_host() {
    let fake = Fake::new("2.104", |_| None).await;
    let cloud = connect(&fake).await;
    let error = cloud.evacuate(&server_id(1), &host("c1"), &proof("c2"), None).await.unwrap_err();
    assert!(matches!(error, CloudError::OtherHost { .. }), "{error}");
    let error =
        cloud.evacuate(&server_id(1), &host("c1"), &proof("c1"), Some(&host("c1"))).await.unwrap_err();
    assert_eq!(error.fate(), Fate::NotSent);
    assert!(fake.all().iter().all(|seen| !seen.path.ends_with("/action")));
}

/// While some nova-compute is older than 27.0 Nova refuses 2.95, with a status that depends on its own age.
#[tokio::test]
async fn an_old_nova_compute_somewhere() {
    let old = "Starting with microversion 2.95, evacuate API will stop instance on destination.";
    let name = "Unexpected API Error.\n<class 'nova.exception.NotSupportedComputeForEvacuateV295'>";
    for (status, text) in [(400, old), (500, name)] {
        let fake = Fake::new("2.104", move |seen| {
            let new = seen.header("openstack-api-version") != "compute 2.94";
            let refusal = Reply::Json(status, json!({"fault": {"message": text}}));
            let reply = if new { refusal } else { Reply::Json(200, json!({})) };
            seen.path.ends_with("/action").then_some(reply)
        })
        .await;
        let cloud = connect(&fake).await;
        cloud.evacuate(&server_id(1), &host("c1"), &proof("c1"), None).await.unwrap();
        assert!(!cloud.evacuates_stopped());
        cloud.evacuate(&server_id(2), &host("c1"), &proof("c1"), None).await.unwrap();
        let posts: Vec<Seen> = fake.all().into_iter().filter(|seen| seen.path.ends_with("/action")).collect();
        let versions: Vec<&str> = posts.iter().map(|seen| seen.header("openstack-api-version")).collect();
        assert_eq!(versions, ["compute 2.104", "compute 2.94", "compute 2.94"]);
    }
}

#[tokio::test]
async fn starting_and_resetting() {
    let fake = Fake::new("2.104", |seen| {
        seen.path.ends_with("/action").then(|| Reply::Headed(202, Vec::new(), Vec::new()))
    })
    .await;
    let cloud = connect(&fake).await;
    cloud.start_server(&server_id(1)).await.unwrap();
    cloud.reset_state(&server_id(1), ResetTo::Error).await.unwrap();
    cloud.reset_state(&server_id(1), ResetTo::Active).await.unwrap();
    let bodies: Vec<Value> =
        fake.all().into_iter().filter(|seen| seen.path.ends_with("/action")).map(|seen| seen.body).collect();
    let reset = |state: &str| json!({"os-resetState": {"state": state}});
    assert_eq!(bodies, [json!({"os-start": null}), reset("error"), reset("active")]);
}

fn migration(number: i64, created: &str, status: &str) -> Value {
    json!({"id": number, "uuid": format!("00000000-0000-4000-a000-{number:012}"), "source_compute": "c1",
        "dest_compute": null, "instance_uuid": "00000000-0000-4000-9000-000000000001", "status": status,
        "migration_type": "evacuation", "created_at": created, "updated_at": null})
}

/// The filter `changes-since` would leave out what was accepted and not changed since.
#[tokio::test]
async fn a_migration_that_was_just_accepted_is_seen() {
    let fake = Fake::new("2.104", |seen| {
        let new = migration(2, "2026-11-22T09:35:36.000000", "accepted");
        let old = migration(1, "2026-11-21T09:35:36.000000", "completed");
        let links = json!([{"rel": "next", "href": "/v2.1/os-migrations?marker=x"}]);
        let page = json!({"migrations": [new, old], "migrations_links": links});
        if seen.path == "/v2.1/os-migrations" { ok(page) } else { None }
    })
    .await;
    let cloud = connect(&fake).await;
    let since = "2026-11-22T09:35:30Z".parse().ok();
    let query = MigrationQuery { since, ..MigrationQuery::evacuations_from(&host("c1")) };
    let found = cloud.migrations(&query).await.unwrap();
    assert_eq!(found.iter().map(|migration| migration.number).collect::<Vec<_>>(), [2]);
    assert!(found[0].status.is_alive());
    let asked = fake.seen("GET", "/v2.1/os-migrations");
    assert_eq!(asked.len(), 1, "what is older is not read");
    assert_eq!(asked[0].query("changes-since"), None);
    assert_eq!(asked[0].query("source_compute"), Some("c1"));
    assert_eq!(asked[0].query("migration_type"), Some("evacuation"));
}

#[tokio::test]
async fn what_changed_is_asked_of_nova() {
    let fake = Fake::new("2.104", |seen| {
        let mut done = migration(1, "2026-11-21T09:35:36.000000", "done");
        done["updated_at"] = json!("2026-11-22T09:35:36.000000");
        if seen.path == "/v2.1/os-migrations" { ok(json!({"migrations": [done]})) } else { None }
    })
    .await;
    let cloud = connect(&fake).await;
    let found = async |text: &str| {
        let changed_since = text.parse().ok();
        let query = MigrationQuery { changed_since, ..MigrationQuery::evacuations_from(&host("c1")) };
        cloud.migrations(&query).await.unwrap().len()
    };
    assert_eq!(found("2026-11-22T09:35:36.500Z").await, 1, "Nova has whole seconds");
    assert_eq!(found("2026-11-22T09:35:37Z").await, 0, "a cloud that does not filter");
    let asked = fake.seen("GET", "/v2.1/os-migrations");
    assert_eq!(asked[0].query("changes-since"), Some("2026-11-22T09:35:36Z"));
}

/// Without the source an evacuation in flight would be none of this host.
#[tokio::test]
async fn a_role_that_hides_the_source_of_migrations() {
    let fake = Fake::new("2.104", |seen| {
        let mut hidden = migration(1, "2026-11-22T09:35:36.000000", "accepted");
        hidden.as_object_mut().unwrap().remove("source_compute");
        if seen.path == "/v2.1/os-migrations" { ok(json!({"migrations": [hidden]})) } else { None }
    })
    .await;
    let error =
        connect(&fake).await.migrations(&MigrationQuery::evacuations_from(&host("c1"))).await.unwrap_err();
    assert!(matches!(error, CloudError::Role { .. }) && error.to_string().contains("index:host"), "{error}");
}

/// Nova's clock may be another than ours.
#[tokio::test]
async fn since_when_is_by_novas_clock() {
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let date = httpdate::fmt_http_date(now - hour);
    let made = humantime::format_rfc3339_seconds(now - hour).to_string();
    let page = json!({"migrations": [migration(1, &made, "accepted")]}).to_string();
    let fake = Fake::new("2.104", move |seen| {
        let reply = || Reply::Headed(200, vec![("date", date.clone())], page.clone().into());
        let version =
            json!({"version": {"id": "v2.1", "version": "2.104", "min_version": "2.1"}}).to_string();
        match seen.path.as_str() {
            "/v2.1/" => Some(Reply::Headed(200, vec![("date", date.clone())], version.into())),
            "/v2.1/os-migrations" => Some(reply()),
            _ => None,
        }
    })
    .await;
    let cloud = connect(&fake).await;
    let query = MigrationQuery { since: Some(now.into()), ..MigrationQuery::default() };
    assert_eq!(cloud.migrations(&query).await.unwrap().len(), 1);
}

#[tokio::test]
async fn images_and_resource_providers() {
    let fake = Fake::new("2.104", |seen| match seen.path.as_str() {
        "/image/v2/images/abc" => ok(json!({"id": "abc", "evacuable": "true", "tags": ["ha"]})),
        "/placement/resource_providers" if seen.header("openstack-api-version") == "placement 1.14" => {
            Some(Reply::Json(406, json!({"errors": [{"detail": "Unacceptable version"}]})))
        }
        "/placement/resource_providers" => ok(
            json!({"resource_providers": [{"uuid": "00000000-0000-4000-b000-000000000001", "name": "c1"}]}),
        ),
        "/placement/resource_providers/00000000-0000-4000-b000-000000000001/inventories" => {
            ok(json!({"inventories": {"VCPU": {"total": 4, "reserved": 0, "allocation_ratio": 4.0}}}))
        }
        "/placement/resource_providers/00000000-0000-4000-b000-000000000001/usages" => {
            ok(json!({"usages": {"VCPU": 3}}))
        }
        _ => None,
    })
    .await;
    let cloud = connect(&fake).await;
    let image = cloud.image_properties("abc").await.unwrap().unwrap();
    assert_eq!((image.properties["evacuable"].as_str(), image.tags), ("true", vec!["ha".to_owned()]));
    assert_eq!(cloud.image_properties("gone").await.unwrap(), None);
    assert!(cloud.image_properties("../../v2.1/servers").await.is_err());
    let provider = cloud.resource_providers().await.unwrap().remove(0);
    let resources = cloud.resources(&provider).await.unwrap();
    assert_eq!((resources.inventories["VCPU"].capacity(), resources.usages["VCPU"]), (16, 3));
}

#[tokio::test]
async fn the_check_says_what_is_wrong() {
    let good = Fake::new("2.104", |seen| match seen.path.as_str() {
        "/v2.1/os-migrations" => ok(json!({"migrations": []})),
        "/v2.1/os-aggregates" => ok(json!({"aggregates": []})),
        "/v2.1/os-hypervisors/detail" => ok(json!({"hypervisors": []})),
        "/placement/resource_providers" => ok(json!({"resource_providers": []})),
        _ => paged(seen, &[fake::server(1, "c1")]),
    })
    .await;
    let findings = connect(&good).await.check().await;
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");

    let late = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(3600));
    let bad = Fake::new("2.68", move |seen| match seen.path.as_str() {
        "/v2.1/os-migrations" | "/v2.1/servers/detail" => Some(Reply::Json(
            403,
            json!({"forbidden": {"message": "Policy doesn't allow it to be performed."}}),
        )),
        "/v2.1/os-services" => ok(json!({"services": []})),
        "/v2.1/" => {
            let version =
                json!({"version": {"id": "v2.1", "version": "2.68", "min_version": "2.1"}}).to_string();
            Some(Reply::Headed(200, vec![("date", late.clone())], version.into()))
        }
        _ => None,
    })
    .await;
    let findings = connect(&bad).await.check().await;
    let level =
        |part: &str| findings.iter().find(|finding| finding.text.contains(part)).map(|finding| finding.level);
    assert_eq!(level("2.68 is used"), Some(Level::Warn));
    assert_eq!(level("no scheduler is up"), Some(Level::Fail));
    assert_eq!(level("may not read migrations"), Some(Level::Fail));
    assert_eq!(level("may not read the servers of all projects"), Some(Level::Fail));
    assert_eq!(level("3600 s apart").or(level("3601 s apart")), Some(Level::Warn), "{findings:#?}");
    assert!(
        bad.all().iter().all(|seen| seen.method == "GET" || seen.path == "/v3/auth/tokens"),
        "nothing is changed"
    );
}
