//! Two acts. A real cluster and remote nodes that run our daemon: what works, what breaks, and what the cluster sees.
//! Then a host of a real cloud that dies with its guests on it, and comes back.
//!
//! `make demo` runs this. `PCMK_UNDER_TEST=theirs` shows the C daemon instead and the first act alone,
//! `PCMK_RIG_SUITES=trixie` another Pacemaker, `KEEP=1` leaves everything up until Enter or Ctrl-C.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to whoever runs it")]

mod recovery;
mod remote;
mod story;

use std::env;
use std::io::BufRead;
use std::process::ExitCode;

use pcmk_interop::error::Context;
use pcmk_interop::{Cloud, Cluster, Daemon, Node, Result, Suite, World, daemon, images};
use story::Story;

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nNot as expected: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<()> {
    let suite = match env::var("PCMK_RIG_SUITES") {
        Ok(_) => Suite::chosen()?.first().copied().context("PCMK_RIG_SUITES is empty")?,
        Err(_) => Suite::Bookworm,
    };
    let shown = Daemon::under_test()?;
    let world = World::enter_with(&[suite], || {
        images::ensure_libvirt(&[suite])?;
        if shown == Daemon::Ours {
            images::ensure_cloud()?;
            daemon::ensure_ours("nova-ext")?;
        }
        Ok(())
    })?;
    let story = Story::begin();

    let cluster = remote::raise(&story, &world, suite, shown)?;
    let mut told = remote::act(&story, &world, &cluster, shown);
    let mut cloud = None;
    // The recovery is ours alone.
    if told.is_ok() && shown == Daemon::Ours {
        told = recovery::raise(&story, &world).and_then(|raised| recovery::act(&story, cloud.insert(raised)));
    }
    let kept = env::var_os("KEEP").is_some_and(|keep| keep != "0");
    if told.is_err() || kept {
        println!("\n{}", cluster.exec(&["crm_mon", "-1rf"])?);
        if let Some(cloud) = &cloud {
            println!("{}", recovery::standing(cloud)?);
        }
    }
    if kept {
        keep(&world, &cluster, cloud.as_ref())?;
    }
    told?;
    story.chapter("Everything went as expected. The kernel takes the nodes away; nothing is left behind.");
    Ok(())
}

fn keep(world: &World, cluster: &Cluster, cloud: Option<&Cloud>) -> Result<()> {
    println!("Everything stays up. As root, in another terminal:\n");
    let way_in = |node: &Node| -> Result<()> {
        if node.is_on() {
            println!("  {}: {}", node.name(), world.way_in(node)?);
        }
        Ok(())
    };
    for name in cluster.node_names() {
        way_in(&*cluster.node(&name)?)?;
    }
    println!("\nand there: crm_mon, crm_resource …; systemctl status pacemaker_remote, journalctl.");
    if let Some(cloud) = cloud {
        println!();
        way_in(cloud.node())?;
        println!(
            "\nand there: nova-ha status, nova-ha report, nova-ha explain …; fence_nova --help, journalctl."
        );
    }
    println!("Enter (or Ctrl-C) ends it.");
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}
