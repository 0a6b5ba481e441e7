//! What is packaged beside the program fits it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libvirt_probe::config::Config;

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(packaging(file)).unwrap_or_default()
}

#[allow(clippy::disallowed_methods, reason = "ends at once")]
fn probe(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_libvirt-probe")).args(words).stdin(Stdio::null()).output().unwrap()
}

fn said(words: &[&str]) -> String {
    let output = probe(words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The example without the `# ` in front of its lines.
fn example() -> String {
    let text = read("probes/probes.toml");
    text.lines().map(|line| line.strip_prefix("# ").unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The names that a table may have, from the complaint about one that it may not.
fn names(table: &str) -> BTreeSet<String> {
    let head = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
    let error = Config::parse(&format!("{head}there-is-no-such-setting = 1\n")).unwrap_err().to_string();
    let list = error.split("; there are: ").nth(1).unwrap_or_else(|| panic!("{table}: {error}"));
    list.split(", ").map(str::to_owned).collect()
}

#[test]
fn the_example_has_the_defaults_and_changes_nothing() {
    assert_eq!(Config::parse(&read("probes/probes.toml")), Ok(Config::default()));
    // The first lines are no settings: they end with an empty line.
    let example = example();
    let (_, settings) = example.split_once("\n\n").unwrap();
    assert_eq!(Config::parse(settings), Ok(Config::default()));
}

/// Every setting that there is, is in the example and in the manual.
#[test]
fn every_setting_is_documented() {
    let example = example();
    let (_, settings) = example.split_once("\n\n").unwrap();
    let manual = read("man/pcmk-remote-probes.5").replace('\\', "");
    let tables: Vec<&str> =
        settings.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']')).collect();
    assert!(tables.len() > 10, "{tables:?}");
    let mut missing = Vec::new();
    for table in std::iter::once("").chain(tables.iter().copied()) {
        let begin = if table.is_empty() { 0 } else { settings.find(&format!("[{table}]\n")).unwrap() + 1 };
        let part = &settings[begin..];
        let part = part.split("\n[").next().unwrap();
        for name in names(table) {
            let full = if table.is_empty() { name.clone() } else { format!("{table}.{name}") };
            let set = part.lines().any(|line| {
                line.trim_start_matches("# ").strip_prefix(&*name).is_some_and(|rest| rest.starts_with(" ="))
            });
            let below = tables.iter().any(|it| *it == full || it.starts_with(&format!("{full}.")));
            if !set && !below {
                missing.push(format!("{full} is not in the example"));
            }
            if table.starts_with("host.") || table == "nova-compute.limits" {
                continue; // there the manual points to the example
            }
            if !manual.to_lowercase().contains(&name) {
                missing.push(format!("{full} is not in the manual"));
            }
        }
    }
    // Of the host, there are only tables.
    assert_eq!(names("host").len(), 6);
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn completions_are_those_of_the_program() {
    for (shell, file) in
        [("bash", "libvirt-probe.bash"), ("zsh", "_libvirt-probe"), ("fish", "libvirt-probe.fish")]
    {
        assert!(
            said(&["completions", shell]) == read(&format!("completions/{file}")),
            "packaging/completions/{file} is not what the program prints: libvirt-probe completions {shell}"
        );
    }
}

/// What bash offers for the last of these words.
#[allow(clippy::disallowed_methods, reason = "ends at once")]
fn bash_offers(words: &[&str]) -> String {
    let script = "source \"$1\"; COMP_WORDS=(\"${@:2}\"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
                  _libvirt__probe \"$2\" \"${@: -1}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"; echo \"${COMPREPLY[*]}\"";
    let output = Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(packaging("completions/libvirt-probe.bash"))
        .args(words)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn bash_completes_commands_options_and_subjects() {
    assert_eq!(bash_offers(&["libvirt-probe", "expl"]), "explain");
    assert_eq!(bash_offers(&["libvirt-probe", "check", "--dead"]), "--deadline");
    assert_eq!(bash_offers(&["libvirt-probe", "check", "nova"]), "nova-compute");
}

#[test]
fn the_manual_knows_every_command_and_option() {
    let manual = read("man/libvirt-probe.1").replace('\\', "");
    let mut wanted = BTreeSet::new();
    let commands = said(&["--help"]);
    let commands = commands.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<_> = commands
        .map_while(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .filter(|command| *command != "help")
        .map(str::to_owned)
        .collect();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        let help = said(&[&command, "--help"]);
        let options = help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 3);
        wanted.extend(options.map(|word| word.trim_matches([',', '.', '[', ']']).to_owned()));
        wanted.insert(command);
    }
    let missing: Vec<_> = wanted.iter().filter(|word| !manual.contains(word.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
