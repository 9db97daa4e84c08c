//! Layouts of dates: `Mon Jan 2 15:04:05 MST 2006` (Go's `time/format.go`).

use crate::function::Fault;

use super::duration::quote;
use super::instant::{DAY, Instant, days_of};
use super::zone::Zone;

/// `Time.Format`
pub(crate) fn format(instant: &Instant, layout: &str) -> String {
    let civil = instant.civil();
    let (offset, abbreviation) = instant.zone.at(instant.seconds);
    let mut out = String::new();
    let mut rest = layout;
    while let Some((before, part, after)) = next(rest) {
        out.push_str(before);
        rest = after;
        out.push_str(&match part {
            Part::Year => pad_year(civil.year),
            Part::YearShort => format!("{:02}", civil.year.max(0) % 100),
            Part::MonthLong => month_name(civil.month).to_owned(),
            Part::MonthShort => month_name(civil.month)[..3].to_owned(),
            Part::Month => civil.month.to_string(),
            Part::MonthPadded => format!("{:02}", civil.month),
            Part::WeekdayLong => weekday_name(civil.weekday).to_owned(),
            Part::WeekdayShort => weekday_name(civil.weekday)[..3].to_owned(),
            Part::Day => civil.day.to_string(),
            Part::DayBlank => format!("{:2}", civil.day),
            Part::DayPadded => format!("{:02}", civil.day),
            Part::YearDayBlank => format!("{:3}", civil.year_day),
            Part::YearDay => format!("{:03}", civil.year_day),
            Part::Hour => format!("{:02}", civil.hour),
            Part::Hour12 => twelve(civil.hour).to_string(),
            Part::Hour12Padded => format!("{:02}", twelve(civil.hour)),
            Part::Minute => civil.minute.to_string(),
            Part::MinutePadded => format!("{:02}", civil.minute),
            Part::Second => civil.second.to_string(),
            Part::SecondPadded => format!("{:02}", civil.second),
            Part::Noon => if civil.hour >= 12 { "PM" } else { "AM" }.to_owned(),
            Part::NoonSmall => if civil.hour >= 12 { "pm" } else { "am" }.to_owned(),
            Part::ZoneName if !abbreviation.is_empty() => abbreviation.clone(),
            Part::ZoneName => {
                zone_number(offset, Offset { zulu: false, colon: false, minutes: true, seconds: false })
            }
            Part::Offset(form) => zone_number(offset, form),
            Part::Fraction { digits, trims, separator } => {
                fraction(instant.nanoseconds, digits, trims, separator)
            }
        });
    }
    out.push_str(rest);
    out
}

pub(crate) fn month_name(month: u32) -> &'static str {
    MONTHS.get(month.wrapping_sub(1) as usize).copied().unwrap_or("%!Month")
}

pub(crate) fn weekday_name(weekday: u32) -> &'static str {
    WEEKDAYS.get(weekday as usize).copied().unwrap_or("%!Weekday")
}

/// A part of a layout that stands for something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Year,
    YearShort,
    MonthLong,
    MonthShort,
    Month,
    MonthPadded,
    WeekdayLong,
    WeekdayShort,
    Day,
    DayBlank,
    DayPadded,
    YearDayBlank,
    YearDay,
    Hour,
    Hour12,
    Hour12Padded,
    Minute,
    MinutePadded,
    Second,
    SecondPadded,
    Noon,
    NoonSmall,
    ZoneName,
    Offset(Offset),
    Fraction { digits: usize, trims: bool, separator: char },
}

/// How an offset is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Offset {
    /// `Z` for UTC.
    zulu: bool,
    colon: bool,
    minutes: bool,
    seconds: bool,
}

/// `nextStdChunk`: what comes before the next part, the part, and what follows.
fn next(layout: &str) -> Option<(&str, Part, &str)> {
    layout.char_indices().find_map(|(at, _)| {
        let (part, length) = part_at(&layout[at..])?;
        // `_2006` is a blank sign and a year.
        let at = if layout[at..].starts_with("_2006") { at + 1 } else { at };
        Some((&layout[..at], part, &layout[at + length..]))
    })
}

fn part_at(text: &str) -> Option<(Part, usize)> {
    let small = |length: usize| text[length..].starts_with(|next: char| next.is_ascii_lowercase());
    let starts = |prefix: &str| text.starts_with(prefix);
    let found = |(prefix, part): &(&str, Part)| starts(prefix).then_some((*part, prefix.len()));
    match text.as_bytes().first()? {
        b'J' if starts("January") => Some((Part::MonthLong, 7)),
        b'J' if starts("Jan") && !small(3) => Some((Part::MonthShort, 3)),
        b'M' if starts("Monday") => Some((Part::WeekdayLong, 6)),
        b'M' if starts("Mon") && !small(3) => Some((Part::WeekdayShort, 3)),
        b'M' if starts("MST") => Some((Part::ZoneName, 3)),
        b'0' if starts("002") => Some((Part::YearDay, 3)),
        b'_' if starts("_2006") => Some((Part::Year, 4)),
        b'.' | b',' => fraction_at(text),
        b'-' | b'Z' => offset_at(text),
        _ => PARTS.iter().find_map(found),
    }
}

fn fraction_at(text: &str) -> Option<(Part, usize)> {
    let digit = *text.as_bytes().get(1)?;
    if !matches!(digit, b'0' | b'9') {
        return None;
    }
    let digits = text.bytes().skip(1).take_while(|byte| *byte == digit).count();
    // Only a run that ends with it is a fraction.
    if text.as_bytes().get(1 + digits).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let separator = if text.starts_with('.') { '.' } else { ',' };
    Some((Part::Fraction { digits, trims: digit == b'9', separator }, 1 + digits))
}

fn offset_at(text: &str) -> Option<(Part, usize)> {
    let zulu = text.starts_with('Z');
    let forms = [("070000", false, true, true), ("07:00:00", true, true, true), ("0700", false, true, false)];
    let more = [("07:00", true, true, false), ("07", false, false, false)];
    forms.iter().chain(&more).find_map(|(form, colon, minutes, seconds)| {
        let offset = Offset { zulu, colon: *colon, minutes: *minutes, seconds: *seconds };
        text[1..].starts_with(form).then(|| (Part::Offset(offset), 1 + form.len()))
    })
}

fn pad_year(year: i64) -> String {
    if year < 0 { format!("-{:04}", year.unsigned_abs()) } else { format!("{year:04}") }
}

fn twelve(hour: u32) -> u32 {
    match hour % 12 {
        0 => 12,
        hour => hour,
    }
}

fn zone_number(offset: i32, form: Offset) -> String {
    if form.zulu && offset == 0 {
        return "Z".to_owned();
    }
    let sign = if offset < 0 { '-' } else { '+' };
    let offset = offset.unsigned_abs();
    let colon = if form.colon { ":" } else { "" };
    let mut text = format!("{sign}{:02}", offset / 3600);
    if form.minutes {
        text.push_str(&format!("{colon}{:02}", offset / 60 % 60));
    }
    if form.seconds {
        text.push_str(&format!("{colon}{:02}", offset % 60));
    }
    text
}

fn fraction(nanoseconds: u32, digits: usize, trims: bool, separator: char) -> String {
    let all = format!("{nanoseconds:09}");
    let text = all.get(..digits).unwrap_or(&all);
    let text = if trims { text.trim_end_matches('0') } else { text };
    if trims && text.is_empty() {
        String::new()
    } else {
        format!("{separator}{text}{}", "0".repeat(if trims { 0 } else { digits.saturating_sub(9) }))
    }
}

/// `time.ParseInLocation`.
pub(crate) fn parse(layout: &str, text: &str, zone: &Zone) -> Result<Instant, Fault> {
    let mut reader = Reader { rest: text, found: Found::default() };
    let mut rest = layout;
    loop {
        let chunk = next(rest);
        let before = chunk.map_or(rest, |(before, ..)| before);
        let cannot = |value: &str, element: &str| {
            Fault::new(format!(
                "parsing time {} as {}: cannot parse {} as {}",
                quote(text),
                quote(layout),
                quote(value),
                quote(element)
            ))
        };
        let held = reader.rest;
        if !reader.skip(before) {
            return Err(cannot(reader.rest, before));
        }
        let Some((_, part, after)) = chunk else {
            if !reader.rest.is_empty() {
                return Err(Fault::new(format!(
                    "parsing time {}: extra text: {}",
                    quote(text),
                    quote(reader.rest)
                )));
            }
            break;
        };
        let element = &rest[before.len()..rest.len() - after.len()];
        let value = reader.rest;
        rest = after;
        match reader.read(part, rest) {
            Ok(()) => {}
            Err(Trouble::Syntax) => {
                return Err(cannot(
                    if value.is_empty() { held.get(held.len()..).unwrap_or("") } else { value },
                    element,
                ));
            }
            Err(Trouble::Range(what)) => {
                return Err(Fault::new(format!("parsing time {}: {what} out of range", quote(text))));
            }
        }
    }
    reader
        .found
        .instant(zone)
        .map_err(|what| Fault::new(format!("parsing time {}: {what} out of range", quote(text))))
}

enum Trouble {
    Syntax,
    Range(&'static str),
}

#[derive(Default)]
struct Found {
    year: i64,
    month: Option<u32>,
    day: Option<u32>,
    year_day: Option<u32>,
    hour: u32,
    minute: u32,
    second: u32,
    nanoseconds: u32,
    afternoon: Option<bool>,
    offset: Option<i32>,
    zone_name: Option<String>,
}

impl Found {
    fn instant(&self, zone: &Zone) -> Result<Instant, &'static str> {
        let leap = days_of(self.year + 1, 1, 1) - days_of(self.year, 1, 1) == 366;
        let mut date = (self.month.unwrap_or(1), self.day.unwrap_or(1));
        if let Some(year_day) = self.year_day {
            if year_day < 1 || year_day > 365 + u32::from(leap) {
                return Err("day-of-year");
            }
            let mut rest = year_day;
            let mut month = 1;
            while rest > month_days(month, leap) {
                rest -= month_days(month, leap);
                month += 1;
            }
            if self.month.is_some_and(|other| other != month) {
                return Err("day-of-year does not match month:");
            }
            date = (month, rest);
        }
        if date.1 < 1 || date.1 > month_days(date.0, leap) {
            return Err("day");
        }
        let hour = match self.afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let time = i64::from(hour * 3600 + self.minute * 60 + self.second);
        let local = days_of(self.year, date.0, date.1) * DAY + time;
        let (seconds, zone) = match (self.offset, &self.zone_name) {
            (Some(offset), name) => {
                let seconds = local - i64::from(offset);
                let same = zone.at(seconds);
                if same.0 == offset && name.as_ref().is_none_or(|name| *name == same.1) {
                    (seconds, zone.clone())
                } else {
                    (seconds, Zone::fixed(offset, name.clone().unwrap_or_default()))
                }
            }
            (None, Some(name)) if name != "UTC" && zone.at(local).1 != *name => {
                let hours = name.strip_prefix("GMT").and_then(|hours| hours.parse::<i32>().ok()).unwrap_or(0);
                (local, Zone::fixed(hours * 3600, name.clone()))
            }
            (None, Some(name)) if name == "UTC" => (local, Zone::utc()),
            (None, _) => (zone.to_utc(local), zone.clone()),
        };
        Ok(Instant { seconds, nanoseconds: self.nanoseconds, zone })
    }
}

fn month_days(month: u32, leap: bool) -> u32 {
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

struct Reader<'t> {
    rest: &'t str,
    found: Found,
}

impl Reader<'_> {
    /// `skip`: the text as it is, but blanks stand for any number of them.
    fn skip(&mut self, mut prefix: &str) -> bool {
        while let Some(wanted) = prefix.chars().next() {
            if wanted == ' ' {
                if !self.rest.is_empty() && !self.rest.starts_with(' ') {
                    return false;
                }
                prefix = prefix.trim_start_matches(' ');
                self.rest = self.rest.trim_start_matches(' ');
                continue;
            }
            let Some(rest) = self.rest.strip_prefix(wanted) else { return false };
            self.rest = rest;
            prefix = &prefix[wanted.len_utf8()..];
        }
        true
    }

    fn read(&mut self, part: Part, after: &str) -> Result<(), Trouble> {
        let range =
            |what, value: u32, most: u32| if value > most { Err(Trouble::Range(what)) } else { Ok(value) };
        match part {
            Part::Year => self.found.year = self.digits(4, 4)?.into(),
            Part::YearShort => {
                let year = i64::from(self.digits(2, 2)?);
                self.found.year = year + if year >= 69 { 1900 } else { 2000 };
            }
            Part::MonthLong => self.found.month = Some(self.name(&MONTHS, false)? + 1),
            Part::MonthShort => self.found.month = Some(self.name(&MONTHS, true)? + 1),
            Part::Month | Part::MonthPadded => {
                let month = self.digits(if part == Part::Month { 1 } else { 2 }, 2)?;
                if month == 0 || month > 12 {
                    return Err(Trouble::Range("month"));
                }
                self.found.month = Some(month);
            }
            Part::WeekdayLong => drop(self.name(&WEEKDAYS, false)?),
            Part::WeekdayShort => drop(self.name(&WEEKDAYS, true)?),
            Part::Day | Part::DayBlank | Part::DayPadded => {
                if part == Part::DayBlank {
                    self.rest = self.rest.strip_prefix(' ').unwrap_or(self.rest);
                }
                self.found.day = Some(self.digits(if part == Part::DayPadded { 2 } else { 1 }, 2)?);
            }
            Part::YearDay | Part::YearDayBlank => {
                if part == Part::YearDayBlank {
                    self.rest = self.rest.trim_start_matches(' ');
                }
                self.found.year_day = Some(self.digits(if part == Part::YearDay { 3 } else { 1 }, 3)?);
            }
            Part::Hour => self.found.hour = range("hour", self.digits(1, 2)?, 23)?,
            Part::Hour12 | Part::Hour12Padded => {
                self.found.hour =
                    range("hour", self.digits(if part == Part::Hour12 { 1 } else { 2 }, 2)?, 12)?;
            }
            Part::Minute | Part::MinutePadded => {
                self.found.minute =
                    range("minute", self.digits(if part == Part::Minute { 1 } else { 2 }, 2)?, 59)?;
            }
            Part::Second | Part::SecondPadded => {
                self.found.second =
                    range("second", self.digits(if part == Part::Second { 1 } else { 2 }, 2)?, 59)?;
                // A fraction may follow though the layout has none.
                let own = matches!(next(after), Some(("", Part::Fraction { .. }, _)));
                if !own
                    && self.rest.starts_with(['.', ','])
                    && self.rest[1..].starts_with(|c: char| c.is_ascii_digit())
                {
                    let digits = self.rest[1..].bytes().take_while(u8::is_ascii_digit).count();
                    self.fraction(digits)?;
                }
            }
            Part::Noon | Part::NoonSmall => {
                let afternoon = self.rest.get(..2).map(|text| text.to_owned());
                self.found.afternoon = match (afternoon.as_deref(), part) {
                    (Some("PM"), Part::Noon) | (Some("pm"), Part::NoonSmall) => Some(true),
                    (Some("AM"), Part::Noon) | (Some("am"), Part::NoonSmall) => Some(false),
                    _ => return Err(Trouble::Syntax),
                };
                self.rest = &self.rest[2..];
            }
            Part::ZoneName => self.zone_name()?,
            Part::Offset(form) => self.offset(form)?,
            Part::Fraction { digits, trims: false, .. } => self.fraction(digits)?,
            Part::Fraction { .. } => {
                if self.rest.starts_with(['.', ','])
                    && self.rest[1..].starts_with(|c: char| c.is_ascii_digit())
                {
                    let digits = self.rest[1..].bytes().take(9).take_while(u8::is_ascii_digit).count();
                    self.fraction(digits)?;
                }
            }
        }
        Ok(())
    }

    fn digits(&mut self, least: usize, most: usize) -> Result<u32, Trouble> {
        let count = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if count < least {
            return Err(Trouble::Syntax);
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        digits.parse().map_err(|_| Trouble::Syntax)
    }

    fn name(&mut self, names: &[&str], short: bool) -> Result<u32, Trouble> {
        for (index, name) in names.iter().enumerate() {
            let name = if short { &name[..3] } else { name };
            if let Some(text) = self.rest.get(..name.len())
                && text.eq_ignore_ascii_case(name)
            {
                self.rest = &self.rest[name.len()..];
                return Ok(index as u32);
            }
        }
        Err(Trouble::Syntax)
    }

    fn fraction(&mut self, digits: usize) -> Result<(), Trouble> {
        let text = self.rest.get(..=digits).ok_or(Trouble::Syntax)?;
        if !text.starts_with(['.', ',']) || !text[1..].bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Trouble::Syntax);
        }
        let nine = format!("{:0<9}", &text[1..]);
        self.found.nanoseconds = nine[..9].parse().map_err(|_| Trouble::Syntax)?;
        self.rest = &self.rest[text.len()..];
        Ok(())
    }

    /// `parseTimeZone`: three to five capitals, or `GMT+3`.
    fn zone_name(&mut self) -> Result<(), Trouble> {
        let capitals = self.rest.bytes().take(6).take_while(u8::is_ascii_uppercase).count();
        let mut length = match capitals {
            3 => 3,
            4 if self.rest.as_bytes()[3] == b'T' || self.rest.starts_with("WITA") => 4,
            5 if self.rest.as_bytes()[4] == b'T' => 5,
            _ => return Err(Trouble::Syntax),
        };
        if length == 3 && self.rest.starts_with("GMT") && self.rest[3..].starts_with(['+', '-']) {
            let digits = self.rest[4..].bytes().take(2).take_while(u8::is_ascii_digit).count();
            length += if digits > 0 { 1 + digits } else { 0 };
        }
        self.found.zone_name = Some(self.rest[..length].to_owned());
        self.rest = &self.rest[length..];
        Ok(())
    }

    fn offset(&mut self, form: Offset) -> Result<(), Trouble> {
        if form.zulu
            && let Some(rest) = self.rest.strip_prefix('Z')
        {
            self.rest = rest;
            self.found.offset = Some(0);
            self.found.zone_name.get_or_insert_with(|| "UTC".to_owned());
            return Ok(());
        }
        let negative = match self.rest.as_bytes().first() {
            Some(b'+') => false,
            Some(b'-') => true,
            _ => return Err(Trouble::Syntax),
        };
        self.rest = &self.rest[1..];
        let mut seconds = self.digits(2, 2)? * 3600;
        for (wanted, unit) in [(form.minutes, 60), (form.seconds, 1)] {
            if wanted {
                if form.colon {
                    self.rest = self.rest.strip_prefix(':').ok_or(Trouble::Syntax)?;
                }
                seconds += self.digits(2, 2)? * unit;
            }
        }
        let seconds = seconds as i32;
        self.found.offset = Some(if negative { -seconds } else { seconds });
        Ok(())
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
/// The parts that are what they start with; longer ones first.
const PARTS: [(&str, Part); 19] = [
    ("01", Part::MonthPadded),
    ("02", Part::DayPadded),
    ("03", Part::Hour12Padded),
    ("04", Part::MinutePadded),
    ("05", Part::SecondPadded),
    ("06", Part::YearShort),
    ("15", Part::Hour),
    ("1", Part::Month),
    ("2006", Part::Year),
    ("2", Part::Day),
    ("__2", Part::YearDayBlank),
    ("_2", Part::DayBlank),
    ("3", Part::Hour12),
    ("4", Part::Minute),
    ("5", Part::Second),
    ("PM", Part::Noon),
    ("pm", Part::NoonSmall),
    ("002", Part::YearDay),
    ("MST", Part::ZoneName),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(layout: &str) -> String {
        format(&Instant::utc(1_709_210_096, 7_800_000), layout)
    }

    #[test]
    fn layouts_show_the_reference_time() {
        assert_eq!(shown("Mon Jan _2 15:04:05 MST 2006"), "Thu Feb 29 12:34:56 UTC 2024");
        assert_eq!(shown("Monday, 02-Jan-06 03:04:05 PM"), "Thursday, 29-Feb-24 12:34:56 PM");
        assert_eq!(shown("2006-01-02T15:04:05.000Z07:00"), "2024-02-29T12:34:56.007Z");
        assert_eq!(shown(".999999 ,000 -07:00 002 __2"), ".0078 ,007 +00:00 060  60");
        assert_eq!(shown("January Janus Monty 1/2/_2006"), "February Janus Monty 2/29/_2024");
    }

    #[test]
    fn what_was_shown_can_be_read() {
        let read = |layout, text| {
            parse(layout, text, &Zone::utc()).map(|instant| (instant.seconds, instant.nanoseconds))
        };
        assert_eq!(read("2006-01-02", "2024-02-29").ok(), Some((1_709_164_800, 0)));
        assert_eq!(
            read("2006-01-02T15:04:05Z07:00", "2024-02-29T14:34:56.5+02:00").ok(),
            Some((1_709_210_096, 500_000_000))
        );
        assert_eq!(read("3:04PM", "1:02AM").ok().map(|(seconds, _)| seconds.rem_euclid(DAY)), Some(3720));
        let words = |layout, text| read(layout, text).expect_err(text).message;
        assert_eq!(
            words("2006-01-02", "2024-02-x"),
            r#"parsing time "2024-02-x" as "2006-01-02": cannot parse "x" as "02""#
        );
        assert_eq!(words("2006-01-02", "2023-02-29"), r#"parsing time "2023-02-29": day out of range"#);
        assert_eq!(words("2006-01-02", "2024-13-01"), r#"parsing time "2024-13-01": month out of range"#);
        assert_eq!(words("2006", "2024x"), r#"parsing time "2024x": extra text: "x""#);
    }
}
