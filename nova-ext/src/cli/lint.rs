//! `nova-ha lint`: words about evacuation that do not count as somebody meant them. Reads, and changes nothing.
#![allow(clippy::doc_markdown, reason = "some of these comments are what --help prints")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;

use super::plan::clean;
use super::{Exit, Failure, print, print_json};
use crate::client;
use crate::cloud::{Aggregate, Marked};
use crate::config::Config;
use crate::ids::HostName;
use crate::policy::lint::{Finding, Place, Weight, Words, tags};
use crate::policy::{Policy, Source};
use crate::serve;

/// Arguments of `lint`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Flavors, images and aggregates alone; a large cloud has many servers
    #[arg(long)]
    no_servers: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(options: &Options, config: &Config) -> Result<Exit, Failure> {
    let policy = serve::policy(config).map_err(Failure::failed)?;
    let cloud = client::connect(config).await.map_err(Failure::failed)?;
    let (flavors, images, aggregates) = tokio::join!(cloud.flavors(), cloud.images(), cloud.aggregates());
    let mut looked = Looked::default();
    looked.marked("flavor", Source::Flavor, flavors.map_err(Failure::failed)?, &policy);
    looked.marked("image", Source::Image, images.map_err(Failure::failed)?, &policy);
    if !options.no_servers {
        let servers = cloud.marked_servers().await.map_err(Failure::failed)?;
        looked.marked("server", Source::Metadata, servers, &policy);
    }
    looked.aggregates(&aggregates.map_err(Failure::failed)?, &policy);
    looked.found.sort();
    let wrong = looked.found.iter().any(|one| one.weight == Weight::Wrong);
    if options.json {
        print_json(&looked.found)?;
    } else {
        print(text(&looked).as_bytes())?;
    }
    Ok(if wrong { Exit::Failed } else { Exit::Ok })
}

/// What was looked at, and what was found.
#[derive(Default)]
struct Looked {
    counts: Vec<(&'static str, usize)>,
    found: Vec<Finding>,
}

impl Looked {
    fn marked(&mut self, kind: &'static str, source: Source, all: Vec<Marked>, policy: &Policy) {
        self.counts.push((kind, all.len()));
        for Marked { id, name, words, tags: list } in all {
            let at = Place { kind, id, name };
            self.found.extend(policy.lint(&Words { at: at.clone(), source, words: &words }));
            // Nobody asks for the tags of images.
            if source == Source::Metadata {
                let words = tags(&list);
                self.found.extend(policy.lint(&Words { at, source: Source::Tags, words: &words }));
            }
        }
    }

    fn aggregates(&mut self, all: &[Aggregate], policy: &Policy) {
        self.counts.push(("aggregate", all.len()));
        let mut hosts: BTreeMap<&HostName, Vec<&Aggregate>> = BTreeMap::new();
        for one in all {
            let at = Place { kind: "aggregate", id: one.id.to_string(), name: one.name.clone() };
            self.found.extend(policy.lint(&Words { at, source: Source::Aggregate, words: &one.metadata }));
            for host in &one.hosts {
                hosts.entry(host).or_default().push(one);
            }
        }
        for (host, aggregates) in hosts {
            let aggregates: Vec<_> =
                aggregates.into_iter().map(|one| (one.name.as_str(), &one.metadata)).collect();
            self.found.extend(policy.lint_host(host.as_str(), &aggregates));
        }
    }
}

fn text(looked: &Looked) -> String {
    let mut text = String::new();
    for Finding { at, weight, text: said } in &looked.found {
        let mark = if *weight == Weight::Wrong { "WRONG" } else { "note " };
        // No errors: into a string.
        let _ = writeln!(text, "{mark}  {}: {}", clean(&at.to_string()), clean(said));
    }
    let counts: Vec<String> = looked.counts.iter().map(|(kind, count)| format!("{count} {kind}s")).collect();
    let _ = writeln!(text, "{} findings in {}", looked.found.len(), counts.join(", "));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Mode;

    #[test]
    fn findings_are_lines() {
        let policy = Policy::of(Mode::OptIn);
        let marked = |id: &str, key: &str, value: &str, tag: &str| Marked {
            id: id.into(),
            name: format!("n{id}\u{1b}"),
            words: BTreeMap::from([(key.to_owned(), value.to_owned())]),
            tags: vec![tag.into()],
        };
        let mut looked = Looked::default();
        looked.marked(
            "flavor",
            Source::Flavor,
            vec![marked("1", "instance_ha:evacuat", "yes", "x")],
            &policy,
        );
        looked.marked(
            "server",
            Source::Metadata,
            vec![marked("2", "HA_Enabled", "True", "evacuable=perhaps")],
            &policy,
        );
        let aggregate = |id, domain: &str| Aggregate {
            id,
            name: format!("a{id}"),
            zone: None,
            hosts: vec!["c1".parse().unwrap()],
            metadata: BTreeMap::from([("instance_ha:domain".to_owned(), domain.to_owned())]),
        };
        looked.aggregates(&[aggregate(1, "r1"), aggregate(2, "r2")], &policy);
        assert_eq!(
            text(&looked),
            "WRONG  flavor n1  (1): there is no key \"instance_ha:evacuat\": did you mean instance_ha:evacuate?\n\
             WRONG  server n2  (2): evacuable = \"perhaps\" is neither yes nor no: it is ignored\n\
             note   host c1 (c1): its aggregates contradict each other about instance_ha:domain: a1 says \"r1\", a2 \
             says \"r2\"; the most cautious counts\n\
             3 findings in 1 flavors, 1 servers, 2 aggregates\n"
        );
    }
}
