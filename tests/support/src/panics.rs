//! A thread of the library that panics fails a test, even where nothing else tells.

use std::{
    mem::take,
    panic::{set_hook, take_hook},
    sync::{Mutex, Once, PoisonError},
    thread,
};

/// What threads of this process died of, with their names.
static PANICS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Notes panics from now on, and shows them as before.
pub fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let show = take_hook();
        set_hook(Box::new(move |panic| {
            show(panic);
            let thread = thread::current().name().unwrap_or_default().to_owned();
            let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
            panics.push((thread, panic.to_string()));
        }));
    });
}

/// No broadcaster of this process, of whichever test, has panicked so far. Routes of a test may panic
/// on threads of HTTP connections.
#[track_caller]
pub fn assert_no_panics() {
    let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let of_broadcasters: Vec<_> =
        panics.into_iter().filter(|(thread, _)| thread.starts_with("websse-b")).collect();
    assert_eq!(of_broadcasters, [], "panics of a broadcaster");
}

/// No thread has panicked since the last call, but for the main one, which fails by itself.
#[track_caller]
pub fn assert_no_panics_since() {
    let panics = take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner));
    let of_others: Vec<_> = panics.into_iter().filter(|(thread, _)| thread != "main").collect();
    assert!(of_others.is_empty(), "expected no thread to panic, got {of_others:#?}");
}
