//! Time zones. `Local` is UTC: what is rendered does not depend on where.

use std::rc::Rc;

/// A zone, which says for each moment what the offset is and how it is called.
#[derive(Clone, Debug)]
pub(crate) struct Zone(Rc<Rules>);

#[derive(Debug)]
enum Rules {
    Fixed { offset: i32, abbreviation: String },
}

impl Zone {
    pub(crate) fn utc() -> Self {
        Self::fixed(0, "UTC".to_owned())
    }

    pub(crate) fn fixed(offset: i32, abbreviation: String) -> Self {
        Self(Rc::new(Rules::Fixed { offset, abbreviation }))
    }

    /// `time.LoadLocation`; `None` if there is no such zone.
    pub(crate) fn named(name: &str) -> Option<Self> {
        matches!(name, "" | "UTC" | "Local").then(Self::utc)
    }

    /// Seconds east of UTC, and the abbreviation, at a moment.
    pub(crate) fn at(&self, _seconds: i64) -> (i32, String) {
        let Rules::Fixed { offset, abbreviation } = &*self.0;
        (*offset, abbreviation.clone())
    }

    /// Whether it is summer time at a moment.
    pub(crate) fn is_summer(&self, _seconds: i64) -> bool {
        false
    }

    /// Seconds since 1970 of a local time.
    pub(crate) fn to_utc(&self, local: i64) -> i64 {
        let (offset, _) = self.at(local);
        let (offset, _) = self.at(local - i64::from(offset));
        local - i64::from(offset)
    }
}
