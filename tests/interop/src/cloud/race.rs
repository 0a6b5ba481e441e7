//! Evacuating a host in ways to compare: as the agents in use do it, and with a fixed number in flight.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::Cloud;
use super::api::Reply;
use crate::error::{Result, fail};
use crate::wait::{self, secs};

/// So often the ways that follow what they have asked for look.
const LOOK: Duration = Duration::from_millis(500);
/// When nothing has changed for so long, nothing will.
const STILL: Duration = Duration::from_secs(120);

/// What became of a host's servers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// How many there were.
    pub servers: usize,
    /// Those that are elsewhere and in the state they were in.
    pub well: usize,
    /// Those in ERROR.
    pub error: usize,
    /// Those in a task, or still where they were.
    pub left: usize,
    /// What is how often: status, task, and whether it is elsewhere.
    pub states: BTreeMap<String, usize>,
    /// How the evacuations ended.
    pub migrations: BTreeMap<String, usize>,
    /// The most accepted requests to evacuate one server.
    pub most_requests: usize,
    /// From the beginning to the first request, in seconds.
    pub first_request: f64,
    /// From the beginning to the end of the last evacuation, in seconds.
    pub took: f64,
}

/// A race's beginning.
pub struct Start {
    host: String,
    servers: Vec<String>,
    mark: super::Mark,
    wall: f64,
}

impl Cloud {
    /// The beginning: these servers are on this host.
    pub fn start_race(&self, host: &str, servers: Vec<String>) -> Result<Start> {
        Ok(Start { host: host.to_owned(), servers, mark: self.mark()?, wall: now() })
    }

    /// Waits until nothing moves any more, and says what became of the servers.
    pub fn end_race(&self, start: &Start, within: Duration) -> Result<Outcome> {
        let mut last = (String::new(), Instant::now());
        wait::until(within, "the evacuations to end or to be stuck", || {
            let settled = self.settled(&start.host)?;
            let seen = self.sql(
                "select group_concat(concat(vm_state, ifnull(task_state, ''), host) order by id) from nova_cell1.instances \
                 where deleted = 0",
            )?;
            if seen != last.0 {
                last = (seen, Instant::now());
            }
            Ok((settled || last.1.elapsed() > STILL).then_some(()))
        })?;
        let took = self.last_change(&start.host)? - start.wall;
        let calls = self.calls(&start.mark)?;
        let requests = super::calls::evacuations(&calls);
        let accepted = super::calls::accepted(&calls);
        let mut outcome = Outcome {
            servers: start.servers.len(),
            most_requests: accepted.values().copied().max().unwrap_or(0),
            first_request: requests.first().map_or(0.0, |call| call.at - start.wall),
            took,
            ..Outcome::default()
        };
        let states: BTreeMap<_, _> =
            self.servers()?.into_iter().map(|server| (server.id.clone(), server)).collect();
        for evacuation in self.evacuations(&start.host)? {
            *outcome.migrations.entry(evacuation.status).or_default() += 1;
        }
        for id in &start.servers {
            let state = states.get(id).map_or_else(
                || "gone".to_owned(),
                |server| {
                    let place = if server.host == start.host { "here" } else { "elsewhere" };
                    format!("{} {} {place}", server.status, server.task.as_deref().unwrap_or("-"))
                },
            );
            *outcome.states.entry(state).or_default() += 1;
            match states.get(id) {
                Some(server) if server.status == "ERROR" => outcome.error += 1,
                Some(server) if server.status == "ACTIVE" && server.host != start.host => outcome.well += 1,
                _ => outcome.left += 1,
            }
        }
        Ok(outcome)
    }

    /// Whether no evacuation is under way and no server is in a task.
    fn settled(&self, host: &str) -> Result<bool> {
        let under_way = self.sql(&format!(
            "select count(*) from nova_cell1.migrations where source_compute = '{host}' \
             and status in ('accepted', 'pre-migrating', 'migrating')"
        ))?;
        let busy = self
            .sql("select count(*) from nova_cell1.instances where deleted = 0 and task_state is not null")?;
        Ok(under_way.trim() == "0" && busy.trim() == "0")
    }

    /// When an evacuation from this host or a server last changed, in seconds of the epoch.
    fn last_change(&self, host: &str) -> Result<f64> {
        // Nova's own times are of whole seconds, and in UTC.
        let when = self.sql(&format!(
            "select timestampdiff(second, '1970-01-01', greatest(\
             (select ifnull(max(updated_at), '1970-01-01') from nova_cell1.migrations where source_compute = '{host}'), \
             (select ifnull(max(updated_at), '1970-01-01') from nova_cell1.instances where deleted = 0)))"
        ))?;
        when.trim().parse().or_else(|_| fail(format!("not a time: {when}")))
    }

    /// Evacuates servers with so many in flight at most: what is accepted counts until its evacuation has ended. Nothing
    /// is tried again.
    pub fn evacuate_fixed(&self, host: &str, servers: &[String], limit: usize, version: &str) -> Result<()> {
        let mut waiting = servers.iter();
        let mut flying: Vec<String> = Vec::new();
        let deadline = Instant::now() + secs(300);
        loop {
            let free = limit.saturating_sub(flying.len());
            let next: Vec<_> = waiting.by_ref().take(free).cloned().collect();
            if next.is_empty() && flying.is_empty() {
                return Ok(());
            }
            for (id, reply) in self.evacuate_together(&next, version) {
                if reply?.status == 200 {
                    flying.push(id);
                }
            }
            thread::sleep(LOOK);
            let list = self.admin.nova(
                "GET",
                &format!("/os-migrations?migration_type=evacuation&source_compute={host}"),
                &Value::Null,
                "2.23",
            )?;
            let list = list.ok()?;
            let rows = list["migrations"].as_array().cloned().unwrap_or_default();
            flying.retain(|id| {
                let of = rows.iter().find(|row| row["instance_uuid"] == **id);
                of.is_none_or(|row| row["status"] == "accepted" || row["status"] == "pre-migrating")
            });
            if Instant::now() > deadline {
                return fail(format!("{} evacuations do not end", flying.len()));
            }
        }
    }

    fn evacuate_together(&self, ids: &[String], version: &str) -> Vec<(String, Result<Reply>)> {
        thread::scope(|scope| {
            let ask = |id: &String| {
                let id = id.clone();
                scope.spawn(move || (id.clone(), self.evacuate(&id, version)))
            };
            let threads: Vec<_> = ids.iter().map(ask).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        })
    }
}

/// Seconds of the epoch.
pub(super) fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
