//! Addresses of Redis, as people write them and as its servers tell them.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use url::form_urlencoded;

use super::config::{RedisConfigError, Wrong};

/// The scheme of an address at which sentinels are asked for the primary.
const SENTINEL: &str = "redis-sentinel://";

/// The sentinels that know where the primary is.
#[derive(Clone, Debug)]
pub(super) struct Sentinels {
    /// How to connect to each.
    pub(super) each: Vec<ConnectionInfo>,
    /// What they call the primary and its replicas.
    pub(super) master: String,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Address {
    /// How to connect to the server at this address, as one connects by `info` to another.
    pub(super) fn by(&self, info: &ConnectionInfo) -> ConnectionInfo {
        let (host, port) = (self.host.clone(), self.port);
        info.clone().set_addr(match info.addr().clone() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host, port),
        })
    }
}

/// Where a node of a Cluster says that a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    pub(super) address: Address,
    /// The key is on its way there: each command must say that it was sent on.
    pub(super) is_asking: bool,
}

impl Redirect {
    /// Reads `MOVED 3999 127.0.0.1:6381`, where the code comes first, or `ASK`. `here` is the host
    /// that says so: it may leave out its own name.
    pub(super) fn parse(code: &str, details: &str, here: &str) -> Option<Self> {
        let is_asking = match code {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        let (host, port) = details.split_once(' ')?.1.rsplit_once(':')?;
        let host = if host.is_empty() || host == "?" { here } else { host };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Self { address: Address { host, port: port.parse().ok()? }, is_asking })
    }
}

/// Reads an address. With sentinels, the host and port of the first part have no meaning.
pub(super) fn parse(url: &str) -> Result<(ConnectionInfo, Option<Sentinels>), RedisConfigError> {
    if let Some(rest) = url.strip_prefix(SENTINEL) {
        return parse_sentinels(rest);
    }
    Ok((connection(url)?, None))
}

/// How to connect to a server, as its address says.
fn connection(url: &str) -> Result<ConnectionInfo, RedisConfigError> {
    if url.starts_with("rediss:") && cfg!(not(feature = "redis-tls")) {
        return Err(RedisConfigError(Wrong::Kind));
    }
    let info = url.into_connection_info().map_err(|_| RedisConfigError(Wrong::Form))?;
    if !info.addr().is_supported() {
        return Err(RedisConfigError(Wrong::Kind));
    }
    if info.redis_settings().username().is_some() && info.redis_settings().password().is_none() {
        return Err(RedisConfigError(Wrong::User));
    }
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
    Ok(info.set_tcp_settings(tcp).set_redis_settings(redis))
}

/// Reads `[[USER]:PASSWORD@]HOST[:PORT],…/MASTER[/DB][?sentinel_user=U&sentinel_password=P]`.
fn parse_sentinels(rest: &str) -> Result<(ConnectionInfo, Option<Sentinels>), RedisConfigError> {
    let form = || RedisConfigError(Wrong::Sentinels);
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').ok_or_else(form)?;
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    let (master, database) = path.split_once('/').unwrap_or((path, ""));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if master.is_empty() || !master.bytes().all(is_name) {
        return Err(form());
    }
    let info = connection(&format!("redis://{user}unused/{database}"))?;
    let (mut name, mut password) = (None, None);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "sentinel_user" => name = Some(value.into_owned()),
            "sentinel_password" => password = Some(value.into_owned()),
            _ => return Err(form()),
        }
    }
    if name.is_some() && password.is_none() {
        return Err(RedisConfigError(Wrong::User));
    }
    let each = hosts.split(',').map(|host| {
        let has_port = host.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
        let port = if has_port { "" } else { ":26379" };
        let info = connection(&format!("redis://{host}{port}")).map_err(|_| form())?;
        let mut redis = info.redis_settings().clone();
        if let Some(name) = &name {
            redis = redis.set_username(name);
        }
        if let Some(password) = &password {
            redis = redis.set_password(password);
        }
        Ok(info.set_redis_settings(redis))
    });
    let each = each.collect::<Result<_, _>>()?;
    Ok((info, Some(Sentinels { each, master: master.to_owned() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentinels_are_read_out_of_an_address() {
        let url = "redis-sentinel://user:a%40b@one,two:5,[::1],[::1]:7/my-master/3\
                   ?sentinel_user=s&sentinel_password=c%26d";
        let (info, sentinels) = parse(url).expect("it is good");
        let redis = info.redis_settings();
        assert_eq!((redis.username(), redis.password()), (Some("user"), Some("a@b")));
        assert_eq!(redis.db(), 3);
        let sentinels = sentinels.expect("there are some");
        assert_eq!(sentinels.master, "my-master");
        let each: Vec<_> = sentinels.each.iter().map(|one| one.addr().to_string()).collect();
        assert_eq!(each, ["one:26379", "two:5", "::1:26379", "::1:7"]);
        for sentinel in &sentinels.each {
            let redis = sentinel.redis_settings();
            assert_eq!((redis.username(), redis.password()), (Some("s"), Some("c&d")));
            assert_eq!(redis.db(), 0);
        }
        let (info, sentinels) = parse("redis-sentinel://h/m").expect("it is good");
        assert_eq!(info.redis_settings().password(), None);
        assert_eq!(sentinels.expect("there is one").each.len(), 1);
    }

    #[test]
    fn an_address_of_sentinels_that_cannot_be_is_refused() {
        for wrong in [
            "redis-sentinel://",
            "redis-sentinel://h",
            "redis-sentinel://h/",
            "redis-sentinel://h/a b",
            "redis-sentinel://h,/m",
            "redis-sentinel://h:port/m",
            "redis-sentinel://h/m?password=x",
            "redis-sentinel:///m",
        ] {
            assert_eq!(parse(wrong).err(), Some(RedisConfigError(Wrong::Sentinels)), "{wrong}");
        }
        for (wrong, why) in [
            ("redis-sentinel://user@h/m", Wrong::User),
            ("redis-sentinel://h/m?sentinel_user=x", Wrong::User),
            ("redis-sentinel://h/m/x", Wrong::Form),
        ] {
            assert_eq!(parse(wrong).err(), Some(RedisConfigError(why)), "{wrong}");
        }
    }

    #[test]
    fn a_redirection_tells_where_to_go() {
        let redirect = |code, details, host: &str, is_asking| {
            let address = Address { host: host.to_owned(), port: 6381 };
            let expected = Some(Redirect { address, is_asking });
            assert_eq!(Redirect::parse(code, details, "here"), expected);
        };
        redirect("MOVED", "3999 127.0.0.1:6381", "127.0.0.1", false);
        redirect("ASK", "3999 fe80::1:6381", "fe80::1", true);
        redirect("MOVED", "3999 :6381", "here", false);
        for (code, details) in [("MOVED", "3999"), ("MOVED", "1 h:x"), ("ERR", "1 h:6381")] {
            assert_eq!(Redirect::parse(code, details, "here"), None);
        }
    }

    #[test]
    fn an_address_takes_the_place_of_another() {
        let (info, _) = parse("redis://:geheim@h:1/2").expect("it is good");
        let address = Address { host: "::1".to_owned(), port: 7 };
        let other = address.by(&info);
        assert_eq!(other.addr(), &ConnectionAddr::Tcp("::1".to_owned(), 7));
        assert_eq!(other.redis_settings().password(), Some("geheim"));
        assert_eq!(address.to_string(), "[::1]:7");
    }
}
