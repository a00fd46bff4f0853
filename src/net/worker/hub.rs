//! What a worker sees to for its hub.

use super::Worker;
use super::serve::Cause;
use crate::net::handler::Handler;
use crate::net::hub::line::{HubLine, Revocation};
use crate::net::peer::Cold;
use std::time::Duration;
use std::vec::Vec;

/// How often it is looked whether something retained is too old.
const SWEEP: Duration = Duration::from_secs(1);

impl<H: Handler> Worker<H> {
    /// Deadlines that are no connection's: who is gone, what is too old.
    pub(super) fn see_to_hub(&mut self) {
        let core = &mut self.core;
        let Some(hub) = core.hub.clone() else { return };
        if core.hub_due.is_none_or(|due| due > core.now) {
            return;
        }
        let now = core.now;
        loop {
            // Held until it is in the log, as where somebody joins.
            let mut presence = hub.presence();
            let Some(change) = presence.handle_timeout(now) else { break };
            core.tell(&change);
        }
        hub.acknowledged().handle_timeout(now);
        let unix_ms = core.clock.unix_ms(now);
        core.desk.let_go(unix_ms);
        core.note_retained();
        core.hub_due = hub.presence().poll_timeout();
        self.plan_sweep();
    }

    /// Something is retained, and will be too old one day.
    pub(super) fn plan_sweep(&mut self) {
        let core = &mut self.core;
        if core.desk.retained().next_expiry().is_some() {
            let at = core.now + SWEEP;
            core.hub_due = Some(core.hub_due.map_or(at, |due| due.min(at)));
        }
    }

    /// Takes something from everybody whom it concerns. O(connections).
    pub(super) fn revoke(&mut self, revocation: &Revocation) {
        let concerned = self.core.desk.members().filter(|(_, session, who)| revocation.concerns(Some(*session), who));
        for index in concerned.map(|(index, ..)| index).collect::<Vec<_>>() {
            self.serve(index, Cause::Revoke(revocation.topic()));
        }
        if revocation.topic().is_none() {
            self.revoke_errands(revocation);
        }
        // Who was between two connections, or two polls, is not waited for.
        if let Some(hub) = self.core.hub.clone() {
            let mut presence = hub.presence();
            for change in presence.expel(&revocation.name(), revocation.topic()) {
                self.core.tell(&change);
            }
        }
    }

    /// Ends requests whose bodies are on their way: what they are to do is done when these are here.
    fn revoke_errands(&mut self, revocation: &Revocation) {
        for index in self.peers.iter_indices().collect::<Vec<_>>() {
            let cold = self.peers.get_mut(index).and_then(|peer| peer.cold.as_deref_mut());
            if let Some(Cold { hub: Some(line), .. }) = cold
                && let HubLine::Errand(errand) = &mut **line
            {
                errand.revoke(revocation);
            }
        }
    }
}
