//! Go's `time.Time`, and the named numbers that come out of it: durations, months, days of the week.

use std::any::Any;
use std::rc::Rc;

use crate::function::Fault;
use crate::text::Text;
use crate::value::{IntKind, Object, Value};

use super::duration;
use super::layout;
use super::zone::Zone;

/// A moment in a zone.
#[derive(Clone, Debug)]
pub(crate) struct Instant {
    /// Seconds since 1970.
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
    pub(crate) zone: Zone,
}

/// The date and the time of day of a moment in its zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: u32,
    pub(crate) day: u32,
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
    /// 0 is Sunday.
    pub(crate) weekday: u32,
    /// From 1 on.
    pub(crate) year_day: u32,
}

impl Instant {
    pub(crate) fn utc(seconds: i64, nanoseconds: u32) -> Self {
        Self { seconds, nanoseconds, zone: Zone::utc() }
    }

    /// A date and a time of day (hour, minute, second) in a zone.
    pub(crate) fn local(time: [i64; 3], date: (i64, u32, u32), nanoseconds: u32, zone: Zone) -> Self {
        let local = days_of(date.0, date.1, date.2) * DAY + time[0] * 3600 + time[1] * 60 + time[2];
        Self { seconds: zone.to_utc(local), nanoseconds, zone }
    }

    /// The zero time: 1 January of the year 1.
    pub(crate) fn zero() -> Self {
        Self::utc(ZERO_SECONDS, 0)
    }

    pub(crate) fn value(self) -> Value {
        Value::Object(Rc::new(self))
    }

    pub(crate) fn of(value: &Value) -> Option<&Self> {
        match value {
            Value::Object(object) => object.as_any().downcast_ref(),
            _ => None,
        }
    }

    pub(crate) fn civil(&self) -> Civil {
        let (offset, _) = self.zone.at(self.seconds);
        let local = self.seconds.saturating_add(offset.into());
        let (days, rest) = (local.div_euclid(DAY), local.rem_euclid(DAY) as u32);
        let (year, month, day) = civil_of(days);
        Civil {
            year,
            month,
            day,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            weekday: weekday_of(days) as u32,
            year_day: (days - days_of(year, 1, 1) + 1) as u32,
        }
    }

    /// `Time.Add`
    pub(crate) fn plus(&self, nanoseconds: i64) -> Self {
        let total =
            i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds) + i128::from(nanoseconds);
        Self {
            seconds: i64::try_from(total.div_euclid(1_000_000_000)).unwrap_or(i64::MAX),
            nanoseconds: total.rem_euclid(1_000_000_000) as u32,
            zone: self.zone.clone(),
        }
    }

    /// `Time.Sub`, which stops at the largest durations.
    pub(crate) fn since(&self, other: &Self) -> i64 {
        let seconds = i128::from(self.seconds) - i128::from(other.seconds);
        let total = seconds * 1_000_000_000 + i128::from(self.nanoseconds) - i128::from(other.nanoseconds);
        i64::try_from(total).unwrap_or(if total < 0 { i64::MIN } else { i64::MAX })
    }

    fn shifted(&self, years: i64, months: i64, days: i64) -> Self {
        let civil = self.civil();
        let months = i64::from(civil.month) - 1 + months;
        let year = (civil.year + years).saturating_add(months.div_euclid(12)).clamp(-YEARS, YEARS);
        let date = days_of(year, months.rem_euclid(12) as u32 + 1, 1) + i64::from(civil.day) - 1
            + days.clamp(-1 << 40, 1 << 40);
        let time = i64::from(civil.hour * 3600 + civil.minute * 60 + civil.second);
        Self {
            seconds: self.zone.to_utc(date * DAY + time),
            nanoseconds: self.nanoseconds,
            zone: self.zone.clone(),
        }
    }
}

impl Object for Instant {
    fn type_name(&self) -> &str {
        "time.Time"
    }

    fn get(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, Fault>> {
        let civil = self.civil();
        let int = |number: i64| Ok(Value::int(number));
        let other = || {
            let other = arguments.first().and_then(Self::of);
            other.ok_or_else(|| {
                Fault::new(format!("wrong type for value; expected time.Time; got {}", found(arguments)))
            })
        };
        let nanoseconds = i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds);
        Some(match name {
            "Year" => int(civil.year),
            "Month" => Ok(Named::Month(civil.month.into()).value()),
            "Day" => int(civil.day.into()),
            "Hour" => int(civil.hour.into()),
            "Minute" => int(civil.minute.into()),
            "Second" => int(civil.second.into()),
            "Nanosecond" => int(self.nanoseconds.into()),
            "Weekday" => Ok(Named::Weekday(civil.weekday.into()).value()),
            "YearDay" => int(civil.year_day.into()),
            "Unix" => Ok(Value::int64(self.seconds)),
            "UnixMilli" => Ok(Value::int64((nanoseconds.div_euclid(1_000_000)) as i64)),
            "UnixMicro" => Ok(Value::int64((nanoseconds.div_euclid(1_000)) as i64)),
            "UnixNano" => Ok(Value::int64(nanoseconds as i64)),
            "String" => Ok(self.print().into()),
            "UTC" | "Local" => Ok(Self { zone: Zone::utc(), ..self.clone() }.value()),
            "IsZero" => Ok((self.seconds == ZERO_SECONDS && self.nanoseconds == 0).into()),
            "IsDST" => Ok(self.zone.is_summer(self.seconds).into()),
            "Format" => match arguments.first().and_then(Value::as_text) {
                Some(layout) => Ok(layout::format(self, &layout.to_str()).into()),
                None => Err(Fault::new(format!(
                    "wrong type for value; expected string; got {}",
                    found(arguments)
                ))),
            },
            "Add" => number(arguments, 0).map(|nanoseconds| self.plus(nanoseconds).value()),
            "AddDate" => match (number(arguments, 0), number(arguments, 1), number(arguments, 2)) {
                (Ok(years), Ok(months), Ok(days)) => Ok(self.shifted(years, months, days).value()),
                (Err(fault), ..) | (_, Err(fault), _) | (.., Err(fault)) => Err(fault),
            },
            "Sub" => other().map(|other| Named::Duration(self.since(other)).value()),
            "After" => other().map(|other| (self.since(other) > 0).into()),
            "Before" => other().map(|other| (self.since(other) < 0).into()),
            "Equal" => other().map(|other| (self.since(other) == 0).into()),
            "Compare" => other().map(|other| Value::int(self.since(other).signum())),
            _ => return None,
        })
    }

    /// Without the reading of the monotonic clock that Go adds to `now`.
    fn print(&self) -> String {
        layout::format(self, "2006-01-02 15:04:05.999999999 -0700 MST")
    }

    fn plain(&self) -> Value {
        layout::format(self, "2006-01-02T15:04:05.999999999Z07:00").into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A number with a name of its own and a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Named {
    /// Nanoseconds.
    Duration(i64),
    /// From 1 on.
    Month(i64),
    /// 0 is Sunday.
    Weekday(i64),
}

impl Named {
    pub(crate) fn value(self) -> Value {
        Value::Object(Rc::new(self))
    }

    fn number(&self) -> i64 {
        match self {
            Self::Duration(number) | Self::Month(number) | Self::Weekday(number) => *number,
        }
    }

    /// The number, where `spf13/cast` knows the type.
    pub(crate) fn cast(&self) -> Option<i64> {
        match self {
            Self::Duration(_) => None,
            Self::Month(number) | Self::Weekday(number) => Some(*number),
        }
    }
}

impl Object for Named {
    fn type_name(&self) -> &str {
        match self {
            Self::Duration(_) => "time.Duration",
            Self::Month(_) => "time.Month",
            Self::Weekday(_) => "time.Weekday",
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Duration(_) => "int64",
            Self::Month(_) | Self::Weekday(_) => "int",
        }
    }

    fn get(&self, name: &str, _: &[Value]) -> Option<Result<Value, Fault>> {
        let number = self.number();
        Some(Ok(match (self, name) {
            (_, "String") => self.print().into(),
            (Self::Duration(_), "Hours") => (number as f64 / 3.6e12).into(),
            (Self::Duration(_), "Minutes") => (number as f64 / 6e10).into(),
            (Self::Duration(_), "Seconds") => (number as f64 / 1e9).into(),
            (Self::Duration(_), "Milliseconds") => Value::int64(number / 1_000_000),
            (Self::Duration(_), "Microseconds") => Value::int64(number / 1_000),
            (Self::Duration(_), "Nanoseconds") => Value::int64(number),
            (Self::Duration(_), "Abs") => Self::Duration(number.saturating_abs()).value(),
            _ => return None,
        }))
    }

    fn print(&self) -> String {
        match self {
            Self::Duration(number) => duration::print(*number),
            Self::Month(number) => layout::month_name(*number as u32).to_owned(),
            Self::Weekday(number) => layout::weekday_name(*number as u32).to_owned(),
        }
    }

    fn plain(&self) -> Value {
        Value::Int(
            self.number(),
            if matches!(self, Self::Duration(_)) { IntKind::Int64 } else { IntKind::Int },
        )
    }

    fn is_true(&self) -> bool {
        self.number() != 0
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn found(arguments: &[Value]) -> String {
    arguments.first().map_or_else(|| "nothing".to_owned(), |value| value.type_name().into_owned())
}

/// An argument of a method: an integer, or a duration.
fn number(arguments: &[Value], index: usize) -> Result<i64, Fault> {
    match arguments.get(index) {
        Some(Value::Int(number, _)) => Ok(*number),
        Some(Value::Object(object)) if object.as_any().is::<Named>() => {
            Ok(object.as_any().downcast_ref::<Named>().map_or(0, Named::number))
        }
        _ => Err(Fault::new("wrong type for value; expected an integer")),
    }
}

/// Days since 1970 of a date (proleptic Gregorian).
pub(crate) fn days_of(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (i64::from(month) + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of days since 1970.
fn civil_of(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * month + 2) / 5 + 1) as u32;
    let month = if month < 10 { month + 3 } else { month - 9 } as u32;
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// The year that days since 1970 lie in.
pub(crate) fn year_of(days: i64) -> i64 {
    civil_of(days).0
}

/// The day of the week of days since 1970; 0 is Sunday.
pub(crate) fn weekday_of(days: i64) -> i64 {
    (days + 4).rem_euclid(7)
}

/// The text of an epoch: whole seconds.
pub(crate) fn epoch(instant: &Instant) -> Text {
    instant.seconds.to_string().into()
}

/// Seconds of a day.
pub(crate) const DAY: i64 = 86_400;
/// 1 January of the year 1.
const ZERO_SECONDS: i64 = -62_135_596_800;
/// Years that are counted with.
const YEARS: i64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_count_from_1970() {
        assert_eq!(days_of(1970, 1, 1), 0);
        assert_eq!(days_of(2024, 2, 29), 19_782);
        for days in [-800_000, -1, 0, 59, 60, 19_782, 1_000_000] {
            let (year, month, day) = civil_of(days);
            assert_eq!(days_of(year, month, day), days);
        }
        assert_eq!(Instant::zero().print(), "0001-01-01 00:00:00 +0000 UTC");
    }

    #[test]
    fn a_moment_knows_its_day() {
        let civil = Instant::utc(1_709_210_096, 0).civil();
        assert_eq!((civil.year, civil.month, civil.day, civil.weekday, civil.year_day), (2024, 2, 29, 4, 60));
        assert_eq!((civil.hour, civil.minute, civil.second), (12, 34, 56));
    }
}
