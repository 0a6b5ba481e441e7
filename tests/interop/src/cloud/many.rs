//! More servers on a host than anybody would boot: copies of one in Nova's tables, made behind its back. Listing and
//! evacuating them is Nova's own work.

use super::Cloud;
use crate::error::{Context, Result};

/// The copies' ids begin so, and end with their number.
const FAMILY: &str = "20000000-0000-4000-8000-";
/// Where a server is written down, and the column with its id.
const TABLES: &[(&str, &str, &str)] = &[
    ("nova_cell1", "instances", "uuid"),
    ("nova_cell1", "instance_extra", "instance_uuid"),
    ("nova_cell1", "instance_info_caches", "instance_uuid"),
    ("nova_cell1", "instance_system_metadata", "instance_uuid"),
    ("nova_cell1", "instance_metadata", "instance_uuid"),
    ("nova_cell1", "block_device_mapping", "instance_uuid"),
    ("nova_cell1", "instance_id_mappings", "uuid"),
    ("nova_api", "instance_mappings", "instance_uuid"),
    ("nova_api", "request_specs", "instance_uuid"),
];

impl Cloud {
    /// Copies a server so many times, and gives the copies' ids. [`Cloud::forget_copies`] removes them.
    pub fn copy_server(&self, id: &str, count: usize) -> Result<Vec<String>> {
        for (database, table, key) in TABLES {
            let columns = self.sql(&format!(
                "select column_name from information_schema.columns where table_schema = '{database}' \
                 and table_name = '{table}' and column_name <> 'id' order by ordinal_position"
            ))?;
            let copy = format!("concat('{FAMILY}', lpad(seq, 12, '0'))");
            let value = |column: &str| match column {
                _ if column == *key => copy.clone(),
                // Of another thing than the server.
                "uuid" => "uuid()".to_owned(),
                // Created one after the other, as servers are.
                "created_at" => "date_sub(t.created_at, interval seq second)".to_owned(),
                "display_name" => "concat('copy-', seq)".to_owned(),
                "spec" => format!("replace(t.spec, '{id}', {copy})"),
                _ => format!("t.`{column}`"),
            };
            let into: Vec<_> = columns.lines().map(|column| format!("`{column}`")).collect();
            let values: Vec<_> = columns.lines().map(value).collect();
            self.sql(&format!(
                "insert into {database}.{table} ({}) select {} from {database}.{table} t, {database}.seq_1_to_{count} \
                 where t.{key} = '{id}'",
                into.join(", "),
                values.join(", ")
            ))
            .context(table)?;
        }
        Ok((1..=count).map(|n| format!("{FAMILY}{n:012}")).collect())
    }

    /// Gives servers this metadata, behind Nova's back.
    pub fn mark_copies(&self, ids: &[String], key: &str, value: &str) -> Result<()> {
        let rows: Vec<_> = ids.iter().map(|id| format!("(now(), '{key}', '{value}', '{id}', 0)")).collect();
        self.sql(&format!(
            "insert into nova_cell1.instance_metadata (created_at, `key`, value, instance_uuid, deleted) values {}",
            rows.join(", ")
        ))
        .map(drop)
    }

    /// Removes all copies. What else refers to them is of no interest to anybody.
    pub fn forget_copies(&self) -> Result<()> {
        for (database, table, key) in TABLES.iter().rev() {
            self.sql(&format!(
                "set foreign_key_checks = 0; delete from {database}.{table} where {key} like '{FAMILY}%'"
            ))?;
        }
        self.sql(&format!("delete from placement.allocations where consumer_id like '{FAMILY}%'")).map(drop)
    }
}
