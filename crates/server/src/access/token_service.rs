//! This server's own tokens.

use super::issuer::{self, Proof};
use super::jwt::{Claims, Jwt, LEEWAY, VerifyingKey};
use super::scope::AccessEntry;
use super::settings::TokenSettings;
use super::token_request::TokenResponse;
use super::{AccessError, Refused};
use crate::{Grant, Login};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use larder_core::Secret;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Signs tokens, and knows its own again.
pub(super) struct TokenService {
    settings: TokenSettings,
    signing: EncodingKey,
    public: PublicKey,
    /// The key until the last reload, for as long as its tokens may be out.
    retired: Option<(PublicKey, SystemTime)>,
}

#[derive(Clone)]
struct PublicKey {
    jwk: Jwk,
    verifying: VerifyingKey,
}

/// Whom a token is issued to.
pub(super) struct Subject<'a> {
    /// Empty for callers without an account.
    pub(super) name: Option<&'a str>,
    /// Groups that the configuration does not know, because they came from an identity token.
    pub(super) groups: &'a [String],
    /// How the account was proven.
    pub(super) login: Login,
}

/// Makes a key for signing tokens, readable by its owner only, unless there is one. Returns whether it was made.
///
/// Two processes that do this at once end up with the same key.
pub fn create_token_key(path: &Path) -> Result<bool, AccessError> {
    if path.exists() {
        return Ok(false);
    }
    let failed = |source| AccessError::CreateKey { path: path.to_owned(), source };
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
        .map_err(|_| AccessError::Random)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", URL_SAFE_NO_PAD.encode(random::<9>()?)));
    let draft = path.with_file_name(name);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(pem(key.as_ref()).as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::hard_link(&draft, path));
    let _ = std::fs::remove_file(&draft);
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

impl TokenService {
    /// Reads the key. `before` is the service until now, whose tokens stay good.
    pub(super) fn new(
        settings: &TokenSettings,
        before: Option<&Self>,
        now: SystemTime,
    ) -> Result<Self, AccessError> {
        for (field, value) in [("issuer", &settings.issuer), ("service", &settings.service)] {
            let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
            if value.is_empty() || !value.bytes().all(plain) {
                let reason = "it is empty, or has quotes or characters that are not ASCII";
                return Err(AccessError::setting(format!("tokens.{field}"), reason));
            }
        }
        if settings.lifetime < MINIMUM || settings.lifetime > MAXIMUM {
            let reason = "a token is good for 60 seconds to one hour; clients count on the former";
            return Err(AccessError::setting("tokens.lifetime", reason));
        }
        let (signing, public) = read_key(&settings.key)?;
        let retired = before.and_then(|before| {
            let until = now + before.settings.lifetime + LEEWAY;
            let changed = before.public.verifying.id() != public.verifying.id();
            if changed { Some((before.public.clone(), until)) } else { before.retired.clone() }
        });
        Ok(Self { settings: settings.clone(), signing, public, retired })
    }

    pub(super) fn settings(&self) -> &TokenSettings {
        &self.settings
    }

    /// Signs a token.
    pub(super) fn issue(
        &self,
        subject: &Subject<'_>,
        grants: &[Grant],
        now: SystemTime,
    ) -> Result<TokenResponse, Refused> {
        let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let lifetime = self.settings.lifetime.as_secs();
        let unsigned = |_| Refused::Request("the token cannot be signed");
        let id = random::<16>().map_err(|_| Refused::Request("the token cannot be signed"))?;
        let access: Vec<AccessEntry> = grants.iter().map(AccessEntry::from).collect();
        let claims = json!({
            "iss": self.settings.issuer,
            "sub": subject.name.unwrap_or_default(),
            "aud": self.settings.service,
            "exp": issued + lifetime,
            "nbf": issued,
            "iat": issued,
            "jti": URL_SAFE_NO_PAD.encode(id),
            "access": access,
            "login": subject.login.as_str(),
            "groups": subject.groups,
        });
        let mut header = Header::new(Algorithm::ES256);
        header.kid = self.public.verifying.id().map(str::to_owned);
        let token = jsonwebtoken::encode(&header, &claims, &self.signing).map_err(unsigned)?;
        let scope = grants.iter().map(Grant::to_scope).collect::<Vec<_>>().join(" ");
        Ok(TokenResponse::new(Secret::new(token), lifetime, rfc3339(issued), scope))
    }

    /// Checks a token that says to be from here. Returns how the account was proven, too.
    pub(super) fn prove(
        &self,
        token: &Jwt<'_>,
        now: SystemTime,
    ) -> Result<(Option<String>, Proof), &'static str> {
        let retired = self.retired.iter().filter(|(_, until)| now < *until).map(|(key, _)| key);
        let keys = std::iter::once(&self.public).chain(retired).map(|key| &key.verifying);
        if token.key_id().is_none() {
            return Err("it does not say which key signed it");
        }
        let claims = token.verify(keys)?;
        claims.check(&self.settings.issuer, &self.settings.service, now)?;
        let name = claims.text("sub").ok_or("it names no account")?;
        let proof = Proof {
            name: name.to_owned(),
            groups: groups(&claims)?,
            login: Login::Token,
            grants: Some(issuer::grants(&claims)?),
        };
        Ok((claims.text("login").map(str::to_owned), proof))
    }

    /// The public keys (RFC 7517).
    pub(super) fn jwks(&self, now: SystemTime) -> Value {
        let retired = self.retired.iter().filter(|(_, until)| now < *until).map(|(key, _)| &key.jwk);
        let keys: Vec<&Jwk> = std::iter::once(&self.public.jwk).chain(retired).collect();
        json!({ "keys": keys })
    }
}

fn groups(claims: &Claims) -> Result<Vec<String>, &'static str> {
    let groups = claims.get("groups").cloned().unwrap_or(Value::Array(Vec::new()));
    serde_json::from_value(groups).map_err(|_| "its groups are no list")
}

fn read_key(path: &Path) -> Result<(EncodingKey, PublicKey), AccessError> {
    if path.as_os_str().is_empty() {
        return Err(AccessError::setting(
            "tokens.key",
            "it is missing; it names the file of the private key",
        ));
    }
    let unreadable = |source| AccessError::ReadKey { path: path.to_owned(), source };
    let unusable = |reason| AccessError::UseKey { path: path.to_owned(), reason };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.mode() & 0o007 != 0 {
        return Err(unusable("everybody on this host may use it; its mode is to be 0600"));
    }
    if metadata.len() > KEY_FILE_LIMIT {
        return Err(unusable("it is no key file"));
    }
    let text = std::fs::read(path).map_err(unreadable)?;
    let signing =
        EncodingKey::from_ec_pem(&text).map_err(|_| unusable("it is no ECDSA key as PKCS #8 in PEM"))?;
    let wrong = |_| unusable("it is no ECDSA key on P-256");
    let mut jwk = Jwk::from_encoding_key(&signing, Algorithm::ES256).map_err(wrong)?;
    jwk.common.key_id = Some(jwk.thumbprint(ThumbprintHash::SHA256).map_err(wrong)?);
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    let verifying = VerifyingKey::from_jwk(&jwk, &[Algorithm::ES256])
        .ok_or_else(|| unusable("it is no ECDSA key on P-256"))?;
    // A key of another curve is only found out by using it.
    jsonwebtoken::encode(&Header::new(Algorithm::ES256), &json!({}), &signing).map_err(wrong)?;
    Ok((signing, PublicKey { jwk, verifying }))
}

/// RFC 7468.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = next;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

/// Random bytes of the system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], AccessError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AccessError::Random)?;
    Ok(bytes)
}

/// `2026-01-31T12:00:00Z`.
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil from days, with years that begin in March (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest % 3600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

const MINIMUM: Duration = Duration::from_secs(60);
const MAXIMUM: Duration = Duration::from_secs(3600);
const KEY_FILE_LIMIT: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(rfc3339(1_795_270_875), "2026-11-21T14:21:15Z");
    }
}
