//! A thread of the library that panics fails the scenario, even where nothing else tells.

use std::{
    panic::{set_hook, take_hook},
    sync::Mutex,
    thread,
};

/// Panics in threads other than the main one, which fails by itself.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes panics from now on, and shows them as before.
pub(super) fn watch() {
    let show = take_hook();
    set_hook(Box::new(move |panic| {
        show(panic);
        let thread = thread::current();
        if thread.name() != Some("main")
            && let Ok(mut panics) = PANICS.lock()
        {
            panics.push(format!("thread {:?}: {panic}", thread.name()));
        }
    }));
}

/// Fails if any thread has panicked since the last call.
#[track_caller]
pub fn assert_no_panics() {
    let panics = PANICS.lock().map(|mut panics| std::mem::take(&mut *panics)).unwrap_or_default();
    assert!(panics.is_empty(), "expected no thread to panic, got {panics:#?}");
}
