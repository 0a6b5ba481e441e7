//! The table.

mod acls;
mod changes;
mod queries;
mod resources;
mod users;

use super::row::Row;

/// All rows, in the order in which they are played.
pub(crate) fn all() -> impl Iterator<Item = &'static Row> {
    [queries::ROWS, users::ROWS, changes::ROWS, resources::ROWS, acls::ROWS].into_iter().flatten()
}
