//! Credential files for the programs under test.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Cloud;
use crate::error::Result;

/// What a credentials file says.
#[derive(Clone, Debug)]
pub struct Login<'a> {
    /// User and password.
    pub user: (&'a str, &'a str),
    /// The project.
    pub project: &'a str,
    /// Where Keystone is.
    pub keystone: SocketAddr,
    /// The highest microversion.
    pub version: Option<&'a str>,
    /// More lines.
    pub more: &'a str,
}

impl Cloud {
    /// The administrator, at Keystone itself.
    pub fn login(&self) -> Login<'static> {
        Login { user: super::ADMIN, project: "admin", keystone: self.keystone(), version: None, more: "" }
    }

    /// Writes a credentials file.
    pub fn credentials(&self, name: &str, login: &Login<'_>) -> Result<PathBuf> {
        let Login { user: (user, password), project, keystone, version, more } = login;
        let version = version.map(|version| format!("compute_api_version = \"{version}\"\n"));
        let text = format!(
            "auth_url = \"http://{keystone}/v3\"\nusername = \"{user}\"\npassword = \"{password}\"\n\
             project_name = \"{project}\"\nuser_domain_name = \"Default\"\nproject_domain_name = \"Default\"\n\
             region_name = \"RegionOne\"\n{}{more}",
            version.unwrap_or_default()
        );
        self.private_file(name, &text)
    }
}
