//! Texts as dates, by a layout (Go's `time/format.go`).

use crate::function::Fault;

use super::duration::quote;
use super::instant::{DAY, Instant, days_of};
use super::layout::{MONTHS, Offset, Part, WEEKDAYS, next};
use super::zone::Zone;

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

#[cfg(test)]
mod tests {
    use super::*;

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
