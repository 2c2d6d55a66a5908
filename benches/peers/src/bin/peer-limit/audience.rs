//! Who listens to what: clients with equal types form a group, and get the same bytes.

use std::{collections::HashMap, rc::Rc};

use crate::batch::Batch;

pub struct Audience {
    groups: Vec<Group>,
    by_types: HashMap<Vec<usize>, usize>,
    /// The groups that listen to each type.
    by_type: Vec<Vec<usize>>,
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
            groups: Vec::new(),
            by_types: HashMap::new(),
            by_type: vec![Vec::new(); types.into()],
            touched: Vec::new(),
            part: Rc::default(),
        }
    }

    /// Adds a client with the types that its query names; `None` where one does not exist.
    pub fn join(&mut self, query: &str, slot: usize) -> Option<()> {
        let names = query.split('&').filter_map(|pair| pair.strip_prefix("event="));
        let mut types: Vec<usize> = names.map(peers::number_of).collect::<Option<_>>()?;
        if types.iter().any(|&number| number >= self.by_type.len()) {
            return None;
        }
        types.sort_unstable();
        types.dedup();
        let next = self.groups.len();
        let group = *self.by_types.entry(types).or_insert_with_key(|types| {
            for &number in types {
                self.by_type[number].push(next);
            }
            self.groups.push(Group::default());
            next
        });
        self.groups[group].members.push(slot);
        Some(())
    }

    pub fn leave(&mut self, slot: usize) {
        for group in &mut self.groups {
            group.members.retain(|&other| other != slot);
        }
    }

    /// Calls `send` for each client that gets something of the batch, with all of it in one piece.
    pub fn deliver(&mut self, batch: &Batch, mut send: impl FnMut(usize, &Rc<Vec<u8>>)) {
        for (at, kind) in batch.kinds().enumerate() {
            for &group in &self.by_type[usize::from(kind)] {
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
