//! What is said once: the reason of each thing that waits, and again only when that is another one.

use std::collections::BTreeMap;

/// What begins an id of a request to Nova, and its length.
const REQUEST: &str = "req-";
const LENGTH: usize = REQUEST.len() + 36;

/// What was said last of each.
#[derive(Debug, Default)]
pub(super) struct Complaints(BTreeMap<String, String>);

impl Complaints {
    /// Whether this is news of it. Each answer of Nova has an id of its own, which is none.
    pub(super) fn is_news(&mut self, of: &str, why: &str) -> bool {
        let why = without_ids(why);
        self.0.insert(of.to_owned(), why.clone()) != Some(why)
    }

    /// It is well; whether there was something.
    pub(super) fn forget(&mut self, of: &str) -> bool {
        self.0.remove(of).is_some()
    }

    /// Forgets all others.
    pub(super) fn keep(&mut self, open: impl Fn(&str) -> bool) {
        self.0.retain(|of, _| open(of));
    }
}

fn without_ids(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::with_capacity(text.len());
    while let Some((before, after)) = rest.split_once(REQUEST) {
        kept.push_str(before);
        kept.push_str(REQUEST);
        rest = after.get(LENGTH - REQUEST.len()..).unwrap_or_default();
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_said_once_whatever_its_id() {
        let mut complaints = Complaints::default();
        let why = |id: u32| format!("503: busy (req-{id:08}-0000-4000-8000-000000000000), again later");
        assert!(complaints.is_news("c1", &why(1)));
        for id in 2..1000 {
            assert!(!complaints.is_news("c1", &why(id)));
        }
        assert_eq!(complaints.0.len(), 1);
        assert!(complaints.is_news("c1", "no proof") && complaints.is_news("c1", &why(1)));
        assert!(complaints.is_news("c2", "req-") && !complaints.is_news("c2", "req-torn"));
        complaints.keep(|of| of == "c2");
        assert!(!complaints.forget("c1") && complaints.forget("c2") && !complaints.forget("c2"));
    }
}
