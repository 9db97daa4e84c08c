//! Check sums and hashed passwords (Sprig's `crypto.go`).

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::text::Text;
use crate::value::Value;

use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use Parameter::Text as Str;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("sha1sum", &[Str], |args| Ok(hex(&Sha1::digest(args.text(0).as_bytes())).into())),
    Function::new("sha256sum", &[Str], |args| Ok(hex(&Sha256::digest(args.text(0).as_bytes())).into())),
    Function::new("sha512sum", &[Str], |args| Ok(hex(&Sha512::digest(args.text(0).as_bytes())).into())),
    Function::new("adler32sum", &[Str], |args| Ok(adler32(args.text(0).as_bytes()).to_string().into())),
    Function::new("bcrypt", &[Str], |args| {
        let text = args.text(0);
        Ok(hash_password(args, &text)?.into())
    }),
    Function::new("htpasswd", &[Str, Str], htpasswd),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 1950.
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (mut low, mut high) = (1, 0);
    for byte in bytes {
        low = (low + u32::from(*byte)) % MODULUS;
        high = (high + low) % MODULUS;
    }
    high << 16 | low
}

/// `bcrypt.GenerateFromPassword`; what Go refuses is the result.
fn hash_password(args: &mut Arguments<'_>, password: &Text) -> Result<String, Fault> {
    if password.len() > 72 {
        return Ok(
            "failed to encrypt string with bcrypt: bcrypt: password length exceeds 72 bytes".to_owned()
        );
    }
    args.run.charge(HASH_BYTES)?;
    let mut salt = [0; 16];
    args.run.random(&mut salt);
    Ok(match bcrypt::hash_with_salt(password.as_bytes(), args.run.password_cost(), salt) {
        Ok(hash) => hash.format_for_version(bcrypt::Version::TwoA),
        Err(error) => format!("failed to encrypt string with bcrypt: {error}"),
    })
}

fn htpasswd(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let (user, password) = (args.text(0), args.text(1));
    if user.as_bytes().contains(&b':') {
        return Ok(Text::from([b"invalid username: ", user.as_bytes()].concat()).into());
    }
    let hash = hash_password(args, &password)?;
    Ok(Text::from([user.as_bytes(), b":", hash.as_bytes()].concat()).into())
}

/// A hash takes some 50 ms; it is charged like a large text, so that hostile templates come to an end.
const HASH_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::super::call::call;
    use super::*;

    #[test]
    fn sums_are_those_of_the_standards() {
        assert_eq!(call("sha1sum", &["abc".into()]), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert!(call("sha256sum", &["abc".into()]).starts_with("ba7816bf8f01cfea"));
        assert!(call("sha512sum", &["abc".into()]).starts_with("ddaf35a193617aba"));
        assert_eq!(adler32(b"Wikipedia"), 300_286_872);
    }

    #[test]
    fn hashed_passwords_verify() {
        let hash = call("bcrypt", &["secret".into()]);
        assert_eq!(hash.len(), 60);
        assert!(bcrypt::verify("secret", &hash).expect("a hash"));
        assert!(call("htpasswd", &["user".into(), "secret".into()]).starts_with("user:$2a$10$"));
        assert_eq!(call("htpasswd", &["a:b".into(), "c".into()]), "invalid username: a:b");
    }
}
