//! Every flag of the command, with its default and what it sets.

#![allow(
    clippy::unnecessary_wraps,
    reason = "setters that cannot fail stand beside those that can"
)]

use std::time::Duration;

use websse::Message;
#[cfg(feature = "durable")]
use websse::durable::{Commit, DurableConfig, WhenDiskFails};
#[cfg(feature = "redis")]
use websse::redis::RedisConfig;

#[cfg(feature = "tls")]
use crate::listen::Place;
#[cfg(feature = "redis")]
use crate::units::large_count;
#[cfg(feature = "durable")]
use crate::units::large_size;
use crate::{
    config::{Config, Format, Lines},
    config_file::ConfigFile,
    listen::Listen,
    token_files::{Source, TokenFile},
    units::{count, size, time},
};

/// A flag, which is also an environment variable: `--log-format` is `WEBSSE_LOG_FORMAT`.
#[derive(Clone, Copy)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    /// The name of its value; empty for a switch.
    pub(crate) value: &'static str,
    /// Its value if it is not given; empty if there is none.
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
    /// It may be given several times.
    pub(crate) many: bool,
    /// Its value must not be shown.
    pub(crate) secret: bool,
    pub(crate) set: fn(&mut Config, &str) -> Result<(), String>,
}

impl Flag {
    /// Why its value may not be empty, if that is an error: a mistake would leave open what it
    /// should guard.
    pub(crate) fn refuses_nothing(&self) -> Option<String> {
        let without = match self.name {
            "redis" => "",
            _ if self.secret || self.name == "token-key" => ", and would guard nothing",
            _ => return None,
        };
        Some(format!("is empty{without}; unset it, or set a value"))
    }
}

type Set = fn(&mut Config, &str) -> Result<(), String>;

const fn one(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
    set: Set,
) -> Flag {
    Flag { name, value, default, help, many: false, secret: false, set }
}

const fn many(name: &'static str, value: &'static str, help: &'static str, set: Set) -> Flag {
    Flag { name, value, default: "", help, many: true, secret: false, set }
}

const fn secret(flag: Flag) -> Flag {
    Flag { secret: true, ..flag }
}

/// Sets a part that is built by value: `config.part = config.part.method(read(text)?)`.
macro_rules! set {
    ($part:ident . $method:ident ($read:ident)) => {
        |config, text| {
            config.$part = config.$part.clone().$method($read(text)?);
            Ok(())
        }
    };
}

/// All flags in groups, in the order of `--help`. The first one is the file that may set others.
#[rustfmt::skip] // A table.
pub(crate) const GROUPS: &[(&str, &[Flag])] = &[
    ("", &[
        one("config", "FILE", "", "flags by their names, in TOML; see below", config_file),
        Flag { default: "127.0.0.1:8080",
            ..many("listen", "ADDRESS", "where; may be given again", listen) },
        one("unix-mode", "OCTAL", "660", "permissions of a Unix-domain socket", unix_mode),
        many("event", "NAME", "an event type; the general one is always there", event),
        one("channels", "", "", "clients may name channels: ?channel=NAME", channels),
        one("stdin", "text|json", "", "publish each line of standard input", stdin),
        one("no-page", "", "", "no live page at /", no_page),
        one("presence", "NAME", "", "an event type that tells how many listen", presence),
        one("log-format", "text|json", "text", "of the log; text has times on a terminal", log_format),
        one("log-level", "LEVEL", "info", "error, warn, info or debug", log_level),
    ]),
    ("who may do what (ps shows flags: rather set tokens in a file or a variable)", &[
        secret(many("publish-token", "[TYPE=]TOKEN", "needed to publish, or a type", publish_token)),
        many("publish-token-file", "PATH", "the same, one a line; # is a comment", publish_token_file),
        secret(many("subscribe-token", "[TYPE=]TOKEN", "needed to listen, or to a type", subscribe_token)),
        many("subscribe-token-file", "PATH", "the same, one a line; # is a comment", subscribe_token_file),
        #[cfg(feature = "jwt")]
        many("token-key", "PATH", "key of JSON Web Tokens, which tell channels", token_key),
        many("cors-origin", "ORIGIN", "whose pages may listen and publish; * is all", cors_origin),
        one("streams-per-address", "N", "", "streams of one client at a time [any]", streams_per_address),
        one("types-per-stream", "N", "100", "event types that a stream may name", types_per_stream),
        one("publishes-per-second", "N", "", "of one client [any]", publishes_per_second),
        many("trusted-proxy", "ADDRESS", "IP, IP/BITS or unix; its X-Forwarded-* is right", trusted_proxy),
        many("allow-host", "HOST", "a name to be asked by; on loopback its own are", allow_host),
    ]),
    #[cfg(feature = "tls")]
    ("HTTPS without a proxy; --listen https://HOST:PORT, or at all without http://", &[
        one("tls-cert", "PATH", "", "the certificate and its chain, in PEM", tls_cert),
        one("tls-key", "PATH", "", "its key, in PEM", tls_key),
        one("tls-client-ca", "PATH", "", "whose certificates clients need, in PEM", tls_client_ca),
        one("redirect-http", "[HOST:]PORT", "", "where http:// is answered by https://", redirect_http),
    ]),
    ("limits of events and streams", &[
        one("max-streams", "N", "10000", "clients that listen at a time", set!(server.max_streams(count))),
        one("max-channels", "N", "100000", "used now, or kept for who comes back", set!(server.max_channels(count))),
        one("max-frame-bytes", "SIZE", "1MiB", "a framed event", set!(server.max_frame_bytes(size))),
        one("publish-queue", "N", "1024", "messages waiting to be sent", set!(server.publish_queue(count))),
        one("publish-queue-bytes", "SIZE", "16MiB", "bytes of these", set!(server.publish_queue_bytes(size))),
        one("mailbox-bytes", "SIZE", "1MiB", "what waits for a client that stopped", set!(server.mailbox_bytes(size))),
        one("mailboxes-bytes", "SIZE", "256MiB", "what waits for all clients", set!(server.mailboxes_bytes(size))),
        one("history-events", "N", "1024", "kept of each type; 0 is none", set!(server.history_events(count))),
        one("history-bytes", "SIZE", "1MiB", "kept of each type", set!(server.history_bytes(size))),
        one("history-all-bytes", "SIZE", "64MiB", "kept of all types", set!(server.history_all_bytes(size))),
        one("stall-timeout", "TIME", "10s", "how long a client may take nothing", set!(server.stall_timeout(time))),
        one("heartbeat", "TIME", "15s", "silence before a comment is sent", set!(server.heartbeat(time))),
        one("retry", "TIME", "3s", "when browsers come back", set!(server.retry(retry_time))),
        one("reconnect-spread", "TIME", "0", "over which, after a shutdown", set!(server.reconnect_spread(retry_time))),
        one("shutdown-timeout", "TIME", "10s", "to deliver what was accepted", shutdown_timeout),
    ]),
    #[cfg(feature = "redis")]
    ("several nodes as one (a password is better in WEBSSE_REDIS)", &[
        secret(one("redis", "URL", "", "redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]", redis)),
        one("redis-stream", "KEY", "websse", "the stream that the nodes share", redis_stream),
        one("redis-maxlen", "N", "1000000", "about how many entries are kept", redis_maxlen),
    ]),
    #[cfg(feature = "durable")]
    ("a history that a restart does not end", &[
        one("history-dir", "PATH", "", "a directory for it, of this command alone", history_dir),
        one("history-commit", "each|TIME|never", "each", "when an event is on the disk", history_commit),
        one("history-disk-bytes", "SIZE", "64MiB", "the most of the disk", history_disk_bytes),
        one("history-when-full", "refuse|memory", "refuse", "events a full disk does not take", history_when_full),
    ]),
    ("limits of requests", &[
        one("connections", "N", "1024", "those that hold a thread", set!(limits.connections(count))),
        one("head-bytes", "SIZE", "16KiB", "request line and header fields", set!(limits.head_bytes(size))),
        one("target-bytes", "SIZE", "8KiB", "the request target", set!(limits.target_bytes(size))),
        one("headers", "N", "100", "header fields", set!(limits.headers(count))),
        one("body-bytes", "SIZE", "1MiB", "a body", set!(limits.body_bytes(size))),
        one("bodies-bytes", "SIZE", "64MiB", "all bodies at a time", set!(limits.bodies_bytes(size))),
        one("head-timeout", "TIME", "10s", "for a head", set!(limits.head_timeout(time))),
        one("body-timeout", "TIME", "30s", "for a body, and 1s for 16KiB", set!(limits.body_timeout(time))),
        one("write-timeout", "TIME", "10s", "for a client to take a response", set!(limits.write_timeout(time))),
        one("idle-timeout", "TIME", "130s", "between two requests", set!(limits.idle_timeout(time))),
        one("stack-bytes", "SIZE", "", "stack of a connection's thread [2MiB]", set!(limits.stack_bytes(size))),
    ]),
    ("instead of serving", &[
        one("check", "", "", "print the configuration; status 2 if wrong", check),
        one("generate", "man|bash|fish|zsh", "", "print a manual page, or completion", |_, _| Ok(())),
        one("help", "", "", "this text", |_, _| Ok(())),
        one("version", "", "", "the version", |_, _| Ok(())),
    ]),
];

/// The flags that no configuration file may set.
pub(crate) const ALONE: [&str; 5] = ["config", "check", "generate", "help", "version"];

/// The flags that need a feature; the names of others may follow theirs.
pub(crate) const OF_FEATURES: [&str; 5] =
    ["redis", "token-key", "history-dir", "tls-", "redirect-http"];

/// What this build lacks for a flag. In a build without, the flag is an error: several nodes would
/// know nothing of each other, and a server that should be guarded would be open.
pub(crate) fn lacking(name: &str) -> Option<String> {
    let (feature, is_there) = match *OF_FEATURES.iter().find(|flag| name.starts_with(**flag))? {
        "redis" => ("redis", cfg!(feature = "redis")),
        "history-dir" => ("durable", cfg!(feature = "durable")),
        "tls-" | "redirect-http" => ("tls", cfg!(feature = "tls")),
        _ => ("jwt", cfg!(feature = "jwt")),
    };
    (!is_there).then(|| format!("needs a build with the features cli,{feature}"))
}

/// All flags, in their order.
pub(crate) fn all() -> impl Iterator<Item = &'static Flag> {
    GROUPS.iter().flat_map(|(_, flags)| flags.iter())
}

/// The result of a setter; the error says what would be right.
type Done = Result<(), String>;

fn config_file(config: &mut Config, path: &str) -> Done {
    config.file = ConfigFile::read(path)?;
    Ok(())
}

fn listen(config: &mut Config, text: &str) -> Done {
    config.listen.push(Listen::parse(text)?);
    Ok(())
}

fn unix_mode(config: &mut Config, text: &str) -> Done {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    config.unix_mode = mode.ok_or("not permissions such as 660")?;
    Ok(())
}

fn event(config: &mut Config, text: &str) -> Done {
    config.events.push(text.to_owned());
    Ok(())
}

fn stdin(config: &mut Config, text: &str) -> Done {
    config.stdin = Some(if is_json(text)? { Lines::Json } else { Lines::Text });
    Ok(())
}

fn channels(config: &mut Config, _: &str) -> Done {
    config.channels = true;
    Ok(())
}

fn no_page(config: &mut Config, _: &str) -> Done {
    config.page = false;
    Ok(())
}

fn log_format(config: &mut Config, text: &str) -> Done {
    config.log_format = if is_json(text)? { Format::Json } else { Format::Text };
    Ok(())
}

fn log_level(config: &mut Config, text: &str) -> Done {
    config.log_level = text.parse().map_err(|_| "not a level: error, warn, info or debug")?;
    Ok(())
}

fn presence(config: &mut Config, text: &str) -> Done {
    config.server = config.server.clone().presence(text);
    config.presence = Some(text.to_owned());
    Ok(())
}

fn is_json(text: &str) -> Result<bool, String> {
    match text {
        "text" => Ok(false),
        "json" => Ok(true),
        _ => Err("either text or json".to_owned()),
    }
}

fn publish_token(config: &mut Config, text: &str) -> Done {
    config.publish_tokens.push(Source::given(text)?);
    Ok(())
}

fn publish_token_file(config: &mut Config, path: &str) -> Done {
    config.publish_tokens.push(Source::File(TokenFile::read(path)?));
    Ok(())
}

fn subscribe_token(config: &mut Config, text: &str) -> Done {
    config.subscribe_tokens.push(Source::given(text)?);
    Ok(())
}

fn subscribe_token_file(config: &mut Config, path: &str) -> Done {
    config.subscribe_tokens.push(Source::File(TokenFile::read(path)?));
    Ok(())
}

/// Tokens tell the channels that clients name.
#[cfg(feature = "jwt")]
fn token_key(config: &mut Config, path: &str) -> Done {
    config.token_keys.push(crate::web_tokens::KeyFile::read(path)?);
    config.channels = true;
    Ok(())
}

fn cors_origin(config: &mut Config, text: &str) -> Done {
    config.policy = config.policy.clone().allow_origin(text).map_err(|error| error.to_string())?;
    Ok(())
}

fn allow_host(config: &mut Config, text: &str) -> Done {
    config.policy = config.policy.clone().allow_host(text).map_err(|error| error.to_string())?;
    Ok(())
}

#[cfg(feature = "tls")]
fn tls_cert(config: &mut Config, path: &str) -> Done {
    config.https.set_cert(path);
    Ok(())
}

#[cfg(feature = "tls")]
fn tls_key(config: &mut Config, path: &str) -> Done {
    config.https.set_key(path)
}

#[cfg(feature = "tls")]
fn tls_client_ca(config: &mut Config, path: &str) -> Done {
    config.https.set_client_authorities(path)
}

#[cfg(feature = "tls")]
fn redirect_http(config: &mut Config, text: &str) -> Done {
    let is_port = text.bytes().all(|byte| byte.is_ascii_digit());
    config.https.set_redirect(Place::parse(&if is_port {
        format!(":{text}")
    } else {
        text.to_owned()
    })?)
}

fn types_per_stream(config: &mut Config, text: &str) -> Done {
    config.types_per_stream = Some(count(text)?);
    Ok(())
}

fn streams_per_address(config: &mut Config, text: &str) -> Done {
    config.streams_per_address = Some(count(text)?);
    Ok(())
}

fn publishes_per_second(config: &mut Config, text: &str) -> Done {
    let number = u32::try_from(count(text)?).ok().filter(|number| *number > 0);
    config.publishes_per_second = Some(number.ok_or("at least 1")?);
    Ok(())
}

fn trusted_proxy(config: &mut Config, text: &str) -> Done {
    config.proxies.add(text)
}

/// A time that clients are told to wait.
fn retry_time(text: &str) -> Result<Duration, String> {
    let most = Message::MAX_RETRY;
    let time = time(text)?;
    if time > most { Err(format!("at most {}ms", most.as_millis())) } else { Ok(time) }
}

fn shutdown_timeout(config: &mut Config, text: &str) -> Done {
    config.shutdown_timeout = time(text)?;
    Ok(())
}

fn check(config: &mut Config, _: &str) -> Done {
    config.check = true;
    Ok(())
}

#[cfg(feature = "durable")]
fn history_dir(config: &mut Config, path: &str) -> Done {
    if path.is_empty() {
        return Err("not a path".to_owned());
    }
    #[cfg(feature = "redis")]
    if config.redis.is_some() {
        return Err("--redis keeps the history already; one of the two".to_owned());
    }
    config.durable = Some(DurableConfig::new(path));
    Ok(())
}

#[cfg(feature = "durable")]
fn history_commit(config: &mut Config, text: &str) -> Done {
    let commit = match text {
        "each" => Commit::Each,
        "never" => Commit::Never,
        time_text => Commit::Every(
            time(time_text).map_err(|error| format!("{error}, and neither each nor never"))?,
        ),
    };
    set_in(&mut config.durable, "--history-dir", text == "each", |durable| durable.commit(commit))
}

#[cfg(feature = "durable")]
fn history_disk_bytes(config: &mut Config, text: &str) -> Done {
    let bytes = large_size(text)?;
    if bytes < 8 << 20 {
        return Err("at least 8MiB".to_owned());
    }
    set_in(&mut config.durable, "--history-dir", text == "64MiB", |durable| {
        durable.max_disk_bytes(bytes)
    })
}

#[cfg(feature = "durable")]
fn history_when_full(config: &mut Config, text: &str) -> Done {
    let when_disk_fails = match text {
        "refuse" => WhenDiskFails::Refuse,
        "memory" => WhenDiskFails::GoOnInMemory,
        _ => return Err("neither refuse nor memory".to_owned()),
    };
    set_in(&mut config.durable, "--history-dir", text == "refuse", |durable| {
        durable.when_disk_fails(when_disk_fails)
    })
}

#[cfg(feature = "redis")]
fn redis(config: &mut Config, text: &str) -> Done {
    config.redis = Some(RedisConfig::new(text).map_err(|error| error.to_string())?);
    Ok(())
}

#[cfg(feature = "redis")]
fn redis_stream(config: &mut Config, text: &str) -> Done {
    if text.is_empty() {
        return Err("not a key".to_owned());
    }
    set_in(&mut config.redis, "--redis", text == "websse", |redis| redis.stream(text))
}

#[cfg(feature = "redis")]
fn redis_maxlen(config: &mut Config, text: &str) -> Done {
    let entries = large_count(text)?;
    if entries < 1024 {
        return Err("at least 1024".to_owned());
    }
    set_in(&mut config.redis, "--redis", text == "1000000", |redis| redis.max_len(entries))
}

/// Changes a setting of what another flag, which is set before it, has to name.
#[cfg(any(feature = "durable", feature = "redis"))]
fn set_in<T>(named: &mut Option<T>, by: &str, is_default: bool, set: impl FnOnce(T) -> T) -> Done {
    *named = named.take().map(set);
    if named.is_none() && !is_default {
        return Err(format!("only together with {by}"));
    }
    Ok(())
}
