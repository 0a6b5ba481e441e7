//! Lists in pages: follow the markers, and notice when they lead in a circle.

use std::collections::BTreeSet;

use reqwest::Url;
use serde::Deserialize;

/// The most pages of one list.
const PAGES: usize = 2_000;
/// The most things in one list.
const ITEMS: usize = 200_000;

/// A link of an answer.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Link {
    #[serde(default)]
    rel: String,
    #[serde(default)]
    href: String,
}

impl Link {
    /// To the next page.
    pub(super) fn next(href: String) -> Self {
        Self { rel: "next".into(), href }
    }
}

/// How far a list has been read.
#[derive(Debug, Default)]
pub(super) struct Pages {
    markers: BTreeSet<String>,
    read: usize,
    items: usize,
}

impl Pages {
    /// The marker of the next page after one with `items` things and these links; none at the end.
    ///
    /// Of the link itself nothing but the marker is used: behind a proxy it often has another host or scheme, and
    /// a token is for one place alone.
    pub(super) fn next(&mut self, items: usize, links: &[Link]) -> Result<Option<String>, String> {
        self.read += 1;
        self.items = self.items.saturating_add(items);
        if self.items > ITEMS {
            return Err(format!("more than {ITEMS} entries"));
        }
        let Some(link) = links.iter().find(|link| link.rel == "next") else { return Ok(None) };
        let marker = marker(&link.href).ok_or("the link to the next page has no marker")?;
        if items == 0 {
            return Err("an empty page has a next one".to_owned());
        }
        if self.read >= PAGES {
            return Err(format!("more than {PAGES} pages"));
        }
        if !self.markers.insert(marker.clone()) {
            return Err(format!(
                "the pages go in a circle at marker {:?}",
                marker.chars().take(64).collect::<String>()
            ));
        }
        Ok(Some(marker))
    }
}

fn marker(href: &str) -> Option<String> {
    // A link without a host is one as well.
    let base = Url::parse("http://localhost/").ok()?;
    let url = base.join(href).ok()?;
    let found = url.query_pairs().find(|(name, _)| name == "marker").map(|(_, marker)| marker.into_owned());
    found.filter(|marker| !marker.is_empty() && marker.len() <= 255)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn link(href: &str) -> Vec<Link> {
        vec![Link { rel: "next".into(), href: href.into() }]
    }

    #[test]
    fn a_list_ends_and_a_circle_is_noticed() {
        let mut pages = Pages::default();
        assert_eq!(pages.next(2, &link("http://wrong:1/servers?limit=2&marker=a")), Ok(Some("a".into())));
        assert_eq!(pages.next(2, &link("/servers?marker=b%2Fc&limit=2")), Ok(Some("b/c".into())));
        assert!(pages.next(2, &link("http://x/?marker=a")).unwrap_err().contains("circle"));
        assert_eq!(Pages::default().next(2, &[]), Ok(None));
        assert!(Pages::default().next(0, &link("/?marker=a")).is_err());
        assert!(Pages::default().next(1, &link("/?limit=1")).is_err());
    }

    #[test]
    fn there_is_an_end_to_everything() {
        let mut pages = Pages::default();
        let mut number = 0;
        let error = loop {
            number += 1;
            match pages.next(1, &link(&format!("/?marker={number}"))) {
                Ok(next) => assert!(next.is_some()),
                Err(error) => break error,
            }
        };
        assert!(number <= PAGES && error.contains("pages"));
        assert!(Pages::default().next(ITEMS + 1, &[]).is_err());
    }

    proptest! {
        #[test]
        fn no_link_panics(href in "\\PC{0,80}", rel in "next|self|\\PC{0,8}", items in any::<usize>()) {
            let _ = Pages::default().next(items, &[Link { rel, href }]);
        }
    }
}
