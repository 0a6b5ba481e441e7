//! Everything that can carry a word about evacuation: flavors, images and servers of the whole cloud.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::catalog::{Service, below};
use super::error::CloudError;
use super::image::known;
use super::pages::{Link, Pages};
use super::{Cloud, Page, wire};

/// Entries of a page.
const PAGE: &str = "500";

/// Something that somebody can write words on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// Its id.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// Extra specs, properties or metadata.
    pub words: BTreeMap<String, String>,
    /// Its tags.
    pub tags: Vec<String>,
}

#[derive(Deserialize)]
struct Flavors {
    flavors: Vec<Raw>,
    #[serde(default)]
    flavors_links: Vec<Link>,
}

#[derive(Deserialize)]
struct Servers {
    servers: Vec<Raw>,
    #[serde(default)]
    servers_links: Vec<Link>,
}

#[derive(Deserialize)]
struct Raw {
    id: String,
    #[serde(default, deserialize_with = "wire::text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "wire::map")]
    extra_specs: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "wire::map")]
    metadata: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "wire::texts")]
    tags: Vec<String>,
}

impl Raw {
    fn marked(self) -> Marked {
        let words = self.extra_specs.or(self.metadata).unwrap_or_default();
        Marked { id: self.id, name: self.name.unwrap_or_default(), words, tags: self.tags }
    }
}

impl Page for Flavors {
    type Item = Raw;

    fn split(self) -> (Vec<Raw>, Vec<Link>) {
        (self.flavors, self.flavors_links)
    }
}

impl Page for Servers {
    type Item = Raw;

    fn split(self) -> (Vec<Raw>, Vec<Link>) {
        (self.servers, self.servers_links)
    }
}

#[derive(Deserialize)]
struct Images {
    images: Vec<Map<String, Value>>,
    #[serde(default)]
    next: Option<String>,
}

impl Cloud {
    /// All flavors, public or not, with their extra specs.
    pub async fn flavors(&self) -> Result<Vec<Marked>, CloudError> {
        let query = [("is_public", "None"), ("limit", PAGE)];
        let raw = self.get_pages::<Flavors>("/flavors/detail", &query, |_| false).await?;
        let hidden = !raw.is_empty() && raw.iter().all(|one| one.extra_specs.is_none());
        if hidden {
            let what = "they do not show the extra specs of flavors".into();
            return Err(CloudError::Role { what, policy: "os_compute_api:os-flavor-extra-specs:index" });
        }
        Ok(raw.into_iter().map(Raw::marked).collect())
    }

    /// All servers of all projects, with metadata and tags.
    pub async fn marked_servers(&self) -> Result<Vec<Marked>, CloudError> {
        let query = [("all_tenants", "1"), ("limit", PAGE)];
        let raw = self.get_pages::<Servers>("/servers/detail", &query, |_| false).await?;
        Ok(raw.into_iter().map(Raw::marked).collect())
    }

    /// All images that can be seen, with properties and tags.
    pub async fn images(&self) -> Result<Vec<Marked>, CloudError> {
        let base = self.endpoint(Service::Image).await?;
        let path = if base.path().trim_end_matches('/').ends_with("/v2") { "images" } else { "v2/images" };
        let mut pages = Pages::default();
        let mut marker: Option<String> = None;
        let mut all = Vec::new();
        loop {
            let mut url = below(&base, path);
            url.query_pairs_mut().append_pair("limit", PAGE);
            if let Some(marker) = &marker {
                url.query_pairs_mut().append_pair("marker", marker);
            }
            let answer = self.get_at(url, "GET images", None).await?;
            let Images { images, next } = answer.parse()?;
            let links: Vec<Link> = next.into_iter().map(Link::next).collect();
            let next = pages.next(images.len(), &links);
            all.extend(images.into_iter().map(marked_image));
            marker = match next {
                Ok(None) => return Ok(all),
                Ok(marker) => marker,
                Err(why) => return Err(CloudError::Endless { call: answer.call, why }),
            };
        }
    }
}

fn marked_image(image: Map<String, Value>) -> Marked {
    let text = |key: &str| image.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (id, name) = (text("id"), text("name"));
    let about = known(image);
    Marked { id, name, words: about.properties, tags: about.tags }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_on_things_is_read() {
        let page: Flavors = serde_json::from_str(
            r#"{"flavors": [{"id": "1", "name": "m1", "ram": 512, "extra_specs": {"instance_ha:evacuate": "yes"}}],
                "flavors_links": [{"rel": "next", "href": "http://x/flavors/detail?marker=1"}]}"#,
        )
        .unwrap();
        let (flavors, links) = page.split();
        let flavor = flavors.into_iter().map(Raw::marked).next().unwrap();
        assert_eq!((flavor.words["instance_ha:evacuate"].as_str(), links.len()), ("yes", 1));
        let page: Servers = serde_json::from_str(
            r#"{"servers": [{"id": "s", "name": null, "metadata": {"HA_Enabled": "True"}, "tags": ["evacuable"]}]}"#,
        )
        .unwrap();
        let server = page.split().0.into_iter().map(Raw::marked).next().unwrap();
        assert_eq!(
            (server.words["HA_Enabled"].as_str(), server.tags),
            ("True", vec!["evacuable".to_owned()])
        );
        let page: Images = serde_json::from_str(
            r#"{"images": [{"id": "i", "name": "img", "status": "active", "evacuable": "maybe", "tags": ["a"]}],
                "next": "/v2/images?marker=i&limit=500"}"#,
        )
        .unwrap();
        let image = page.images.into_iter().map(marked_image).next().unwrap();
        assert_eq!((image.id.as_str(), image.words["evacuable"].as_str()), ("i", "maybe"));
        let mut pages = Pages::default();
        let link = page.next.into_iter().map(Link::next).collect::<Vec<_>>();
        assert_eq!(pages.next(1, &link), Ok(Some("i".into())));
    }
}
