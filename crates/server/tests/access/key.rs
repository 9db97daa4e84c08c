//! Keys of issuers and of attackers, and tokens made by hand.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// A key pair with a name.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) algorithm: Algorithm,
    private: EncodingKey,
    /// Of an Ed25519 key: the library makes key sets of the other kinds only.
    public: Option<Vec<u8>>,
}

impl Key {
    pub(crate) fn new(id: &str, algorithm: Algorithm) -> Self {
        let random = SystemRandom::new();
        let mut public = None;
        let private = match algorithm {
            Algorithm::ES256 => {
                let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
                EncodingKey::from_ec_pem(pem(key.as_ref()).as_bytes()).unwrap()
            }
            Algorithm::ES384 => {
                let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
                EncodingKey::from_ec_pem(pem(key.as_ref()).as_bytes()).unwrap()
            }
            Algorithm::EdDSA => {
                let key = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                let pair = Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap();
                public = Some(pair.public_key().as_ref().to_vec());
                EncodingKey::from_ed_pem(pem(key.as_ref()).as_bytes()).unwrap()
            }
            _ => {
                let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
                let der = key.as_der().unwrap();
                EncodingKey::from_rsa_pem(pem(der.as_ref()).as_bytes()).unwrap()
            }
        };
        Self { id: id.to_owned(), algorithm, private, public }
    }

    /// A key that already is somewhere, to sign other things with it.
    pub(crate) fn from_pem(id: &str, pem: &str) -> Self {
        let private = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
        Self { id: id.to_owned(), algorithm: Algorithm::ES256, private, public: None }
    }

    /// The same key, put to another use.
    pub(crate) fn with_algorithm(&self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self.clone() }
    }

    /// The public half, as it stands in key sets.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.public {
            Some(public) => json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(public) }),
            None => {
                serde_json::to_value(Jwk::from_encoding_key(&self.private, self.algorithm).unwrap()).unwrap()
            }
        };
        jwk["kid"] = self.id.clone().into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// A header as this key's owner writes it.
    pub(crate) fn header(&self) -> Value {
        json!({ "typ": "JWT", "alg": format!("{:?}", self.algorithm), "kid": self.id })
    }

    /// Signs whatever it is told to, with its own algorithm whatever the header says.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    pub(crate) fn sign_text(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

/// Signs with a secret: what somebody does who wants a public key to be taken for one.
pub(crate) fn sign_symmetric(secret: &[u8], header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", encode(&header.to_string()), encode(&claims.to_string()));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

pub(crate) fn key_set(keys: &[&Key]) -> Vec<u8> {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string().into_bytes()
}

pub(crate) fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

pub(crate) fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
}
