//! The message inside an error answer: each service wraps it in its own way, and proxies send pages.

use reqwest::StatusCode;
use serde_json::Value;

use super::http::plain;

/// What the answer says, in one line; the status' own name if it says nothing.
pub(super) fn message(body: &[u8], status: StatusCode) -> String {
    let text = serde_json::from_slice::<Value>(body).ok().and_then(|value| wrapped(&value));
    let text = text.or_else(|| page(body)).map(|text| plain(&text)).filter(|text| !text.is_empty());
    text.unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason given").to_owned())
}

fn wrapped(value: &Value) -> Option<String> {
    let said = |inner: &Value| {
        ["message", "detail", "title"].iter().find_map(|key| inner.get(key)?.as_str()).map(str::to_owned)
    };
    let object = value.as_object()?;
    // Placement: {"errors": [{"detail": …}]}; Nova: {"badRequest": {"message": …}}; Keystone: {"error": {…}}.
    if let Some(first) = object.get("errors").and_then(Value::as_array).and_then(|errors| errors.first()) {
        return said(first);
    }
    object.values().find_map(said).or_else(|| said(value))
}

/// The text of a page or of a bare answer.
fn page(body: &[u8]) -> Option<String> {
    let start = body.get(..body.len().min(4096))?;
    let text = String::from_utf8_lossy(start);
    if text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let mut out = String::new();
    let mut inside = false;
    for c in text.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                out.push(' ');
            }
            c if !inside => out.push(c),
            _ => {}
        }
    }
    Some(out.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(body: &str, status: u16) -> String {
        message(body.as_bytes(), StatusCode::from_u16(status).unwrap())
    }

    #[test]
    fn each_service_is_understood() {
        let nova = r#"{"badRequest": {"code": 400, "message": "Compute service of c1 is still in use."}}"#;
        assert_eq!(said(nova, 400), "Compute service of c1 is still in use.");
        let keystone = r#"{"error":{"code":401,"message":"The request you have made requires authentication.","title":"Unauthorized"}}"#;
        assert_eq!(said(keystone, 401), "The request you have made requires authentication.");
        let placement =
            r#"{"errors": [{"status": 404, "title": "Not Found", "detail": "No resource provider\n\n"}]}"#;
        assert_eq!(said(placement, 404), "No resource provider");
        let proxy = "<html><body><h1>503 Service Unavailable</h1>\nNo server is available.\n</body></html>";
        assert_eq!(said(proxy, 503), "503 Service Unavailable No server is available.");
        assert_eq!(said("", 502), "Bad Gateway");
        assert_eq!(said("{\"x\": 1}", 409), "Conflict");
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_is_long(body in proptest::collection::vec(any::<u8>(), 0..6000)) {
            let text = message(&body, StatusCode::BAD_GATEWAY);
            prop_assert!(!text.is_empty() && text.chars().count() <= 501);
            prop_assert!(!text.chars().any(char::is_control));
        }
    }
}
