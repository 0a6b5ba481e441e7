//! The scale of the picture: how much time it shows, and where it has lines.

/// Lines, about.
const LINES: u64 = 8;
/// Spans between two lines that people can count in, in milliseconds: parts of a second, of a minute, of an hour, of a
/// day.
const STEPS: &[u64] = &[
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000,
    600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 21_600_000, 43_200_000, 86_400_000,
];

/// Points in time between its ends.
pub(super) struct Scale {
    length: u64,
    step: u64,
}

impl Scale {
    /// So many milliseconds.
    pub(super) fn new(length: u64) -> Self {
        let length = length.max(1);
        let wanted = length.div_ceil(LINES);
        let day = STEPS.last().copied().unwrap_or(1);
        let step = STEPS.iter().copied().find(|step| *step >= wanted);
        Self { length, step: step.unwrap_or_else(|| wanted.div_ceil(day).saturating_mul(day)) }
    }

    /// What it shows.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Where a point in time is, if all of it has this width. What is later is at the end.
    pub(super) fn place(&self, at: u64, width: u64) -> u64 {
        let place = u128::from(at.min(self.length)) * u128::from(width) / u128::from(self.length);
        u64::try_from(place).unwrap_or(width)
    }

    /// The lines and what they say.
    pub(super) fn lines(&self) -> impl Iterator<Item = (u64, String)> {
        let step = self.step;
        (0..=self.length / step).map(move |n| n.saturating_mul(step)).map(move |at| (at, label(at, step)))
    }
}

/// A point on the scale, as exact as its lines are apart.
fn label(at: u64, step: u64) -> String {
    let seconds = at / 1000;
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match at {
        0 => "0".into(),
        _ if step < 1000 => {
            let digits = if step < 10 {
                3
            } else if step < 100 {
                2
            } else {
                1
            };
            let part = format!("{:03}", at % 1000);
            format!("{seconds}.{} s", part.get(..digits).unwrap_or(&part))
        }
        _ if minutes == 0 => format!("{seconds} s"),
        _ if hours == 0 => format!("{minutes}:{:02} min", seconds % 60),
        _ if hours < 72 => format!("{hours}:{:02} h", minutes % 60),
        _ => format!("{} d", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(length: u64) -> Vec<String> {
        Scale::new(length).lines().map(|(_, label)| label).collect()
    }

    #[test]
    fn its_lines_are_round_and_few() {
        assert_eq!(said(10_000), ["0", "2 s", "4 s", "6 s", "8 s", "10 s"]);
        assert_eq!(said(1), ["0", "0.001 s"]);
        assert_eq!(said(1000).last().map(String::as_str), Some("1.0 s"));
        assert_eq!(said(100_000)[3..], ["45 s", "1:00 min", "1:15 min", "1:30 min"]);
        assert_eq!(said(20 * 3_600_000).last().map(String::as_str), Some("18:00 h"));
        for length in [3, 999, 61_000, 3_599_999, 86_400_000, 40 * 86_400_000, u64::MAX / 2] {
            assert!((2..=9).contains(&said(length).len()), "{length}: {:?}", said(length));
        }
    }

    #[test]
    fn what_is_later_is_at_the_end() {
        let scale = Scale::new(u64::MAX / 2);
        assert_eq!((scale.place(0, 900), scale.place(u64::MAX, 900)), (0, 900));
        assert_eq!(Scale::new(100).place(25, 900), 225);
    }
}
