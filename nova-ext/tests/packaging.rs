//! What is packaged beside the programs fits them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nova_ext::cloud::{Environment, Settings, Source};
use nova_ext::config::Config;
use nova_ext::policy::{Mode, Policy};
use nova_ext::power::Map;

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(packaging(file)).unwrap_or_else(|error| panic!("packaging/{file}: {error}"))
}

/// A sample with its settings in force. Its first lines are no settings: they end with an empty line.
fn settings(file: &str) -> String {
    let text = read(file);
    let (_, settings) = text.split_once("\n\n").unwrap();
    settings.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// With those of its comments in force that are settings.
fn in_force(text: &str) -> String {
    let is_setting = |line: &&str| {
        let name = line.split(" = ").next().unwrap_or_default();
        line.contains(" = ") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let line = |line: &str| line.strip_prefix("# ").filter(is_setting).unwrap_or(line).to_owned();
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Writes a file of mode 0600.
fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// A sample of secrets with the files that it names: everything in a folder of its own.
fn with_files(sample: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let folder = format!("{}/", dir.path().display());
    for name in ["bmc.password", "pdu.password", "cloud.secret", "cloud.password"] {
        private(&dir.path().join(name), "secret\n");
    }
    let path = dir.path().join("sample.toml");
    private(&path, &sample.replace("/etc/pcmk-remote/", &folder));
    (dir, path)
}

#[test]
fn the_configuration_has_the_defaults_and_changes_nothing() {
    assert_eq!(Config::parse(&read("nova-ha/nova-ha.toml")), Ok(Config::default()));
    let config = Config::parse(&settings("nova-ha/nova-ha.toml")).unwrap();
    let default = Config::default();
    assert_eq!(
        (&config.files, &config.fence, &config.hooks, &config.comeback),
        (&default.files, &default.fence, &default.hooks, &default.comeback)
    );
    assert_eq!(config.hosts.len(), 1);
    assert_eq!(config.cloud, Some(Source::File("/etc/pcmk-remote/cloud.toml".into())));
    assert!(config.engine.metrics.is_some());

    // The other sources of credentials, one at a time.
    for other in ["clouds", "conf"] {
        let line = settings("nova-ha/nova-ha.toml");
        let line = line.lines().find_map(|line| line.strip_prefix("# ").filter(|it| it.starts_with(other)));
        Config::parse(&format!("[cloud]\n{}\n", line.unwrap())).unwrap();
    }
    let all = in_force(&settings("nova-ha/nova-ha.toml"));
    let all: Vec<_> =
        all.lines().filter(|line| !line.starts_with("clouds =") && !line.starts_with("conf =")).collect();
    let config = Config::parse(&all.join("\n")).unwrap();
    assert!(config.comeback.canary.is_some() && config.comeback.attribute.is_some());
}

#[test]
fn the_policy_has_the_defaults_and_wants_its_mode_stated() {
    let error = Policy::parse(&read("nova-ha/nova-policy.toml")).unwrap_err().to_string();
    assert!(error.contains("mode must be stated"), "{error}");
    let mut policy = Policy::parse(&settings("nova-ha/nova-policy.toml")).unwrap();
    assert_eq!(policy.groups.len(), 2);
    policy.groups.clear();
    assert_eq!(policy, Policy::of(Mode::OptIn));
    let policy = Policy::parse(&in_force(&settings("nova-ha/nova-policy.toml"))).unwrap();
    assert!(!policy.projects.leave.is_empty() && !policy.leave_out.amphora_images.is_empty());
}

/// Every setting that there is, is in the samples.
#[test]
fn every_setting_is_in_a_sample() {
    let unknown = "there_is_no_such_setting";
    let mut missing = Vec::new();
    let mut look = |file: &str, table: &str, known: Vec<String>| {
        assert!(!known.is_empty(), "{file} [{table}]");
        let sample = in_force(&settings(file));
        let text = format!("\n{sample}");
        let mut parts = text.split("\n[").skip(1);
        let below = parts
            .find(|part| part.starts_with(&format!("{table}]")) || part.starts_with(&format!("[{table}]")));
        let part = if table.is_empty() { sample.split("\n[").next() } else { below };
        for name in known {
            let is_table = ["", "["].iter().any(|more| sample.contains(&format!("\n{more}[{name}]")));
            let set =
                part.is_some_and(|part| part.lines().any(|line| line.starts_with(&format!("{name} = "))));
            if !(set || table.is_empty() && is_table) {
                missing.push(format!("{file}: {table}.{name}"));
            }
        }
    };
    for table in ["files", "fence", "hooks", "return", "engine", "events"] {
        let error = Config::parse(&format!("[{table}]\n{unknown} = 1\n")).unwrap_err().to_string();
        let known = error.split("; there are: ").nth(1).unwrap_or_else(|| panic!("{error}"));
        look("nova-ha/nova-ha.toml", table, known.split(", ").map(str::to_owned).collect());
    }
    for table in ["", "names", "storage", "leave_out", "projects", "limits", "start", "patience", "gates"] {
        let head = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
        let error = Policy::parse(&format!("mode = \"all\"\n{head}{unknown} = 1\n")).unwrap_err().to_string();
        let known = error.split('`').skip(3).step_by(2).map(str::to_owned);
        look("nova-ha/nova-policy.toml", table, known.collect());
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_map_of_power_devices_is_one() {
    let (_dir, path) = with_files(&read("nova-ha/power.toml"));
    assert_eq!(Map::load(&path).unwrap().hosts().count(), 0);
    let (dir, path) = with_files(&settings("nova-ha/power.toml"));
    // A device is made with the authority's certificate at hand.
    fs::copy(authority(), dir.path().join("bmc-ca.pem")).unwrap();
    let map = Map::load(&path).unwrap();
    let hosts: Vec<_> = map.hosts().map(|(host, _)| host.clone()).collect();
    assert_eq!(hosts.len(), 3);
    for host in hosts.iter().filter(|host| host.as_str() != "compute-3") {
        map.own_device(host).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Any certificate of an authority: the first of the system's.
fn authority() -> PathBuf {
    let folder = fs::read_dir("/etc/ssl/certs").expect("no /etc/ssl/certs: apt-get install ca-certificates");
    let mut files = folder.flatten().map(|entry| entry.path());
    files
        .find(|path| path.extension().is_some_and(|it| it == "pem"))
        .expect("apt-get install ca-certificates")
}

#[test]
fn the_credentials_are_some() {
    let load = |text: &str| {
        let (_dir, path) = with_files(text);
        Settings::load(&Source::File(path), &Environment::default())
    };
    load(&read("nova-ha/cloud.toml")).unwrap();
    // With everything in force but the other way to log in.
    let all = in_force(&read("nova-ha/cloud.toml"));
    let without = |names: [&str; 2]| {
        let keep = |line: &&str| !names.iter().any(|name| line.starts_with(name));
        all.lines().filter(keep).collect::<Vec<_>>().join("\n")
    };
    load(&without(["username", "password"])).unwrap();
    load(&without(["application_credential_id", "application_credential_secret"])).unwrap();
}

#[allow(clippy::disallowed_methods, reason = "ends at once")]
fn nova_ha(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nova-ha")).args(words).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn completions_are_those_of_the_program() {
    for (shell, file) in [("bash", "nova-ha.bash"), ("zsh", "_nova-ha"), ("fish", "nova-ha.fish")] {
        let output = nova_ha(&["completions", shell]);
        assert!(
            output.status.success() && output.stdout == read(&format!("completions/{file}")).into_bytes(),
            "packaging/completions/{file} is not what the program prints: nova-ha completions {shell}"
        );
    }
}

/// The long options of the fence agent, as its metadata name them.
fn options_of_the_agent() -> BTreeSet<String> {
    let metadata = nova_ext::fence::metadata();
    let options = metadata.split("<getopt mixed=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let long = options.filter_map(|text| text.split("--").nth(1));
    long.filter_map(|name| name.split('=').next()).map(str::to_owned).collect()
}

#[test]
fn completions_of_the_agent_have_all_its_options() {
    let options = options_of_the_agent();
    assert!(options.len() > 30, "{options:?}");
    for (file, begin) in [("fence_nova.bash", "--"), ("_fence_nova", "--"), ("fence_nova.fish", "-l ")] {
        let text = read(&format!("completions/{file}"));
        let words: BTreeSet<&str> =
            text.split(|c: char| c.is_whitespace() || "'\"=[{},".contains(c)).collect();
        let has = |option: &&String| match begin {
            "--" => words.contains(format!("--{option}").as_str()),
            _ => text.contains(&format!("-l {option} ")),
        };
        let missing: Vec<_> = options.iter().filter(|option| !has(option)).collect();
        assert!(missing.is_empty(), "packaging/completions/{file} lacks {missing:?}");
    }
}

/// Names of series that there can be.
fn metrics() -> BTreeSet<String> {
    let text = nova_ext::engine::metrics::text(&nova_ext::engine::run::Status::default(), &[]);
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .flat_map(|line| {
            let (name, kind) = line.split_once(' ').unwrap_or((line, ""));
            let ends: &[&str] = match kind {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            ends.iter().map(|end| format!("{name}{end}")).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn dashboards_and_alerts_name_metrics_that_exist() {
    let known = metrics();
    for (file, least) in [("grafana/nova-ha.json", 10), ("prometheus/nova-ha.rules.yml", 6)] {
        let text = read(file);
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let named: BTreeSet<String> =
            words.filter(|word| word.starts_with("nova_ha_")).map(str::to_owned).collect();
        assert!(named.len() > least, "{file}: {named:?}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana/nova-ha.json")).unwrap();
    assert_eq!(dashboard["uid"], "nova-ha");
}

#[test]
fn alerts_are_whole() {
    let text = read("prometheus/nova-ha.rules.yml");
    let document = &yaml_rust2::YamlLoader::load_from_str(&text).unwrap()[0];
    let rules = document["groups"][0]["rules"].as_vec().unwrap();
    assert!(rules.len() > 8);
    for rule in rules {
        let length = |value: &yaml_rust2::Yaml| value.as_str().map(str::len);
        let fields = [
            length(&rule["alert"]),
            length(&rule["expr"]),
            length(&rule["annotations"]["summary"]),
            length(&rule["annotations"]["description"]),
        ];
        assert!(fields.iter().all(|length| *length > Some(5)), "{rule:?}");
        assert!(matches!(rule["labels"]["severity"].as_str(), Some("warning" | "critical")), "{rule:?}");
    }
}
