//! Clients by address: where a request comes from, and how often.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use websse::http::Request;

/// Proxies that are trusted to name the client's address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    networks: Vec<Network>,
    /// Every peer over a Unix-domain socket is trusted.
    pub(crate) unix: bool,
}

impl Proxies {
    /// Adds an address, a network such as `10.0.0.0/8` (RFC 4632, section 3.1), or `unix`.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), String> {
        if text == "unix" {
            self.unix = true;
            return Ok(());
        }
        let network = Network::read(text).ok_or_else(|| {
            "neither an IP address, nor a network such as 10.0.0.0/8, nor unix".to_owned()
        })?;
        self.networks.push(network);
        Ok(())
    }

    fn trusts(&self, address: Option<IpAddr>) -> bool {
        address.map_or(self.unix, |address| self.networks.iter().any(|own| own.contains(address)))
    }

    /// Whether a request comes from one of them.
    pub(crate) fn forwarded(&self, request: &Request) -> bool {
        self.trusts(request.peer().map(|peer| peer.ip().to_canonical()))
    }

    /// The client's address. Behind trusted proxies it is the last address in `X-Forwarded-For`
    /// that is not one of theirs; the client may have made up the addresses before it.
    pub(crate) fn client(&self, request: &Request) -> Option<IpAddr> {
        let mut address = request.peer().map(|peer| peer.ip().to_canonical());
        let named = request.headers("x-forwarded-for").collect::<Vec<_>>().into_iter().rev();
        let mut named = named.flat_map(|value| value.rsplit(|&byte| byte == b','));
        while self.trusts(address) {
            let Some(next) = named.next() else {
                break;
            };
            // An entry that is not an address ends the chain: no trusted proxy wrote it.
            let Some(next) = std::str::from_utf8(next).ok().and_then(read) else {
                break;
            };
            address = Some(next.to_canonical());
        }
        address.map(network)
    }
}

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    /// An IPv4 address is mapped into IPv6 (RFC 4291, section 2.5.5.2).
    address: u128,
    bits: u32,
}

impl Network {
    fn read(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
            None => all,
        };
        let bits = (bits <= all).then_some(bits + 128 - all)?;
        // Of an IPv4 address that is mapped into IPv6 nobody means a part of the prefix.
        let is_mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        (!is_mapped || bits >= MAPPED).then(|| Self { address: mapped(address), bits })
    }

    fn contains(self, address: IpAddr) -> bool {
        // A network of IPv6 holds no IPv4.
        if address.is_ipv4() && self.bits < MAPPED {
            return false;
        }
        let differing = self.address ^ mapped(address);
        // No shift is as wide as the number.
        differing.checked_shr(128 - self.bits).unwrap_or(0) == 0
    }
}

/// How many bits of an IPv4 address that is mapped into IPv6 are before its own.
const MAPPED: u32 = 96;

fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Reads an entry of `X-Forwarded-For`, which no standard describes: an address with or without a
/// port, an IPv6 one with or without brackets. Two parts are left out: the port, which differs for
/// each connection, and the zone of a link-local address, which only the proxy knows.
fn read(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    if let Some((bracketed, port)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let has_port = port.strip_prefix(':').is_some_and(is_port);
        return read_v6(bracketed).filter(|_| port.is_empty() || has_port).map(IpAddr::V6);
    }
    let v4 = match entry.split_once(':') {
        Some((address, port)) if is_port(port) => address,
        _ => entry,
    };
    v4.parse().map(IpAddr::V4).ok().or_else(|| read_v6(entry).map(IpAddr::V6))
}

fn read_v6(text: &str) -> Option<Ipv6Addr> {
    let (address, zone) = text.split_once('%').unwrap_or((text, "any"));
    address.parse().ok().filter(|_| !zone.is_empty())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// What counts as one client: an IPv4 address, or the network that an IPv6 host chooses its
/// addresses from (RFC 4291, section 2.5.4).
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Limits how often each address may do something in a second; a second's allowance may be used at
/// once (a token bucket).
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: u32,
    allowances: Mutex<Allowances>,
}

#[derive(Debug)]
struct Allowances {
    /// When each address will have its whole allowance again.
    full_at: HashMap<IpAddr, Instant>,
    /// At this number of addresses, those with their whole allowance are forgotten.
    crowd: usize,
}

/// The least number of addresses at which they are looked through.
const CROWD: usize = 1024;

impl Rate {
    /// Allows at least one a second.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second: per_second.max(1),
            allowances: Mutex::new(Allowances { full_at: HashMap::new(), crowd: CROWD }),
        }
    }

    /// Takes one from the allowance of an address; else returns how long to wait.
    pub(crate) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut allowances = self.allowances.lock();
        let Allowances { full_at, crowd } = &mut *allowances;
        if full_at.len() >= *crowd {
            full_at.retain(|_, at| *at > now);
            // This keeps the search cheap for each new address.
            *crowd = CROWD.max(full_at.len() * 2);
        }
        let at = full_at.entry(address).or_insert(now);
        let full = (*at).max(now) + Duration::from_secs(1) / self.per_second;
        match (full - now).checked_sub(Duration::from_secs(1)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *at = full;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_client_is_whom_the_last_trusted_proxy_names() {
        let mut proxies = Proxies::default();
        for known in ["10.0.0.1", "unix", "2001:db8::1"] {
            proxies.add(known).expect("it is good");
        }
        assert!(proxies.add("example.org").is_err());
        let client = |fields: &[&str]| {
            let request = Request::new("GET", "/").expect("the target is good");
            // A request made by hand has no peer, like one over a Unix-domain socket.
            let request = fields
                .iter()
                .fold(request, |request, value| request.with_header("X-Forwarded-For", value));
            proxies.client(&request)
        };
        assert_eq!(client(&[]), None);
        for (fields, expected) in [
            (&["192.0.2.7"][..], "192.0.2.7"),
            (&["1.1.1.1, 192.0.2.7"], "192.0.2.7"),
            (&["1.1.1.1, 192.0.2.7, 10.0.0.1"], "192.0.2.7"),
            (&["1.1.1.1", "192.0.2.7,10.0.0.1 "], "192.0.2.7"),
            (&["10.0.0.1"], "10.0.0.1"),
            (&["nonsense, 10.0.0.1"], "10.0.0.1"),
            (&["::ffff:192.0.2.7"], "192.0.2.7"),
            (&["2001:db8:1:2:3:4:5:6, 2001:db8::1"], "2001:db8:1:2::"),
            (&["1.1.1.1:5, 192.0.2.7:4711"], "192.0.2.7"),
            (&["192.0.2.7:0"], "192.0.2.7"),
            (&["192.0.2.7:4711, 10.0.0.1:65535, [2001:db8::1]:80 "], "192.0.2.7"),
            (&["192.0.2.7:4711\t,\t[2001:db8::1]", "[::ffff:10.0.0.1]:80"], "192.0.2.7"),
            (&["[2001:db8:1:2:3:4:5:6]:443, 2001:db8::1"], "2001:db8:1:2::"),
            (&["[2001:db8:1:2:3:4:5:6],[2001:db8::1]"], "2001:db8:1:2::"),
            (&["[::ffff:192.0.2.7]:80"], "192.0.2.7"),
            (&["[fe80::1%eth0]:80, fe80::1%2"], "fe80::"),
        ] {
            assert_eq!(client(fields), Some(ip(expected)), "{fields:?}");
        }
        // A malformed entry ends the chain: the client is the last address that was read.
        for malformed in [
            "",
            "unknown",
            "_hidden",
            "192.0.2.7:",
            "192.0.2.7:x",
            "192.0.2.7:+5",
            "192.0.2.7:65536",
            "192.0.2.7:80:80",
            ":80",
            "[192.0.2.7]",
            "[192.0.2.7]:80",
            "[]",
            "[::2",
            "::2]",
            "[::2]80",
            "[::2]:",
            "[::2]:x",
            "[::2]:65536",
            "[[::2]]",
            "[::2] :80",
            "fe80::1%",
            "[fe80::1%]:80",
            "192.0.2.7%eth0",
            "192.0.2",
            "192.0.2.07",
            "\"[::2]:80\"",
            "for=192.0.2.7",
        ] {
            assert_eq!(client(&[malformed, "10.0.0.1"]), Some(ip("10.0.0.1")), "{malformed}");
        }
        let nobody = Proxies::default();
        let request = Request::new("GET", "/").expect("the target is good");
        assert_eq!(nobody.client(&request.with_header("X-Forwarded-For", "1.1.1.1")), None);
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_like_it() {
        for (network, within, without) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.1.2.3/8", "10.0.0.1", "9.255.255.255"),
            ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.0"),
            ("192.0.2.1/32", "192.0.2.1", "192.0.2.3"),
            ("0.0.0.0/0", "255.255.255.255", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
            ("2001:db8::1/128", "2001:db8::1", "2001:db8::"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.1.2.3"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
        ] {
            let read = Network::read(network).expect(network);
            assert!(read.contains(ip(within)), "{within} in {network}");
            assert!(without.is_empty() || !read.contains(ip(without)), "{without} in {network}");
        }
        for text in [
            "",
            "::ffff:10.0.0.0/8",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10/8",
            "::/ 8",
            "10.0.0.0/255.0.0.0",
        ] {
            assert_eq!(Network::read(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_has_its_allowance_at_once_and_then_so_many_a_second() {
        let rate = Rate::new(4);
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let (one, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
        let taken = |address, now| (0..10).take_while(|_| rate.take(address, now).is_ok()).count();
        assert_eq!(taken(one, start), 4);
        assert_eq!(rate.take(one, start), Err(Duration::from_millis(250)));
        assert_eq!(rate.take(one, at(100)), Err(Duration::from_millis(150)));
        assert_eq!(taken(other, at(100)), 4);
        assert_eq!(taken(one, at(250)), 1);
        assert_eq!(taken(one, at(10_000)), 4);
    }

    #[test]
    fn addresses_that_rest_are_forgotten() {
        let rate = Rate::new(1);
        let start = Instant::now();
        for number in 0..10_000_u32 {
            let now = start + Duration::from_millis(u64::from(number) * 10);
            assert!(rate.take(IpAddr::from(number.to_be_bytes()), now).is_ok());
        }
        assert!(rate.allowances.lock().full_at.len() <= CROWD);
    }
}
