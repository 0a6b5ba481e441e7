//! Each source, what it lacks, and what it must not do.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, mode: u32, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn own(&self, text: &str) -> Result<Settings, String> {
        let path = self.write("cloud.toml", 0o600, text);
        load(&Source::of_file(&path, None))
    }

    fn clouds(&self, mode: u32, text: &str, cloud: Option<&str>) -> Result<Settings, String> {
        let path = self.write("clouds.yaml", mode, text);
        load(&Source::of_file(&path, cloud))
    }

    fn conf(&self, mode: u32, text: &str, section: Option<&str>) -> Result<Settings, String> {
        let path = self.write("nova.conf", mode, text);
        load(&Source::of_file(&path, section))
    }
}

fn load(source: &Source) -> Result<Settings, String> {
    Settings::load(source, &Environment::default()).map_err(|error| error.to_string())
}

fn discover(environment: &Environment) -> Result<Settings, SettingsError> {
    Settings::discover_beside(Path::new("/does/not/exist/cloud.toml"), environment)
}

fn password_of(settings: &Settings) -> &str {
    match &settings.auth {
        Auth::Password { password, .. } => password.expose(),
        Auth::ApplicationCredential { secret, .. } => secret.expose(),
    }
}

const OWN: &str = r#"
auth_url = "https://keystone.example.org:5000/v3"
username = "nova-ha"
password = "s3cret#1"
project_name = "service"
user_domain_name = "Default"
region_name = "one"
interface = "internal"
cafile = "/etc/ssl/cloud.pem"
compute_api_version = "2.95"
request_timeout = 10
connect_timeout = "2s"
"#;

#[test]
fn our_own_file() {
    let files = Files::new();
    let settings = files.own(OWN).unwrap();
    assert_eq!(settings.auth_url.as_str(), "https://keystone.example.org:5000/v3");
    let named = |name: &str, domain| Named::Name { name: name.into(), domain };
    let expected = Auth::Password {
        user: named("nova-ha", Domain::Name("Default".into())),
        password: Secret::new("s3cret#1".into()),
        project: named("service", Domain::Id("default".into())),
    };
    assert_eq!(settings.auth, expected);
    assert_eq!(settings.region.as_deref(), Some("one"));
    assert_eq!(settings.interfaces, [Interface::Internal]);
    assert_eq!(settings.tls.ca.as_deref(), Some(Path::new("/etc/ssl/cloud.pem")));
    assert_eq!(settings.microversion, Some(Microversion::new(2, 95)));
    assert_eq!((settings.limits.request.as_secs(), settings.limits.connect.as_secs()), (10, 2));
    assert!(settings.warnings().is_empty());
}

#[test]
fn what_is_missing_and_where() {
    let files = Files::new();
    for (left_out, named) in [
        ("auth_url", "auth_url is missing"),
        ("username", "username or user_id"),
        ("password", "password is missing"),
        ("project_name", "project_name or project_id"),
    ] {
        let text: String = OWN
            .lines()
            .filter(|line| !line.starts_with(left_out))
            .fold(String::new(), |all, line| all + line + "\n");
        let error = files.own(&text).unwrap_err();
        assert!(error.contains("cloud.toml") && error.contains(named), "{error}");
    }
    let error = Settings::load(
        &Source::Environment,
        &environment(&[("OS_AUTH_URL", "http://k"), ("OS_USERNAME", "u")]),
    );
    assert_eq!(error.unwrap_err().to_string(), "the environment (OS_*): OS_PASSWORD is missing");
}

#[test]
fn what_cannot_be() {
    let files = Files::new();
    let with = |line: &str| {
        let name = line.split(' ').next().unwrap();
        let rest: String = OWN
            .lines()
            .filter(|line| !line.starts_with(name))
            .fold(String::new(), |all, line| all + line + "\n");
        files.own(&format!("{rest}{line}\n")).unwrap_err()
    };
    for (line, part) in [
        ("auth_url = \"keystone:5000\"", "auth_url"),
        ("auth_url = \"https://u:p@keystone\"", "no place for a password"),
        ("auth_type = \"v3token\"", "cannot be renewed"),
        ("interface = \"outernal\"", "no interface"),
        ("insecure = \"perhaps\"", "neither true nor false"),
        ("compute_api_version = 2.100", "write it as text"),
        ("compute_api_version = \"2,95\"", "not a microversion"),
        ("request_timeout = \"never\"", "not a time"),
        ("request_timeout = 0", "not a time"),
        ("usrname = \"x\"", "did you mean username"),
        ("keyfile = \"/x\"", "certfile is missing"),
        ("system_scope = \"all\"", "system scope"),
    ] {
        let error = with(line);
        assert!(error.contains(part) && error.contains("cloud.toml"), "{line}: {error}");
        assert!(!error.contains('\n') && !error.contains("s3cret"), "{error}");
    }
    let error = files.own("password = \"s3cret\nauth_url = 1").unwrap_err();
    assert!(error.contains("not TOML in line 1") && !error.contains("s3cret"), "{error}");
}

#[test]
fn a_file_that_others_can_read() {
    let files = Files::new();
    let path = files.write("cloud.toml", 0o640, OWN);
    assert!(load(&Source::File(path)).unwrap_err().contains("chmod 600"));
    let error = load(&Source::File("/does/not/exist.toml".into())).unwrap_err();
    assert!(error.contains("/does/not/exist.toml"), "{error}");
}

#[test]
fn a_password_in_a_file_of_its_own() {
    let files = Files::new();
    let secret = files.write("password", 0o600, "from-a-file\n");
    let text = OWN
        .replace("password = \"s3cret#1\"", &format!("password_file = {:?}", secret.display().to_string()));
    assert_eq!(password_of(&files.own(&text).unwrap()), "from-a-file");
    files.write("password", 0o644, "from-a-file\n");
    assert!(files.own(&text).unwrap_err().contains("mode 0644"));
}

const CLOUDS: &str = "
clouds:
  prod:
    auth:
      auth_url: https://keystone.example.org:5000
      username: nova-ha
      password: 'p: #1'
      project_name: service
      user_domain_name: Default
      project_domain_id: pd
    region_name: one
    interface: internal
    cacert: /etc/ssl/cloud.pem
    cert: /etc/ssl/us.pem
    key: /etc/ssl/us.key
    compute_api_version: '2'
  lab:
    auth_type: v3applicationcredential
    auth:
      auth_url: http://127.0.0.1:5000/v3
      application_credential_id: abc
      application_credential_secret: xyz
    verify: false
    compute_default_microversion: 2.100
";

#[test]
fn clouds_yaml() {
    let files = Files::new();
    let prod = files.clouds(0o600, CLOUDS, Some("prod")).unwrap();
    assert_eq!(password_of(&prod), "p: #1");
    assert_eq!(
        (prod.region.as_deref(), prod.interfaces.as_slice()),
        (Some("one"), &[Interface::Internal][..])
    );
    assert_eq!(prod.tls.key.as_deref(), Some(Path::new("/etc/ssl/us.key")));
    assert_eq!(prod.microversion, None, "2 means nothing in particular");
    let lab = files.clouds(0o600, CLOUDS, Some("lab")).unwrap();
    assert!(
        matches!(&lab.auth, Auth::ApplicationCredential { credential: Credential::Id(id), .. } if id == "abc")
    );
    assert!(lab.tls.insecure);
    assert_eq!(lab.warnings().len(), 1);
    assert_eq!(lab.microversion, Some(Microversion::new(2, 100)));
}

#[test]
fn which_cloud_and_which_file() {
    let files = Files::new();
    let error = files.clouds(0o600, CLOUDS, None).unwrap_err();
    assert!(error.contains("prod, lab") && error.contains("OS_CLOUD"), "{error}");
    let error = files.clouds(0o600, CLOUDS, Some("pord")).unwrap_err();
    assert!(error.contains("no cloud \"pord\"") && error.contains("prod"), "{error}");

    let path = files.write("clouds.yaml", 0o600, CLOUDS);
    let by_name = environment(&[("OS_CLOUD", "lab"), ("OS_CLIENT_CONFIG_FILE", path.to_str().unwrap())]);
    let lab = discover(&by_name).unwrap();
    assert!(lab.origin.contains("lab") && lab.origin.contains("clouds.yaml"), "{}", lab.origin);

    let home = environment(&[("HOME", "/home/ha")]);
    let places = clouds::places(&home);
    assert_eq!(places.first(), Some(&PathBuf::from("/home/ha/.config/openstack/clouds.yaml")));
    assert!(places.contains(&PathBuf::from("/etc/openstack/clouds.yaml")));
    let folder = files.0.path().join("openstack");
    fs::create_dir(&folder).unwrap();
    fs::copy(&path, folder.join("clouds.yaml")).unwrap();
    let config = environment(&[("XDG_CONFIG_HOME", files.0.path().to_str().unwrap()), ("OS_CLOUD", "prod")]);
    assert_eq!(password_of(&discover(&config).unwrap()), "p: #1");
}

#[test]
fn secrets_may_stand_in_secure_yaml() {
    let files = Files::new();
    let open: String = CLOUDS
        .lines()
        .filter(|line| !line.contains("password:"))
        .fold(String::new(), |all, line| all + line + "\n");
    let error = files.clouds(0o644, &open, Some("prod")).unwrap_err();
    assert!(error.contains("auth.password is missing"), "{error}");
    files.write("secure.yaml", 0o600, "clouds:\n  prod:\n    auth: {password: kept}\n");
    assert_eq!(password_of(&files.clouds(0o644, &open, Some("prod")).unwrap()), "kept");
    files.write("secure.yaml", 0o604, "clouds:\n  prod:\n    auth: {password: kept}\n");
    assert!(files.clouds(0o644, &open, Some("prod")).unwrap_err().contains("secure.yaml holds a secret"));
    let error = files.clouds(0o644, CLOUDS, Some("prod")).unwrap_err();
    assert!(error.contains("everybody can read it") && error.contains("clouds.yaml"), "{error}");
}

#[test]
fn yaml_that_is_none_or_too_much() {
    let files = Files::new();
    for (text, part) in [
        ("", "empty"),
        ("cloud: {}", "no part \"clouds\""),
        ("clouds: [a, b]", "no part \"clouds\""),
        ("clouds:\n  a: 1", "no cloud"),
        ("clouds:\n  a:\n   b: [\n c: {", "not YAML, at line"),
        ("clouds:\n  a:\n    auth: x", "auth is no mapping"),
        ("clouds:\n  a:\n    profile: x", "profile is not looked up"),
        ("clouds:\n  a:\n    auth: {auth_url: [x]}", "auth_url is not a text"),
    ] {
        let error = files.clouds(0o600, text, Some("a")).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
    let deep = "[".repeat(100_000);
    assert!(files.clouds(0o600, &deep, Some("a")).unwrap_err().contains("brackets"));
    let many = format!("x: &x 1\ny: [{}]\n", "*x, ".repeat(100));
    assert!(files.clouds(0o600, &many, Some("a")).unwrap_err().contains("repeated"));
}

#[test]
fn the_environment() {
    let settings = discover(&environment(&[
        ("OS_AUTH_URL", "http://k.example.org/identity"),
        ("OS_USERNAME", "admin"),
        ("OS_PASSWORD", "pw"),
        ("OS_TENANT_NAME", "admin"),
        ("OS_DEFAULT_DOMAIN", "dom"),
        ("OS_ENDPOINT_TYPE", "adminURL"),
        ("OS_REGION_NAME", ""),
        ("OS_INSECURE", "true"),
    ]));
    let settings = settings.unwrap();
    assert_eq!(settings.interfaces, [Interface::Admin]);
    assert_eq!(settings.region, None, "empty is not set");
    assert_eq!(settings.warnings().len(), 2, "insecure, and a password in the clear");
    let Auth::Password { user, .. } = &settings.auth else { panic!("a password") };
    assert_eq!(*user, Named::Name { name: "admin".into(), domain: Domain::Id("dom".into()) });
}

#[test]
fn a_section_of_nova_conf() {
    let files = Files::new();
    let text = r#"
[DEFAULT]
my_ip = 10.0.0.5
debug = true

[service_user]
send_service_user_token = true
auth_section = keystone_authtoken
password = pa$$word\n#1"x
valid_interfaces = internal, public

# commented
[keystone_authtoken]
auth_type = password
auth_url = http://$my_ip:5000
username = "nova"
password = other
user_domain_name = Default
project_name = service
project_domain_name = Default
region_name = one
cafile = /etc/ssl/cloud.pem
insecure = False
"#;
    let settings = files.conf(0o640, text, None).unwrap();
    assert_eq!(settings.auth_url.as_str(), "http://10.0.0.5:5000/");
    assert_eq!(password_of(&settings), "pa$word\\n#1\"x");
    assert_eq!(settings.interfaces, [Interface::Internal, Interface::Public]);
    assert!(!settings.tls.insecure);
    assert_eq!(password_of(&files.conf(0o640, text, Some("keystone_authtoken")).unwrap()), "other");
    assert!(files.conf(0o644, text, None).unwrap_err().contains("everybody can read it"));
    let error = files.conf(0o640, text, Some("placement")).unwrap_err();
    assert!(error.contains("no section [placement]"), "{error}");
    let error = files.conf(0o640, &text.replace("my_ip =", "his_ip ="), None).unwrap_err();
    assert!(error.contains("auth_url") && error.contains("my_ip"), "{error}");
    let error = files.conf(0o640, "[service_user]\nauth_url = http://k\n", None).unwrap_err();
    assert!(error.contains("[service_user] of") && error.contains("username"), "{error}");
}

#[test]
fn a_source_is_kept_in_a_configuration() {
    for source in [
        Source::File("/etc/x.toml".into()),
        Source::Clouds { file: None, cloud: Some("prod".into()) },
        Source::Environment,
        Source::Conf { file: "/etc/nova/nova.conf".into(), section: "service_user".into() },
    ] {
        let text = serde_json::to_string(&source).unwrap();
        assert_eq!(serde_json::from_str::<Source>(&text).unwrap(), source, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_file_panics(text in "[\\[\\]{}a-z:=\"'$&*#\\\\ \n-]{0,200}|\\PC{0,100}") {
        let files = Files::new();
        let _ = files.own(&text);
        let _ = files.clouds(0o600, &text, Some("a"));
        let _ = files.clouds(0o600, &format!("clouds:\n  a:\n    auth: {text}\n"), Some("a"));
        let _ = files.conf(0o600, &format!("[service_user]\n{text}\n"), None);
    }

    #[test]
    fn every_password_survives(password in "[ -~]{1,40}") {
        let files = Files::new();
        let quoted = serde_json::to_string(&password).unwrap();
        let own = files.own(&OWN.replace("\"s3cret#1\"", &quoted)).unwrap();
        prop_assert_eq!(password_of(&own), &password);
        let clouds = files.clouds(0o600, &CLOUDS.replace("'p: #1'", &quoted), Some("prod")).unwrap();
        prop_assert_eq!(password_of(&clouds), &password);
    }
}
