//! Who is at the other end of a local connection.

/// A local process, as the kernel vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Process.
    pub pid: u32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Account name of the user; `#unprivileged` if it has none.
    pub user: String,
    /// What it may do here.
    pub access: Access,
}

/// What a local process may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Nothing: neither of those below.
    None,
    /// A member of `haclient`: talks to the cluster, which applies its access rules.
    Member,
    /// root or `hacluster`.
    Privileged,
}
