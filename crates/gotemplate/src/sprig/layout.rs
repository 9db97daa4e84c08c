//! Layouts of dates: `Mon Jan 2 15:04:05 MST 2006` (Go's `time/format.go`).

use super::instant::Instant;

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
pub(crate) enum Part {
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
pub(crate) struct Offset {
    /// `Z` for UTC.
    pub(crate) zulu: bool,
    pub(crate) colon: bool,
    pub(crate) minutes: bool,
    pub(crate) seconds: bool,
}

/// `nextStdChunk`: what comes before the next part, the part, and what follows.
pub(crate) fn next(layout: &str) -> Option<(&str, Part, &str)> {
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

pub(crate) const MONTHS: [&str; 12] = [
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
pub(crate) const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
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
}
