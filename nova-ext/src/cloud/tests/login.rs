//! Log-in, tokens, and secrets that stay secret.

use std::path::Path;
use std::process::{Command, Stdio};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;

use super::*;

const TOKENS: &str = "/v3/auth/tokens";

#[tokio::test]
async fn who_and_with_what() {
    let fake = Fake::new("2.96", |_| None).await;
    let cloud = connect(&fake).await;
    assert_eq!(cloud.microversion().to_string(), "2.96");
    let login = &fake.seen("POST", TOKENS)[0];
    let expected = json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {
            "name": "nova-ha", "domain": {"id": "default"}, "password": PASSWORD}}},
        "scope": {"project": {"name": "service", "domain": {"id": "default"}}},
    }});
    assert_eq!(login.body, expected);
    assert_eq!(login.header("x-auth-token"), "");
    cloud.compute_service(&host("c1")).await.unwrap();
    let asked = fake.seen("GET", "/v2.1/os-services").remove(0);
    assert_eq!(asked.header("x-auth-token"), "token-1");
    assert_eq!(asked.header("openstack-api-version"), "compute 2.96");
    assert!(asked.header("x-openstack-request-id").starts_with("req-"), "a name for the cloud's logs");
}

#[tokio::test]
async fn an_application_credential() {
    let fake = Fake::new("2.104", |_| None).await;
    let mut settings = fake.settings();
    let secret = crate::secret::Secret::new("s3cret".into());
    settings.auth =
        Auth::ApplicationCredential { credential: Credential::Id("abc".into()), secret: secret.clone() };
    Cloud::connect(&settings).await.unwrap();
    let user = Named::Name { name: "nova-ha".into(), domain: Domain::Name("Default".into()) };
    settings.auth =
        Auth::ApplicationCredential { credential: Credential::Name { name: "ha".into(), user }, secret };
    Cloud::connect(&settings).await.unwrap();
    let identity = |number: usize| fake.seen("POST", TOKENS)[number].body["auth"].clone();
    assert_eq!(
        identity(0),
        json!({"identity": {"methods": ["application_credential"],
            "application_credential": {"id": "abc", "secret": "s3cret"}}})
    );
    let expected =
        json!({"name": "ha", "secret": "s3cret", "user": {"name": "nova-ha", "domain": {"name": "Default"}}});
    assert_eq!(identity(1)["identity"]["application_credential"], expected);
    assert!(identity(1).get("scope").is_none(), "it knows its project");
}

#[tokio::test]
async fn a_token_that_ended_is_renewed_once_for_all() {
    let fake = Fake::new("2.104", |seen| {
        let old = seen.path.starts_with("/v2.1/os-services") && seen.header("x-auth-token") == "token-1";
        old.then(|| {
            Reply::Headed(401, vec![("www-authenticate", "Keystone uri=x".into())], b"Unauthorized".into())
        })
    })
    .await;
    let cloud = connect(&fake).await;
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let cloud = cloud.clone();
        set.spawn(async move { cloud.compute_service(&host("c1")).await });
    }
    while let Some(result) = set.join_next().await {
        result.unwrap().unwrap();
    }
    assert_eq!(fake.seen("POST", TOKENS).len(), 2, "one log-in at first, one for all eight");
}

#[tokio::test]
async fn a_new_token_that_is_not_accepted_either_is_an_error() {
    let fake = scripted("GET", "/v2.1/os-services", vec![|| Reply::Json(401, json!({}))]).await;
    let cloud = connect(&fake).await;
    let error = cloud.compute_services().await.unwrap_err();
    assert_eq!((error.status(), error.kind()), (Some(401), Retry::Never));
    assert_eq!(fake.seen("GET", "/v2.1/os-services").len(), 2);
    assert_eq!(fake.seen("POST", TOKENS).len(), 2);
}

#[tokio::test]
async fn an_evacuation_is_repeated_after_401_alone() {
    let fake = Fake::new("2.104", |seen| {
        if !seen.path.ends_with("/action") {
            return None;
        }
        let status = if seen.before == 0 { 401 } else { 200 };
        Some(Reply::Json(status, json!(null)))
    })
    .await;
    let cloud = connect(&fake).await;
    let id = cloud.evacuate(&server_id(1), &host("c1"), &proof("c1"), None).await.unwrap();
    assert_eq!(id.as_str(), "req-of-the-cloud");
    let posts: Vec<Seen> = fake.all().into_iter().filter(|seen| seen.path.ends_with("/action")).collect();
    let tokens: Vec<&str> = posts.iter().map(|seen| seen.header("x-auth-token")).collect();
    assert_eq!(tokens, ["token-1", "token-2"]);
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let refused =
        json!({"error": {"code": 401, "message": "The request you have made requires authentication."}});
    let fake =
        Fake::new("2.104", move |seen| seen.is("POST", TOKENS).then(|| Reply::Json(401, refused.clone())))
            .await;
    let error = Cloud::connect(&fake.settings()).await.unwrap_err();
    assert_eq!(error.fate(), Fate::NotSent);
    assert_eq!(error.kind(), Retry::Never);
    let text = error.to_string();
    assert!(text.starts_with("log-in failed") && text.contains("requires authentication"), "{text}");
    assert!(!text.contains('\n'), "{text}");
    assert_eq!(fake.seen("POST", TOKENS).len(), 1);
}

/// Keystone may lock a user after a few refusals.
#[tokio::test]
async fn a_password_that_was_changed_locks_nobody_out() {
    let fake = Fake::new("2.104", |seen| match seen.path.as_str() {
        TOKENS if seen.before > 0 => Some(Reply::Json(401, json!({"error": {"message": "no"}}))),
        "/v2.1/os-services" => Some(Reply::Json(401, json!({}))),
        _ => None,
    })
    .await;
    let cloud = connect(&fake).await;
    for _ in 0..5 {
        let error = cloud.compute_services().await.unwrap_err();
        assert!(matches!(error, CloudError::Login(_)), "{error}");
    }
    assert_eq!(fake.seen("POST", TOKENS).len(), 2);
}

#[tokio::test]
async fn keystone_that_is_busy_is_asked_again() {
    let fake = Fake::new("2.104", |seen| {
        (seen.is("POST", TOKENS) && seen.before < 2).then(|| Reply::Json(503, json!({})))
    })
    .await;
    connect(&fake).await;
    assert_eq!(fake.seen("POST", TOKENS).len(), 3);
}

#[tokio::test]
async fn no_secret_in_any_text() {
    let fake =
        Fake::new("2.104", |seen| seen.path.contains("os-aggregates").then_some(Reply::Json(500, json!({}))))
            .await;
    let settings = fake.settings();
    let cloud = Cloud::connect(&settings).await.unwrap();
    let error = cloud.aggregates().await.unwrap_err();
    let environment: Environment = [("OS_PASSWORD".to_owned(), PASSWORD.to_owned())].into_iter().collect();
    for text in [
        format!("{settings:?}"),
        format!("{cloud:?}"),
        format!("{error:?} {error}"),
        format!("{environment:?}"),
        format!("{:?}", Settings::load(&Source::Environment, &environment).unwrap_err()),
    ] {
        assert!(!text.contains(PASSWORD) && !text.contains("token-1"), "{text}");
    }
}

#[tokio::test]
async fn an_old_cloud_is_refused_with_the_reason() {
    let fake = Fake::new("2.42", |_| None).await;
    let error = Cloud::connect(&fake.settings()).await.unwrap_err();
    assert!(matches!(error, CloudError::Old { .. }), "{error}");
    assert!(error.to_string().contains("2.1 to 2.42") && error.to_string().contains("2.53"), "{error}");
}

#[tokio::test]
async fn a_lower_version_can_be_asked_for() {
    let fake = Fake::new("2.104", |_| None).await;
    let mut settings = fake.settings();
    settings.microversion = "2.68".parse().ok();
    assert_eq!(Cloud::connect(&settings).await.unwrap().microversion().to_string(), "2.68");
    settings.microversion = "2.11".parse().ok();
    let error = Cloud::connect(&settings).await.unwrap_err().to_string();
    assert!(error.contains("compute_api_version 2.11"), "{error}");
}

#[tokio::test]
async fn nova_one_level_below_and_with_the_project_at_its_end() {
    let fake = Fake::new("2.104", |seen| {
        let versions =
            json!({"versions": [{"id": "v2.0"}, {"id": "v2.1", "version": "2.104", "min_version": "2.1"}]});
        seen.is("GET", "/").then_some(Reply::Json(300, versions))
    })
    .await;
    let mut settings = fake.settings();
    for path in ["", "/v2.1/", "/v2.1/p1"] {
        settings.endpoints.compute = settings.auth_url.join(path).ok();
        let cloud = Cloud::connect(&settings).await.unwrap();
        cloud.compute_service(&host("c1")).await.unwrap();
    }
    assert_eq!(fake.seen("GET", "/v2.1/os-services").len(), 3);
}

#[tokio::test]
async fn a_token_goes_to_no_other_place() {
    let other = Fake::new("2.104", |_| None).await;
    let there = format!("http://{}/v2.1/os-aggregates", other.address);
    let fake = Fake::new("2.104", move |seen| {
        seen.path
            .contains("os-aggregates")
            .then(|| Reply::Headed(302, vec![("location", there.clone())], Vec::new()))
    })
    .await;
    let error = connect(&fake).await.aggregates().await.unwrap_err();
    assert!(error.to_string().contains("not followed"), "{error}");
    assert!(other.all().is_empty());
}

fn pki(folder: &Path, words: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/rig/pki");
    let mut command = Command::new(script);
    command.arg(folder).args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    assert!(output.status.success(), "apt install openssl? {}", String::from_utf8_lossy(&output.stderr));
}

fn server_config(folder: &Path, name: &str, clients: bool) -> rustls::ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if clients {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let chain = vec![CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
    builder.with_single_cert(chain, key).unwrap()
}

#[tokio::test]
async fn certificates_of_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    pki(at, &["authority", "ca"]);
    pki(at, &["issue", "ca", "nova", "subjectAltName=DNS:localhost"]);
    pki(at, &["issue", "ca", "us"]);
    pki(at, &["authority", "other"]);
    let fake = Fake::tls(server_config(at, "nova", true)).await;
    let mut settings = fake.settings();

    let unknown = Cloud::connect(&settings).await.unwrap_err();
    assert_eq!(unknown.fate(), Fate::NotSent);
    let unknown = unknown.to_string();
    assert!(unknown.contains("see cafile") && unknown.contains("localhost"), "{unknown}");

    settings.tls.ca = Some(at.join("other.pem"));
    assert_eq!(Cloud::connect(&settings).await.unwrap_err().fate(), Fate::NotSent);

    settings.tls.ca = Some(at.join("ca.pem"));
    let wants = Cloud::connect(&settings).await.unwrap_err().to_string();
    assert!(wants.contains("see certfile and keyfile"), "{wants}");

    let plain = Fake::new("2.104", |_| None).await;
    let address = plain.settings().auth_url.as_str().replace("http:", "https:");
    let mistaken = Settings { auth_url: Url::parse(&address).unwrap(), ..settings.clone() };
    let mistaken = Cloud::connect(&mistaken).await.unwrap_err();
    assert_eq!(mistaken.fate(), Fate::NotSent);
    assert!(mistaken.to_string().contains("http instead of https"), "{mistaken}");

    settings.tls.certificate = Some(at.join("us.pem"));
    settings.tls.key = Some(at.join("us.key"));
    let cloud = Cloud::connect(&settings).await.unwrap();
    let texts: Vec<String> = cloud.check().await.into_iter().map(|finding| finding.text).collect();
    for part in ["Nova's certificate is good until", "our certificate"] {
        assert!(texts.iter().any(|text| text.contains(part)), "{texts:?}");
    }

    settings.tls.ca = None;
    settings.tls.insecure = true;
    Cloud::connect(&settings).await.unwrap();
    assert!(settings.warnings()[0].contains("insecure"));

    settings.tls.certificate = Some(at.join("us.key"));
    let error = Cloud::connect(&settings).await.unwrap_err().to_string();
    assert!(error.contains("us.key") && error.contains("no certificate"), "{error}");
    settings.tls.certificate = Some(at.join("us.pem"));
    settings.tls.key = Some(at.join("nova.key"));
    let error = Cloud::connect(&settings).await.unwrap_err().to_string();
    assert!(error.contains("nova.key") && error.contains("does not go with"), "{error}");
}

#[tokio::test]
async fn an_expired_certificate_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    pki(at, &["authority", "ca"]);
    let ended =
        ["issue", "ca", "nova", "from=20200101000000Z", "to=20210101000000Z", "subjectAltName=DNS:localhost"];
    pki(at, &ended);
    let fake = Fake::tls(server_config(at, "nova", false)).await;
    let mut settings = fake.settings();
    settings.tls.ca = Some(at.join("ca.pem"));
    let error = Cloud::connect(&settings).await.unwrap_err().to_string();
    assert!(error.contains("its certificate has expired") && !error.contains('\n'), "{error}");
}
