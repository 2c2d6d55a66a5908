//! The cryptography of JSON Web Tokens, by `ring`: three ways to sign, and only to check them.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result},
    signature::{Error, Verifier},
};
use ring::{
    hmac,
    signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |&algorithm, key| Ok(Box::new(Check::new(algorithm, key)?)),
    // Only for keys as JSON, which nobody gives here.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Lets `jsonwebtoken` check signatures.
pub(crate) fn install() {
    // Whatever came first is the same.
    let _ = PROVIDER.install_default();
}

/// Checks signatures by one key.
struct Check {
    algorithm: Algorithm,
    key: Vec<u8>,
}

impl Check {
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<Self> {
        // A public key must never be taken for a secret.
        if algorithm.family() != key.family() {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        Ok(Self { algorithm, key: key.try_get_as_bytes()?.to_vec() })
    }
}

impl Verifier<Vec<u8>> for Check {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let Self { algorithm, key } = self;
        let is_right = match algorithm {
            // Compares in a time that tells nothing.
            Algorithm::HS256 => {
                hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), message, signature)
            }
            Algorithm::EdDSA => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
            Algorithm::RS256 => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature)
            }
            _ => return Err(Error::new()),
        };
        is_right.map_err(|_| Error::new())
    }
}

impl JwtVerifier for Check {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
