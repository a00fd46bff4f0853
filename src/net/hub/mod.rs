//! The hub's place in the loop: its endpoints, its subscribers on every transport, and what the workers share.
//!
//! - [`requests`]: GETs and POSTs of the hub's endpoints.
//! - [`commands`]: what a client says, on a WebSocket or in a POST.
//! - [`mod@line`]: a subscriber's connection: attach, what is sent to it, heartbeat, end.
//! - [`polls`]: held polls and their answers.
//!
//! What any of it decides is decided in [`crate::hub`].

pub(super) mod commands;
pub(super) mod line;
pub(super) mod polls;
pub(super) mod requests;

use super::core::Random;
use super::peer::PeerId;
use crate::hub::{Acknowledged, AcknowledgedLimits, Authority, HubConfig, LogId, Open, Parked, Presence, SessionKeys};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The hub of a server: what it keeps, and whose word counts. `Config { hub: Some(HubSettings::default()), .. }` lets everybody
/// subscribe and publish.
#[derive(Clone)]
pub struct HubSettings {
    /// What topics keep and do, and limits.
    pub hub: HubConfig,
    /// Who may do what.
    pub authority: Arc<dyn Authority>,
}

impl Default for HubSettings {
    fn default() -> Self {
        Self { hub: HubConfig::default(), authority: Arc::new(Open) }
    }
}

impl fmt::Debug for HubSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubSettings").field("hub", &self.hub).finish_non_exhaustive()
    }
}

/// What the workers' hubs share: nothing that is needed to deliver a publication.
pub(crate) struct HubShared {
    pub(super) config: Arc<HubConfig>,
    pub(super) authority: Arc<dyn Authority>,
    pub(super) sessions: SessionKeys,
    presence: Mutex<Presence>,
    parked: Mutex<Parked<PeerId>>,
    /// Connections that acknowledge, by session.
    acknowledging: Mutex<Parked<PeerId>>,
    acknowledged: Mutex<Acknowledged>,
}

impl HubShared {
    pub(super) fn new(settings: &HubSettings, log: LogId, random: &mut Random) -> io::Result<Self> {
        let limits = settings.hub.presence;
        Ok(Self {
            config: Arc::new(settings.hub.clone()),
            authority: settings.authority.clone(),
            sessions: SessionKeys::new(random.bytes(), log),
            presence: Mutex::new(Presence::new(limits)),
            parked: Mutex::new(Parked::new()),
            acknowledging: Mutex::new(Parked::new()),
            acknowledged: Mutex::new(Acknowledged::new(AcknowledgedLimits::default())),
        })
    }

    // None of these is held while anything waits, nor while another is taken; only the log's lock is taken while presence is held.

    pub(super) fn presence(&self) -> MutexGuard<'_, Presence> {
        lock(&self.presence)
    }

    pub(super) fn parked(&self) -> MutexGuard<'_, Parked<PeerId>> {
        lock(&self.parked)
    }

    pub(super) fn acknowledging(&self) -> MutexGuard<'_, Parked<PeerId>> {
        lock(&self.acknowledging)
    }

    pub(super) fn acknowledged(&self) -> MutexGuard<'_, Acknowledged> {
        lock(&self.acknowledged)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Their calls leave nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
