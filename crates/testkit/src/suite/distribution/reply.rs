//! An answer that remembers its question, and what can be asked of it.

use crate::{RawEnd, RawResponse};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// An answer; the methods that return [`Result`] fail with the question and the answer in the message.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) request: String,
    pub(super) response: RawResponse,
}

impl Reply {
    pub(super) fn status(&self) -> u16 {
        self.response.status
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.response.body
    }

    /// Insists on a status and on an answer that came whole.
    pub(super) fn is(&self, status: u16) -> Result<&Self> {
        self.is_one_of(&[status])
    }

    pub(super) fn is_one_of(&self, statuses: &[u16]) -> Result<&Self> {
        ensure!(statuses.contains(&self.status()), "{}; expected {statuses:?}", self.describe());
        ensure!(self.response.end == RawEnd::Complete, "{} ended: {:?}", self.describe(), self.response.end);
        Ok(self)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.response.header(name)
    }

    /// A header that has to be there.
    pub(super) fn has(&self, name: &str) -> Result<&str> {
        self.header(name).with_context(|| format!("{} without {name}", self.describe()))
    }

    /// Insists on a header's value.
    #[expect(clippy::needless_pass_by_value, reason = "numbers, digests and texts as they come")]
    pub(super) fn says(&self, name: &str, value: impl ToString) -> Result<&Self> {
        let (found, value) = (self.has(name)?, value.to_string());
        ensure!(found == value, "{} with {name}: {found}; expected {value}", self.describe());
        Ok(self)
    }

    /// Insists on the body, byte by byte.
    pub(super) fn holds(&self, content: &[u8]) -> Result<&Self> {
        ensure!(
            self.body() == content,
            "{} with {} other bytes than the {} expected",
            self.describe(),
            self.body().len(),
            content.len()
        );
        Ok(self)
    }

    pub(super) fn json(&self) -> Result<Value> {
        serde_json::from_slice(self.body()).with_context(|| format!("{} with no JSON", self.describe()))
    }

    /// The code of the first error in the body.
    pub(super) fn code(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(self.body()).ok()?;
        Some(body["errors"][0]["code"].as_str()?.to_owned())
    }

    /// Insists on a refusal: one of these statuses and, where the body has an error code, one of these.
    pub(super) fn refused(&self, statuses: &[u16], codes: &[&str]) -> Result<&Self> {
        self.is_one_of(statuses)?;
        match self.code() {
            Some(code) if !codes.contains(&code.as_str()) => {
                bail!("{} with code {code}; expected {codes:?}", self.describe())
            }
            _ => Ok(self),
        }
    }

    /// The value of a comma separated header that may come several times.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        self.response
            .header_values(name)
            .flat_map(|value| value.split(','))
            .map(|item| item.trim().to_owned())
            .collect()
    }

    /// The target of `Link: <…>; rel="next"` (RFC 8288, formerly 5988); an error where there is a Link that is none.
    pub(super) fn next_page(&self) -> Result<Option<String>> {
        let Some(link) = self.header("Link") else { return Ok(None) };
        let (target, parameters) = link
            .strip_prefix('<')
            .and_then(|rest| rest.split_once('>'))
            .with_context(|| format!("{} with Link: {link}", self.describe()))?;
        let next =
            parameters.split(';').map(str::trim).any(|item| item == "rel=\"next\"" || item == "rel=next");
        ensure!(next, "{} with a Link that is not rel=\"next\": {link}", self.describe());
        Ok(Some(target.to_owned()))
    }

    /// Question, status and the beginning of the body, on one line.
    pub(super) fn describe(&self) -> String {
        let text: String = self.response.text().chars().take(300).collect();
        let body = if text.is_empty() { String::new() } else { format!(" {:?}", text.trim()) };
        format!("{} → {}{body}", self.request, self.status())
    }
}
