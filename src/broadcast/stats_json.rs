//! The metrics of a running server for serde (feature `json`). The fields have the names that they
//! have in the program; a time is in seconds.

use serde::ser::{Serialize, SerializeStruct, Serializer};

#[cfg(feature = "durable")]
use super::stats::DurableStats;
use super::stats::{Disconnected, RedisStats, Stats};

/// Writes a struct with these of its fields, which must be all: the compiler sees to that.
macro_rules! serialize {
    ($type:ident { $($(#[$meta:meta])? $field:ident),+ } $(and $name:ident = $value:expr)?) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let Self { $($(#[$meta])? $field,)+ $($name)? } = self;
                let fields = [
                    $($(#[$meta])? stringify!($field),)+
                    $(stringify!($name))?
                ];
                let mut out = serializer.serialize_struct(stringify!($type), fields.len())?;
                $($(#[$meta])? out.serialize_field(stringify!($field), $field)?;)+
                $(out.serialize_field(stringify!($name), &$value)?;)?
                out.end()
            }
        }
    };
}

serialize!(Stats {
    streams,
    subscriptions,
    channels,
    behind,
    queued,
    published,
    direct_messages,
    deliveries,
    delivered_bytes,
    resumed,
    gaps,
    missed_notifications,
    disconnected,
    redis,
    #[cfg(feature = "durable")]
    durable
});

#[cfg(feature = "durable")]
serialize!(DurableStats {
    writable,
    appended,
    refused,
    commits,
    flushes,
    disk_bytes,
    segments,
    in_memory
});

serialize!(Disconnected {
    closed_by_peer,
    behind,
    stalled,
    error,
    closed_by_server,
    expired,
    shutdown
});

serialize!(RedisStats {
    connected,
    appended,
    refused,
    outcome_unknown,
    read,
    malformed,
    unknown_types,
    reconnects,
    breaks,
    returning,
    gaps
} and lag = lag.as_secs_f64());

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn stats_are_an_object_with_their_fields() {
        let redis = RedisStats { lag: Duration::from_millis(1500), ..RedisStats::default() };
        let stats = Stats { delivered_bytes: 7, redis: Some(redis), ..Stats::default() };
        let json = serde_json::to_value(stats).expect("numbers");
        assert_eq!(json["delivered_bytes"], 7);
        assert_eq!(json["disconnected"]["closed_by_peer"], 0);
        assert_eq!(json["redis"]["lag"], 1.5);
        assert_eq!(
            json.as_object().map(serde_json::Map::len),
            Some(14 + usize::from(cfg!(feature = "durable")))
        );
    }
}
