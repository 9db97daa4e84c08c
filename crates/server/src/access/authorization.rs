//! The `Authorization` header.

use super::Refused;
use crate::Presented;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use larder_core::Secret;

/// Reads the header of a request: `Basic` (RFC 7617) or `Bearer` (RFC 6750).
pub(super) fn parse(header: &str) -> Result<Presented, Refused> {
    if header.len() > LIMIT {
        return Err(Refused::Header("it is too long"));
    }
    let (scheme, rest) =
        header.trim().split_once(' ').ok_or(Refused::Header("it has no scheme, or nothing after it"))?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("basic") {
        let bytes = STANDARD.decode(rest).map_err(|_| Refused::Header("the base64 is malformed"))?;
        let text =
            String::from_utf8(bytes).map_err(|_| Refused::Header("the name or password is not UTF-8"))?;
        let (username, password) =
            text.split_once(':').ok_or(Refused::Header("no colon stands between name and password"))?;
        if text.contains(char::is_control) {
            return Err(Refused::Header("the name or password has control characters"));
        }
        return Ok(Presented::Basic { username: username.to_owned(), password: Secret::new(password) });
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if rest.is_empty() || !rest.bytes().all(known) {
            return Err(Refused::Header("the token has characters that no token has"));
        }
        return Ok(Presented::Bearer(Secret::new(rest)));
    }
    Err(Refused::Header("the scheme is neither Basic nor Bearer"))
}

/// Longer than the longest token, so that it is the token that is said to be too long.
const LIMIT: usize = 24 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_password_may_have_colons_and_the_name_may_not() {
        let header = format!("Basic {}", STANDARD.encode("alice:a:b:"));
        let Presented::Basic { username, password } = parse(&header).unwrap() else { panic!() };
        assert_eq!((username.as_str(), password.reveal()), ("alice", "a:b:"));
        assert_eq!(parse("bEaReR abc.def-_").unwrap(), Presented::Bearer(Secret::new("abc.def-_")));
    }

    #[test]
    fn what_is_malformed_is_refused_and_not_repeated() {
        let control = format!("Basic {}", STANDARD.encode("a:canary\0"));
        let colon = format!("Basic {}", STANDARD.encode("canary"));
        let long = format!("Bearer {}", "canary".repeat(5000));
        let cases = [
            "",
            "Basic",
            "Basic canary!",
            "Negotiate canary",
            "Bearer ",
            "Bearer canary canary",
            "canary",
            &control,
            &colon,
            &long,
        ];
        for case in cases {
            let refused = parse(case).unwrap_err();
            assert!(!format!("{refused} {refused:?}").contains("canary"), "{refused:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(Basic |Bearer )?[ -~]{0,40}") {
            let _ = parse(&text);
        }
    }
}
