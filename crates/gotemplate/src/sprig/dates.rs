//! Dates (Sprig's `date.go`). `now` is the one moment of the run.

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::value::{IntKind, Value};

use super::cast;
use super::date_reader;
use super::duration;
use super::instant::{self, Instant};
use super::layout;
use super::zone::Zone;

use Parameter::{Any, Text as Str, Time};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("now", &[], |args| Ok(now(args).value())),
    Function::new("date", &[Str, Any], |args| show(args, 0, 1, None)),
    Function::new("dateInZone", &[Str, Any, Str], |args| show(args, 0, 1, Some(2))),
    Function::new("date_in_zone", &[Str, Any, Str], |args| show(args, 0, 1, Some(2))),
    Function::new("htmlDate", &[Any], |args| {
        args.values.insert(0, "2006-01-02".into());
        show(args, 0, 1, None)
    }),
    Function::new("htmlDateInZone", &[Any, Str], |args| {
        args.values.insert(0, "2006-01-02".into());
        show(args, 0, 1, Some(2))
    }),
    Function::new("dateModify", &[Str, Time], |args| Ok(modify(args).unwrap_or_else(|_| args.value(1)))),
    Function::new("date_modify", &[Str, Time], |args| Ok(modify(args).unwrap_or_else(|_| args.value(1)))),
    Function::new("mustDateModify", &[Str, Time], |args| modify(args)),
    Function::new("must_date_modify", &[Str, Time], |args| modify(args)),
    Function::new("toDate", &[Str, Str], |args| Ok(read(args).unwrap_or_else(|_| Instant::zero()).value())),
    Function::new("mustToDate", &[Str, Str], |args| Ok(read(args)?.value())),
    Function::new("unixEpoch", &[Time], |args| Ok(instant::epoch(&time(args, 0)).into())),
    Function::new("ago", &[Any], |args| {
        let then = moment(args, 0, &[IntKind::Int, IntKind::Int64]);
        Ok(duration::print(duration::round_to_seconds(now(args).since(&then))).into())
    }),
    Function::new("duration", &[Any], |args| {
        let seconds = match args.value(0) {
            Value::Text(text) => cast::parse_int(&text.to_str(), 10).unwrap_or(0),
            Value::Int(number, IntKind::Int64) => number,
            _ => 0,
        };
        Ok(duration::print(seconds.wrapping_mul(1_000_000_000)).into())
    }),
    Function::new("durationRound", &[Any], |args| {
        let value = args.value(0);
        let nanoseconds = match &value {
            Value::Text(text) => duration::parse(&text.to_str()).unwrap_or(0),
            Value::Int(number, IntKind::Int64) => *number,
            other => Instant::of(other).map_or(0, |then| now(args).since(then)),
        };
        Ok(duration::rough(nanoseconds).into())
    }),
];

fn now(args: &Arguments<'_>) -> Instant {
    let (seconds, nanoseconds) = args.run.now();
    Instant::utc(seconds, nanoseconds)
}

fn time(args: &Arguments<'_>, index: usize) -> Instant {
    Instant::of(&args.value(index)).cloned().unwrap_or_else(Instant::zero)
}

/// A time, or seconds since 1970 in one of the given types; anything else is now.
fn moment(args: &Arguments<'_>, index: usize, kinds: &[IntKind]) -> Instant {
    match args.value(index) {
        Value::Int(seconds, kind) if kinds.contains(&kind) => Instant::utc(seconds, 0),
        other => Instant::of(&other).cloned().unwrap_or_else(|| now(args)),
    }
}

/// `dateInZone`: an unknown zone is UTC.
fn show(args: &mut Arguments<'_>, layout: usize, date: usize, zone: Option<usize>) -> Result<Value, Fault> {
    let instant = moment(args, date, &[IntKind::Int, IntKind::Int64, IntKind::Int32]);
    let zone = zone.and_then(|index| Zone::named(&args.text(index).to_str())).unwrap_or_else(Zone::utc);
    let layout = args.text(layout);
    args.run.charge(layout.len() * 4)?;
    Ok(layout::format(&Instant { zone, ..instant }, &layout.to_str()).into())
}

fn modify(args: &Arguments<'_>) -> Result<Value, Fault> {
    let nanoseconds = duration::parse(&args.text(0).to_str())?;
    Ok(time(args, 1).plus(nanoseconds).value())
}

fn read(args: &Arguments<'_>) -> Result<Instant, Fault> {
    date_reader::parse(&args.text(0).to_str(), &args.text(1).to_str(), &Zone::utc())
}
