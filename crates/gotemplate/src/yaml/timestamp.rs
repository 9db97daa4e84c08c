//! Texts that go-yaml takes for dates: `parseTimestamp` of `resolve.go`, with the leniency of Go's `time.Parse`.

/// Whether a plain scalar is a timestamp.
pub(super) fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 5 || !bytes[..4].iter().all(u8::is_ascii_digit) || bytes[4] != b'-' {
        return false;
    }
    let year = bytes[..4].iter().fold(0, |year, digit| year * 10 + u32::from(digit - b'0'));
    let mut rest = &bytes[5..];
    let Some((month, day)) = date(&mut rest) else {
        return false;
    };
    if !(1..=12).contains(&month) || day < 1 || day > days(year, month) {
        return false;
    }
    match rest.split_first() {
        None => true,
        Some((b'T' | b't', time)) => clock(time).is_some_and(is_zone),
        Some((b' ', time)) => {
            // Any number of blanks stands for one.
            let blanks = time.iter().take_while(|byte| **byte == b' ').count();
            clock(&time[blanks..]).is_some_and(<[u8]>::is_empty)
        }
        Some(_) => false,
    }
}

fn date(rest: &mut &[u8]) -> Option<(u32, u32)> {
    let month = take_number(rest)?;
    take(rest, b'-')?;
    let day = take_number(rest)?;
    Some((month, day))
}

/// `15:4:5.999999999`; gives what follows.
fn clock(mut rest: &[u8]) -> Option<&[u8]> {
    let hour = take_number(&mut rest)?;
    take(&mut rest, b':')?;
    let minute = take_number(&mut rest)?;
    take(&mut rest, b':')?;
    let second = take_number(&mut rest)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if rest.len() >= 2 && matches!(rest[0], b'.' | b',') && rest[1].is_ascii_digit() {
        let digits = rest[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest = &rest[1 + digits..];
    }
    Some(rest)
}

/// `Z07:00`
fn is_zone(rest: &[u8]) -> bool {
    match rest {
        b"Z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()) => {
            (h1 - b'0') * 10 + (h2 - b'0') <= 24 && (m1 - b'0') * 10 + (m2 - b'0') <= 60
        }
        _ => false,
    }
}

/// One or two digits.
fn take_number(rest: &mut &[u8]) -> Option<u32> {
    let digits = rest.iter().take(2).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let number = rest[..digits].iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    *rest = &rest[digits..];
    Some(number)
}

fn take(rest: &mut &[u8], byte: u8) -> Option<()> {
    let (first, tail) = rest.split_first()?;
    *rest = tail;
    (*first == byte).then_some(())
}

fn days(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::is_timestamp;

    #[test]
    fn dates_are_what_time_parse_takes() {
        for text in [
            "2001-01-01",
            "2001-1-1",
            "2000-02-29",
            "2001-12-14t21:59:43.10-05:00",
            "2001-12-14  21:59:43.1",
            "2001-12-14T1:2:3Z",
        ] {
            assert!(is_timestamp(text), "{text}");
        }
        for text in [
            "2001-13-01",
            "2001-02-29",
            "2001-1-1T",
            "2001-12-14 21:59:43Z",
            "2001-12-14T21:59:43",
            "201-01-01",
            "2001-01-01x",
        ] {
            assert!(!is_timestamp(text), "{text}");
        }
    }
}
