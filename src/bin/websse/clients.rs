//! Who asks, by address, and how often.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use websse::http::Request;

/// Proxies whose word about the client's address is taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    addresses: Vec<IpAddr>,
    /// Whoever connects to a Unix-domain socket is one.
    pub(crate) unix: bool,
}

impl Proxies {
    /// Adds an address, or `unix`.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), String> {
        if text == "unix" {
            self.unix = true;
            return Ok(());
        }
        let wrong = |_| "neither an IP address nor unix".to_owned();
        self.addresses.push(text.parse::<IpAddr>().map_err(wrong)?.to_canonical());
        Ok(())
    }

    /// The client's address: the peer's own, or behind a trusted proxy the last that none of them
    /// has in `X-Forwarded-For`. What stands before that the client may have made up.
    pub(crate) fn client(&self, request: &Request) -> Option<IpAddr> {
        let mut address = request.peer().map(|peer| peer.ip().to_canonical());
        let named = request.headers("x-forwarded-for").collect::<Vec<_>>().into_iter().rev();
        let mut named = named.flat_map(|value| value.rsplit(|&byte| byte == b','));
        while address.map_or(self.unix, |address| self.addresses.contains(&address)) {
            let Some(next) = named.next() else {
                break;
            };
            let next = std::str::from_utf8(next).ok().and_then(|text| text.trim().parse().ok());
            // What is no address ends the chain: it was written by nobody who is trusted.
            let Some(next) = next else {
                break;
            };
            address = Some(IpAddr::to_canonical(&next));
        }
        address.map(network)
    }
}

/// What counts as one client: an IPv4 address, or the network that an IPv6 host chooses its
/// addresses from (RFC 4291, section 2.5.4).
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Lets each address do something so often in a second, and as much at once (a token bucket).
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: u32,
    allowances: Mutex<Allowances>,
}

#[derive(Debug)]
struct Allowances {
    /// When each address will have all of its own again.
    full_at: HashMap<IpAddr, Instant>,
    /// With so many addresses, those that have their whole allowance are forgotten.
    crowd: usize,
}

/// The least number of addresses to be looked through.
const CROWD: usize = 1024;

impl Rate {
    /// At least one a second.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second: per_second.max(1),
            allowances: Mutex::new(Allowances { full_at: HashMap::new(), crowd: CROWD }),
        }
    }

    /// Takes one from the allowance of an address; else tells when to come back.
    pub(crate) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut allowances = self.allowances.lock();
        let Allowances { full_at, crowd } = &mut *allowances;
        if full_at.len() >= *crowd {
            full_at.retain(|_, at| *at > now);
            // So that looking through them stays cheap for each that comes.
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
            // Made by hand it has no peer, as over a Unix-domain socket.
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
        ] {
            assert_eq!(client(fields), Some(ip(expected)), "{fields:?}");
        }
        let nobody = Proxies::default();
        let request = Request::new("GET", "/").expect("the target is good");
        assert_eq!(nobody.client(&request.with_header("X-Forwarded-For", "1.1.1.1")), None);
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
