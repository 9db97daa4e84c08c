//! Ciphers and derived passwords (Sprig's `crypto.go`).

use aes::Aes256;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::text::Text;
use crate::value::Value;

use super::encoding;

use Parameter::{Text as Str, Uint32};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("encryptAES", &[Str, Str], encrypt),
    Function::new("decryptAES", &[Str, Str], decrypt),
    Function::new("derivePassword", &[Uint32, Str, Str, Str, Str], derive),
];

/// The password, cut or filled with zeros to 32 bytes.
fn cipher(password: &Text) -> Aes256 {
    let mut key = [0; 32];
    for (byte, own) in key.iter_mut().zip(password.as_bytes()) {
        *byte = *own;
    }
    Aes256::new(&key.into())
}

/// AES-256-CBC with PKCS#7 padding, the initial vector in front, in base64.
fn encrypt(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let (password, text) = (args.text(0), args.text(1));
    if text.is_empty() {
        return Ok("".into());
    }
    args.run.charge(text.len() * 2)?;
    let cipher = cipher(&password);
    let mut before = [0; BLOCK];
    args.run.random(&mut before);
    let mut out = before.to_vec();
    let padding = BLOCK - text.len() % BLOCK;
    let padded = [text.as_bytes(), &vec![padding as u8; padding]].concat();
    for block in padded.chunks_exact(BLOCK) {
        for (byte, own) in before.iter_mut().zip(block) {
            *byte ^= own;
        }
        let mut block = Array::from(before);
        cipher.encrypt_block(&mut block);
        before = block.into();
        out.extend_from_slice(&before);
    }
    Ok(STANDARD.encode(out).into())
}

fn decrypt(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let (password, text) = (args.text(0), args.text(1));
    if text.is_empty() {
        return Ok("".into());
    }
    let bytes = encoding::decode_base64(text.as_bytes())
        .map_err(|at| Fault::new(format!("illegal base64 data at input byte {at}")))?;
    if bytes.len() < BLOCK {
        // The decoder makes room for what whole groups of four hold.
        let room = text.len() / 4 * 3;
        let words = format!("runtime error: slice bounds out of range [:{BLOCK}] with capacity {room}");
        return Err(Fault::new(words));
    }
    let (mut before, rest) = bytes.split_at(BLOCK);
    if rest.len() % BLOCK != 0 {
        return Err(Fault::new("crypto/cipher: input not full blocks"));
    }
    let cipher = cipher(&password);
    let mut out = Vec::with_capacity(rest.len());
    for block in rest.chunks_exact(BLOCK) {
        let mut plain = Array::<u8, _>::try_from(block).expect("chunks have the size of blocks");
        cipher.decrypt_block(&mut plain);
        out.extend(plain.iter().zip(before).map(|(byte, own)| byte ^ own));
        before = block;
    }
    let Some(padding) = out.last() else { return Err(Fault::new("runtime error: index out of range [-1]")) };
    let end = out.len() as i64 - i64::from(*padding);
    match usize::try_from(end) {
        Ok(end) => Ok(Text::from(&out[..end]).into()),
        Err(_) => Err(Fault::new(format!("runtime error: slice bounds out of range [:{end}]"))),
    }
}

/// The Master Password algorithm.
fn derive(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let counter = args.int(0) as u32;
    let [kind, password, user, site] = [1, 2, 3, 4].map(|index| args.text(index));
    let Some((_, templates)) = TEMPLATES.iter().find(|(name, _)| name.as_bytes() == kind.as_bytes()) else {
        return Ok(Text::from([b"cannot find password template ", kind.as_bytes()].concat()).into());
    };
    // scrypt takes 32 MiB, and a tenth of a second.
    args.run.charge(32 << 20)?;
    let length = |text: &Text| (text.len() as u32).to_be_bytes();
    let salt = [SEED, &length(&user), user.as_bytes()].concat();
    let parameters = scrypt::Params::new(15, 8, 2).expect("the parameters are right");
    let mut key = [0; 64];
    scrypt::scrypt(password.as_bytes(), &salt, &parameters, &mut key).expect("the length is right");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("keys may have any length");
    mac.update(&[SEED, &length(&site), site.as_bytes(), &counter.to_be_bytes()].concat());
    let seed = mac.finalize().into_bytes();
    let template = templates[usize::from(seed[0]) % templates.len()];
    let letters = template.bytes().zip(&seed[1..]).map(|(class, byte)| {
        let letters = LETTERS.iter().find(|(name, _)| *name == class).map_or("?", |(_, letters)| letters);
        char::from(letters.as_bytes()[usize::from(*byte) % letters.len()])
    });
    Ok(letters.collect::<String>().into())
}

/// Bytes of a block of AES.
const BLOCK: usize = 16;
const SEED: &[u8] = b"com.lyndir.masterpassword";
const TEMPLATES: [(&str, &[&str]); 6] = [
    ("maximum", &["anoxxxxxxxxxxxxxxxxx", "axxxxxxxxxxxxxxxxxno"]),
    (
        "long",
        &[
            "CvcvnoCvcvCvcv",
            "CvcvCvcvnoCvcv",
            "CvcvCvcvCvcvno",
            "CvccnoCvcvCvcv",
            "CvccCvcvnoCvcv",
            "CvccCvcvCvcvno",
            "CvcvnoCvccCvcv",
            "CvcvCvccnoCvcv",
            "CvcvCvccCvcvno",
            "CvcvnoCvcvCvcc",
            "CvcvCvcvnoCvcc",
            "CvcvCvcvCvccno",
            "CvccnoCvccCvcv",
            "CvccCvccnoCvcv",
            "CvccCvccCvcvno",
            "CvcvnoCvccCvcc",
            "CvcvCvccnoCvcc",
            "CvcvCvccCvccno",
            "CvccnoCvcvCvcc",
            "CvccCvcvnoCvcc",
            "CvccCvcvCvccno",
        ],
    ),
    ("medium", &["CvcnoCvc", "CvcCvcno"]),
    ("short", &["Cvcn"]),
    ("basic", &["aaanaaan", "aannaaan", "aaannaaa"]),
    ("pin", &["nnnn"]),
];
const LETTERS: [(u8, &str); 9] = [
    (b'V', "AEIOU"),
    (b'C', "BCDFGHJKLMNPQRSTVWXYZ"),
    (b'v', "aeiou"),
    (b'c', "bcdfghjklmnpqrstvwxyz"),
    (b'A', "AEIOUBCDFGHJKLMNPQRSTVWXYZ"),
    (b'a', "AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"),
    (b'n', "0123456789"),
    (b'o', "@&%?,=[]_:-+*$#!'^~;()/."),
    (b'x', "AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()"),
];

#[cfg(test)]
mod tests {
    use super::super::call::{call, fault};
    use super::*;
    use crate::value::IntKind;

    #[test]
    fn what_is_encrypted_can_be_read_again() {
        for text in ["a", "sixteen bytes...", "more than sixteen bytes"] {
            let secret = call("encryptAES", &["key".into(), text.into()]);
            assert_eq!(call("decryptAES", &["key".into(), secret.into()]), text);
        }
        assert_eq!(
            fault("decryptAES", &["key".into(), "YWJj".into()]),
            "runtime error: slice bounds out of range [:16] with capacity 3"
        );
    }

    #[test]
    fn passwords_are_derived_as_by_sprig() {
        let counter = Value::Int(1, IntKind::Uint32);
        let derive = |kind: &str| {
            call(
                "derivePassword",
                &[counter.clone(), kind.into(), "password".into(), "user".into(), "example.com".into()],
            )
        };
        assert_eq!(derive("long"), "ZedaFaxcZaso9*");
        assert_eq!(derive("none"), "cannot find password template none");
    }
}
