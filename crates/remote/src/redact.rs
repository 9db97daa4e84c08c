//! URLs and words of the other side, made fit for messages.

use url::Url;

/// Query keys whose values are harmless. An allow-list: signed URLs invent new secret keys all the time.
const PLAIN: [&str; 10] =
    ["artifactType", "client_id", "digest", "from", "last", "mount", "n", "ns", "scope", "service"];

/// A URL without user information and fragment, and with `***` for every query value that is not known to be harmless.
pub(crate) fn url(url: &Url) -> String {
    let mut plain = url.clone();
    // Both fail only on URLs that cannot have a user at all.
    let _ = plain.set_username("");
    let _ = plain.set_password(None);
    plain.set_fragment(None);
    plain.set_query(None);
    let mut text = plain.to_string();
    for (at, (key, value)) in url.query_pairs().enumerate() {
        text.push(if at == 0 { '?' } else { '&' });
        text.push_str(&self::text(&key, 60));
        text.push('=');
        if PLAIN.contains(&key.as_ref()) {
            text.push_str(&self::text(&value, 200));
        } else {
            text.push_str("***");
        }
    }
    text
}

/// At most `limit` characters, without control characters that could drive a terminal.
pub(crate) fn text(raw: &str, limit: usize) -> String {
    raw.chars().take(limit).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_users_and_signatures() {
        let signed = "https://bob:hunter2@cdn.example/b?X-Amz-Signature=s3cr3t&scope=pull&sig=abc#frag"
            .parse()
            .unwrap();
        assert_eq!(url(&signed), "https://cdn.example/b?X-Amz-Signature=***&scope=pull&sig=***");
        assert_eq!(text("a\u{1b}[31mb\nc", 100), "a [31mb c");
        assert_eq!(text("abcdef", 3), "abc");
    }
}
