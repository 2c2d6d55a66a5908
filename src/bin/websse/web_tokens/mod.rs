//! JSON Web Tokens (RFC 7519), which tell the channels that their holders may use.
//!
//! | file | owns |
//! |---|---|
//! | `check` | the checking of tokens, and the keys in use |
//! | `key_file` | the files with the keys |
//! | `signatures` | the cryptography |
//! | `absent` | nothing of all this, without the feature `jwt` |

#[cfg(not(feature = "jwt"))]
mod absent;
#[cfg(feature = "jwt")]
mod check;
#[cfg(feature = "jwt")]
mod key_file;
#[cfg(feature = "jwt")]
mod signatures;

use std::time::SystemTime;

#[cfg(not(feature = "jwt"))]
pub(crate) use self::absent::{KeyFile, WebTokens};
#[cfg(feature = "jwt")]
pub(crate) use self::{check::WebTokens, key_file::KeyFile};

/// Stands for all channels.
const ALL: &str = "*";

/// What a token grants.
#[derive(Debug)]
pub(crate) struct Grant {
    /// When it ends; `None` if that is too far away to come.
    pub(crate) until: Option<SystemTime>,
    pub(crate) subscribe: Vec<String>,
    pub(crate) publish: Vec<String>,
}

/// Whether a list of channels has this one: by its name, by `prefix/*`, or by `*`.
pub(crate) fn grants(list: &[String], channel: &str) -> bool {
    list.iter().any(|granted| {
        let prefix = granted.strip_suffix('*').filter(|prefix| prefix.ends_with('/'));
        granted == ALL
            || granted == channel
            || prefix.is_some_and(|prefix| {
                channel.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty())
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_with_a_slash_and_grants_what_is_under_it() {
        for (granted, channel, expected) in [
            ("room/*", "room/1", true),
            ("room/*", "room/1/door", true),
            ("room/*", "room/", false),
            ("room/*", "room", false),
            ("room/*", "rooms/1", false),
            ("room/*", "*", false),
            ("room*", "rooms", false),
            ("room*", "room*", true),
            ("room/1", "room/1", true),
            ("room/1", "room/12", false),
            ("*", "room/1", true),
            ("*", "*", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("/*", "", false),
        ] {
            assert_eq!(grants(&[granted.to_owned()], channel), expected, "{granted} {channel}");
        }
    }
}
