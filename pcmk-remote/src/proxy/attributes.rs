//! Asking the cluster's attribute manager for values of node attributes, and setting them, as
//! `attrd_updater` does.

use libvirt_probe::agents::{Value, Wanted};
use pcmk_proto::xml::Element;

/// More nodes than any cluster has.
const MOST_NODES: usize = 4096;

/// What asks for it.
pub fn request(wanted: &Wanted, client_name: &str) -> Element {
    let mut request = Element::new("create_attrd_op");
    request.set("t", "attrd").set("src", client_name);
    match wanted {
        Wanted::Values { name } => {
            request.set("task", "query").set("attr_name", name.as_str());
        }
        Wanted::Set { name, value, node } => {
            request.set("task", "update").set("attr_name", name.as_str());
            request.set("attr_set_type", "instance_attributes").set("attr_is_private", "0");
            if let Some(value) = value {
                request.set("attr_value", value.as_str());
            }
            if let Some(node) = node {
                request.set("attr_host", node.as_str());
            }
            // The cluster node that passes it on puts in our name.
            request.set("attr_is_remote", if node.is_none() { "1" } else { "0" });
        }
    }
    request
}

/// What an answer says; `None` if the one that counts is still to come.
pub fn answer(wanted: &Wanted, payload: &Element) -> Option<Result<Vec<Value>, String>> {
    if payload.name == "nack" {
        return Some(Err(format!("it was refused ({})", payload.attr("rc").unwrap_or("no reason given"))));
    }
    match wanted {
        // A receipt is all that ever comes.
        Wanted::Set { .. } => Some(Ok(Vec::new())),
        Wanted::Values { name } => {
            if payload.attr("t") != Some("attrd") {
                return None;
            }
            match payload.attr("attr_name") {
                Some(told) if told != name => None,
                Some(_) => Some(Ok(values(payload))),
                // There is no such attribute.
                None => Some(Ok(Vec::new())),
            }
        }
    }
}

fn values(payload: &Element) -> Vec<Value> {
    payload
        .child_elements()
        .filter(|element| element.name == "node")
        .take(MOST_NODES)
        .filter_map(|element| {
            let text = |name| element.attr(name).map(str::to_owned);
            Some(Value { node: text("attr_host")?, value: text("attr_value").unwrap_or_default() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use pcmk_proto::xml::WriteXml as _;

    use super::*;

    fn set(value: Option<&str>, node: Option<&str>) -> Wanted {
        Wanted::Set { name: "a".into(), value: value.map(Into::into), node: node.map(Into::into) }
    }

    #[test]
    fn requests_are_as_the_tool_makes_them() {
        let xml = |wanted: &Wanted| request(wanted, "us").to_xml();
        assert_eq!(
            xml(&Wanted::Values { name: "a".into() }),
            r#"<create_attrd_op t="attrd" src="us" task="query" attr_name="a"/>"#
        );
        let own = xml(&set(Some("v"), None));
        assert!(own.contains(r#"task="update" attr_name="a""#) && own.contains(r#"attr_value="v""#), "{own}");
        assert!(own.contains(r#"attr_is_remote="1""#) && !own.contains("attr_host"), "{own}");
        let other = xml(&set(None, Some("n")));
        assert!(other.contains(r#"attr_host="n""#) && !other.contains("attr_value"), "{other}");
    }

    #[test]
    fn answers_are_read() {
        let wanted = Wanted::Values { name: "a".into() };
        let mut reply = Element::new("build_query_reply");
        reply.set("t", "attrd").set("subt", "query");
        assert_eq!(answer(&wanted, &reply), Some(Ok(vec![])), "no such attribute");
        reply.set("attr_name", "a");
        for (node, value) in [("c1", Some("no")), ("c2", None)] {
            let mut child = Element::new("node");
            child.set("attr_host", node);
            if let Some(value) = value {
                child.set("attr_value", value);
            }
            reply.push_child(child);
        }
        let value = |node: &str, value: &str| Value { node: node.into(), value: value.into() };
        assert_eq!(answer(&wanted, &reply), Some(Ok(vec![value("c1", "no"), value("c2", "")])));
        reply.set("attr_name", "b");
        assert_eq!(answer(&wanted, &reply), None, "to another question");
        assert_eq!(answer(&wanted, &Element::new("ack")), None, "the answer is still to come");
        assert_eq!(answer(&set(None, None), &Element::new("ack")), Some(Ok(vec![])));
        let mut nack = Element::new("nack");
        nack.set("rc", "-110");
        assert_eq!(answer(&wanted, &nack), Some(Err("it was refused (-110)".into())));
    }
}
