//! How many streams each address has.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

/// Counts the slots of each address. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressCounts(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl AddressCounts {
    /// Takes a slot for an address, unless it has `limit` of them.
    pub(crate) fn take(&self, address: IpAddr, limit: usize) -> Option<AddressSlot> {
        let mut counts = self.0.lock();
        let count = counts.get(&address).copied().unwrap_or_default();
        if count >= limit {
            return None;
        }
        counts.insert(address, count + 1);
        Some(AddressSlot { counts: self.clone(), address, other: None })
    }
}

/// The right of an address to one stream. Dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct AddressSlot {
    counts: AddressCounts,
    address: IpAddr,
    /// A slot of another limit that holds for the same stream.
    other: Option<Box<AddressSlot>>,
}

impl AddressSlot {
    /// Keeps `other` for as long as this one.
    pub(crate) fn beside(mut self, other: Option<Self>) -> Self {
        self.other = other.map(Box::new);
        self
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock();
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
        let counts = AddressCounts::default();
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let first = counts.take(one, 2);
        let second = counts.take(one, 2);
        assert!(first.is_some() && second.is_some() && counts.take(one, 2).is_none());
        assert!(counts.take(other, 2).is_some());
        drop(first);
        let again = counts.take(one, 2);
        assert!(again.is_some() && counts.take(one, 2).is_none());
        drop((second, again));
        assert!(counts.0.lock().is_empty());
        let (hosts, networks) = (AddressCounts::default(), AddressCounts::default());
        let both = hosts.take(one, 1).expect("room").beside(networks.take(other, 1));
        assert!(hosts.take(one, 1).is_none() && networks.take(other, 1).is_none());
        drop(both);
        assert!(hosts.0.lock().is_empty() && networks.0.lock().is_empty());
        assert!(counts.take(one, 0).is_none());
    }
}
