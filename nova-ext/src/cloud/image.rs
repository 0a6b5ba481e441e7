//! Images at Glance: their properties can say whether servers made of them are to be evacuated.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Cloud;
use super::catalog::{Service, below};
use super::error::CloudError;

/// What Glance itself says about an image; everything else is a property.
const OWN: [&str; 24] = [
    "checksum",
    "container_format",
    "created_at",
    "direct_url",
    "disk_format",
    "file",
    "id",
    "locations",
    "min_disk",
    "min_ram",
    "name",
    "os_hash_algo",
    "os_hash_value",
    "os_hidden",
    "owner",
    "protected",
    "schema",
    "self",
    "size",
    "status",
    "stores",
    "tags",
    "updated_at",
    "virtual_size",
];

/// What an image says about the servers made of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageProperties {
    /// Properties.
    pub properties: BTreeMap<String, String>,
    /// Tags.
    pub tags: Vec<String>,
}

pub(super) fn known(image: Map<String, Value>) -> ImageProperties {
    let mut out = ImageProperties::default();
    for (key, value) in image {
        match value {
            Value::Array(tags) if key == "tags" => {
                out.tags = tags.into_iter().filter_map(|tag| tag.as_str().map(str::to_owned)).collect();
            }
            Value::String(text) if !OWN.contains(&key.as_str()) => {
                out.properties.insert(key, text);
            }
            Value::Bool(flag) if !OWN.contains(&key.as_str()) => {
                out.properties.insert(key, flag.to_string());
            }
            _ => {}
        }
    }
    out
}

impl Cloud {
    /// Properties and tags of an image; none if it was deleted, which servers made of it survive.
    pub async fn image_properties(&self, id: &str) -> Result<Option<ImageProperties>, CloudError> {
        if id.is_empty()
            || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        {
            return Err(CloudError::Senseless("this is no id of an image".into()));
        }
        let base = self.endpoint(Service::Image).await?;
        let path = if base.path().trim_end_matches('/').ends_with("/v2") { "images" } else { "v2/images" };
        let url = below(&base, &format!("{path}/{id}"));
        match self.get_at(url, "GET image", None).await {
            Ok(answer) => Ok(Some(known(answer.parse()?))),
            Err(CloudError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_what_glance_does_not_say_itself() {
        let image = serde_json::from_str(
            r#"{"id": "1", "name": "img", "status": "active", "min_ram": 0, "tags": ["evacuable", 3],
                "evacuable": "true", "hw_disk_bus": "virtio", "os_hidden": false, "stores": "ceph"}"#,
        );
        let image = known(image.unwrap());
        let keys: Vec<_> = image.properties.keys().collect();
        assert_eq!(keys, ["evacuable", "hw_disk_bus"]);
        assert_eq!(image.tags, ["evacuable"]);
    }
}
