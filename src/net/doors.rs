//! Who may come in: connections counted by the address of their client.

use super::forwarded::TrustedProxies;
use super::limits::{PerAddress, Seat};
use crate::http::Headers;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::vec::Vec;

/// The address limit, as one worker applies it. Does nothing where the limit is off.
///
/// A connection of a client's own is counted when it is accepted. One of a proxy that the embedder named is counted when a request on it
/// says for whom, towards that client, until its answer has left: a connection that a proxy keeps for whoever comes next is nobody's.
pub(crate) struct Doors {
    counts: Option<Arc<PerAddress>>,
    /// What this worker's connections count towards.
    seats: HashMap<u32, Place>,
}

enum Place {
    Own(Seat),
    /// Of a proxy's connection, with its address and the seat of whoever it speaks for.
    Proxied(Option<IpAddr>, Option<Seat>),
}

/// There are too many connections of that address already.
pub(crate) struct TooMany;

impl Doors {
    pub(crate) fn new(counts: Option<Arc<PerAddress>>) -> Self {
        Self { counts, seats: HashMap::new() }
    }

    /// Whether a connection from `socket` may come in. `enter` says where it stands.
    pub(crate) fn admit(&self, socket: Option<IpAddr>, proxies: &TrustedProxies) -> Result<Admitted, TooMany> {
        let Some(counts) = &self.counts else { return Ok(Admitted(None)) };
        if proxies.trusts(socket) {
            return Ok(Admitted(Some(Place::Proxied(socket, None))));
        }
        // Over a unix-domain socket there are no addresses.
        let Some(address) = socket else { return Ok(Admitted(None)) };
        Ok(Admitted(Some(Place::Own(counts.admit(address).ok_or(TooMany)?))))
    }

    pub(crate) fn enter(&mut self, index: u32, admitted: Admitted) {
        if let Some(place) = admitted.0 {
            self.seats.insert(index, place);
        }
    }

    /// A request came: where its connection is a proxy's, its client is counted.
    pub(crate) fn speak_for(
        &mut self,
        index: u32,
        headers: &Headers<'_>,
        proxies: &TrustedProxies,
    ) -> Result<(), TooMany> {
        let Some(counts) = &self.counts else { return Ok(()) };
        let Some(Place::Proxied(socket, seat)) = self.seats.get_mut(&index) else { return Ok(()) };
        if let Some(seat) = seat.take() {
            counts.leave(seat);
        }
        if let Some(address) = proxies.client(*socket, headers) {
            *seat = Some(counts.admit(address).ok_or(TooMany)?);
        }
        Ok(())
    }

    /// The answer has left: whoever a proxy's connection spoke for has it no more.
    pub(crate) fn rest(&mut self, index: u32) {
        let Some(counts) = &self.counts else { return };
        if let Some(Place::Proxied(_, seat)) = self.seats.get_mut(&index)
            && let Some(seat) = seat.take()
        {
            counts.leave(seat);
        }
    }

    /// The connection is gone.
    pub(crate) fn leave(&mut self, index: u32) {
        let Some(counts) = &self.counts else { return };
        if let Some(Place::Own(seat) | Place::Proxied(_, Some(seat))) = self.seats.remove(&index) {
            counts.leave(seat);
        }
    }
}

impl Drop for Doors {
    /// The worker is gone, by a panic perhaps: its connections are too.
    fn drop(&mut self) {
        for index in self.seats.keys().copied().collect::<Vec<_>>() {
            self.leave(index);
        }
    }
}

/// Leave to come in, to be used up by [`Doors::enter`].
#[must_use]
pub(crate) struct Admitted(Option<Place>);
