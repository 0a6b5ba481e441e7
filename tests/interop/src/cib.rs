//! Pieces of cluster configuration, as XML.

use std::fmt::Write;

/// The configuration a cluster starts with: a fence device, resources run only where they are told to, and no
/// patience where patience only costs test time.
pub fn initial() -> String {
    let properties = [
        ("stonith-enabled", "true"),
        ("startup-fencing", "false"),
        ("no-quorum-policy", "ignore"),
        ("symmetric-cluster", "false"),
        ("dc-deadtime", "2s"),
    ];
    let mut pairs = String::new();
    for (name, value) in properties {
        let _ = write!(pairs, "<nvpair id='opt-{name}' name='{name}' value='{value}'/>");
    }
    format!(
        "<cib crm_feature_set='3.16.0' validate-with='pacemaker-3.9' admin_epoch='0' epoch='1' num_updates='0'>\
         <configuration><crm_config><cluster_property_set id='cib-bootstrap-options'>{pairs}\
         </cluster_property_set></crm_config><nodes/><resources>\
         <primitive id='power' class='stonith' type='fence_rig'>\
         <operations><op id='power-monitor' name='monitor' interval='120s'/></operations>\
         <instance_attributes id='power-ia'>\
         <nvpair id='power-check' name='pcmk_host_check' value='none'/></instance_attributes></primitive>\
         </resources><constraints>\
         <rsc_location id='power-c1' rsc='power' node='c1' score='10'/>\
         <rsc_location id='power-c2' rsc='power' node='c2' score='5'/>\
         </constraints></configuration><status/></cib>"
    )
}

/// A resource of one instance per clone instance, and where it may run.
#[derive(Clone, Debug)]
pub struct Primitive {
    id: String,
    agent: String,
    params: Vec<(String, String)>,
    meta: Vec<(String, String)>,
    ops: Vec<String>,
    places: Vec<(String, i32)>,
    promotable: bool,
}

impl Primitive {
    /// A resource; `agent` is `CLASS:PROVIDER:TYPE` or `CLASS:TYPE`.
    pub fn new(id: &str, agent: &str) -> Self {
        Self {
            id: id.to_owned(),
            agent: agent.to_owned(),
            params: Vec::new(),
            meta: Vec::new(),
            ops: Vec::new(),
            places: Vec::new(),
            promotable: false,
        }
    }

    /// A resource of the rig's own test agent.
    pub fn witness(id: &str) -> Self {
        Self::new(id, "ocf:rig:witness")
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Sets a parameter.
    #[must_use]
    pub fn param(mut self, name: &str, value: &str) -> Self {
        self.params.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a meta attribute.
    #[must_use]
    pub fn meta(mut self, name: &str, value: &str) -> Self {
        self.meta.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a recurring monitor.
    #[must_use]
    pub fn monitor(self, interval: &str, timeout: &str) -> Self {
        self.op("monitor", interval, &format!("timeout='{timeout}'"))
    }

    /// Adds an operation with further attributes.
    #[must_use]
    pub fn op(mut self, name: &str, interval: &str, more: &str) -> Self {
        let id = &self.id;
        self.ops
            .push(format!("<op id='{id}-{name}-{interval}' name='{name}' interval='{interval}' {more}/>"));
        self
    }

    /// Allows a node, with a score; 1000 and more counts as a strong wish.
    #[must_use]
    pub fn on(mut self, node: &str, score: i32) -> Self {
        self.places.push((node.to_owned(), score));
        self
    }

    /// Makes it a promotable clone `ID-clone` with notifications. Which instance is promoted is up to
    /// [`prefer_promoted`].
    #[must_use]
    pub fn promotable(mut self) -> Self {
        self.promotable = true;
        self
    }

    /// What goes into the configuration.
    pub fn xml(&self) -> String {
        let id = &self.id;
        let mut body = String::new();
        pairs(&mut body, "instance_attributes", &format!("{id}-ia"), &self.params);
        pairs(&mut body, "meta_attributes", &format!("{id}-ma"), &self.meta);
        let _ = write!(body, "<operations>{}</operations>", self.ops.concat());
        let kind = match self.agent.split(':').collect::<Vec<_>>()[..] {
            [class, provider, agent] => format!("class='{class}' provider='{provider}' type='{agent}'"),
            [class, agent] => format!("class='{class}' type='{agent}'"),
            _ => String::new(),
        };
        let mut resource = format!("<primitive id='{id}' {kind}>{body}</primitive>");
        let mut top = id.clone();
        if self.promotable {
            top = format!("{id}-clone");
            resource = format!(
                "<clone id='{top}'><meta_attributes id='{top}-ma'>\
                 <nvpair id='{top}-p' name='promotable' value='true'/>\
                 <nvpair id='{top}-n' name='notify' value='true'/></meta_attributes>{resource}</clone>"
            );
        }
        let mut places = String::new();
        for (node, score) in &self.places {
            let _ = write!(
                places,
                "<rsc_location id='loc-{id}-{node}' rsc='{top}' node='{node}' score='{score}'/>"
            );
        }
        format!(
            "<configuration><resources>{resource}</resources><constraints>{places}</constraints></configuration>"
        )
    }
}

/// The resource that connects a remote node, allowed on these cluster nodes.
pub fn remote(name: &str, address: &str, hosts: &[String]) -> Primitive {
    let resource = Primitive::new(name, "ocf:pacemaker:remote")
        .param("server", address)
        .param("reconnect_interval", "2s")
        .op("monitor", REMOTE_INTERVAL, &format!("timeout='{REMOTE_TIMEOUT}'"))
        .op("start", "0s", "timeout='12s'")
        .op("stop", "0s", "timeout='30s'");
    hosts.iter().fold(resource, |resource, host| resource.on(host, 10))
}

/// How often a cluster node asks a remote node whether it is there.
pub const REMOTE_INTERVAL: &str = "3s";
/// How long it waits for the answer.
pub const REMOTE_TIMEOUT: &str = "8s";

/// Prefers a node for the promoted instance of a promotable clone.
pub fn prefer_promoted(clone: &str, node: &str) -> String {
    format!(
        "<configuration><constraints><rsc_location id='promote-{clone}' rsc='{clone}'>\
         <rule id='promote-{clone}-r' role='Promoted' score='500'>\
         <expression id='promote-{clone}-e' attribute='#uname' operation='eq' value='{node}'/>\
         </rule></rsc_location></constraints></configuration>"
    )
}

fn pairs(into: &mut String, element: &str, id: &str, pairs: &[(String, String)]) {
    if pairs.is_empty() {
        return;
    }
    let _ = write!(into, "<{element} id='{id}'>");
    for (name, value) in pairs {
        let _ = write!(into, "<nvpair id='{id}-{name}' name='{name}' value='{value}'/>");
    }
    let _ = write!(into, "</{element}>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_is_well_formed() {
        let clone =
            Primitive::witness("w").param("soft", "one").meta("x", "y").monitor("1s", "20s").promotable();
        for xml in [initial(), clone.on("r1", 5).xml(), prefer_promoted("w-clone", "r1")] {
            roxmltree::Document::parse(&xml).unwrap();
        }
    }
}
