//! OpenPGP signatures (RFC 9580), under a policy of our own, which is strict.
//!
//! A signature counts if it is over data (not over keys), by SHA-256 or better, by a key of the keyring that is RSA of 2048 bits or
//! more, ECDSA or EdDSA, that may sign, was not revoked, and had not expired when it signed; the signature itself is neither from
//! the future nor expired. Subkeys must be bound to their primary key both ways. That a key belongs to somebody is what the keyring
//! says; certifications are not looked at.

use pgp::composed::{
    CleartextSignedMessage, Deserializable as _, DetachedSignature, SignedPublicKey, SignedPublicSubKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails as _, PublicParams, VerifyingKey};
use std::io::Read;
use std::time::{Duration, SystemTime};

/// Keys that may sign.
#[derive(Debug, Clone)]
pub(crate) struct Keyring {
    keys: Vec<SignedPublicKey>,
}

/// What is wrong, as the rest of a sentence.
type Problem = String;

impl Keyring {
    /// Reads keys, armoured or not.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let armoured = bytes.trim_ascii_start().starts_with(b"-----BEGIN");
        let mut keys = Vec::new();
        if armoured {
            // Several armoured blocks may follow each other.
            let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
            for block in text.split("-----BEGIN PGP PUBLIC KEY BLOCK-----").skip(1) {
                let block = format!("-----BEGIN PGP PUBLIC KEY BLOCK-----{block}");
                let (found, _) =
                    SignedPublicKey::from_armor_many(block.as_bytes()).map_err(|e| e.to_string())?;
                for key in found {
                    keys.push(key.map_err(|error| error.to_string())?);
                }
            }
        } else {
            for key in SignedPublicKey::from_bytes_many(bytes).map_err(|error| error.to_string())? {
                keys.push(key.map_err(|error| error.to_string())?);
            }
        }
        match keys.is_empty() {
            true => Err("it holds no OpenPGP key".into()),
            false => Ok(Self { keys }),
        }
    }

    /// The text of a clear-signed message, and the fingerprint of who signed it.
    pub(crate) fn clear_signed(&self, message: &str, now: SystemTime) -> Result<(String, String), Problem> {
        let message = message.trim_start_matches('\u{feff}').trim_start();
        let (message, _) = CleartextSignedMessage::from_string(message)
            .map_err(|error| format!("it is not a clear-signed message: {error}"))?;
        let text = message.signed_text();
        let who = self.check(message.signatures(), now, || Box::new(text.as_bytes()))?;
        Ok((text, who))
    }

    /// The fingerprint of who made a detached signature, armoured or not, over what `open` reads.
    pub(crate) fn detached<'d>(
        &self,
        signature: &[u8],
        now: SystemTime,
        open: impl FnMut() -> Box<dyn Read + 'd>,
    ) -> Result<String, Problem> {
        let unreadable = |error: pgp::errors::Error| format!("it cannot be read: {error}");
        let signatures: Vec<Signature> = if signature.trim_ascii_start().starts_with(b"-----BEGIN") {
            let (found, _) = DetachedSignature::from_armor_many(signature).map_err(unreadable)?;
            found
                .map(|found| found.map(|found| found.signature))
                .collect::<Result<_, _>>()
                .map_err(unreadable)?
        } else {
            let found = DetachedSignature::from_bytes_many(signature).map_err(unreadable)?;
            found
                .map(|found| found.map(|found| found.signature))
                .collect::<Result<_, _>>()
                .map_err(unreadable)?
        };
        self.check(&signatures, now, open)
    }

    /// One good signature is enough; the problem of the last bad one is told.
    fn check<'d>(
        &self,
        signatures: &[Signature],
        now: SystemTime,
        mut open: impl FnMut() -> Box<dyn Read + 'd>,
    ) -> Result<String, Problem> {
        let mut problem = "it has no signature".to_owned();
        for signature in signatures {
            if let Err(bad) = acceptable(signature, now) {
                problem = bad;
                continue;
            }
            problem = "it is by a key that is not in the keyring".to_owned();
            for key in &self.keys {
                match verify(key, signature, &mut open) {
                    Ok(Some(fingerprint)) => return Ok(fingerprint),
                    Ok(None) => {}
                    Err(bad) => problem = bad,
                }
            }
        }
        Err(problem)
    }
}

/// Whether the key, or a subkey of it, made the signature and was good for that.
fn verify<'d>(
    key: &SignedPublicKey,
    signature: &Signature,
    open: &mut impl FnMut() -> Box<dyn Read + 'd>,
) -> Result<Option<String>, Problem> {
    let made = seconds(signature).ok_or("it does not say when it was made")?;
    if names(signature, &key.primary_key) {
        usable_primary(key, made, true)?;
        strong(key.primary_key.public_params())?;
        signature.verify(&key.primary_key, open()).map_err(|error| error.to_string())?;
        return Ok(Some(key.primary_key.fingerprint().to_string().to_uppercase()));
    }
    if let Some(subkey) = key.public_subkeys.iter().find(|subkey| names(signature, &subkey.key)) {
        usable_primary(key, made, false)?;
        usable_subkey(key, subkey, made)?;
        strong(subkey.key.public_params())?;
        signature.verify(&subkey.key, open()).map_err(|error| error.to_string())?;
        return Ok(Some(key.primary_key.fingerprint().to_string().to_uppercase()));
    }
    Ok(None)
}

/// Whether a signature says that it is by this key.
fn names(signature: &Signature, key: &impl VerifyingKey) -> bool {
    let (fingerprint, id) = (key.fingerprint(), key.legacy_key_id());
    match signature.issuer_fingerprint().as_slice() {
        [] => signature.issuer_key_id().contains(&&id),
        named => named.contains(&&fingerprint),
    }
}

/// What can be said of a signature without a key.
fn acceptable(signature: &Signature, now: SystemTime) -> Result<(), Problem> {
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err("it is not a signature over data".into());
    }
    strong_hash(signature)?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let made = Duration::from_secs(seconds(signature).ok_or("it does not say when it was made")?);
    if made > now + CLOCK_SKEW {
        return Err("it is from the future".into());
    }
    match expiry(signature.signature_expiration_time()) {
        Some(lasts) if made + lasts < now => Err("it has expired".into()),
        _ => Ok(()),
    }
}

fn strong_hash(signature: &Signature) -> Result<(), Problem> {
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => Ok(()),
        other => Err(format!("it uses the hash {}", other.map_or("unknown".into(), |hash| hash.to_string()))),
    }
}

fn strong(key: &PublicParams) -> Result<(), Problem> {
    match key {
        PublicParams::RSA(rsa) => {
            let bits = rsa_bits(rsa);
            if bits < 2048 { Err(format!("its RSA key has {bits} bits, and not 2048")) } else { Ok(()) }
        }
        PublicParams::ECDSA(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::Ed448(_) => Ok(()),
        _ => Err("its key is of a kind that is not accepted".into()),
    }
}

fn rsa_bits(rsa: &pgp::types::RsaPublicParams) -> usize {
    use pgp::ser::Serialize as _;
    // Two numbers (RFC 9580 §3.2): a length in bits, then the bytes; the modulus comes first.
    let bytes = rsa.to_bytes().unwrap_or_default();
    bytes.first_chunk::<2>().map_or(0, |bits| usize::from(u16::from_be_bytes(*bits)))
}

/// Whether the primary key was good at that moment. With `signs`, for making signatures itself.
fn usable_primary(key: &SignedPublicKey, moment: u64, signs: bool) -> Result<(), Problem> {
    let primary = &key.primary_key;
    for revocation in &key.details.revocation_signatures {
        // A revocation that somebody else forged does not verify, and does not count.
        if revocation.verify_key(primary).is_ok() {
            return Err("its key was revoked".into());
        }
    }
    let users = key.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(|signature| {
            signature.is_certification()
                && signature.verify_certification(primary, pgp::types::Tag::UserId, &user.id).is_ok()
        })
    });
    let direct =
        key.details.direct_signatures.iter().filter(|signature| signature.verify_key(primary).is_ok());
    // The latest one counts (RFC 9580 §5.2.3.10).
    let own = users.chain(direct).filter(|own| strong_hash(own).is_ok()).max_by_key(|own| seconds(own));
    let own = own.ok_or("its key has no good self-signature")?;
    if signs && !own.key_flags().sign() {
        return Err("its key may not sign".into());
    }
    lives(u64::from(primary.created_at().as_secs()), own, moment)
}

fn usable_subkey(key: &SignedPublicKey, subkey: &SignedPublicSubKey, moment: u64) -> Result<(), Problem> {
    let primary = &key.primary_key;
    let good = |signature: &&Signature| {
        strong_hash(signature).is_ok() && signature.verify_subkey_binding(primary, &subkey.key).is_ok()
    };
    let typed = |wanted: SignatureType| move |signature: &&Signature| signature.typ() == Some(wanted);
    if subkey.signatures.iter().filter(typed(SignatureType::SubkeyRevocation)).any(|s| good(&s)) {
        return Err("its key was revoked".into());
    }
    let bindings = subkey.signatures.iter().filter(typed(SignatureType::SubkeyBinding)).filter(good);
    let binding =
        bindings.max_by_key(|binding| seconds(binding)).ok_or("its key is not bound to its primary key")?;
    if !binding.key_flags().sign() {
        return Err("its key may not sign".into());
    }
    // Without this anybody could call somebody else's key a subkey (RFC 9580 §5.2.1.9).
    let back = binding.embedded_signature().ok_or("its key does not say whose it is")?;
    strong_hash(back)?;
    back.verify_primary_key_binding(&subkey.key, primary).map_err(|error| error.to_string())?;
    lives(u64::from(subkey.key.created_at().as_secs()), binding, moment)
}

/// Whether a key made at `created` lived at that moment, by what a signature over it says.
fn lives(created: u64, own: &Signature, moment: u64) -> Result<(), Problem> {
    if moment < created {
        return Err("it is older than its key".into());
    }
    match expiry(own.key_expiration_time()) {
        Some(lasts) if created.saturating_add(lasts.as_secs()) < moment => {
            Err("its key had expired when it was made".into())
        }
        _ => Ok(()),
    }
}

fn seconds(signature: &Signature) -> Option<u64> {
    signature.created().map(|time| u64::from(time.as_secs()))
}

/// Zero is never.
fn expiry(lasts: Option<pgp::types::Duration>) -> Option<Duration> {
    lasts.map(|lasts| Duration::from_secs(u64::from(lasts.as_secs()))).filter(|lasts| !lasts.is_zero())
}

/// How wrong clocks may be.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3600);
