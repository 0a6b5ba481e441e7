//! The report as one page that needs nothing else.

use std::fmt::Write as _;

use super::picture::{class, picture};
use super::text::{about, clean, line, seconds, span, word};
use super::{Fate, Phase, Timeline};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2733;--paper:#fff;--soft:#5b6978;--line:#dfe5ec;--tick:#e8edf2;--good:#23704a;--bad:#b93a22;\
--waiting:#c3cdd8;--asking:#e8b339;--moving:#3b7dd8;--retrying:#e58c7a;--starting:#4ba574}
@media(prefers-color-scheme:dark){:root{--ink:#dbe3ec;--paper:#14191f;--soft:#93a1b0;--line:#2c3743;--tick:#242d37;--good:#6fcf9b;--bad:#ff8f78;\
--waiting:#4a5664;--moving:#4f90ea}}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1260px;padding:0 1rem;color:var(--ink);background:var(--paper)}
h1{font-size:1.4rem;margin-bottom:.2rem;overflow-wrap:anywhere}h2,summary{font-size:1.1rem;font-weight:bold;margin-top:2rem}summary{cursor:pointer}
.wide{overflow-x:auto}.wide table{min-width:760px}
table{border-collapse:collapse;width:100%;font-size:.85rem}td,th{text-align:left;padding:.2rem .6rem;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
td.n{white-space:nowrap;font-variant-numeric:tabular-nums}td.t{text-align:right}code{font-size:.85em}
svg{display:block;width:100%;min-width:900px;font:11px system-ui,sans-serif}svg text{fill:var(--ink)}svg .tick{fill:var(--soft)}svg text.tick{text-anchor:middle}
svg text.name,svg text.before{text-anchor:end}svg line.tick{stroke:var(--tick)}svg line.mark{stroke:var(--bad);stroke-dasharray:2 3;opacity:.4}svg circle.mark{fill:var(--bad)}
.waiting{fill:var(--waiting);background:var(--waiting)}.asking{fill:var(--asking);background:var(--asking)}.moving{fill:var(--moving);background:var(--moving)}\
.retrying{fill:var(--retrying);background:var(--retrying)}.starting{fill:var(--starting);background:var(--starting)}
svg text.moved,.good{fill:var(--good);color:var(--good)}svg text.given-up,.bad{fill:var(--bad);color:var(--bad);font-weight:bold}svg text.left-out{fill:var(--soft)}
.legend span{display:inline-block;width:.9em;height:.9em;margin:0 .3em 0 1em;vertical-align:-.1em;print-color-adjust:exact}.legend span:first-child{margin-left:0}
@media print{body{margin:0}}
";
/// Longer stories are folded.
const LONG: usize = 200;

/// An incident as a page.
pub fn html(timeline: &Timeline) -> String {
    let Timeline { summary, servers, lines, .. } = timeline;
    let host = summary.host.as_ref().map_or("a host", |host| host.as_str());
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\
         <meta name=\"viewport\" content=\"width=device-width\"/>\n<title>Recovery of {host}</title>\n<style>{STYLE}</style></head>\n\
         <body>\n<h1>Recovery of {host}</h1>\n<p>{line}<br/>Incident <code>{id}</code>, began {began}, last entry {lasted} later</p>\n",
        host = escaped(host),
        line = escaped(&line(summary)),
        id = summary.incident,
        began = summary.began,
        lasted = span(summary.last, summary.began),
    );
    page.push_str("<p class=\"legend\">");
    for phase in Phase::ALL {
        // No errors: into a string.
        let _ = write!(page, "<span class=\"{}\"></span>{}", class(phase), phase.name());
    }
    page.push_str("</p>\n<div class=\"wide\">\n");
    page.push_str(&picture(timeline));
    page.push_str("</div>\n");
    page.push_str(
        "<h2>Servers</h2>\n<div class=\"wide\"><table><tr><th>Server</th><th>Name</th><th>End</th><th>Took</th><th></th></tr>\n",
    );
    for lane in servers {
        let _ = writeln!(
            page,
            "<tr><td class=\"n\"><code>{}</code></td><td>{}</td><td class=\"n {}\">{}</td><td class=\"n t\">{}</td><td>{}</td></tr>",
            lane.server,
            escaped(&clean(&lane.name)),
            match lane.fate {
                Fate::Moved => "good",
                Fate::GivenUp => "bad",
                _ => "",
            },
            word(lane.fate),
            lane.took_ms.map_or_else(|| "–".to_owned(), seconds),
            escaped(&about(lane)),
        );
    }
    let open = if lines.len() > LONG { "" } else { " open=\"open\"" };
    let _ = writeln!(page, "</table></div>\n<details{open}><summary>Everything</summary>\n<table>");
    for line in lines {
        let _ = writeln!(
            page,
            "<tr><td class=\"n\">{}</td><td>{}</td></tr>",
            line.at,
            escaped(&clean(&line.said))
        );
    }
    page.push_str("</table></details>\n</body></html>\n");
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
