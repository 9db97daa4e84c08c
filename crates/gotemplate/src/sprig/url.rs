//! URLs (Sprig's `url.go`, Go's `net/url`) and names of hosts.

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::quote::quote;
use crate::text::Text;
use crate::value::{Map, Value};

use super::strings::find;

use Parameter::{Map as Dict, Text as Str};

pub(crate) const FUNCTIONS: &[Function] = &[
    // Nobody is asked, as in Helm without `--enable-dns`.
    Function::new("getHostByName", &[Str], |_| Ok("".into())),
    Function::new("urlParse", &[Str], taken_apart),
    Function::new("urlJoin", &[Dict], joined),
];

fn taken_apart(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let text = args.text(0);
    let url =
        Url::parse(text.as_bytes()).map_err(|error| Fault::new(format!("unable to parse url: {error}")))?;
    let map = Map::new();
    map.set("hostname", hostname(&url.host).into());
    map.set("userinfo", url.user.as_ref().map(User::print).unwrap_or_default().into_value());
    map.set("scheme", url.scheme.into_value());
    map.set("host", url.host.into_value());
    map.set("path", url.path.into_value());
    map.set("query", url.query.into_value());
    map.set("opaque", url.opaque.into_value());
    map.set("fragment", url.fragment.into_value());
    Ok(map.into())
}

fn joined(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let map = args.map(0);
    let part = |key: &str| match map.get(key) {
        None => Ok(Vec::new()),
        Some(Value::Text(text)) => Ok(text.as_bytes().to_vec()),
        Some(Value::Nil) => Err(super::cast::nil_dereference()),
        Some(other) => {
            let kind = other.kind();
            Err(Fault::new(format!("unable to parse {key} key, must be of type string, but {kind} found")))
        }
    };
    let mut url = Url {
        scheme: part("scheme")?,
        host: part("host")?,
        path: part("path")?,
        query: part("query")?,
        opaque: part("opaque")?,
        fragment: part("fragment")?,
        user: None,
    };
    let user = part("userinfo")?;
    if !user.is_empty() {
        let whole = [b"proto://", user.as_slice(), b"@host"].concat();
        let parsed = Url::parse(&whole);
        url.user =
            parsed.map_err(|error| Fault::new(format!("unable to parse userinfo in dict: {error}")))?.user;
    }
    let text = url.print();
    args.run.charge(text.len())?;
    Ok(text.into_value())
}

/// `url.URL`
#[derive(Default)]
struct Url {
    scheme: Vec<u8>,
    opaque: Vec<u8>,
    user: Option<User>,
    host: Vec<u8>,
    path: Vec<u8>,
    query: Vec<u8>,
    fragment: Vec<u8>,
}

struct User {
    name: Vec<u8>,
    password: Option<Vec<u8>>,
}

/// A part of a URL, which decides what must be escaped in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    UserPassword,
    Host,
    Fragment,
}

trait IntoValue {
    fn into_value(self) -> Value;
}

impl IntoValue for Vec<u8> {
    fn into_value(self) -> Value {
        Text::from(self).into()
    }
}

impl User {
    /// `Userinfo.String`
    fn print(&self) -> Vec<u8> {
        let mut out = escape(&self.name, Part::UserPassword);
        if let Some(password) = &self.password {
            out.push(b':');
            out.extend(escape(password, Part::UserPassword));
        }
        out
    }
}

impl Url {
    /// `url.Parse`
    fn parse(text: &[u8]) -> Result<Self, String> {
        let (main, fragment) = cut(text, b"#");
        let named = |text: &[u8], error: String| format!("parse {}: {error}", quote(text));
        let mut url = Self::parse_main(main).map_err(|error| named(main, error))?;
        url.fragment = unescape(fragment, Part::Fragment).map_err(|error| named(text, error))?;
        Ok(url)
    }

    fn parse_main(text: &[u8]) -> Result<Self, String> {
        if text.iter().any(|byte| *byte < b' ' || *byte == 0x7F) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        if text == b"*" {
            return Ok(Self { path: text.to_vec(), ..Self::default() });
        }
        let (scheme, rest) = scheme(text)?;
        let (rest, query) = cut(rest, b"?");
        let mut url = Self { scheme: scheme.to_ascii_lowercase(), query: query.to_vec(), ..Self::default() };
        if !rest.starts_with(b"/") {
            if !url.scheme.is_empty() {
                url.opaque = rest.to_vec();
                return Ok(url);
            }
            if cut(rest, b"/").0.contains(&b':') {
                return Err("first path segment in URL cannot contain colon".to_owned());
            }
        }
        let mut path = rest;
        if (!url.scheme.is_empty() || !rest.starts_with(b"///"))
            && let Some(authority) = rest.strip_prefix(b"//")
        {
            let end = authority.iter().position(|byte| *byte == b'/').unwrap_or(authority.len());
            path = &authority[end..];
            (url.user, url.host) = authority_of(&authority[..end])?;
        }
        url.path = unescape(path, Part::Path)?;
        Ok(url)
    }

    /// `URL.String`
    fn print(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.scheme.is_empty() {
            out.extend_from_slice(&self.scheme);
            out.push(b':');
        }
        if self.opaque.is_empty() {
            let authority = !self.host.is_empty() || self.user.is_some();
            if authority || (!self.scheme.is_empty() && !self.path.is_empty()) {
                out.extend_from_slice(b"//");
            }
            if let Some(user) = &self.user {
                out.extend(user.print());
                out.push(b'@');
            }
            out.extend(escape(&self.host, Part::Host));
            let path = if self.path == b"*" { self.path.clone() } else { escape(&self.path, Part::Path) };
            if !path.is_empty() && !path.starts_with(b"/") && !self.host.is_empty() {
                out.push(b'/');
            }
            // A first segment with a colon would be taken for a scheme.
            if out.is_empty() && cut(&path, b"/").0.contains(&b':') {
                out.extend_from_slice(b"./");
            }
            out.extend(path);
        } else {
            out.extend_from_slice(&self.opaque);
        }
        if !self.query.is_empty() {
            out.push(b'?');
            out.extend_from_slice(&self.query);
        }
        if !self.fragment.is_empty() {
            out.push(b'#');
            out.extend(escape(&self.fragment, Part::Fragment));
        }
        out
    }
}

/// `strings.Cut`, with nothing after a separator that is not there.
fn cut<'t>(text: &'t [u8], separator: &[u8]) -> (&'t [u8], &'t [u8]) {
    find(text, separator).map_or((text, &[]), |at| (&text[..at], &text[at + separator.len()..]))
}

fn scheme(text: &[u8]) -> Result<(&[u8], &[u8]), String> {
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok((&[], text))
}

fn authority_of(authority: &[u8]) -> Result<(Option<User>, Vec<u8>), String> {
    let at = authority.iter().rposition(|byte| *byte == b'@');
    let host = host_of(&authority[at.map_or(0, |at| at + 1)..])?;
    let Some(at) = at else { return Ok((None, host)) };
    let user = &authority[..at];
    if !user.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(byte)) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    let (name, password) = cut(user, b":");
    let password = user.contains(&b':').then(|| unescape(password, Part::UserPassword)).transpose()?;
    Ok((Some(User { name: unescape(name, Part::UserPassword)?, password }), host))
}

fn host_of(host: &[u8]) -> Result<Vec<u8>, String> {
    let port = if host.starts_with(b"[") {
        let Some(end) = host.iter().rposition(|byte| *byte == b']') else {
            return Err("missing ']' in host".to_owned());
        };
        &host[end + 1..]
    } else {
        &host[host.iter().rposition(|byte| *byte == b':').unwrap_or(host.len())..]
    };
    let valid = port.is_empty() || (port[0] == b':' && port[1..].iter().all(u8::is_ascii_digit));
    if !valid {
        return Err(format!("invalid port {} after host", quote(port)));
    }
    unescape(host, Part::Host)
}

/// `URL.Hostname`: without port and brackets.
fn hostname(host: &[u8]) -> Text {
    let colon = host.iter().rposition(|byte| *byte == b':');
    let end = colon.filter(|at| host[at + 1..].iter().all(u8::is_ascii_digit)).unwrap_or(host.len());
    let name = &host[..end];
    name.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]")).unwrap_or(name).into()
}

fn unescape(text: &[u8], part: Part) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        if *byte == b'%' {
            let digit = |offset: usize| text.get(at + offset).and_then(|byte| char::from(*byte).to_digit(16));
            let (Some(high), Some(low)) = (digit(1), digit(2)) else {
                return Err(format!("invalid URL escape {}", quote(&text[at..text.len().min(at + 3)])));
            };
            if part == Part::Host && high < 8 && &text[at..at + 3] != b"%25" {
                return Err(format!("invalid URL escape {}", quote(&text[at..at + 3])));
            }
            out.push((high << 4 | low) as u8);
            at += 3;
            continue;
        }
        if part == Part::Host && byte.is_ascii() && must_escape(*byte, part) {
            return Err(format!("invalid character {} in host name", quote(&[*byte])));
        }
        out.push(*byte);
        at += 1;
    }
    Ok(out)
}

fn escape(text: &[u8], part: Part) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if must_escape(*byte, part) {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            out.push(*byte);
        }
    }
    out
}

/// `shouldEscape`
fn must_escape(byte: u8, part: Part) -> bool {
    if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
        return false;
    }
    let reserved = b"$&+,/:;=?@".contains(&byte);
    !match part {
        Part::Host => b"!$&'()*+,;=:[]<>\"".contains(&byte),
        Part::Path => reserved && byte != b'?',
        Part::UserPassword => reserved && !b"@/?:".contains(&byte),
        Part::Fragment => reserved || b"!()*".contains(&byte),
    }
}

#[cfg(test)]
mod tests {
    use super::super::call::{call, fault, value};
    use super::*;

    #[test]
    fn a_url_comes_apart_and_together() {
        let text = "http://user:p%40ss@example.com:8080/a%20b?q=1#frag";
        let parts = value("urlParse", &[text.into()]).expect("a URL");
        let part = |key: &str| {
            parts.as_map().and_then(|map| map.get(key)).expect(key).as_text().expect(key).to_string()
        };
        assert_eq!(part("host"), "example.com:8080");
        assert_eq!(part("hostname"), "example.com");
        assert_eq!(part("path"), "/a b");
        assert_eq!(part("userinfo"), "user:p%40ss");
        assert_eq!(call("urlJoin", &[parts]), text);
    }

    #[test]
    fn what_is_no_url_is_refused_in_gos_words() {
        assert_eq!(
            fault("urlParse", &["%zz".into()]),
            r#"unable to parse url: parse "%zz": invalid URL escape "%zz""#
        );
        assert_eq!(
            fault("urlParse", &[":a".into()]),
            r#"unable to parse url: parse ":a": missing protocol scheme"#
        );
        let map: Map = [("host".into(), Value::int(1))].into_iter().collect();
        assert_eq!(
            fault("urlJoin", &[map.into()]),
            "unable to parse host key, must be of type string, but int found"
        );
    }
}
