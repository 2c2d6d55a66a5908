//! No tokens of this kind, in a build without the feature `jwt`.

use std::sync::Arc;

use websse::Denied;

use super::Grant;

/// There is none.
#[derive(Clone)]
pub(crate) enum KeyFile {}

impl KeyFile {
    pub(crate) fn secret_path(&self) -> Option<&str> {
        match *self {}
    }
}

/// There are none.
pub(crate) enum WebTokens {}

impl WebTokens {
    pub(crate) fn new(_: Vec<KeyFile>) -> Option<Arc<Self>> {
        None
    }

    pub(crate) fn read_again(&self) -> usize {
        match *self {}
    }

    pub(crate) fn check(&self, _: &str) -> Result<Arc<Grant>, Denied> {
        match *self {}
    }
}
