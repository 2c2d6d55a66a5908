//! A file of a history on disk, of whatever bytes: it is read or passed over, nothing takes more memory
//! than the file has, and a server goes on with what is there.

use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use websse::{
    Server,
    durable::{Commit, DurableConfig, StoredEvent, stored_events},
};

/// A directory that is removed at the end.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left of it is in the way of nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The input is the first file of a directory.
pub fn check(input: &[u8]) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("websse-fuzz-{}-{}", process::id(), NUMBER.fetch_add(1, Relaxed));
    let directory = Directory(env::temp_dir().join(name));
    fs::create_dir_all(&directory.0).expect("there is room");
    fs::write(directory.0.join("00000000.segment"), input).expect("there is room");
    // A file of a later version is refused.
    let Ok(before) = stored_events(&directory.0) else { return };
    let config = DurableConfig::new(&directory.0).commit(Commit::Never);
    let server = Server::builder().durable(config).build();
    server.register_event("").expect("it can be registered");
    if server.run().is_err() {
        // The numbers in its header leave none for what comes.
        return;
    }
    let published = server.publish("behind it").expect("there is room");
    server.shutdown(Duration::from_secs(10));
    drop(server);
    let after = stored_events(&directory.0).expect("it was read before");
    let (last, rest) = after.split_last().expect("one was published");
    assert_eq!((Some(&last.id), last.message.data()), (published.id().as_ref(), "behind it"));
    let messages = |events: &[StoredEvent]| {
        events.iter().map(|event| event.message.clone()).collect::<Vec<_>>()
    };
    assert_eq!(messages(rest), messages(&before));
}
