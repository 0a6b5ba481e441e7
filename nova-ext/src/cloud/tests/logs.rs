//! What goes into logs: request ids, and no secret.

use std::fmt::{Debug, Write as _};

use serde_json::json;
use std::sync::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;

/// Keeps every event and span as text, of whatever level.
#[derive(Clone, Default)]
struct Keep(Arc<Mutex<String>>);

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Keep {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Fields(&mut self.0.lock().unwrap()));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Fields(&mut self.0.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = self.0.lock().unwrap();
        event.record(&mut Fields(&mut text));
        text.push('\n');
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn request_ids_and_no_secrets() {
    let keep = Keep::default();
    // While there is one subscriber alone, what another thread logs first is off for good: tracing asks that thread's.
    let _second = tracing::Dispatch::new(keep.clone());
    let guard = tracing::subscriber::set_default(keep.clone());
    let fake = Fake::new("2.104", |seen| match (seen.path.as_str(), seen.before) {
        ("/v2.1/os-aggregates", 0) => Some(Reply::Json(503, json!({}))),
        ("/v2.1/os-aggregates", 1) => Some(Reply::Json(401, json!({}))),
        ("/v2.1/os-aggregates", _) => ok(json!({"aggregates": []})),
        _ if seen.path.ends_with("/action") => ok(json!({})),
        _ => None,
    })
    .await;
    let cloud = connect(&fake).await;
    cloud.aggregates().await.unwrap();
    cloud.evacuate(&server_id(1), &host("c1"), &proof("c1"), None).await.unwrap();
    drop(guard);
    let text = keep.0.lock().unwrap().clone();
    for part in ["req-of-the-cloud", "evacuation accepted", "GET /os-aggregates", "logged in", "once more"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for secret in [PASSWORD, "token-1", "token-2"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}
