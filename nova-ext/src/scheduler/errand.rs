//! What a server is placed for. Nova's scheduler does not say: an evacuation looks like a migration.

/// What a server is placed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// It is new on the hosts: a boot, or an unshelve.
    Boot,
    /// Its host has failed.
    Evacuation,
    /// It leaves a host that runs: a resize or a migration.
    Move,
    /// It stays, with another image.
    Rebuild,
}

impl Errand {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Evacuation => "evacuation",
            Self::Move => "move",
            Self::Rebuild => "rebuild",
        }
    }
}

/// What the request says that the scheduler gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The hint `_nova_check_type`: Nova sets it to `rebuild` for a server that stays.
    pub check: Option<&'a str>,
    /// Hosts that are left out: the server's own one, first, if it leaves it.
    pub left: Option<&'a str>,
    /// Whether the server is on a host already, if none is left out: a resize may stay there
    /// (`allow_resize_to_same_host`), and then it looks like a boot.
    pub there: bool,
}

impl Request<'_> {
    /// The host whose service says what it is, if that is needed: [`Request::errand`] wants to know whether it is down.
    pub fn source(&self) -> Option<&str> {
        if self.check == Some("rebuild") { None } else { self.left }
    }

    /// What it is. `down`: whether the service of its [`source`](Self::source) is down, or forced so; a resize or a
    /// migration needs one that is up. None: it cannot be told, and then it is taken for a move, which may do less.
    pub fn errand(&self, down: Option<bool>) -> Errand {
        match (self.check, self.left) {
            (Some("rebuild"), _) => Errand::Rebuild,
            (_, None) if self.there => Errand::Move,
            (_, None) => Errand::Boot,
            (_, Some(_)) if down == Some(true) => Errand::Evacuation,
            (_, Some(_)) => Errand::Move,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evacuation_has_a_source_that_is_down() {
        let of = |check, left, down| Request { check, left, there: false }.errand(down);
        assert_eq!(of(None, None, None), Errand::Boot);
        assert_eq!(of(None, Some("c1"), Some(true)), Errand::Evacuation);
        assert_eq!(of(None, Some("c1"), Some(false)), Errand::Move);
        assert_eq!(of(None, Some("c1"), None), Errand::Move);
        assert_eq!(of(Some("rebuild"), Some("c1"), Some(true)), Errand::Rebuild);
        assert_eq!(Request { check: Some("rebuild"), left: Some("c1"), there: true }.source(), None);
        assert_eq!(Request { check: None, left: Some("c1"), there: false }.source(), Some("c1"));
    }

    #[test]
    fn a_resize_that_may_stay_is_no_boot() {
        let of = |check, left| Request { check, left, there: true }.errand(None);
        assert_eq!(of(None, None), Errand::Move);
        assert_eq!(of(None, Some("c1")), Errand::Move);
        assert_eq!(of(Some("rebuild"), None), Errand::Rebuild);
    }
}
