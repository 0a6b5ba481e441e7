//! What is packaged beside the programs fits them.

use std::collections::BTreeSet;
use std::process::Command;

use pcmk_remote::exporter::{Format, render};

use super::exporter::full;
use super::support::*;

/// Names of series that there can be.
fn metrics() -> BTreeSet<String> {
    let text = render(Some(&full()), Format::Text);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let mut names: BTreeSet<String> =
        samples.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect();
    names.insert("pcmk_remote_scrape_duration_seconds".into());
    names
}

fn named_in(text: &str) -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    text.split(word).filter(|word| word.starts_with("pcmk_remote_")).map(str::to_owned).collect()
}

#[test]
fn dashboards_and_alerts_name_metrics_that_exist() {
    let known = metrics();
    for file in ["packaging/grafana/pcmk-remote.json", "packaging/prometheus/pcmk-remote.rules.yml"] {
        let text = std::fs::read_to_string(top().join(file)).unwrap();
        let named = named_in(&text);
        assert!(named.len() > 8, "{file}: {named:?}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
    let dashboard = std::fs::read_to_string(top().join("packaging/grafana/pcmk-remote.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert_eq!(dashboard["uid"], "pcmk-remote");
}

#[test]
fn alerts_are_whole() {
    let text = std::fs::read_to_string(top().join("packaging/prometheus/pcmk-remote.rules.yml")).unwrap();
    let document = &yaml_rust2::YamlLoader::load_from_str(&text).unwrap()[0];
    let rules = document["groups"][0]["rules"].as_vec().unwrap();
    assert!(rules.len() > 8);
    for rule in rules {
        let field = |value: &yaml_rust2::Yaml| value.as_str().map(str::len);
        let fields = [
            field(&rule["alert"]),
            field(&rule["expr"]),
            field(&rule["annotations"]["summary"]),
            field(&rule["annotations"]["description"]),
        ];
        assert!(fields.iter().all(|length| *length > Some(5)), "{rule:?}");
        assert!(matches!(rule["labels"]["severity"].as_str(), Some("warning" | "critical")), "{rule:?}");
    }
}

#[test]
fn completions_are_those_of_the_programs() {
    for (shell, pattern) in [("bash", "{}.bash"), ("zsh", "_{}"), ("fish", "{}.fish")] {
        let exporter = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_pcmk-remote-exporter"));
            say(command.args(["--completions", shell]))
        };
        for (program, said) in
            [("pcmk-remotectl", ctl(&["completions", shell])), ("pcmk-remote-exporter", exporter())]
        {
            let path = top().join("packaging/completions").join(pattern.replace("{}", program));
            let packaged = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                said.code == 0 && said.out == packaged,
                "{} is not what {program} prints: make it anew (pcmk-remotectl completions {shell}, \
                 pcmk-remote-exporter --completions {shell})",
                path.display()
            );
        }
    }
}

/// What bash offers for the last of these words.
fn bash_offers(words: &[&str]) -> String {
    let script = "source \"$1\"; COMP_WORDS=(\"${@:2}\"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
                  _pcmk__remotectl \"$2\" \"${@: -1}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"; echo \"${COMPREPLY[*]}\"";
    let said = say(Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(top().join("packaging/completions/pcmk-remotectl.bash"))
        .args(words));
    said.out.trim().to_owned()
}

#[test]
fn bash_completes_commands_and_what_belongs_to_them() {
    assert_eq!(bash_offers(&["pcmk-remotectl", "hist"]), "history");
    assert_eq!(bash_offers(&["pcmk-remotectl", "history", "--la"]), "--last");
    assert_eq!(bash_offers(&["pcmk-remotectl", "tls-check", "--ca"]), "--ca-file");
    assert_eq!(bash_offers(&["pcmk-remotectl", "decode", "--format", "pc"]), "pcap");
}

/// Long options and subcommands of a help text.
fn offered(help: &str) -> BTreeSet<String> {
    let options = help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 3);
    options.map(|word| word.trim_matches([',', '.', '[', ']']).to_owned()).collect()
}

#[test]
fn man_pages_know_every_command_and_option() {
    let commands =
        ["status", "ops", "history", "drain", "tls-check", "validate-config", "decode", "completions"];
    let mut wanted: BTreeSet<String> = commands.iter().map(|command| (*command).to_owned()).collect();
    for command in commands {
        let said = ctl(&[command, "--help"]);
        assert_eq!(said.code, 0, "{said:?}");
        wanted.extend(offered(&said.out));
    }
    let help = say(Command::new(env!("CARGO_BIN_EXE_pcmk-remote-exporter")).arg("--help")).out;
    for (page, wanted) in [("pcmk-remotectl.8", wanted), ("pcmk-remote-exporter.8", offered(&help))] {
        let text = std::fs::read_to_string(top().join("packaging/man").join(page)).unwrap().replace('\\', "");
        let missing: Vec<_> = wanted.iter().filter(|word| !text.contains(word.as_str())).collect();
        assert!(missing.is_empty(), "{page} does not know {missing:?}");
    }
}
