//! The description that Pacemaker, pcs and crmsh read, and the usage that people read.

use std::fmt::Write as _;

use super::action::{Action, LISTED};
use super::table::{PARAMETERS, Parameter, Takes};

const SHORT: &str = "Fences a compute of OpenStack Nova with proof and hands over its evacuation";
const LONG: &str = "fence_nova makes sure that the host is off (by a power device that it switches itself and reads back, \
by an earlier device of the same fencing level, or where that is configured by the host's crash kernel or watchdog), tells Nova that the host is down, and hands its evacuation over to \
the engine, ocf:pcmk-remote:nova-evacuate. It takes the parameters of fence_compute and fence_evacuate. It returns \
within delay + power_timeout + nova_timeout + 5 seconds even if Nova hangs, and never says that a host is fenced that \
was not proven off.";

/// What the action `metadata` prints.
pub fn metadata() -> String {
    let mut xml = format!(
        "<?xml version=\"1.0\" ?>\n<resource-agent name=\"fence_nova\" shortdesc=\"{SHORT}\" >\n\
         <longdesc>{LONG}</longdesc>\n<vendor-url>{}</vendor-url>\n<parameters>\n",
        env!("CARGO_PKG_REPOSITORY")
    );
    for parameter in PARAMETERS {
        let name = parameter.name();
        if name == parameter.key {
            describe(&mut xml, parameter, parameter.key, "");
        } else {
            describe(&mut xml, parameter, parameter.key, " deprecated=\"1\"");
            describe(&mut xml, parameter, &name, &format!(" obsoletes=\"{}\"", parameter.key));
        }
    }
    xml.push_str("</parameters>\n<actions>\n");
    for (name, action) in LISTED {
        // What makes Pacemaker unfence a node that joins, before it starts resources there.
        let automatic = if *action == Action::On { " automatic=\"1\"" } else { "" };
        let _ = writeln!(xml, "\t<action name=\"{name}\"{automatic} />");
    }
    xml.push_str("</actions>\n</resource-agent>\n");
    xml
}

fn describe(xml: &mut String, parameter: &Parameter, name: &str, more: &str) {
    let required = u8::from(parameter.required);
    // No errors: into a string.
    let _ = writeln!(xml, "\t<parameter name=\"{name}\" unique=\"0\" required=\"{required}\"{more}>");
    let _ = writeln!(xml, "\t\t<getopt mixed=\"{}\" />", escaped(&option(parameter)));
    let kind = match parameter.takes {
        Takes::Flag => "boolean",
        Takes::Text => "string",
        Takes::Seconds => "second",
        Takes::Number => "integer",
        Takes::One(_) => "select",
    };
    let _ = write!(xml, "\t\t<content type=\"{kind}\"");
    if let Some(default) = parameter.default {
        let _ = write!(xml, " default=\"{}\"", escaped(default));
    }
    match parameter.takes {
        Takes::One(values) => {
            xml.push_str(" >\n");
            for value in values {
                let _ = writeln!(xml, "\t\t\t<option value=\"{value}\" />");
            }
            xml.push_str("\t\t</content>\n");
        }
        _ => xml.push_str(" />\n"),
    }
    let _ =
        writeln!(xml, "\t\t<shortdesc lang=\"en\">{}</shortdesc>\n\t</parameter>", escaped(parameter.about));
}

/// `-n, --plug=[id]`.
fn option(parameter: &Parameter) -> String {
    let mut text = parameter.short.map(|short| format!("-{short}, ")).unwrap_or_default();
    let _ = write!(text, "--{}", parameter.long);
    if !parameter.value.is_empty() {
        let _ = write!(text, "={}", parameter.value);
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// What `--help` prints.
pub fn usage() -> String {
    let mut text = String::from(
        "Usage: fence_nova [OPTIONS]\n\nWithout options it reads name=value lines from standard input, as Pacemaker calls it.\n\n\
         Actions: ",
    );
    let names: Vec<_> = LISTED.iter().map(|(name, _)| *name).collect();
    let _ = writeln!(text, "{} (default: off)\n\nOptions:", names.join(", "));
    for parameter in PARAMETERS {
        let default = parameter.default.filter(|it| !it.is_empty()).map(|it| format!(" (default: {it})"));
        let _ =
            writeln!(text, "  {:<34} {}{}", option(parameter), parameter.about, default.unwrap_or_default());
    }
    text.push_str("\nExit codes: 0 done (status: on), 1 not done, 2 status: off\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_of_a_parameter_are_described() {
        let xml = metadata();
        for line in [
            "<parameter name=\"port\" unique=\"0\" required=\"1\" deprecated=\"1\">",
            "<parameter name=\"plug\" unique=\"0\" required=\"1\" obsoletes=\"port\">",
            "<parameter name=\"auth_url\" unique=\"0\" required=\"0\">",
            "<parameter name=\"user_domain\" unique=\"0\" required=\"0\" obsoletes=\"user-domain\">",
            "<getopt mixed=\"-n, --plug=[id]\" />",
            "<action name=\"on\" automatic=\"1\" />",
            "<action name=\"reboot\" />",
        ] {
            assert!(xml.contains(line), "{line} is not in {xml}");
        }
    }
}
