//! `nova-ha engine`, and the resource agent that keeps it.
#![allow(clippy::doc_markdown, reason = "some of these comments are what --help prints")]

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Failure};
use crate::config::Config;
use crate::serve;

/// Arguments of `engine`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Take the cloud's credentials from the environment (OS_AUTH_URL, OS_USERNAME, …), not from files
    #[arg(long)]
    from_environment: bool,
}

pub(super) async fn run(options: &Options, config: Option<&PathBuf>) -> Result<Exit, Failure> {
    super::log::begin();
    let config = Config::load(config.map(PathBuf::as_path)).map_err(Failure::failed)?;
    serve::serve(config, options.from_environment).await.map_err(Failure::failed)?;
    Ok(Exit::Ok)
}
