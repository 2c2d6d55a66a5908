//! The files with the keys that tokens are checked with.

use std::fs;

use base64::prelude::{BASE64_STANDARD, Engine};
use jsonwebtoken::{Algorithm, DecodingKey};

/// As long as what HS256 makes of it (RFC 7518, section 3.2).
const SHORTEST_SECRET: usize = 32;

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// Object identifiers of keys, in DER: 1.3.101.112 (RFC 8410, section 3), and 1.2.840.113549.1.1.1,
/// which is `rsaEncryption` (RFC 8017, appendix A.1).
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// Tags of DER.
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// A key, and where it comes from.
#[derive(Clone)]
pub(crate) struct KeyFile {
    pub(crate) path: String,
    pub(crate) key: Key,
}

/// A key, which decides by itself how tokens are signed.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) algorithm: Algorithm,
    pub(crate) decoding: DecodingKey,
}

impl KeyFile {
    /// Reads a key. The error says what would be right.
    pub(crate) fn read(path: &str) -> Result<Self, String> {
        let bytes = fs::read(path).map_err(|error| {
            format!("{error}; it is a file with a secret, or with a public key in PEM")
        })?;
        Ok(Self { path: path.to_owned(), key: Key::parse(&bytes)? })
    }

    /// Its path if it has a secret, with which anybody could sign, and not a public key.
    pub(crate) fn secret_path(&self) -> Option<&str> {
        (self.key.algorithm == Algorithm::HS256).then_some(&*self.path)
    }
}

impl Key {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(bytes);
        if text.contains(BEGIN) {
            return Self::parse_pem(&text);
        }
        // If a public key were taken for a secret, everybody could sign with it.
        let is_ssh = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"]
            .iter()
            .any(|kind| text.starts_with(kind));
        let mut rest = bytes;
        let is_der = take(SEQUENCE, &mut rest).is_some() && rest.is_empty();
        if is_ssh || is_der || text.trim_start().starts_with('{') {
            let kind = if is_ssh {
                "a key of SSH"
            } else if is_der {
                "a key in DER"
            } else {
                "JSON, as of a JWK"
            };
            return Err(format!(
                "this is {kind}; a public key has to be in PEM ({BEGIN}PUBLIC KEY{DASHES})"
            ));
        }
        let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        if secret.len() < SHORTEST_SECRET {
            return Err(format!(
                "a secret of {} bytes is too short; it has at least {SHORTEST_SECRET}, as of \
                 openssl rand -base64 32",
                secret.len()
            ));
        }
        let decoding = DecodingKey::from_secret(secret).map_err(|error| error.to_string())?;
        Ok(Self { algorithm: Algorithm::HS256, decoding })
    }

    fn parse_pem(text: &str) -> Result<Self, String> {
        let blocks: Vec<&str> = text.split(BEGIN).skip(1).collect();
        let labels = blocks.iter().map(|block| block.split(DASHES).next().unwrap_or_default());
        let labels: Vec<&str> = labels.collect();
        let instead = match labels[..] {
            _ if labels.iter().any(|label| label.contains("PRIVATE KEY")) => {
                Some("a private key, which only signs; openssl pkey -pubout makes the public one")
            }
            ["PUBLIC KEY"] => None,
            ["CERTIFICATE", ..] => Some("a certificate; openssl x509 -pubkey -noout takes its key"),
            ["RSA PUBLIC KEY"] => {
                Some("an older form; openssl rsa -RSAPublicKey_in -pubout makes the other")
            }
            [_, _, ..] => Some("more than one; give each key a file and a flag of its own"),
            _ => Some("something else"),
        };
        let right = format!("a public key is {BEGIN}PUBLIC KEY{DASHES}");
        if let Some(instead) = instead {
            return Err(format!("{right}, but this is {instead}"));
        }
        let body = blocks[0].strip_prefix("PUBLIC KEY-----").unwrap_or_default();
        let body = body.split("-----END PUBLIC KEY-----").next().unwrap_or_default();
        let body: String = body.split_whitespace().collect();
        let der = BASE64_STANDARD.decode(body).map_err(|error| format!("{right}; {error}"))?;
        let (kind, key) =
            subject_key(&der).ok_or_else(|| format!("{right}; this one is damaged"))?;
        match kind {
            ED25519 if key.len() == 32 => {
                Ok(Self { algorithm: Algorithm::EdDSA, decoding: DecodingKey::from_ed_der(key) })
            }
            RSA => match modulus_bits(key) {
                Some(2048..=8192) => {
                    let decoding = DecodingKey::from_rsa_der(key);
                    Ok(Self { algorithm: Algorithm::RS256, decoding })
                }
                Some(bits) => Err(format!("an RSA key has 2048 to 8192 bits, not {bits}")),
                None => Err(format!("{right}; this one is damaged")),
            },
            _ => {
                Err("a public key is of Ed25519 or RSA, and this one of something else".to_owned())
            }
        }
    }

    /// The name of its algorithm in a token.
    pub(crate) fn algorithm_name(&self) -> &'static str {
        match self.algorithm {
            Algorithm::EdDSA => "EdDSA",
            Algorithm::RS256 => "RS256",
            _ => "HS256",
        }
    }
}

/// The kind of a public key, and the key (`SubjectPublicKeyInfo`, RFC 5280, section 4.1).
fn subject_key(mut der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut whole = take(SEQUENCE, &mut der)?;
    let mut algorithm = take(SEQUENCE, &mut whole)?;
    let kind = take(OBJECT_IDENTIFIER, &mut algorithm)?;
    let key = take(BIT_STRING, &mut whole)?.strip_prefix(&[0])?;
    (der.is_empty() && whole.is_empty()).then_some((kind, key))
}

/// How many bits an RSA key has.
fn modulus_bits(mut key: &[u8]) -> Option<usize> {
    let mut numbers = take(SEQUENCE, &mut key)?;
    let modulus = take(INTEGER, &mut numbers)?;
    let first = modulus.iter().position(|&byte| byte != 0)?;
    Some((modulus.len() - first) * 8 - modulus[first].leading_zeros() as usize)
}

/// Takes the next value from DER, if it has this tag and is not longer than 64 KiB.
fn take<'d>(tag: u8, der: &mut &'d [u8]) -> Option<&'d [u8]> {
    let (length, rest) = match **der {
        [found, length @ 0..=0x7f, ref rest @ ..] if found == tag => (usize::from(length), rest),
        [found, 0x81, length, ref rest @ ..] if found == tag => (usize::from(length), rest),
        [found, 0x82, high, low, ref rest @ ..] if found == tag => {
            (usize::from(u16::from_be_bytes([high, low])), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    *der = rest;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_all_bytes_but_the_last_line_feed_and_no_key_of_another_kind() {
        let parse = |bytes: &[u8]| Key::parse(bytes).map(|key| key.algorithm_name());
        assert_eq!(parse(&[b'x'; 32]), Ok("HS256"));
        assert_eq!(parse(&[0; 32]), Ok("HS256"));
        let short = [&[b'x'; 31][..], b"\n"].concat();
        assert!(parse(&short).expect_err("it is refused").contains("31 bytes is too short"));
        for (text, told) in [
            ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO me", "a key of SSH"),
            (r#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#, "JSON"),
            ("-----BEGIN PRIVATE KEY-----\n", "only signs"),
            ("-----BEGIN EC PARAMETERS-----\n-----BEGIN EC PRIVATE KEY-----\n", "only signs"),
            ("-----BEGIN CERTIFICATE-----\n", "openssl x509"),
            ("-----BEGIN RSA PUBLIC KEY-----\n", "RSAPublicKey_in"),
            ("-----BEGIN PUBLIC KEY-----\n-----BEGIN PUBLIC KEY-----\n", "more than one"),
            ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n", "something else"),
            ("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n", "Invalid"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "damaged"),
        ] {
            let error = parse(text.as_bytes()).expect_err("it is refused");
            assert!(error.contains(told), "{text}: {error}");
        }
        let der = [&[0x30, 0x2a][..], &[5; 42]].concat();
        assert!(parse(&der).expect_err("it is refused").contains("in DER"));
    }
}
