//! HTTPS without a proxy.
//!
//! | file | owns |
//! |---|---|
//! | `present` | the files of `--tls-cert` and its like, and what is done with them |
//! | `absent` | nothing of all this, without the feature `tls` |

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod present;

#[cfg(not(feature = "tls"))]
pub(crate) use self::absent::Https;
#[cfg(feature = "tls")]
pub(crate) use self::present::Https;
use crate::listen::{Listen, Place};

impl Https {
    /// Whether TLS is spoken where this is listened on. What names no scheme is plain if something
    /// else is `https://`; a Unix-domain socket is plain unless it is that itself.
    pub(crate) fn covers(&self, listen: &Listen, all: &[Listen]) -> bool {
        let is_named = || all.iter().any(|other| other.is_https == Some(true));
        let is_unix = match listen.place {
            #[cfg(unix)]
            Place::Unix(_) => true,
            Place::Host(_) | Place::Everywhere(_) | Place::Systemd(_) => false,
        };
        self.is_given() && listen.is_https.unwrap_or_else(|| !is_unix && !is_named())
    }

    /// What is wrong with all of it together.
    pub(crate) fn check(&self, all: &[Listen]) -> Result<(), String> {
        if let Some(half) = self.lacks_half() {
            return Err(half);
        }
        match all.iter().find(|listen| listen.is_https == Some(true)) {
            Some(listen) if !self.is_given() => {
                let lacking = crate::flags::lacking("tls-");
                let lacking = lacking.unwrap_or("needs --tls-cert and --tls-key".to_owned());
                Err(format!("--listen https://{}: {lacking}", listen.place))
            }
            _ if self.redirects() && !all.iter().any(|listen| self.covers(listen, all)) => {
                Err("--redirect-http: nothing listens for https://".to_owned())
            }
            _ => Ok(()),
        }
    }
}
