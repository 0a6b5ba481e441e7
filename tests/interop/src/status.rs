//! What `crm_mon` says.

use roxmltree::{Document, Node as Element};

use crate::error::{Context, Result};

/// The state of a cluster at one moment.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Cluster nodes and remote nodes.
    pub nodes: Vec<NodeState>,
    /// Resources, one entry per instance (also those that run nowhere).
    pub resources: Vec<ResourceState>,
    /// Failed actions, as text.
    pub failures: Vec<Failure>,
    /// The designated controller.
    pub dc: Option<String>,
}

/// A node as the cluster sees it.
#[derive(Clone, Debug)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Whether it is online and clean.
    pub online: bool,
    /// `member` or `remote`.
    pub kind: String,
}

/// A resource as the cluster sees it.
#[derive(Clone, Debug)]
pub struct ResourceState {
    /// Its name.
    pub id: String,
    /// `Started`, `Stopped`, `Promoted`, `Unpromoted` …
    pub role: String,
    /// Where.
    pub nodes: Vec<String>,
    /// Whether an action of it failed.
    pub failed: bool,
    /// Whether the cluster acts on it.
    pub managed: bool,
}

/// An action that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// `RESOURCE_ACTION_INTERVAL`.
    pub op_key: String,
    /// Where.
    pub node: String,
    /// Result code in words.
    pub status: String,
    /// What the agent said.
    pub reason: String,
}

impl Status {
    /// Reads `crm_mon --output-as=xml`.
    pub fn parse(xml: &str) -> Result<Self> {
        let document = Document::parse(xml).context("crm_mon's XML")?;
        let mut status = Self::default();
        for element in document.descendants().filter(Element::is_element) {
            match (element.tag_name().name(), element.parent().map(|p| p.tag_name().name())) {
                ("current_dc", _) => status.dc = element.attribute("name").map(str::to_owned),
                ("node", Some("nodes")) => status.nodes.push(node(element)),
                ("resource", _) => status.resources.push(resource(element)),
                ("failure", _) => status.failures.push(Failure {
                    op_key: text(element, "op_key"),
                    node: text(element, "node"),
                    status: text(element, "exitstatus"),
                    reason: text(element, "exitreason"),
                }),
                _ => {}
            }
        }
        Ok(status)
    }

    /// Whether a node is online.
    pub fn online(&self, name: &str) -> bool {
        self.nodes.iter().any(|node| node.name == name && node.online)
    }

    /// `ROLE on NODE` of a primitive that runs once, `Stopped` when it runs nowhere, with `failed` and
    /// `unmanaged` if it is.
    pub fn place(&self, id: &str) -> String {
        let mut places: Vec<_> =
            self.resources.iter().filter(|r| r.id == id && !r.nodes.is_empty()).collect();
        places.sort_by(|a, b| a.nodes.cmp(&b.nodes));
        let said: Vec<_> = places
            .iter()
            .map(|r| {
                let failed = if r.failed { " failed" } else { "" };
                let unmanaged = if r.managed { "" } else { " unmanaged" };
                format!("{} on {}{failed}{unmanaged}", r.role, r.nodes.join("+"))
            })
            .collect();
        if said.is_empty() { "Stopped".to_owned() } else { said.join(", ") }
    }

    /// The cluster node that holds the connection to a remote node.
    pub fn host_of(&self, remote: &str) -> Option<String> {
        self.resources.iter().find(|r| r.id == remote).and_then(|r| r.nodes.first().cloned())
    }
}

fn node(element: Element<'_, '_>) -> NodeState {
    let is = |name| element.attribute(name) == Some("true");
    NodeState {
        name: text(element, "name"),
        online: is("online") && !is("unclean") && !is("pending"),
        kind: text(element, "type"),
    }
}

fn resource(element: Element<'_, '_>) -> ResourceState {
    let nodes = element.children().filter(|child| child.tag_name().name() == "node");
    ResourceState {
        id: text(element, "id"),
        role: match element.attribute("role").unwrap_or_default() {
            // What 2.1 calls them.
            "Master" => "Promoted".to_owned(),
            "Slave" => "Unpromoted".to_owned(),
            role => role.to_owned(),
        },
        nodes: nodes.map(|child| text(child, "name")).collect(),
        failed: element.attribute("failed") == Some("true"),
        managed: element.attribute("managed") != Some("false"),
    }
}

fn text(element: Element<'_, '_>, name: &str) -> String {
    element.attribute(name).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_both_releases_print() {
        let status = Status::parse(
            "<pacemaker-result><summary><current_dc present='true' name='c1'/></summary><nodes>\
             <node name='c1' online='true' unclean='false' pending='false' type='member'/>\
             <node name='r1' online='true' unclean='true' pending='false' type='remote'/></nodes><resources>\
             <resource id='r1' role='Started' managed='true' failed='false'><node name='c1'/></resource>\
             <clone id='w-clone'><resource id='w' role='Slave' managed='true'><node name='r2'/></resource>\
             <resource id='w' role='Promoted' managed='false'><node name='r1'/></resource></clone></resources>\
             <failures><failure op_key='w_monitor_1000' node='r1' exitstatus='error' exitreason='why'/></failures>\
             </pacemaker-result>",
        )
        .unwrap();
        assert_eq!(status.dc.as_deref(), Some("c1"));
        assert!(status.online("c1"), "online");
        assert!(!status.online("r1"), "unclean is not online");
        assert_eq!(status.place("w"), "Promoted on r1 unmanaged, Unpromoted on r2");
        assert_eq!(status.place("nothing"), "Stopped");
        assert_eq!(status.host_of("r1").as_deref(), Some("c1"));
        assert_eq!(status.failures[0].reason, "why");
    }
}
