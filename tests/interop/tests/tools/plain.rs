//! What tools print, without what differs between two nodes or two moments.

use regex_lite::Regex;

/// Takes out of a text what differs between two nodes or two moments.
pub(crate) struct Plain<'a> {
    /// The node's name.
    pub(crate) node: &'a str,
    /// Whether the text is about this node: then its name is replaced everywhere.
    pub(crate) own: bool,
}

/// What is replaced, and by what.
const MOMENTS: &[(&str, &str)] = &[
    (r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}( [+-]\d\d:\d\d)?", "DATE"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z| ?[+-]\d\d:\d\d)?", "DATE"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r"(last-failure-[^ =]+|last-granted)=(.?)\d{10}", "$1=$2TIME"),
    // What a cluster node does for a remote node depends on which of them holds the connection.
    (r#"(delegate|origin)=("?)c\d"#, "$1=$2HOST"),
    // The fencer's clients have their PID in their name.
    (r"stonith_admin\.\d+", "stonith_admin.PID"),
    (r"(exec|queue)(-time)?=.\d+(ms)?", "$1$2=TIME"),
    (r"call(-id)?=.?\d+", "call$1=ID"),
];

impl Plain<'_> {
    /// The text without what differs.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut plain: String =
            text.lines().filter(|line| !passing(line)).map(|line| self.line(line) + "\n").collect();
        for (pattern, name) in MOMENTS {
            if let Ok(pattern) = Regex::new(pattern) {
                plain = pattern.replace_all(&plain, *name).into_owned();
            }
        }
        plain
    }

    fn line(&self, line: &str) -> String {
        // crm_mon of 3.x says where it runs.
        let about = self.own || line.contains("Last updated:") || line.contains("<last_update ");
        if about { line.replace(self.node, "NODE") } else { line.to_owned() }
    }
}

/// Lines that depend on how fast somebody else was, or on what was changed before.
fn passing(line: &str) -> bool {
    line.contains("Last change:")
        || line.contains("<last_change ")
        || line.starts_with("Waiting for 1 repl")
        || line.starts_with("... got reply")
}
