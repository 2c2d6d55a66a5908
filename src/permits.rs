//! How many streams each address has.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

/// Counts what the permits of each address are. Cloning shares the counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Permits(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Permits {
    /// A permit for an address, unless it has `limit` of them.
    pub(crate) fn take(&self, address: IpAddr, limit: usize) -> Option<Permit> {
        let mut counts = self.0.lock();
        let count = counts.get(&address).copied().unwrap_or_default();
        if count >= limit {
            return None;
        }
        counts.insert(address, count + 1);
        Some(Permit { permits: self.clone(), address, other: None })
    }
}

/// The right to one stream, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: Permits,
    address: IpAddr,
    /// By the other limits that hold for the stream.
    other: Option<Box<Permit>>,
}

impl Permit {
    /// Keeps `other` for as long as this one.
    pub(crate) fn beside(mut self, other: Option<Self>) -> Self {
        self.other = other.map(Box::new);
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.permits.0.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
        if counts.is_empty() {
            counts.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_permits_and_gets_them_back() {
        let permits = Permits::default();
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let first = permits.take(one, 2);
        let second = permits.take(one, 2);
        assert!(first.is_some() && second.is_some() && permits.take(one, 2).is_none());
        assert!(permits.take(other, 2).is_some());
        drop(first);
        let again = permits.take(one, 2);
        assert!(again.is_some() && permits.take(one, 2).is_none());
        drop((second, again));
        assert!(permits.0.lock().is_empty());
        let (hosts, networks) = (Permits::default(), Permits::default());
        let both = hosts.take(one, 1).expect("room").beside(networks.take(other, 1));
        assert!(hosts.take(one, 1).is_none() && networks.take(other, 1).is_none());
        drop(both);
        assert!(hosts.0.lock().is_empty() && networks.0.lock().is_empty());
        assert!(permits.take(one, 0).is_none());
    }
}
