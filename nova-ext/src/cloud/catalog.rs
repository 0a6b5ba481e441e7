//! The catalog of services that comes with a token.

use reqwest::Url;
use serde::Deserialize;

use super::error::CloudError;
use super::settings::Interface;

/// A service that is used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Compute,
    Placement,
    Image,
}

impl Service {
    /// Its type in the catalog.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Placement => "placement",
            Self::Image => "image",
        }
    }
}

/// All services, as Keystone lists them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Catalog(Vec<Entry>);

#[derive(Debug, Clone, Deserialize)]
struct Entry {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, Deserialize)]
struct Endpoint {
    #[serde(default)]
    interface: String,
    #[serde(default)]
    url: String,
    region: Option<String>,
    region_id: Option<String>,
}

impl Endpoint {
    fn region(&self) -> Option<&str> {
        self.region_id.as_deref().or(self.region.as_deref())
    }
}

impl Catalog {
    /// The endpoint of a service: the first of the interfaces, best first, in the region.
    pub(super) fn find(
        &self,
        service: Service,
        interfaces: &[Interface],
        region: Option<&str>,
    ) -> Result<Url, CloudError> {
        let known: Vec<&Endpoint> = self
            .0
            .iter()
            .filter(|entry| entry.kind == service.kind())
            .flat_map(|entry| &entry.endpoints)
            .collect();
        let fits = |endpoint: &&&Endpoint| region.is_none() || endpoint.region() == region;
        let found = interfaces.iter().find_map(|interface| {
            known.iter().filter(fits).find(|endpoint| endpoint.interface == interface.as_str())
        });
        let Some(found) = found else {
            return Err(CloudError::NoEndpoint {
                service: service.kind(),
                region: region.map(str::to_owned),
                interfaces: interfaces
                    .iter()
                    .map(|interface| interface.as_str())
                    .collect::<Vec<_>>()
                    .join(" or "),
                known: list(&known),
            });
        };
        match Url::parse(&found.url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.host_str().is_some() => Ok(url),
            _ => Err(CloudError::Senseless(format!(
                "the catalog's {} endpoint of {:?} is no URL: {:?}",
                found.interface,
                service.kind(),
                found.url.chars().take(200).collect::<String>()
            ))),
        }
    }
}

fn list(known: &[&Endpoint]) -> String {
    if known.is_empty() {
        return "none".to_owned();
    }
    let mut all: Vec<String> = known
        .iter()
        .take(12)
        .map(|endpoint| format!("{} in {}", endpoint.interface, endpoint.region().unwrap_or("no region")))
        .collect();
    all.dedup();
    all.join(", ")
}

/// A URL with a further path below it.
pub(super) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    let joined = format!("{}/{}", base.path().trim_end_matches('/'), path.trim_start_matches('/'));
    url.set_path(&joined);
    url
}

/// Nova's endpoint without the project, which old catalogs put at its end.
pub(super) fn without_project(url: &Url, project: Option<&str>) -> Url {
    let path = url.path().trim_end_matches('/');
    let parent =
        project.and_then(|project| path.strip_suffix(project)).and_then(|path| path.strip_suffix('/'));
    match parent {
        Some(parent) => {
            let mut url = url.clone();
            url.set_path(parent);
            url
        }
        None => url.clone(),
    }
}

/// Keystone's v3 API, whatever part of its address was given.
pub(super) fn identity(auth_url: &Url) -> Url {
    let path = auth_url.path().trim_end_matches('/');
    let stem = path.strip_suffix("/v3").or_else(|| path.strip_suffix("/v2.0")).unwrap_or(path);
    let mut url = auth_url.clone();
    url.set_path(stem);
    below(&url, "v3")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn catalog() -> Catalog {
        serde_json::from_str(
            r#"[{"type": "compute", "name": "nova", "id": "x", "endpoints": [
                {"id": "1", "interface": "internal", "region": "one", "region_id": "one", "url": "http://i1:8774/v2.1"},
                {"id": "2", "interface": "public", "region": "one", "region_id": "one", "url": "https://p1:8774/v2.1"},
                {"id": "3", "interface": "public", "region": "two", "region_id": "two", "url": "https://p2:8774/v2.1"}]},
                {"type": "image", "endpoints": [{"interface": "public", "url": "ftp://x/"}]}]"#,
        )
        .unwrap()
    }

    #[test]
    fn the_best_interface_in_the_region() {
        let catalog = catalog();
        let find = |interfaces: &[Interface], region| catalog.find(Service::Compute, interfaces, region);
        assert_eq!(find(&[Interface::Public], None).unwrap(), url("https://p1:8774/v2.1"));
        assert_eq!(find(&[Interface::Public], Some("two")).unwrap(), url("https://p2:8774/v2.1"));
        let both = [Interface::Internal, Interface::Public];
        assert_eq!(find(&both, Some("one")).unwrap(), url("http://i1:8774/v2.1"));
        assert_eq!(find(&both, Some("two")).unwrap(), url("https://p2:8774/v2.1"));
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is() {
        let error =
            catalog().find(Service::Compute, &[Interface::Admin], Some("three")).unwrap_err().to_string();
        for part in ["admin", "compute", "three", "internal in one", "public in two"] {
            assert!(error.contains(part), "{error}");
        }
        let error = catalog().find(Service::Placement, &[Interface::Public], None).unwrap_err().to_string();
        assert!(error.contains("it has none"), "{error}");
        assert!(catalog().find(Service::Image, &[Interface::Public], None).is_err());
    }

    #[test]
    fn addresses_as_people_give_them() {
        for given in
            ["http://k:5000", "http://k:5000/", "http://k:5000/v3", "http://k:5000/v3/", "http://k:5000/v2.0"]
        {
            assert_eq!(identity(&url(given)).as_str(), "http://k:5000/v3", "{given}");
        }
        assert_eq!(identity(&url("https://k/identity")).as_str(), "https://k/identity/v3");
        let project = Some("e4542e");
        assert_eq!(without_project(&url("http://n/v2.1/e4542e"), project).as_str(), "http://n/v2.1");
        assert_eq!(without_project(&url("http://n/v2.1"), project).as_str(), "http://n/v2.1");
        assert_eq!(below(&url("http://n/v2.1/"), "/servers").as_str(), "http://n/v2.1/servers");
    }
}
