//! The one thread that writes all streams, and everything that it owns.
//!
//! | file | owns |
//! |---|---|
//! | `shared` | what server, handlers and broadcaster share: `publish`, `register`, `admit` |
//! | `options` | the limits and times of a server, with their defaults |
//! | `inbox/` | the lock that orders all that waits for the broadcaster; `queue`: the events |
//! | `broadcaster` | the thread: what a round does, in which order, and for how long |
//! | `subscribers/` | the clients: admit, catch up, sweep; each other step in a file of its own |
//! | `subscription_sets` | clients with equal subscriptions, and which of a batch they get |
//! | `stream/` | one socket, caught up or behind; `backlog`: what is left to write |
//! | `local_sink` | one subscription within the program, as the broadcaster sees it |
//! | `mailbox` | what waits for a client, and the memory in use by all of it |
//! | `history/` | the events kept; `type_log`: of one type in one channel; `topics`: which log is of what; `order`: of all; `read`: what a client gets; `unregistered`: types that go; `from_log`: with a log |
//! | `log/` | the seam for a log outside of memory; `input`: its way in; `absent`: no log |
//! | `registry` | the mutex-guarded map of clients with the senders of their mailboxes |
//! | `arrival` | a client on its way to the broadcaster, and where it begins |
//! | `client` | a client as the embedding program sees it |
//! | `per_address` | how many streams each address has |
//! | `hook_queue` | what waits for the embedding program's hooks |
//! | `stats` | the metrics of a server, and why clients are disconnected |
//! | `stats_json` | the same for serde |
//! | `by_number` | a table by numbers that are used again |
//! | `clock` | the time of one step, and a client's read rate |
//!
//! Imports nothing of `http`, `server`, `handlers` or `redis`.

pub(crate) mod arrival;
pub(crate) mod broadcaster;
mod by_number;
pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod history;
pub(crate) mod hook_queue;
pub(crate) mod inbox;
pub(crate) mod local_sink;
pub(crate) mod log;
pub(crate) mod mailbox;
pub(crate) mod options;
pub(crate) mod per_address;
pub(crate) mod registry;
pub(crate) mod shared;
pub(crate) mod stats;
#[cfg(feature = "json")]
mod stats_json;
pub(crate) mod stream;
pub(crate) mod subscribers;
pub(crate) mod subscription_sets;
