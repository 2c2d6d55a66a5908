//! Names of event types with a meaning of their own.
//!
//! They are names like any other in a program; the constants only say what is meant.
//!
//! ```
//! use std::time::Duration;
//! use websse::{Server, event_type::{ALL, GENERAL}};
//!
//! let server = Server::new();
//! server.register_events([GENERAL, "news"])?;
//! server.run()?;
//! let mut everything = server.subscribe([ALL])?;
//! server.publish("hello")?;
//! assert_eq!(everything.next_event(Duration::from_secs(5))?.event(), GENERAL);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

/// The general event type, `message`. Browsers give it this name if a stream names none (HTML
/// standard, 9.2.6), and dispatch it to `onmessage`. Wherever the name of a type is given, `""`
/// means the same.
pub const GENERAL: &str = "message";

/// Stands for all event types, `*`, also those registered later, where a client names the types
/// that it listens to. No type can have this name.
pub const ALL: &str = "*";
