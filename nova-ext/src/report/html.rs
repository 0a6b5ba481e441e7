//! The report as one page that needs nothing else.

use std::fmt::Write as _;

use super::picture::{class, picture};
use super::text::{about, clean, line, seconds, word};
use super::{Phase, Timeline};

const STYLE: &str = "\
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1260px;padding:0 1rem;color:#1d2733;background:#fff}
h1{font-size:1.4rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%;font-size:.85rem}td,th{text-align:left;padding:.2rem .6rem;border-bottom:1px solid #dfe5ec;vertical-align:top}
td.n{white-space:nowrap;font-variant-numeric:tabular-nums}code{font-size:.85em}
svg{width:100%;font:11px system-ui,sans-serif}svg text{fill:#1d2733}svg text.tick{fill:#6b7a8a;text-anchor:middle}
svg text.name{text-anchor:end}svg line.tick{stroke:#e8edf2}svg line.mark{stroke:#c2452d;stroke-dasharray:2 3;opacity:.5}svg circle.mark{fill:#c2452d}
.waiting{fill:#cdd6df;background:#cdd6df}.asking{fill:#e8b339;background:#e8b339}.moving{fill:#3b7dd8;background:#3b7dd8}.retrying{fill:#e58c7a;background:#e58c7a}.starting{fill:#4ba574;background:#4ba574}
svg text.moved{fill:#2c7d52}svg text.given-up{fill:#c2452d;font-weight:bold}svg text.left-out{fill:#6b7a8a}
.legend span{display:inline-block;width:.9em;height:.9em;margin:0 .3em 0 1em;vertical-align:-.1em}
@media(prefers-color-scheme:dark){body{background:#14191f;color:#dbe3ec}svg text{fill:#dbe3ec}td,th{border-color:#2c3743}svg line.tick{stroke:#242d37}}
@media print{body{margin:0}}
";

/// An incident as a page.
pub fn html(timeline: &Timeline) -> String {
    let Timeline { summary, servers, lines, .. } = timeline;
    let host = summary.host.as_ref().map_or("a host", |host| host.as_str());
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\
         <meta name=\"viewport\" content=\"width=device-width\"/>\n<title>Recovery of {host}</title>\n<style>{STYLE}</style></head>\n\
         <body>\n<h1>Recovery of {host}</h1>\n<p>{line}<br/>Incident <code>{id}</code>, began {began}</p>\n",
        host = escaped(host),
        line = escaped(&line(summary)),
        id = summary.incident,
        began = summary.began,
    );
    page.push_str("<p class=\"legend\">");
    for phase in Phase::ALL {
        // No errors: into a string.
        let _ = write!(page, "<span class=\"{}\"></span>{}", class(phase), phase.name());
    }
    page.push_str("</p>\n");
    page.push_str(&picture(timeline));
    page.push_str(
        "<h2>Servers</h2>\n<table><tr><th>Server</th><th>Name</th><th>End</th><th>Took</th><th></th></tr>\n",
    );
    for lane in servers {
        let _ = writeln!(
            page,
            "<tr><td class=\"n\"><code>{}</code></td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            lane.server,
            escaped(&clean(&lane.name)),
            word(lane.fate),
            lane.took_ms.map_or_else(|| "–".to_owned(), seconds),
            escaped(&about(lane)),
        );
    }
    page.push_str("</table>\n<h2>Everything</h2>\n<table>\n");
    for line in lines {
        let _ = writeln!(
            page,
            "<tr><td class=\"n\">{}</td><td>{}</td></tr>",
            line.at,
            escaped(&clean(&line.said))
        );
    }
    page.push_str("</table>\n</body></html>\n");
    page
}

/// For text and attributes of HTML and SVG.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
