//! Asking the cluster for the schemas of its configuration that this node does not have.
//!
//! A conversation with the CIB manager, as a tool would lead it: two requests, two answers. What is
//! asked for and what is taken from the answers is decided here; files are somebody else's.

use std::collections::HashSet;

use pcmk_proto::qb::flags;
use pcmk_proto::xml::{Element, Node};

/// A file of a schema that this node does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaFile {
    /// Its base name: letters, digits, `.`, `-` and `_`, ending with `.rng` or `.xsl`.
    pub name: String,
    /// What is in it.
    pub content: String,
}

/// Why no schemas could be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The CIB manager has refused.
    #[error("the cluster's CIB manager answered {0}")]
    Refused(i64),
    /// Something else came.
    #[error("the cluster's CIB manager answered <{0}>")]
    Unexpected(String),
    /// A name that is no plain file name.
    #[error("the cluster sent a file {0:?}, which is no name of a schema")]
    Name(String),
    /// More than any release has.
    #[error("the cluster sent more than {MAX_FILES} schema files")]
    TooMany,
}

/// The next thing to do.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Ask this.
    Ask(Question),
    /// Done: these are the files, possibly none.
    Done(Vec<SchemaFile>),
}

/// A request to the CIB manager.
#[derive(Debug, PartialEq)]
pub struct Question {
    /// Its number.
    pub msg_id: i32,
    /// Its flags.
    pub flags: u32,
    /// What.
    pub payload: Element,
}

/// One conversation.
#[derive(Debug)]
pub struct Fetch {
    after: String,
    /// Number of the request whose answer is awaited.
    awaited: i32,
}

/// All files of all releases so far are about a hundred.
const MAX_FILES: usize = 1024;
/// The answer comes as a response and not as an event (`cib_sync_call`).
const SYNCHRONOUS: &str = "4096";

const HELLO: i32 = 1;
const SCHEMAS: i32 = 2;

impl Fetch {
    /// Begins to ask for every schema later than this one, such as `pacemaker-4.0`.
    pub fn begin(after: impl Into<String>, client_name: &str) -> (Self, Question) {
        let mut hello = Element::new("cib_command");
        hello.set("t", "cib").set("cib_op", "register").set("cib_clientname", client_name);
        hello.set("cib_callid", "2").set("cib_callopt", SYNCHRONOUS);
        (Self { after: after.into(), awaited: HELLO }, question(HELLO, hello))
    }

    /// Takes in an answer; `None` if it is none to what was asked.
    pub fn answer(&mut self, msg_id: i32, answer: &Element) -> Option<Result<Step, SchemaError>> {
        if msg_id != self.awaited {
            return None;
        }
        Some(match msg_id {
            HELLO => self.ask(answer),
            _ => files(answer).map(Step::Done),
        })
    }

    fn ask(&mut self, hello: &Element) -> Result<Step, SchemaError> {
        if hello.attr("cib_clientid").is_none() {
            return Err(SchemaError::Unexpected(hello.name.clone()));
        }
        self.awaited = SCHEMAS;
        let mut after = Element::new("schema");
        after.set("version", self.after.as_str());
        let mut data = Element::new("cib_calldata");
        data.push_child(after);
        let mut command = Element::new("cib_command");
        command.set("t", "cib").set("cib_op", "cib_schemas").set("cib_callid", "3");
        command.set("cib_callopt", SYNCHRONOUS).push_child(data);
        Ok(Step::Ask(question(SCHEMAS, command)))
    }
}

fn question(msg_id: i32, payload: Element) -> Question {
    Question { msg_id, flags: flags::CLIENT_RESPONSE, payload }
}

/// The files in an answer, wherever they stand in it; of a name sent twice, the first.
fn files(answer: &Element) -> Result<Vec<SchemaFile>, SchemaError> {
    let rc = answer.attr("cib_rc").and_then(|rc| rc.parse().ok());
    match rc {
        Some(0) => {}
        Some(rc) => return Err(SchemaError::Refused(rc)),
        None => return Err(SchemaError::Unexpected(answer.name.clone())),
    }
    let mut found = Vec::new();
    let mut names = HashSet::new();
    let mut waiting = vec![answer];
    while let Some(element) = waiting.pop() {
        if element.name == "file" {
            let name = element.attr("path").unwrap_or_default();
            if !is_schema_name(name) {
                return Err(SchemaError::Name(name.chars().take(100).collect()));
            }
            let content = element.children.iter().find_map(|child| match child {
                Node::CData(content) => Some(content),
                Node::Element(_) | Node::Text(_) => None,
            });
            if let Some(content) = content
                && names.insert(name)
            {
                if found.len() >= MAX_FILES {
                    return Err(SchemaError::TooMany);
                }
                found.push(SchemaFile { name: name.to_owned(), content: content.clone() });
            }
            continue;
        }
        let children = waiting.len();
        waiting.extend(element.child_elements());
        if let Some(new) = waiting.get_mut(children..) {
            new.reverse(); // document order
        }
    }
    Ok(found)
}

/// Names decide where files go: nothing but plain ones.
pub fn is_schema_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(plain)
        && [".rng", ".xsl"].iter().any(|suffix| name.ends_with(suffix))
}

/// The newest of these files that is a schema of the whole configuration: `pacemaker-4.0` of
/// `pacemaker-4.0.rng`.
pub fn highest<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let version = |name: &'a str| {
        let (major, minor) = name.strip_prefix("pacemaker-")?.strip_suffix(".rng")?.split_once('.')?;
        Some((major.parse::<u8>().ok()?, minor.parse::<u8>().ok()?))
    };
    let (major, minor) = names.into_iter().filter_map(version).max()?;
    Some(format!("pacemaker-{major}.{minor}"))
}
