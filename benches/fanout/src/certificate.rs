//! A certificate that is made for one run, as servers read it: ECDSA with P-256, in PEM files.

use std::{env, fs, path::PathBuf, process};

use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

/// The files are removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Certificate {
    dir: PathBuf,
}

impl Certificate {
    pub(crate) fn make() -> Result<Self> {
        let dir = env::temp_dir().join(format!("websse-bench-tls-{}", process::id()));
        fs::create_dir_all(&dir).context("no place for a certificate")?;
        let made = Self { dir };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let certificate = CertificateParams::new(names)?.self_signed(&key)?;
        fs::write(made.chain(), certificate.pem())?;
        fs::write(made.key(), key.serialize_pem())?;
        Ok(made)
    }

    pub(crate) fn chain(&self) -> PathBuf {
        self.dir.join("chain.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.dir.join("key.pem")
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // What is left behind is of no use to anyone.
        let _ = fs::remove_dir_all(&self.dir);
    }
}
