//! What is read when a file is damaged.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;

/// What may happen to a file.
#[derive(Clone, Debug)]
enum Damage {
    Cut,
    Zeros(usize),
    Flip,
    Noise(Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        Just(Damage::Cut),
        (1..2000_usize).prop_map(Damage::Zeros),
        Just(Damage::Flip),
        vec(any::<u8>(), 1..200).prop_map(Damage::Noise),
    ]
}

impl Damage {
    fn happen(&self, bytes: &mut Vec<u8>, at: Index) {
        let at = at.index(bytes.len());
        match self {
            Self::Cut => bytes.truncate(at),
            Self::Zeros(count) => bytes.iter_mut().skip(at).take(*count).for_each(|it| *it = 0),
            Self::Flip => bytes[at] ^= 1 << (at % 8),
            Self::Noise(noise) => {
                bytes.iter_mut().skip(at).zip(noise).for_each(|(it, noise)| *it = *noise);
            }
        }
    }
}

proptest! {
    #[test]
    fn damage_is_told_and_nothing_is_invented(
        commits in vec(1..6_usize, 1..40),
        (file, at, damage) in (any::<Index>(), any::<Index>(), damage()),
    ) {
        let scratch = Scratch::new();
        let Opened { mut store, .. } = scratch.open();
        let mut all = Vec::new();
        for count in &commits {
            let (start, mut commit) = (all.len(), Vec::new());
            commit.extend(start..start + count);
            all.extend(store.append(parts(start..start + count).iter()).expect("there is room"));
        }
        let files: Vec<PathBuf> =
            store.segments.iter().map(|it| store.directory.segment(it.file)).collect();
        drop(store);
        let path = &files[file.index(files.len())];
        let mut bytes = fs::read(path).expect("it is there");
        damage.happen(&mut bytes, at);
        fs::write(path, bytes).expect("it is there");

        let Opened { mut store, records } = scratch.open();
        let records: Vec<Record> = records.collect();
        let there: HashSet<EntryId> = records.iter().map(|record| record.entry).collect();
        for record in &records {
            let number = all.iter().position(|entry| *entry == record.entry).expect("it was");
            prop_assert_eq!(&record.message, &message(number));
        }
        let broken = store.bounds()[2];
        // An end that is gone without a trace cannot be told from one that was never written.
        let last = records.last().map_or(EntryId::ZERO, |record| record.entry);
        for entry in all.iter().filter(|entry| !there.contains(entry)) {
            prop_assert!(*entry < broken || *entry > last, "{} is missing", entry);
        }
        // It goes on behind all that is there, and that is read again.
        let more = store.append(parts(0..20).iter()).expect("there is room");
        prop_assert!(records.last().is_none_or(|last| last.entry < more[0]));
        drop(store);
        let Opened { store, records: again } = scratch.open();
        let again: Vec<Record> = again.collect();
        prop_assert_eq!(again.len(), records.len() + 20);
        prop_assert_eq!(&again[..records.len()], &records[..]);
        prop_assert_eq!(store.bounds()[2], broken);
    }
}
