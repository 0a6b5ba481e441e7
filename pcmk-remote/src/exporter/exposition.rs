//! The two text formats that Prometheus reads.

use std::fmt::Write as _;

/// How metrics are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's own, version 0.0.4.
    Text,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// The one that a scraper asks for.
    pub(super) fn wanted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A name and a value.
pub(super) type Label<'a> = (&'a str, &'a str);

/// A document in the making.
pub(super) struct Exposition {
    format: Format,
    text: String,
}

impl Exposition {
    pub(super) fn new(format: Format) -> Self {
        Self { format, text: String::with_capacity(8 << 10) }
    }

    /// Begins a metric. The name of a counter is without `_total`.
    pub(super) fn metric(&mut self, name: &'static str, kind: Kind, help: &str) -> Metric<'_> {
        let (suffix, word) = match (kind, self.format) {
            (Kind::Counter, Format::Text) => ("_total", "counter"),
            (Kind::Counter, Format::OpenMetrics) => ("", "counter"),
            (Kind::Gauge, _) => ("", "gauge"),
            (Kind::Histogram, _) => ("", "histogram"),
        };
        let _ = writeln!(self.text, "# HELP {name}{suffix} {help}");
        let _ = writeln!(self.text, "# TYPE {name}{suffix} {word}");
        Metric { text: &mut self.text, name, kind }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// One metric, to which its samples are added.
pub(super) struct Metric<'a> {
    text: &'a mut String,
    name: &'static str,
    kind: Kind,
}

impl Metric<'_> {
    pub(super) fn sample(&mut self, labels: &[Label<'_>], value: f64) -> &mut Self {
        let suffix = if self.kind == Kind::Counter { "_total" } else { "" };
        self.line(suffix, labels, value);
        self
    }

    /// A histogram's samples: `counts[i]` observations were at most `bounds[i]` and more than the bound before,
    /// the last one of `counts` has no bound.
    pub(super) fn histogram(&mut self, labels: &[Label<'_>], bounds: &[f64], counts: &[u64], sum: f64) {
        let mut total = 0_u64;
        let limits = bounds.iter().map(|bound| format!("{bound:?}")).chain(["+Inf".to_owned()]);
        let places = limits.zip(counts.iter().copied().chain(std::iter::repeat(0)));
        for (limit, count) in places {
            total = total.saturating_add(count);
            let all = [labels, &[("le", limit.as_str())]].concat();
            self.line("_bucket", &all, number(total));
        }
        self.line("_sum", labels, sum);
        self.line("_count", labels, number(total));
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], value: f64) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (n, (name, value)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{name}=\"", if n == 0 { '{' } else { ',' });
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

/// Counters are numbers with a fraction to Prometheus: beyond 2^53 they lose their last digits.
#[allow(clippy::cast_precision_loss, reason = "that is the format's precision")]
pub(super) fn number(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_name_counters_their_own_way() {
        for (format, expected) in [
            (Format::Text, "# HELP a_total what\n# TYPE a_total counter\na_total{x=\"q\\\"\\\\\\n\"} 1\n"),
            (Format::OpenMetrics, "# HELP a what\n# TYPE a counter\na_total{x=\"q\\\"\\\\\\n\"} 1\n# EOF\n"),
        ] {
            let mut exposition = Exposition::new(format);
            exposition.metric("a", Kind::Counter, "what").sample(&[("x", "q\"\\\n")], 1.0);
            assert_eq!(exposition.finish(), expected);
        }
    }

    #[test]
    fn buckets_are_cumulative() {
        let mut exposition = Exposition::new(Format::Text);
        exposition.metric("h", Kind::Histogram, "x").histogram(&[("a", "b")], &[0.1, 1.0], &[2, 0, 3], 4.5);
        let text = exposition.finish();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "h_bucket{a=\"b\",le=\"0.1\"} 2",
                "h_bucket{a=\"b\",le=\"1.0\"} 2",
                "h_bucket{a=\"b\",le=\"+Inf\"} 5",
                "h_sum{a=\"b\"} 4.5",
                "h_count{a=\"b\"} 5",
            ]
        );
    }

    #[test]
    fn a_scraper_gets_what_it_asks_for() {
        assert_eq!(
            Format::wanted("application/openmetrics-text;version=1.0.0,text/plain"),
            Format::OpenMetrics
        );
        assert_eq!(Format::wanted("*/*"), Format::Text);
    }
}
