//! Host names and origins, in the form in which they are compared.
//!
//! Several spellings mean the same: upper case, a final dot (RFC 1034, section 3.1), any name below
//! `localhost` (RFC 6761, section 6.3), and a scheme's own port (RFC 9110, section 4.2.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::target::split_scheme;
use crate::{decimal::is_digits, quoted::Quoted};

/// A host without its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// No name was resolved for it, so it cannot be rebound.
    Address(IpAddr),
    /// In lower case and without a final dot; all names of this machine are `localhost`.
    Name(String),
}

/// A host and its port, if it is not the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    host: Host,
    port: Option<String>,
}

/// The origin of a page (RFC 6454, section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: String,
    authority: Authority,
}

impl Host {
    /// Reads the host of an authority, whatever it is.
    pub(super) fn of(authority: &str) -> Self {
        Self::read(split_port(authority).0)
    }

    fn read(text: &str) -> Self {
        let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Some(address) = bracketed.and_then(|text| text.parse::<Ipv6Addr>().ok()) {
            return Self::Address(address.into());
        }
        let mut name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            return Self::Address(address.into());
        }
        if name.strip_suffix(".localhost").is_some_and(|below| below.split('.').all(is_label)) {
            "localhost".clone_into(&mut name);
        }
        Self::Name(name)
    }

    /// Reads a host of which requests are to be answered.
    ///
    /// # Errors
    /// A text that no request's host can equal, with what would be right.
    pub(super) fn setting(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("{} {why}", Quoted(text)));
        if text.contains("://") {
            return wrong("is a URL; a host has no scheme: hub.example");
        }
        if text.contains([',', ';']) || text.contains(char::is_whitespace) {
            return wrong("is a list; allow one host, then the next");
        }
        if text.contains(['/', '?', '#', '@']) {
            return wrong("is more than a host such as hub.example");
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(format!("an IPv6 address is written in brackets: [{text}]"));
        }
        let (host, port) = split_port(text);
        if port.is_some() {
            return Err(format!("{} has a port; a host has none: {host}", Quoted(text)));
        }
        check_host(host)?;
        Ok(Self::read(host))
    }
}

impl Authority {
    /// Reads the authority of a request or an origin. `scheme` is the one whose own port is dropped.
    pub(super) fn read(text: &str, scheme: &str) -> Self {
        let (host, port) = split_port(text);
        let own = match scheme {
            "http" => "80",
            "https" => "443",
            _ => "",
        };
        let port = port.filter(|port| !port.is_empty() && *port != own);
        Self { host: Host::read(host), port: port.map(str::to_owned) }
    }
}

impl Origin {
    /// Reads an `Origin` header field; `None` if it names no origin, as `null` does not.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (scheme, authority) = split_scheme(text)?;
        let scheme = scheme.to_ascii_lowercase();
        let authority = Authority::read(authority, &scheme);
        Some(Self { scheme, authority })
    }

    /// Whether the page came from this authority.
    pub(super) fn is_of(&self, authority: &str) -> bool {
        Authority::read(authority, &self.scheme) == self.authority
    }

    /// Reads an origin whose pages are to be allowed. A slash at its end is ignored.
    ///
    /// # Errors
    /// A text that no browser sends as `Origin`, with what would be right.
    pub(super) fn setting(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("{} {why}", Quoted(text)));
        if text.contains([',', ';']) || text.contains(char::is_whitespace) {
            return wrong("is a list; allow one origin, then the next");
        }
        let Some((scheme, rest)) = split_scheme(text) else {
            return wrong("is not an origin such as https://example.org");
        };
        let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            || !scheme.bytes().all(is_scheme_byte)
        {
            return wrong("is not an origin such as https://example.org");
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return wrong("is more than an origin, which is a scheme, a host and perhaps a port");
        }
        let (host, port) = split_port(rest);
        check_host(host)?;
        let is_port = |text: &str| text.parse().is_ok_and(|port: u16| port.to_string() == text);
        if !port.is_none_or(is_port) {
            return wrong("has no port from 0 to 65535");
        }
        Self::read(&format!("{scheme}://{rest}")).ok_or_else(|| "not an origin".to_owned())
    }
}

/// Splits off the port.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if host.starts_with('[') == host.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Refuses what cannot be the host of a request.
fn check_host(text: &str) -> Result<(), String> {
    let quoted = Quoted(text);
    if text.is_empty() {
        return Err("there is no host".to_owned());
    }
    if text.contains('*') {
        return Err(format!("{quoted} is a pattern, and none is known here; name each host"));
    }
    if !text.is_ascii() {
        return Err(format!(
            "{quoted} is not what clients send; write its A-label, xn--… (RFC 5890)"
        ));
    }
    if let Some(address) = text.strip_prefix('[') {
        let address = address.strip_suffix(']').and_then(|text| text.parse::<Ipv6Addr>().ok());
        return address.map(drop).ok_or_else(|| format!("{quoted} is not an IPv6 address"));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if !name.split('.').all(is_label) {
        return Err(format!("{quoted} is not a host name such as hub.example"));
    }
    // Browsers read it as an IPv4 address, and send that with four numbers (URL standard, 3.5).
    let is_number = name.rsplit('.').next().is_some_and(is_digits);
    if is_number && name.parse::<Ipv4Addr>().is_err() {
        return Err(format!("{quoted} is not an IPv4 address such as 127.0.0.1"));
    }
    Ok(())
}

/// Whether this can be between two dots of a host name.
fn is_label(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !text.is_empty() && text.bytes().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_the_same_host_are_equal() {
        for (one, other) in [
            ("example.org", "EXAMPLE.org."),
            ("example.org:80", "example.org"),
            ("example.org:", "example.org"),
            ("app.localhost:3000", "localhost"),
            ("App.LocalHost.", "localhost."),
            ("127.0.0.1:8080", "127.0.0.1"),
            ("[::1]:8080", "[0:0::1]"),
        ] {
            assert_eq!(Host::of(one), Host::of(other), "{one} and {other}");
        }
        for (one, other) in [
            ("example.org", "example.org.."),
            ("example.org", "www.example.org"),
            ("localhost", "notlocalhost"),
            ("localhost", "localhost.example"),
            ("localhost", ".localhost"),
            ("localhost", "a\r.localhost"),
            ("[::1]", "::1"),
            ("", "localhost"),
        ] {
            assert_ne!(Host::of(one), Host::of(other), "{one} and {other}");
        }
        assert!(matches!(Host::of("[::1]:80"), Host::Address(_)));
        for name in ["", ":80", "127.0.0.1.example", "127.1", "[::1", "[127.0.0.1]", "::1"] {
            assert!(matches!(Host::of(name), Host::Name(_)), "{name}");
        }
    }

    #[test]
    fn a_scheme_has_a_port_of_its_own() {
        for (origin, authority, expected) in [
            ("http://hub", "hub:80", true),
            ("http://hub:80", "HUB.", true),
            ("https://hub", "hub:443", true),
            ("https://hub", "hub:80", false),
            ("http://hub:8080", "hub:8080", true),
            ("http://hub:8080", "hub", false),
            ("http://a.localhost:1", "localhost:1", true),
            ("http://[::1]:80", "[::1]", true),
            ("app://hub:80", "hub", false),
        ] {
            let read = Origin::read(origin).expect("it has a scheme");
            assert_eq!(read.is_of(authority), expected, "{origin} and {authority}");
        }
        assert_eq!(Origin::read("null"), None);
        assert_eq!(Origin::setting("https://a:443/"), Ok(Origin::read("https://a").expect("one")));
    }
}
