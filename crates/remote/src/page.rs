//! Lists that come in pages (distribution spec, "Listing Tags": the `Link` header of RFC 8288).

use crate::exchange::Response;
use crate::hosts::Endpoint;
use crate::{Error, Result, redact};
use url::Url;

/// Most pages that are read of one list.
pub(crate) const MOST_PAGES: usize = 1000;

/// The next page, which must be on the host that gave out this one.
pub(crate) fn next(endpoint: &Endpoint, response: &Response) -> Result<Option<Url>> {
    let Some(target) =
        response.headers().get_all("link").iter().find_map(|value| target(value.to_str().ok()?))
    else {
        return Ok(None);
    };
    let refuse = |reason| Error::Protocol { what: redact::url(&response.url), reason };
    let next = response.url.join(&target).map_err(|_| refuse("the link to the next page is not a URL"))?;
    if next.origin() != endpoint.base.origin() {
        return Err(refuse("the link to the next page leads to another host"));
    }
    if next == response.url {
        return Err(refuse("the link to the next page leads back to this one"));
    }
    Ok(Some(next))
}

fn target(header: &str) -> Option<String> {
    let mut rest = header;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>')?;
        let url = &rest[start + 1..end];
        let parameters = rest[end + 1..].split('<').next().unwrap_or_default();
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        });
        if is_next {
            return Some(url.to_owned());
        }
        rest = &rest[end + 1..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_links() {
        assert_eq!(
            target("</v2/a/tags/list?n=1&last=b>; rel=\"next\"").unwrap(),
            "/v2/a/tags/list?n=1&last=b"
        );
        assert_eq!(target("</a>; rel=prev, </b>; rel=next").unwrap(), "/b");
        assert_eq!(target("</a>; rel=prev"), None);
        assert_eq!(target("</a"), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in "([<>;,=\" é]|rel|next)*") {
            let _ = target(&text);
        }
    }
}
