//! Signed tokens (RFC 7519), read with the rules of RFC 8725: the verifier decides key and algorithm, never the token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A token whose signature nobody has looked at yet.
pub(super) struct Jwt<'a> {
    text: &'a str,
    algorithm: Algorithm,
    key_id: Option<String>,
    issuer: String,
}

/// What a token says, after its signature was found good.
pub(super) struct Claims(Map<String, Value>);

/// A public key, and what it may have signed.
#[derive(Clone)]
pub(super) struct VerifyingKey {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart. The error is the rule it breaks.
    pub(super) fn read(text: &'a str) -> Result<Self, &'static str> {
        if text.len() > LENGTH_LIMIT {
            return Err("it is longer than 16 KiB");
        }
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("it is no signed JSON web token");
        };
        let header = object(header).ok_or("its header is no JSON object")?;
        // A key that comes with the token proves nothing (CVE-2025-24976), and nothing is fetched on its word.
        if ["jwk", "jku", "x5c", "x5u"].iter().any(|name| header.contains_key(*name)) {
            return Err("it brings its own key");
        }
        if header.contains_key("crit") || header.contains_key("b64") || header.contains_key("zip") {
            return Err("it asks for an extension that is not known here");
        }
        match header.get("typ") {
            None => {}
            Some(Value::String(kind)) if ["jwt", "at+jwt"].contains(&kind.to_ascii_lowercase().as_str()) => {}
            Some(_) => return Err("it is another type of token"),
        }
        let algorithm = match header.get("alg") {
            Some(Value::String(name)) => algorithm(name).ok_or("its algorithm is none that is taken")?,
            _ => return Err("it names no algorithm"),
        };
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err("its key id is no text"),
        };
        let claims = object(claims).ok_or("its claims are no JSON object")?;
        let Some(Value::String(issuer)) = claims.get("iss") else { return Err("it names no issuer") };
        Ok(Self { text, algorithm, key_id, issuer: issuer.clone() })
    }

    /// Who says to have signed it. Good for choosing keys, for nothing else.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The claims, if one of `keys` signed them. Without a key id there must be one key only.
    pub(super) fn verify<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k VerifyingKey>,
    ) -> Result<Claims, &'static str> {
        let keys: Vec<&VerifyingKey> = keys.into_iter().collect();
        if self.key_id.is_none() && keys.len() != 1 {
            return Err("it does not say which key signed it");
        }
        let named = |key: &&&VerifyingKey| self.key_id.is_none() || key.id == self.key_id;
        let mut flaw = "its key is not one of the issuer's";
        for key in keys.iter().filter(named) {
            if !key.algorithms.contains(&self.algorithm) {
                flaw = "its algorithm is not one of its key";
                continue;
            }
            let mut validation = Validation::new(self.algorithm);
            // Only the signature: claims are checked below, by the clock that was handed in.
            validation.required_spec_claims.clear();
            validation.validate_exp = false;
            validation.validate_nbf = false;
            validation.validate_aud = false;
            match jsonwebtoken::decode::<Map<String, Value>>(self.text, &key.key, &validation) {
                Ok(token) => return Ok(Claims(token.claims)),
                Err(_) => flaw = "its signature is wrong",
            }
        }
        Err(flaw)
    }
}

impl Claims {
    /// Checks who issued the token, for whom, and whether it is good now.
    pub(super) fn check(&self, issuer: &str, audience: &str, now: SystemTime) -> Result<(), &'static str> {
        if self.text("iss") != Some(issuer) {
            return Err("it is from another issuer");
        }
        let meant = match self.0.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(many)) => many.iter().any(|one| one == audience),
            _ => false,
        };
        if !meant {
            return Err("it is for somebody else");
        }
        let now = seconds(now);
        let expires = self.date("exp")?.ok_or("it never expires")?;
        if now >= expires + LEEWAY.as_secs_f64() {
            return Err("it has expired");
        }
        if self.date("nbf")?.is_some_and(|begin| now + LEEWAY.as_secs_f64() < begin) {
            return Err("it is not good yet");
        }
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn date(&self, name: &str) -> Result<Option<f64>, &'static str> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(date) if date.is_finite() => Ok(Some(date)),
                _ => Err("one of its dates is no number"),
            },
        }
    }
}

impl VerifyingKey {
    /// A key of a key set (RFC 7517) for those of `allowed` that it can be used with. `None` if there is none: a symmetric key, one
    /// for encryption, an unknown curve.
    pub(super) fn from_jwk(jwk: &Jwk, allowed: &[Algorithm]) -> Option<Self> {
        if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
            return None;
        }
        let verify = |operations: &Vec<KeyOperations>| operations.contains(&KeyOperations::Verify);
        if jwk.common.key_operations.as_ref().is_some_and(|operations| !verify(operations)) {
            return None;
        }
        let possible: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &RSA,
            AlgorithmParameters::EllipticCurve(parameters) => match parameters.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(parameters) if parameters.curve == EllipticCurve::Ed25519 => {
                &[Algorithm::EdDSA]
            }
            _ => return None,
        };
        let own = jwk.common.key_algorithm.map(|own| own.to_string());
        let usable = |candidate: &&Algorithm| {
            allowed.contains(candidate) && own.as_ref().is_none_or(|own| *own == format!("{candidate:?}"))
        };
        let algorithms: Vec<Algorithm> = possible.iter().filter(usable).copied().collect();
        if algorithms.is_empty() {
            return None;
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        Some(Self { id: jwk.common.key_id.clone(), algorithms, key })
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

/// The asymmetric algorithms, by their names in RFC 7518. There is no way to ask for another.
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    ASYMMETRIC.into_iter().find(|algorithm| format!("{algorithm:?}") == name)
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// How far clocks may be apart.
pub(super) const LEEWAY: Duration = Duration::from_secs(30);
const LENGTH_LIMIT: usize = 16 << 10;
const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const ASYMMETRIC: [Algorithm; 9] = [
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
