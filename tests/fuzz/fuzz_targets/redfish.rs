//! What a Redfish device says: every resource that is read, and where it leads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nova_ext::power::Order;
use nova_ext::power::redfish::resource::{Collection, Link, Root, System, message, path, tidy};
use serde_json::Value;

// The first byte says what the rest is.
fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 5 {
        0 => root(rest),
        1 => collection(rest),
        2 => system(rest),
        3 => info(rest),
        _ => words(rest),
    }
});

/// Nothing leads to another device, nor out of the tree.
fn stays(path: Option<String>) {
    if let Some(path) = path {
        assert!(path.starts_with("/redfish/") && path.len() <= 512, "{path:?}");
        assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\#?@".contains(&byte)), "{path:?}");
        assert!(path.split('/').all(|part| part != ".."), "{path:?}");
    }
}

fn root(bytes: &[u8]) {
    let Ok(root) = serde_json::from_slice::<Root>(bytes) else { return };
    stays(root.sessions());
    stays(root.systems.as_ref().and_then(Link::path));
}

fn collection(bytes: &[u8]) {
    let Ok(collection) = serde_json::from_slice::<Collection>(bytes) else { return };
    for member in &collection.members {
        stays(member.path());
        assert!(!member.name().contains('/'));
    }
}

fn system(bytes: &[u8]) {
    let Ok(system) = serde_json::from_slice::<System>(bytes) else { return };
    if let Some((_, said)) = system.power() {
        assert!(["On", "Off", "Paused", "PoweringOn", "PoweringOff"].map(|state| format!("PowerState {state}")).contains(&said));
    }
    let reset = system.reset();
    stays(reset.target("/redfish/v1/Systems/1"));
    stays(reset.info());
    for (order, kinds) in [(Order::Off, &["ForceOff"][..]), (Order::On, &["On", "ForceOn"])] {
        match reset.kind(order) {
            Ok(kind) => assert!(kinds.contains(&kind)),
            Err(why) => assert!(why.len() < 16 * 1024, "{} bytes", why.len()),
        }
    }
}

/// A description of the reset, for a system that has none of its own.
fn info(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let reset = serde_json::from_str::<System>("{}").expect("an empty system").reset().with_info(&value);
    let _ = (reset.kind(Order::Off), reset.kind(Order::On));
    if let Some(said) = message(&value) {
        assert!(said.chars().count() <= 200 && !said.chars().any(char::is_control));
    }
}

fn words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    stays(path(text));
    assert!(!tidy(text).chars().any(char::is_control));
}
