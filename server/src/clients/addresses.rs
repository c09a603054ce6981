//! The number of connections from each remote address.

use crate::origin::origin;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;

/// The connections from each origin.
#[derive(Debug, Default)]
pub(super) struct Addresses(Mutex<HashMap<IpAddr, usize>>);

impl Addresses {
    /// Counts a connection, and returns the number from its origin.
    pub(super) fn enter(&self, address: IpAddr) -> usize {
        let mut counts = self.0.lock();
        let count = counts.entry(origin(address)).or_default();
        *count += 1;
        *count
    }

    /// Counts a connection no longer.
    pub(super) fn leave(&self, address: IpAddr) {
        let mut counts = self.0.lock();
        if let Some(count) = counts.get_mut(&origin(address)) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&origin(address));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_without_connections_takes_no_memory() {
        let addresses = Addresses::default();
        let [one, neighbor, other]: [IpAddr; 3] =
            ["2001:db8::1", "2001:db8::2", "10.0.0.1"].map(|text| text.parse().expect("an address"));
        assert_eq!((addresses.enter(one), addresses.enter(neighbor), addresses.enter(other)), (1, 2, 1));
        addresses.leave(one);
        assert_eq!(addresses.enter(neighbor), 2);
        for address in [one, neighbor, other, other] {
            addresses.leave(address);
        }
        assert_eq!(addresses.0.lock().len(), 0);
    }
}
