//! Who listens to what: clients with equal types form a group, and get the same bytes.

use std::{collections::HashMap, rc::Rc};

use crate::batch::Batch;

/// What a client's query asks for.
pub struct Asked {
    /// Numbers of types, and of channels behind them: channel `c1` is the first after the types.
    kinds: Vec<usize>,
    /// The number of the last event that it had, if it comes back.
    pub last: Option<u64>,
}

pub struct Audience {
    types: usize,
    groups: Vec<Group>,
    by_types: HashMap<Vec<usize>, usize>,
    /// The groups that listen to each type.
    by_type: Vec<Vec<usize>>,
    /// By client.
    group_of: Vec<usize>,
    /// Groups that get something of the current batch.
    touched: Vec<usize>,
    /// What the current group gets of it.
    part: Rc<Vec<u8>>,
}

#[derive(Default)]
struct Group {
    members: Vec<usize>,
    /// Events of the current batch.
    matched: Vec<usize>,
}

impl Audience {
    pub fn new(types: u16) -> Self {
        Self {
            types: types.into(),
            groups: Vec::new(),
            by_types: HashMap::new(),
            by_type: vec![Vec::new(); types.into()],
            group_of: Vec::new(),
            touched: Vec::new(),
            part: Rc::default(),
        }
    }

    /// What a query asks for; `None` where it is for what does not exist.
    pub fn asked(&self, query: &str) -> Option<Asked> {
        let values = |key: &'static str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(move |(name, _)| *name == key).map(|(_, value)| value)
        };
        let channel = |name: &str| match name {
            // The common one is that of the first type.
            "" => Some(0),
            name => Some(self.types - 1 + name.strip_prefix('c')?.parse::<u16>().ok()? as usize),
        };
        let kind = |name: &str| peers::number_of(name).filter(|&number| number < self.types);
        let mut kinds: Vec<usize> = if values("channel").next().is_some() {
            values("channel").map(channel).collect::<Option<_>>()?
        } else {
            values("event").map(kind).collect::<Option<_>>()?
        };
        kinds.sort_unstable();
        kinds.dedup();
        let last = values("last_event_id").next();
        let last = last.and_then(|id| id.rsplit('-').next()?.parse().ok());
        Some(Asked { kinds, last })
    }

    /// Adds a client.
    pub fn join(&mut self, Asked { kinds, .. }: Asked, slot: usize) {
        if let Some(&most) = kinds.last()
            && most >= self.by_type.len()
        {
            self.by_type.resize(most + 1, Vec::new());
        }
        let next = self.groups.len();
        let group = *self.by_types.entry(kinds).or_insert_with_key(|kinds| {
            for &number in kinds {
                self.by_type[number].push(next);
            }
            self.groups.push(Group::default());
            next
        });
        self.groups[group].members.push(slot);
        if slot >= self.group_of.len() {
            self.group_of.resize(slot + 1, usize::MAX);
        }
        self.group_of[slot] = group;
    }

    pub fn leave(&mut self, slot: usize) {
        let group = self.group_of.get_mut(slot).map(|group| std::mem::replace(group, usize::MAX));
        if let Some(group) = group.and_then(|group| self.groups.get_mut(group)) {
            group.members.retain(|&other| other != slot);
        }
    }

    /// Calls `send` for each client that gets something of the batch, with all of it in one piece.
    pub fn deliver(&mut self, batch: &Batch, mut send: impl FnMut(usize, &Rc<Vec<u8>>)) {
        for (at, kind) in batch.kinds().enumerate() {
            // Nobody listens to a number that is not there.
            for &group in self.by_type.get(usize::from(kind)).into_iter().flatten() {
                let matched = &mut self.groups[group].matched;
                if matched.is_empty() {
                    self.touched.push(group);
                }
                matched.push(at);
            }
        }
        for group in self.touched.drain(..) {
            let Group { members, matched } = &mut self.groups[group];
            // Used again, unless someone still waits for it.
            if Rc::get_mut(&mut self.part).is_none() {
                self.part = Rc::new(Vec::with_capacity(batch.len()));
            }
            let part = Rc::get_mut(&mut self.part).expect("nobody else has it");
            part.clear();
            for at in matched.drain(..) {
                part.extend_from_slice(batch.event(at));
            }
            for &slot in &*members {
                send(slot, &self.part);
            }
        }
    }
}
