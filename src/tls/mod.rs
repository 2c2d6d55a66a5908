//! TLS by `rustls`, feature `tls`: for whom a program answers, and the sessions with its clients.
//!
//! | file | owns |
//! |---|---|
//! | `config` | [`TlsConfig`]: certificates, their keys, and when they are read anew |
//! | `certificate` | what a certificate says: names, until when it is valid |
//! | `session` | one connection's session, between its socket and what is plain |
//! | `turns` | how many handshakes are computed at a time |
//! | `absent` | the same names, without values, in a build without the feature |
//!
//! Imports nothing of the library but `logs` and `quoted`.

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod certificate;
#[cfg(feature = "tls")]
mod config;
#[cfg(feature = "tls")]
mod session;
#[cfg(feature = "tls")]
mod turns;

#[cfg(not(feature = "tls"))]
pub(crate) use self::absent::{Session, TlsConfig};
#[cfg(feature = "tls")]
pub(crate) use self::session::Session;
#[cfg(feature = "tls")]
pub use self::{certificate::Certificate, config::TlsConfig};
