//! What is in the packages beside the programs: manuals, completions, units.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pcmk_interop::error::Context;
use pcmk_interop::wait::secs;
use pcmk_interop::{Result, World, fail, run};

use super::machine::Files;

/// Every option and command that a program's help names is in its manual and in the completions of all shells.
pub(crate) fn options_are_documented(world: &World, files: &Files) -> Result<()> {
    let tree = unpacked(world, files, "options")?;
    let mut lacking = Vec::new();
    let programs = programs(&tree)?;
    for program in &programs {
        let name = file_name(program);
        let help = run::host(&[&program.display().to_string(), "--help"])?;
        let mut words = words(&help, |word| word.starts_with("--"));
        for command in commands(&help) {
            let help = run::host(&[&program.display().to_string(), &command, "--help"])?;
            words.extend(self::words(&help, |word| word.starts_with("--")));
            words.insert(command);
        }
        for (what, text) in [
            ("its manual", manual(&tree, &name)?),
            ("bash", read(&tree, &format!("usr/share/bash-completion/completions/{name}"))?),
            ("zsh", read(&tree, &format!("usr/share/zsh/vendor-completions/_{name}"))?),
            ("fish", read(&tree, &format!("usr/share/fish/vendor_completions.d/{name}.fish"))?),
        ] {
            for word in &words {
                // fish names an option without its dashes.
                let known = text.contains(word.as_str())
                    || (what == "fish" && text.contains(&format!("-l {}", word.trim_start_matches('-'))));
                if !known {
                    lacking.push(format!("{word} of {name} is not in {what}"));
                }
            }
        }
    }
    if programs.is_empty() || !lacking.is_empty() {
        return fail(format!("{} programs: {}", programs.len(), lacking.join(", ")));
    }
    Ok(())
}

/// The manuals are clean for groff and mandoc, and there is one for every program, unit and name of old.
pub(crate) fn manuals_are_clean(world: &World, files: &Files) -> Result<()> {
    let tree = unpacked(world, files, "manuals")?;
    let pages: Vec<_> = find(&tree.join("usr/share/man"))?;
    for page in &pages {
        let page = page.display().to_string();
        let words = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", &page];
        let mut groff = run::command(&words);
        groff.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80");
        let said = run::run(groff, "", secs(30)).context("man (apt-get install man-db)")?;
        if said.code() != 0 || !said.stderr.trim().is_empty() {
            return fail(format!("{page}: {}", said.stderr));
        }
        // "-W warning": what a page of another system would do differently is only style.
        let text = run::host(&["zcat", &page])?;
        let lint = run::run(run::command(&["mandoc", "-Tlint", "-W", "warning"]), &text, secs(30));
        let said = lint.context("mandoc (apt-get install mandoc)")?;
        if said.code() != 0 {
            return fail(format!("{page}: {}", said.stdout));
        }
    }
    if pages.len() < 2 {
        return fail(format!("only these manuals were found: {pages:?}"));
    }
    Ok(())
}

/// The fence agent's metadata are valid for the schema that fence agents have.
pub(crate) fn fence_agent_fits_the_schema(world: &World, files: &Files) -> Result<()> {
    const SCHEMA: &str = "/usr/share/cluster/relaxng/metadata.rng";
    let tree = unpacked(world, files, "schema")?;
    if !Path::new(SCHEMA).exists() {
        return fail(format!("{SCHEMA} is missing (apt-get install fence-agents)"));
    }
    let agent = tree.join("usr/sbin/fence_nova").display().to_string();
    let metadata = run::host(&[&agent, "-o", "metadata"])?;
    let words = ["xmllint", "--noout", "--relaxng", SCHEMA, "-"];
    let said = run::run(run::command(&words), &metadata, secs(30));
    let said = said.context("xmllint (apt-get install libxml2-utils)")?;
    if said.code() == 0 { Ok(()) } else { fail(said.stderr) }
}

/// systemd accepts the units, and what it finds wrong with them is nothing.
pub(crate) fn units_are_valid(world: &World, files: &Files) -> Result<()> {
    let tree = unpacked(world, files, "units")?;
    let root = format!("--root={}", tree.display());
    // What the units refer to on a whole system.
    for unit in ["dbus.service", "network-online.target", "sysinit.target", "basic.target", "shutdown.target"]
    {
        let path = tree.join("usr/lib/systemd/system").join(unit);
        let body = if unit.ends_with(".service") { "[Service]\nExecStart=/bin/true\n" } else { "[Unit]\n" };
        fs::write(path, body)?;
    }
    for program in ["bin/true", "usr/bin/man"] {
        let path = tree.join(program);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::copy("/bin/true", path)?;
    }
    for unit in find(&tree.join("usr/lib/systemd/system"))? {
        let name = file_name(&unit);
        if !["pacemaker", "pcmk", "nova-ha"].iter().any(|ours| name.starts_with(ours)) {
            continue;
        }
        let words = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", &root, &name];
        let said = run::run(run::command(&words), "", secs(30));
        let said = said.context("systemd-analyze (apt-get install systemd)")?;
        if said.code() != 0 || !said.stderr.trim().is_empty() {
            return fail(format!("{name}: {}", said.stderr));
        }
    }
    let text = read(&tree, "usr/lib/systemd/system/pacemaker_remote.service")?;
    for line in [
        "KillMode=process",
        "SuccessExitStatus=100",
        "TasksMax=infinity",
        "TimeoutStopSec=30min",
        "Alias=pacemaker-remote.service",
    ] {
        if !text.lines().any(|it| it == line) {
            return fail(format!("pacemaker_remote.service lacks {line}"));
        }
    }
    for option in
        ["Protect", "Private", "NoNewPrivileges", "CapabilityBoundingSet", "SystemCallFilter", "Memory"]
    {
        if text.lines().any(|line| line.starts_with(option)) {
            return fail(format!("pacemaker_remote.service has {option}…, which would apply to every agent"));
        }
    }
    Ok(())
}

/// Debian's and the RPM world's checkers find nothing.
pub(crate) fn lint(_: &World, files: &Files) -> Result<()> {
    let [deb, rpm, probe_deb, probe_rpm, recovery_deb, recovery_rpm] = [
        &files.deb,
        &files.rpm,
        &files.probe_deb,
        &files.probe_rpm,
        &files.recovery_deb,
        &files.recovery_rpm,
    ]
    .map(|file| file.display().to_string());
    let config = pcmk_interop::images::workspace().join("packaging/rpm/rpmlintrc.toml").display().to_string();
    for (package, words) in [
        (
            "lintian",
            vec![
                "lintian",
                "--fail-on",
                "error,warning",
                "--tag-display-limit",
                "0",
                "--allow-root",
                &deb,
                &probe_deb,
                &recovery_deb,
            ],
        ),
        ("rpmlint", vec!["rpmlint", "--strict", "-c", &config, &rpm, &probe_rpm, &recovery_rpm]),
    ] {
        let said =
            run::run(run::command(&words), "", secs(120)).context(format!("apt-get install {package}"))?;
        if said.code() != 0 {
            return fail(format!("{package}: {}{}", said.stdout, said.stderr));
        }
    }
    Ok(())
}

/// The files of the Debian packages.
fn unpacked(world: &World, files: &Files, name: &str) -> Result<PathBuf> {
    let tree = world.dir().join("unpacked").join(name);
    fs::create_dir_all(&tree)?;
    for package in [&files.deb, &files.probe_deb, &files.recovery_deb] {
        run::host(&["dpkg-deb", "--extract", &package.display().to_string(), &tree.display().to_string()])?;
    }
    Ok(tree)
}

/// The programs in it: what is executable and no script.
fn programs(tree: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in find(&tree.join("usr"))? {
        if !path.is_symlink() && fs::read(&path)?.starts_with(b"\x7fELF") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The words of a help text that are wanted, without what follows `=` and without punctuation.
fn words(help: &str, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let all = help.split(|c: char| c.is_whitespace() || "=,[]()|.;:'\"<>".contains(c));
    all.filter(|word| wanted(word) && word.len() > 2).map(str::to_owned).collect()
}

/// The commands that a help text lists below `Commands:`.
fn commands(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|line| !line.trim_end().eq_ignore_ascii_case("commands:")).skip(1);
    let list = list.take_while(|line| line.starts_with(' '));
    list.filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .map(str::to_owned)
        .collect()
}

fn manual(tree: &Path, program: &str) -> Result<String> {
    let pages = [8, 1].map(|section| tree.join(format!("usr/share/man/man{section}/{program}.{section}.gz")));
    let page = pages.iter().find(|page| page.exists()).context(format!("no manual of {program}"))?;
    // As written, a dash is escaped.
    Ok(run::host(&["zcat", &page.display().to_string()])?.replace("\\-", "-"))
}

fn read(tree: &Path, path: &str) -> Result<String> {
    fs::read_to_string(tree.join(path)).context(path)
}

fn find(dir: &Path) -> Result<Vec<PathBuf>> {
    let list = run::host(&["find", &dir.display().to_string(), "-type", "f", "-o", "-type", "l"])?;
    Ok(list.lines().map(PathBuf::from).collect())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
