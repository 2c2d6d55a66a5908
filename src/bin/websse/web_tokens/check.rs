//! The checking of tokens.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::{Validation, decode, errors::ErrorKind};
use log::{error, info};
use parking_lot::Mutex;
use serde_json::Value;
use subtle::ConstantTimeEq;
use websse::Denied;

use super::{
    Grant,
    key_file::{Key, KeyFile},
    signatures,
};

/// The claim that tells the channels.
const CLAIM: &str = "websse";

/// The keys that tokens are checked with.
pub(crate) struct WebTokens(Mutex<State>);

struct State {
    files: Arc<Vec<KeyFile>>,
    /// The last good token. A batch asks for each of its channels, and a busy publisher shows the
    /// same token again and again.
    last: Option<(Box<str>, Arc<Grant>)>,
}

impl WebTokens {
    /// `None` without any key.
    pub(crate) fn new(files: Vec<KeyFile>) -> Option<Arc<Self>> {
        if files.is_empty() {
            return None;
        }
        signatures::install();
        Some(Arc::new(Self(Mutex::new(State { files: Arc::new(files), last: None }))))
    }

    /// Reads the files again, and returns how many there are. One that cannot be read keeps its key.
    pub(crate) fn read_again(&self) -> usize {
        let mut files = Vec::clone(&self.0.lock().files);
        for file in &mut files {
            match KeyFile::read(&file.path) {
                Ok(read) => {
                    *file = read;
                    info!("read the key {} again", file.path);
                }
                Err(error) => error!("the key {} stays as it was: {error}", file.path),
            }
        }
        let count = files.len();
        *self.0.lock() = State { files: Arc::new(files), last: None };
        count
    }

    /// What a token grants.
    pub(crate) fn check(&self, token: &str) -> Result<Arc<Grant>, Denied> {
        let state = self.0.lock();
        if let Some((last, grant)) = &state.last
            && last.as_bytes().ct_eq(token.as_bytes()).into()
            && grant.until.is_none_or(|until| until > SystemTime::now())
        {
            return Ok(Arc::clone(grant));
        }
        let files = Arc::clone(&state.files);
        drop(state);
        let grant = Arc::new(check(&files, token).map_err(Denied::unauthorized)?);
        let mut state = self.0.lock();
        // With keys that were read again meanwhile it may not be good any more.
        if Arc::ptr_eq(&files, &state.files) {
            state.last = Some((token.into(), Arc::clone(&grant)));
        }
        Ok(grant)
    }
}

/// Checks a token by the keys of its kind. The key decides how a token is signed; what the token
/// says only tells which keys are worth a look.
fn check(files: &[KeyFile], token: &str) -> Result<Grant, String> {
    const NONE: &str = "this is no token that is known here, and no JSON Web Token";
    let algorithm = algorithm(token).ok_or(NONE)?;
    let mut refusal = None;
    for KeyFile { key, .. } in files {
        if key.algorithm_name() != algorithm {
            continue;
        }
        match claims(key, token) {
            Ok(claims) => return read(&claims),
            // Another key may have made it.
            Err(ErrorKind::InvalidSignature) => {
                refusal
                    .get_or_insert("no key of this server made the token's signature".to_owned());
            }
            Err(kind) => refusal = Some(told(&kind).unwrap_or(NONE.to_owned())),
        }
    }
    Err(refusal.unwrap_or_else(|| {
        let mut known: Vec<&str> = files.iter().map(|file| file.key.algorithm_name()).collect();
        known.sort_unstable();
        known.dedup();
        let known = known.join(" or ");
        format!("the token is signed by {algorithm:?}; this server takes {known}")
    }))
}

/// The name of the algorithm in a token's header, if it has one.
fn algorithm(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let header = BASE64_URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    let name = header.get("alg")?.as_str()?;
    (parts.count() == 2).then(|| name.chars().take(20).collect())
}

/// The claims of a token that this key signed and that is valid now.
fn claims(key: &Key, token: &str) -> Result<Value, ErrorKind> {
    let mut validation = Validation::new(key.algorithm);
    validation.leeway = 0;
    // At its end it is not valid any more.
    validation.reject_tokens_expiring_in_less_than = 1;
    validation.validate_nbf = true;
    validation.set_audience(&[CLAIM]);
    let decoded = decode::<Value>(token, &key.decoding, &validation);
    decoded.map(|token| token.claims).map_err(jsonwebtoken::errors::Error::into_kind)
}

/// Why a token with a good signature is refused.
fn told(kind: &ErrorKind) -> Option<String> {
    Some(match kind {
        ErrorKind::ExpiredSignature => "the token has expired; get a new one".to_owned(),
        ErrorKind::ImmatureSignature => "the token is not valid yet (nbf)".to_owned(),
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim)
            if claim == "exp" || claim == "nbf" =>
        {
            format!("the token needs {claim}, a number of seconds since 1970")
        }
        ErrorKind::InvalidAudience | ErrorKind::InvalidClaimFormat(_) => {
            format!("the token is for somebody else: its aud is not {CLAIM}")
        }
        _ => return None,
    })
}

fn read(claims: &Value) -> Result<Grant, String> {
    let list = |name: &str| match claims.get(CLAIM).and_then(|claim| claim.get(name)) {
        None => Ok(Vec::new()),
        Some(list) => serde_json::from_value(list.clone())
            .map_err(|_| format!("{name} in the token's claim {CLAIM} is not a list of channels")),
    };
    let end = claims.get("exp").and_then(Value::as_f64);
    let end = end.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok(Grant {
        until: end.and_then(|end| SystemTime::UNIX_EPOCH.checked_add(end)),
        subscribe: list("subscribe")?,
        publish: list("publish")?,
    })
}
