//! The description of an agent, by version 1.1 of the OCF resource agent API.

use std::fmt::Write as _;

use super::Kind;
use super::table::{Described, Of, Parameter, described};

impl Kind {
    /// Describes the agent: what `meta-data` prints.
    pub fn metadata(self) -> String {
        let Described { parameters, actions, short, long } = described(self);
        let mut xml = format!(
            "<?xml version=\"1.0\"?>\n<resource-agent name=\"{}\" version=\"{}\">\n<version>1.1</version>\n",
            self.name(),
            env!("CARGO_PKG_VERSION"),
        );
        says(&mut xml, "", long, short);
        xml.push_str("<parameters>\n");
        for parameter in parameters {
            describe(&mut xml, parameter);
        }
        xml.push_str("</parameters>\n<actions>\n");
        for (name, timeout, interval) in actions {
            let interval = match interval {
                0 => String::new(),
                seconds => format!(" interval=\"{seconds}s\""),
            };
            // No error: into a string.
            let _ = writeln!(xml, "  <action name=\"{name}\" timeout=\"{timeout}s\"{interval}/>");
        }
        xml.push_str("</actions>\n</resource-agent>\n");
        xml
    }
}

fn describe(xml: &mut String, parameter: &Parameter) {
    let Parameter { name, of, default, reloadable, deprecated, short, long } = parameter;
    let reloadable = u8::from(*reloadable);
    let _ = writeln!(xml, "  <parameter name=\"{name}\" required=\"0\" reloadable=\"{reloadable}\">");
    if *deprecated {
        xml.push_str("    <deprecated/>\n");
    }
    says(xml, "    ", long, short);
    let kind = match of {
        Of::Text | Of::Time => "string",
        Of::Yes => "boolean",
        Of::Number => "integer",
        Of::One(_) => "select",
    };
    let _ = write!(xml, "    <content type=\"{kind}\"");
    if !default.is_empty() {
        let _ = write!(xml, " default=\"{}\"", escaped(default));
    }
    match of {
        Of::One(values) => {
            xml.push_str(">\n");
            for value in *values {
                let _ = writeln!(xml, "      <option value=\"{value}\"/>");
            }
            xml.push_str("    </content>\n");
        }
        _ => xml.push_str("/>\n"),
    }
    xml.push_str("  </parameter>\n");
}

fn says(xml: &mut String, indent: &str, long: &str, short: &str) {
    let (long, short) = (escaped(long), escaped(short));
    let _ = writeln!(xml, "{indent}<longdesc lang=\"en\">\n{long}\n{indent}</longdesc>");
    let _ = writeln!(xml, "{indent}<shortdesc lang=\"en\">{short}</shortdesc>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_and_action_is_described() {
        for kind in Kind::ALL {
            let xml = kind.metadata();
            assert!(xml.contains(&format!("<resource-agent name=\"{}\"", kind.name())), "{xml}");
            for tag in ["parameter", "action", "content", "longdesc", "shortdesc"] {
                assert!(xml.contains(&format!("<{tag} ")), "{tag} in {xml}");
            }
            for parameter in described(kind).parameters {
                assert!(!parameter.short.is_empty() && !parameter.long.is_empty(), "{}", parameter.name);
                assert_eq!(xml.matches(&format!("<parameter name=\"{}\"", parameter.name)).count(), 1);
            }
            for action in ["start", "stop", "monitor", "meta-data", "validate-all", "reload-agent"] {
                assert!(xml.contains(&format!("<action name=\"{action}\"")), "{action}");
            }
        }
    }

    #[test]
    fn what_other_agents_took_is_taken() {
        let xml = Kind::NovaCompute.metadata();
        for name in [
            "auth_url",
            "username",
            "password",
            "tenant_name",
            "domain",
            "endpoint_type",
            "region_name",
            "insecure",
            "no_shared_storage",
            "evacuation_delay",
        ] {
            assert!(xml.contains(&format!("<parameter name=\"{name}\"")), "{name}");
        }
    }
}
