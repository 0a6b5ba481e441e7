//! `clouds.yaml` as OpenStack's own tools read it, with the secrets in `secure.yaml`.

use std::path::{Path, PathBuf};

use yaml_rust2::{Yaml, YamlLoader};
use zeroize::Zeroizing;

use super::fields::Fields;
use super::text::{self, Text};
use super::{Environment, Settings, SettingsError, Source};

/// The largest file that is read.
const LARGEST: u64 = 256 * 1024;
/// Brackets in brackets.
const DEEPEST: usize = 32;
/// Repetitions of marked parts (`*name`).
const ALIASES: usize = 64;

/// Options outside `auth` and our names of them.
const OPTIONS: [(&str, &str); 15] = [
    ("auth_type", "auth_type"),
    ("region_name", "region_name"),
    ("interface", "interface"),
    ("endpoint_type", "endpoint_type"),
    ("cacert", "cafile"),
    ("ca-file", "cafile"),
    ("cert", "certfile"),
    ("key", "keyfile"),
    ("insecure", "insecure"),
    ("verify", "verify"),
    ("compute_api_version", "compute_api_version"),
    ("compute_default_microversion", "compute_api_version"),
    ("compute_endpoint_override", "compute_endpoint"),
    ("placement_endpoint_override", "placement_endpoint"),
    ("image_endpoint_override", "image_endpoint"),
];

/// Options in `auth`, which are ours as they are.
const AUTH: [&str; 20] = [
    "auth_url",
    "username",
    "user_id",
    "password",
    "project_id",
    "project_name",
    "tenant_id",
    "tenant_name",
    "user_domain_id",
    "user_domain_name",
    "project_domain_id",
    "project_domain_name",
    "domain_id",
    "domain_name",
    "default_domain_id",
    "default_domain_name",
    "system_scope",
    "application_credential_id",
    "application_credential_name",
    "application_credential_secret",
];

/// Reads one cloud.
pub(super) fn read(
    file: Option<&Path>,
    cloud: Option<&str>,
    environment: &Environment,
) -> Result<Settings, SettingsError> {
    let path = match file {
        Some(path) => path.to_owned(),
        None => find(environment)?,
    };
    let main = Document::read(&path)?;
    let name = match cloud.or_else(|| environment.get("OS_CLOUD")) {
        Some(name) => name.to_owned(),
        None => main.only_one()?,
    };
    let origin = Source::Clouds { file: Some(path.clone()), cloud: Some(name.clone()) }.to_string();
    let mut fields = Fields::new(origin.clone(), spell);
    main.fill(&mut fields, &name, true)?;
    if fields.have_secret() && main.public {
        return Err(SettingsError::Public(path));
    }
    let secure = environment.get("OS_CLIENT_SECURE_FILE").map_or_else(|| beside(&path), PathBuf::from);
    if secure.exists() {
        let secure = Document::read(&secure)?;
        secure.fill(&mut fields, &name, false)?;
        if secure.public {
            return Err(SettingsError::Public(secure.path));
        }
    }
    fields.into_settings()
}

/// The first `clouds.yaml` of the usual places.
fn find(environment: &Environment) -> Result<PathBuf, SettingsError> {
    let places = places(environment);
    let shown = || places.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    places.iter().find(|path| path.exists()).cloned().ok_or_else(|| SettingsError::Nowhere(shown()))
}

pub(super) fn places(environment: &Environment) -> Vec<PathBuf> {
    if let Some(path) = environment.get("OS_CLIENT_CONFIG_FILE") {
        return vec![PathBuf::from(path)];
    }
    let home = environment.get("HOME").map(|home| Path::new(home).join(".config"));
    let config = environment.get("XDG_CONFIG_HOME").map(PathBuf::from).or(home);
    let folders =
        config.into_iter().map(|config| config.join("openstack")).chain([PathBuf::from("/etc/openstack")]);
    folders.flat_map(|folder| ["clouds.yaml", "clouds.yml"].map(|name| folder.join(name))).collect()
}

fn beside(path: &Path) -> PathBuf {
    let name = if path.extension().is_some_and(|extension| extension == "yml") {
        "secure.yml"
    } else {
        "secure.yaml"
    };
    path.with_file_name(name)
}

struct Document {
    path: PathBuf,
    /// Everybody can read the file.
    public: bool,
    clouds: Yaml,
}

impl Document {
    fn read(path: &Path) -> Result<Self, SettingsError> {
        let Text { content, public } = text::read(path, LARGEST)?;
        let syntax = |why: String| SettingsError::Syntax { source_of: path.display().to_string(), why };
        let clouds = parse(&content).map_err(syntax)?;
        Ok(Self { path: path.to_owned(), public, clouds })
    }

    fn error(&self, why: String) -> SettingsError {
        SettingsError::Syntax { source_of: self.path.display().to_string(), why }
    }

    fn names(&self) -> Vec<&str> {
        self.clouds
            .as_hash()
            .map(|clouds| clouds.keys().filter_map(Yaml::as_str).collect())
            .unwrap_or_default()
    }

    /// The name of the only cloud.
    fn only_one(&self) -> Result<String, SettingsError> {
        match self.names().as_slice() {
            [name] => Ok((*name).to_owned()),
            [] => Err(self.error("it has no clouds".into())),
            names => Err(self.error(format!("it has {}: say which (OS_CLOUD)", names.join(", ")))),
        }
    }

    fn fill(&self, fields: &mut Fields, name: &str, must: bool) -> Result<(), SettingsError> {
        let cloud = self.clouds.as_hash().and_then(|clouds| clouds.get(&Yaml::String(name.to_owned())));
        let Some(cloud) = cloud.and_then(Yaml::as_hash) else {
            if !must {
                return Ok(());
            }
            return Err(self.error(format!("it has no cloud {name:?}, only {}", self.names().join(", "))));
        };
        let get = |key: &str| cloud.get(&Yaml::String(key.to_owned()));
        if get("profile").or_else(|| get("cloud")).is_some() && get("auth").is_none() {
            let why = "a vendor's profile is not looked up: write auth_url and the rest under auth";
            return Err(self.error(format!("cloud {name:?}: {why}")));
        }
        // What is under `auth` may stand beside it as well, and `auth` holds.
        for key in AUTH {
            self.take(fields, name, key, key, get(key))?;
        }
        if let Some(auth) = get("auth") {
            let auth =
                auth.as_hash().ok_or_else(|| self.error(format!("cloud {name:?}: auth is no mapping")))?;
            for key in AUTH {
                self.take(fields, name, key, key, auth.get(&Yaml::String(key.to_owned())))?;
            }
        }
        for (key, ours) in OPTIONS {
            let value = get(key).or_else(|| get(&key.replace('_', "-")));
            self.take(fields, name, key, ours, value)?;
        }
        Ok(())
    }

    fn take(
        &self,
        fields: &mut Fields,
        cloud: &str,
        key: &str,
        ours: &str,
        value: Option<&Yaml>,
    ) -> Result<(), SettingsError> {
        let text = match value {
            None | Some(Yaml::Null | Yaml::BadValue) => return Ok(()),
            // A number with a dot is kept as written: 2.100 is not 2.1.
            Some(Yaml::String(text) | Yaml::Real(text)) => Zeroizing::new(text.clone()),
            Some(Yaml::Integer(number)) => Zeroizing::new(number.to_string()),
            Some(Yaml::Boolean(flag)) => Zeroizing::new(flag.to_string()),
            Some(_) => return Err(self.error(format!("cloud {cloud:?}: {key} is not a text"))),
        };
        fields.set(ours, &text);
        Ok(())
    }
}

/// The part `clouds` of the text.
fn parse(text: &str) -> Result<Yaml, String> {
    let mut depth = 0usize;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err("too many brackets in brackets".into());
        }
    }
    if text.matches('*').count() > ALIASES {
        return Err("more than 64 asterisks: too many repeated parts".into());
    }
    // The parser's message has the place, not the text.
    let mut documents = YamlLoader::load_from_str(text)
        .map_err(|error| format!("not YAML, at line {}", error.marker().line()))?;
    let Some(document) = (!documents.is_empty()).then(|| documents.swap_remove(0)) else {
        return Err("it is empty".into());
    };
    let clouds =
        document.into_hash().and_then(|mut document| document.remove(&Yaml::String("clouds".into())));
    clouds.filter(|clouds| clouds.as_hash().is_some()).ok_or_else(|| "it has no part \"clouds\"".to_owned())
}

fn spell(name: &str) -> String {
    if AUTH.contains(&name) {
        return format!("auth.{name}");
    }
    let option = OPTIONS.iter().find(|(_, ours)| *ours == name).map(|(key, _)| *key);
    option.unwrap_or(name).to_owned()
}
