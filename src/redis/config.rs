//! Which stream the nodes share.

use std::{error::Error, fmt, time::Duration};

use redis::ConnectionInfo;

use super::address::{self, Sentinels};

/// The stream of Redis or Valkey that the nodes share, for
/// [`Builder::redis`](crate::Builder::redis).
///
/// ```no_run
/// use websse::{Server, redis::RedisConfig};
///
/// let config = RedisConfig::new("redis://:secret@127.0.0.1:6379/0")?.stream("news");
/// let server = Server::builder().redis(config).build();
/// # Ok::<(), websse::redis::RedisConfigError>(())
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until a server is built with it"]
pub struct RedisConfig {
    /// How to connect to the primary. With sentinels, its address has no meaning.
    pub(super) info: ConnectionInfo,
    pub(super) sentinels: Option<Sentinels>,
    pub(super) stream: String,
    pub(super) max_len: u64,
    pub(super) timeout: Duration,
}

/// At most this many entries are read at once. A shorter stream could lose entries before they are
/// read.
pub(super) const SHORTEST_STREAM: u64 = 1024;

impl RedisConfig {
    /// Reads an address: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, or
    /// `unix:///PATH[?db=N&pass=PASSWORD&user=USER]`. The feature `redis-tls` adds `rediss://`,
    /// which is TLS with the system's root certificates.
    ///
    /// With Sentinel it is `redis-sentinel://[[USER]:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/MASTER`,
    /// and `/DATABASE` behind that. The hosts are the sentinels (port 26379), and `MASTER` is their
    /// name for the primary. User and password are those of the servers; those of the sentinels
    /// follow as `?sentinel_user=USER&sentinel_password=PASSWORD`. See
    /// [Sentinel](crate::redis#sentinel).
    ///
    /// # Errors
    /// [`RedisConfigError`] if `url` is not such an address.
    pub fn new(url: &str) -> Result<Self, RedisConfigError> {
        let (info, sentinels) = address::parse(url)?;
        Ok(Self {
            info,
            sentinels,
            stream: "websse".to_owned(),
            max_len: 1_000_000,
            timeout: Duration::from_secs(3),
        })
    }

    /// The key of the stream; default `websse`. Nodes with the same key share their events.
    pub fn stream(self, name: impl Into<String>) -> Self {
        Self { stream: name.into(), ..self }
    }

    /// About how many entries Redis keeps, the newest ones (`XADD … MAXLEN ~`); default 1,000,000,
    /// at least 1024. A client whose last event is older learns of a gap.
    pub fn max_len(self, entries: u64) -> Self {
        Self { max_len: entries.max(SHORTEST_STREAM), ..self }
    }

    /// How long Redis may take to accept a connection or to answer; default 3 s, at least 10 ms. A
    /// message that Redis does not acknowledge in time is
    /// [`OutcomeUnknown`](crate::PublishError::OutcomeUnknown).
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: timeout.max(Duration::from_millis(10)), ..self }
    }
}

impl RedisConfig {
    /// The address as it was given, without passwords.
    fn address(&self) -> String {
        let Some(Sentinels { each, master }) = &self.sentinels else {
            return self.info.addr().to_string();
        };
        let each: Vec<String> = each.iter().map(|one| one.addr().to_string()).collect();
        format!("redis-sentinel://{}/{master}", each.join(","))
    }

    /// The key beside the stream, which names the server that nodes vouched for last. In a Cluster
    /// it is in the slot of the stream: the braces tell which part of a key the slot depends on.
    pub(super) fn memo(&self, is_cluster: bool) -> String {
        let inner = self.stream.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let has_tag = inner.is_some_and(|(tag, _)| !tag.is_empty());
        if is_cluster && !has_tag {
            format!("{{{}}}:server", self.stream)
        } else {
            format!("{}:server", self.stream)
        }
    }
}

impl fmt::Debug for RedisConfig {
    /// Does not show the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("address", &self.address())
            .field("stream", &self.stream)
            .field("max_len", &self.max_len)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Not a usable address of Redis. The error does not show the address, since it may contain a
/// password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfigError(pub(super) Wrong);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Form,
    Sentinels,
    Kind,
    User,
}

impl fmt::Display for RedisConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Wrong::Form => "not an address such as redis://:PASSWORD@HOST:6379/0",
            Wrong::Sentinels => {
                "not an address such as redis-sentinel://:PASSWORD@HOST:26379,HOST:26379/MASTER/0"
            }
            Wrong::Kind => {
                "this kind of address is not supported here; TLS needs the feature redis-tls"
            }
            Wrong::User => "a user without a password; a password alone is :PASSWORD@",
        })
    }
}

impl Error for RedisConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_cluster_the_memo_is_in_the_slot_of_the_stream() {
        let config = RedisConfig::new("redis://h").expect("it is good");
        for (stream, memo, in_cluster) in [
            ("websse", "websse:server", "{websse}:server"),
            ("{shop}:news", "{shop}:news:server", "{shop}:news:server"),
            ("a{b", "a{b:server", "{a{b}:server"),
        ] {
            let config = config.clone().stream(stream);
            assert_eq!((&*config.memo(false), &*config.memo(true)), (memo, in_cluster));
        }
    }

    #[test]
    fn a_password_is_told_nowhere() {
        let config = RedisConfig::new("redis://user:geheim@127.0.0.1:1/0").expect("it is good");
        let shown = format!("{config:?} {:?}", crate::Server::builder().redis(config.clone()));
        assert!(shown.contains("127.0.0.1:1") && !shown.contains("geheim"), "{shown}");
        let url = "redis-sentinel://:geheim@one,two/m?sentinel_password=geheim";
        let shown = format!("{:?}", RedisConfig::new(url).expect("it is good"));
        assert!(shown.contains("two:26379/m") && !shown.contains("geheim"), "{shown}");
        for (wrong, why) in [
            ("http://:geheim@h/", Wrong::Form),
            ("redis://:geheim@h:port/", Wrong::Form),
            ("geheim", Wrong::Form),
            ("redis-sentinel://:geheim@h", Wrong::Sentinels),
            ("redis://geheim@h", Wrong::User),
            #[cfg(not(feature = "redis-tls"))]
            ("rediss://:geheim@h", Wrong::Kind),
        ] {
            let error = RedisConfig::new(wrong).expect_err("it is wrong");
            assert_eq!(error.0, why);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("geheim"), "{shown}");
        }
    }
}
