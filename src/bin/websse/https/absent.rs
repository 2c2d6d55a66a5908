//! No HTTPS, in a build without the feature `tls`.

#![allow(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "as the methods of `present` are"
)]

use std::io;

use websse::http::{HttpServer, Limits, Listener, Policy};

use crate::{listen::Bound, systemd::HandedOver};

/// There is none.
#[derive(Clone, Default)]
pub(crate) struct Https {}

impl Https {
    pub(crate) fn is_given(&self) -> bool {
        false
    }

    pub(crate) fn redirects(&self) -> bool {
        false
    }

    pub(crate) fn lacks_half(&self) -> Option<String> {
        None
    }

    pub(crate) fn key_path(&self) -> Option<&str> {
        None
    }

    pub(crate) fn shown(&self) -> String {
        String::new()
    }

    pub(crate) fn read_again(&self) {}

    pub(crate) fn host(&self, address: &str) -> String {
        address.to_owned()
    }

    pub(crate) fn serve(&self, http: HttpServer, listener: Listener) -> io::Result<HttpServer> {
        http.serve(listener)
    }

    pub(crate) fn redirect(
        &self,
        _: &[Bound],
        _: &Limits,
        _: &Policy,
        _: &mut HandedOver,
    ) -> Result<Option<HttpServer>, String> {
        Ok(None)
    }
}
