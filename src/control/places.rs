//! Who has a place at the control server: the connections that are open, and how many one user may have.
//!
//! Users who do not own the store have places of their own, so that they cannot keep its owner out.
//! Each of them may have a few only, so that one cannot keep the others out. A connection that asks
//! nothing may be closed in favour of a new one.

use std::collections::HashMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::service::ConnectionId;

/// The most connections of root and the store's owner at once; more are told that the daemon is busy.
pub const CONNECTIONS_MAX: usize = 64;
/// When all [`CONNECTIONS_MAX`] places are taken, a new connection gets the place of the one that
/// has sent no request for longest, if it has been idle for this long.
pub const IDLE_MAX: Duration = Duration::from_secs(60);

/// The most connections of all other users.
pub const OTHERS_MAX: usize = 32;
/// The most of one of them.
pub const PER_USER_MAX: usize = 4;
/// As [`IDLE_MAX`], for connections of users who do not own the store. It is short, since a command
/// asks as soon as it is connected.
pub const OTHERS_IDLE_MAX: Duration = Duration::from_secs(5);

/// Whose a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// Root or the user that the daemon runs as.
    Owner,
    /// Another user.
    Other(u32),
}

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Places {
    last: u64,
    open: HashMap<ConnectionId, Open>,
    /// For the owner's.
    idle_max: Duration,
}

#[derive(Debug)]
struct Open {
    stream: Arc<UnixStream>,
    holder: Holder,
    /// When it was answered last; `None` while it is being answered.
    idle_since: Option<Instant>,
}

impl Places {
    pub(super) fn new(idle_max: Duration) -> Self {
        Self { last: 0, open: HashMap::new(), idle_max }
    }

    /// Gives a connection a place, if need be that of an idle one. Where there is none, returns how
    /// many connections there are.
    pub(super) fn take(
        &mut self,
        stream: &Arc<UnixStream>,
        holder: Holder,
    ) -> Result<ConnectionId, usize> {
        match holder {
            Holder::Owner => {
                self.make_place(CONNECTIONS_MAX, self.idle_max, |other| other == Holder::Owner)?;
            }
            Holder::Other(_) => {
                let idle_max = OTHERS_IDLE_MAX.min(self.idle_max);
                self.make_place(PER_USER_MAX, idle_max, |other| other == holder)?;
                self.make_place(OTHERS_MAX, idle_max, |other| other != Holder::Owner)?;
            }
        }
        self.last += 1;
        let id = ConnectionId(self.last);
        let (stream, idle_since) = (Arc::clone(stream), Some(Instant::now()));
        self.open.insert(id, Open { stream, holder, idle_since });
        Ok(id)
    }

    fn make_place(
        &mut self,
        most: usize,
        idle_max: Duration,
        counts: impl Fn(Holder) -> bool,
    ) -> Result<(), usize> {
        let count = self.open.values().filter(|open| counts(open.holder)).count();
        if count < most || self.end_idlest(idle_max, counts) { Ok(()) } else { Err(most) }
    }

    /// Closes the connection that has been idle for longest, among those for which `counts` holds
    /// and if that is `idle_max` at least. Says whether there was one. Its thread then ends by
    /// itself.
    fn end_idlest(&mut self, idle_max: Duration, counts: impl Fn(Holder) -> bool) -> bool {
        let those = self.open.iter().filter(|(_, open)| counts(open.holder));
        let idle = those.filter_map(|(id, open)| Some((open.idle_since?, *id)));
        let Some((since, id)) = idle.min() else { return false };
        if since.elapsed() < idle_max {
            return false;
        }
        if let Some(open) = self.open.remove(&id) {
            log::info!("control connection {} idled and made room for another", id.0);
            open.shut(Shutdown::Both);
        }
        true
    }

    /// Notes since when a connection idles; `None` while it is being answered.
    pub(super) fn note_idle(&mut self, id: ConnectionId, since: Option<Instant>) {
        if let Some(open) = self.open.get_mut(&id) {
            open.idle_since = since;
        }
    }

    /// The connection has ended.
    pub(super) fn free(&mut self, id: ConnectionId) {
        self.open.remove(&id);
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    #[allow(clippy::iter_over_hash_type, reason = "each stream is shut, in no special order")]
    pub(super) fn shut(&self, how: Shutdown) {
        for open in self.open.values() {
            open.shut(how);
        }
    }
}

impl Open {
    fn shut(&self, how: Shutdown) {
        if let Err(error) = self.stream.shutdown(how) {
            log::debug!("control connection: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &mut Places, holder: Holder) -> Result<ConnectionId, usize> {
        let (stream, _) = UnixStream::pair().unwrap();
        places.take(&Arc::new(stream), holder)
    }

    #[test]
    fn nobody_takes_the_places_of_others() {
        let mut places = Places::new(Duration::from_secs(60));
        let first = take(&mut places, Holder::Other(1)).unwrap();
        for _ in 1..PER_USER_MAX {
            take(&mut places, Holder::Other(1)).unwrap();
        }
        assert_eq!(take(&mut places, Holder::Other(1)).unwrap_err(), PER_USER_MAX);
        for other in PER_USER_MAX..OTHERS_MAX {
            take(&mut places, Holder::Other(100 + u32::try_from(other).unwrap())).unwrap();
        }
        assert_eq!(take(&mut places, Holder::Other(7)).unwrap_err(), OTHERS_MAX);
        for _ in 0..CONNECTIONS_MAX {
            take(&mut places, Holder::Owner).unwrap();
        }
        assert_eq!(take(&mut places, Holder::Owner).unwrap_err(), CONNECTIONS_MAX);
        places.free(first);
        take(&mut places, Holder::Other(7)).unwrap();
    }

    #[test]
    fn one_that_idles_makes_room_and_one_that_is_answered_does_not() {
        let mut places = Places::new(Duration::ZERO);
        let ids: Vec<_> =
            (0..PER_USER_MAX).map(|_| take(&mut places, Holder::Other(1)).unwrap()).collect();
        for id in &ids[1..] {
            places.note_idle(*id, None);
        }
        let next = take(&mut places, Holder::Other(1)).unwrap();
        places.note_idle(next, None);
        assert_eq!(take(&mut places, Holder::Other(1)).unwrap_err(), PER_USER_MAX);
        take(&mut places, Holder::Owner).unwrap();
        assert_eq!(places.count(), PER_USER_MAX + 1);
    }
}
