//! One account of who made which calls.

use super::Made;
use crate::{
    event::{SocketId, Turn},
    protocols::likeness::Likeness,
    traces::tracker::NodeId,
};

/// Something that a request waited for was read: the request itself, or the response to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    /// In which turn.
    pub(super) turn: Turn,
    /// Which of all of the process it was.
    pub(super) number: u64,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stand {
    /// What came last for it.
    pub(super) came: Arrival,
    /// What had come when it asked for the last call that it made: it may have asked for the next one at once.
    pub(super) asked: Arrival,
    /// Calls under way.
    pub(super) open: u32,
    /// Calls made.
    pub(super) made: u32,
    /// What sort the last one was.
    pub(super) last: Likeness,
    /// The last one's connection.
    pub(super) socket: Option<SocketId>,
    /// A part of the response was written.
    pub(super) answering: bool,
}

impl Stand {
    /// A request that was just read.
    pub(super) fn new(came: Arrival) -> Self {
        Self { came, asked: came, open: 0, made: 0, last: Likeness::default(), socket: None, answering: false }
    }
}

/// Whose a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owned {
    call: NodeId,
    owner: NodeId,
    /// How the owner stood before it.
    before: Stand,
    /// The response was read.
    returned: Option<Arrival>,
    sort: Likeness,
    socket: SocketId,
}

/// Which request made which calls, and how the open requests stand then.
#[derive(Debug, Clone)]
pub(super) struct Hypothesis {
    /// Its probability among all that are kept.
    pub(super) weight: f64,
    /// The open requests, by number.
    stands: Vec<(NodeId, Stand)>,
    /// The calls that are not decided or not returned, by number.
    owned: Vec<Owned>,
}

impl Hypothesis {
    /// Nothing is open, and nothing is in doubt.
    pub(super) fn certain() -> Self {
        Self { weight: 1.0, stands: Vec::new(), owned: Vec::new() }
    }

    /// It goes on as several, one of which has this weight, and room for a call.
    pub(super) fn branch(&self, weight: f64) -> Self {
        let mut owned = Vec::with_capacity(self.owned.len() + 1);
        owned.extend_from_slice(&self.owned);
        Self { weight, stands: self.stands.clone(), owned }
    }

    /// A request was read.
    pub(super) fn place(&mut self, request: NodeId, stand: Stand) {
        if let Err(at) = self.stands.binary_search_by_key(&request, |(id, _)| *id) {
            self.stands.insert(at, (request, stand));
        }
    }

    /// The open requests.
    pub(super) fn stands(&self) -> impl Iterator<Item = (NodeId, Stand)> {
        self.stands.iter().copied()
    }

    /// How a request stands.
    pub(super) fn stand(&self, request: NodeId) -> Option<Stand> {
        let at = self.stands.binary_search_by_key(&request, |(id, _)| *id).ok()?;
        self.stands.get(at).map(|(_, stand)| *stand)
    }

    fn stand_mut(&mut self, request: NodeId) -> Option<&mut Stand> {
        let at = self.stands.binary_search_by_key(&request, |(id, _)| *id).ok()?;
        self.stands.get_mut(at).map(|(_, stand)| stand)
    }

    /// A request makes a call. `asked`: when a request that stands so asked for a call of that sort.
    pub(super) fn makes(&mut self, request: NodeId, made: &Made, asked: impl Fn(Stand, Likeness) -> Arrival) {
        let Some(stand) = self.stand_mut(request) else { return };
        let &mut before = stand;
        *stand = Stand {
            asked: asked(before, made.sort),
            open: before.open + 1,
            made: before.made + 1,
            last: made.sort,
            socket: Some(made.socket),
            ..before
        };
        let (call, sort, socket) = (made.call, made.sort, made.socket);
        if let Err(at) = self.find(call) {
            self.owned.insert(at, Owned { call, owner: request, before, returned: None, sort, socket });
        }
    }

    fn find(&self, call: NodeId) -> Result<usize, usize> {
        self.owned.binary_search_by_key(&call, |owned| owned.call)
    }

    /// Whose a call is.
    pub(super) fn owner(&self, call: NodeId) -> Option<NodeId> {
        self.owned.get(self.find(call).ok()?).map(|owned| owned.owner)
    }

    /// What sort a call is, which goes on if it was answered before. Whose it is, and how that request stood before it.
    pub(super) fn call_is(&mut self, call: NodeId, sort: Likeness) -> Option<(NodeId, Stand)> {
        let at = self.find(call).ok()?;
        let owned = self.owned.get_mut(at)?;
        owned.sort = sort;
        let goes_on = owned.returned.take().is_some();
        let Owned { owner, socket, before, .. } = *owned;
        if let Some(stand) = self.stand_mut(owner).filter(|_| goes_on) {
            stand.open += 1;
        }
        if let Some(stand) = self.stand_mut(owner).filter(|stand| stand.socket == Some(socket)) {
            stand.last = sort;
        }
        Some((owner, before))
    }

    /// The response to a call was read.
    pub(super) fn returned(&mut self, call: NodeId, came: Arrival) {
        let Ok(at) = self.find(call) else { return };
        let Some(owned) = self.owned.get_mut(at) else { return };
        owned.returned = Some(came);
        let owner = owned.owner;
        if let Some(stand) = self.stand_mut(owner) {
            *stand = Stand { open: stand.open.saturating_sub(1), came, ..*stand };
        }
    }

    /// A call turns out to be another request's than it was taken for: both stand as they would. `asked`: as above.
    pub(super) fn correct(&mut self, call: NodeId, owner: NodeId, asked: impl Fn(Stand, Likeness) -> Arrival) {
        let Ok(at) = self.find(call) else { return };
        let Some(owned) = self.owned.get(at).copied() else { return };
        if let Some(stand) = self.stand_mut(owned.owner) {
            stand.made = stand.made.saturating_sub(1);
            if owned.returned.is_none() {
                stand.open = stand.open.saturating_sub(1);
            }
            if owned.returned.is_none_or(|came| came == stand.came) {
                (stand.came, stand.asked) = (owned.before.came, owned.before.asked);
                (stand.last, stand.socket) = (owned.before.last, owned.before.socket);
            }
        }
        let mut before = owned.before;
        if let Some(stand) = self.stand_mut(owner) {
            before = *stand;
            stand.asked = asked(before, owned.sort);
            stand.made += 1;
            (stand.last, stand.socket) = (owned.sort, Some(owned.socket));
            match owned.returned {
                Some(came) if came.number > stand.came.number => stand.came = came,
                Some(_) => {}
                None => stand.open += 1,
            }
        }
        if let Some(known) = self.owned.get_mut(at) {
            *known = Owned { owner, before, ..owned };
        }
    }

    /// A call will never be answered, and is asked for no more.
    pub(super) fn drop_call(&mut self, call: NodeId) {
        if let Some(owner) = self.owner(call)
            && let Some(stand) = self.stand_mut(owner)
        {
            stand.open = stand.open.saturating_sub(1);
        }
        self.release(call);
    }

    /// A request is being answered.
    pub(super) fn answers(&mut self, request: NodeId) {
        if let Some(stand) = self.stand_mut(request) {
            stand.answering = true;
        }
    }

    /// A request is over.
    pub(super) fn remove(&mut self, request: NodeId) {
        if let Ok(at) = self.stands.binary_search_by_key(&request, |(id, _)| *id) {
            self.stands.remove(at);
        }
    }

    /// A call is asked for no more.
    pub(super) fn release(&mut self, call: NodeId) {
        if let Ok(at) = self.find(call) {
            self.owned.remove(at);
        }
    }

    /// Whether both say the same. They mostly differ in what was last.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.owned.len() == other.owned.len()
            && self.owned.iter().rev().eq(other.owned.iter().rev())
            && self.stands == other.stands
    }
}
