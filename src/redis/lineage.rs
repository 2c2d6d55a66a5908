//! Which server answers, and whether it has what another one had acknowledged.

use std::time::Duration;

use super::link::Fault;

/// The lines of an answer to `INFO`: a name, a colon and a value.
pub(super) struct Info(pub(super) String);

impl Info {
    fn find(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(known, _)| *known == name).map(|(_, value)| value.trim())
    }

    pub(super) fn server(&self) -> Result<String, Fault> {
        match self.find("role") {
            Some("master") | None => {}
            // KeyDB: another one accepts events as well, and gives ids of its own.
            Some("active-replica") => {
                return Err(Fault::Refused("the server is not the only primary".to_owned()));
            }
            Some(_) => return Err(Fault::Refused("the server is a replica".to_owned())),
        }
        let id = self.find("master_replid").filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| Fault::Refused("the server has no replication id".to_owned()))?;
        Ok(id.to_owned())
    }

    pub(super) fn is_sentinel(&self) -> bool {
        self.mode() == Some("sentinel")
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.mode() == Some("cluster")
    }

    fn mode(&self) -> Option<&str> {
        // Valkey has another name for it.
        self.find("redis_mode").or_else(|| self.find("server_mode"))
    }
}

/// Which server this is, and so which history it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lineage {
    /// The replication id. It changes when a server starts, when a replica becomes the primary, and
    /// when a server gets its first replica.
    pub(super) id: String,
    /// Names the process; empty if it is unknown.
    run: String,
    /// The replication id of the server whose replica this one was; `None` if it was none.
    before: Option<String>,
    /// What this server acknowledges is on its disk, and no replica with less than that can take
    /// its place.
    pub(super) is_safe: bool,
    /// It has replicas, or had one within an hour: one of them may take its place.
    pub(super) has_replicas: bool,
    /// It is a node of a Cluster.
    pub(super) is_cluster: bool,
    /// For how long it runs, in whole seconds. `None` if a replica is connected, or if it does not
    /// say so.
    alone_for: Option<Duration>,
}

/// Marks a server as safe, in the key beside the stream.
const SAFE: &str = "safe";
/// Marks one with replicas.
const REPLICAS: &str = "replicas";
/// How long a primary that was started anew waits for its first replica. If Sentinel has given it
/// up, it makes it a replica within this time.
const RETURN: Duration = Duration::from_secs(30);

impl Lineage {
    pub(super) fn new(replication: &Info, server: &Info, is_durable: bool) -> Result<Self, Fault> {
        let is_zero = |id: &str| id.bytes().all(|byte| byte == b'0');
        // The backlog stays active for an hour after the last replica has gone.
        let has_replicas = replication.find("repl_backlog_active") != Some("0");
        let is_alone = replication.find("connected_slaves").is_none_or(|count| count == "0");
        let uptime = server.find("uptime_in_seconds").filter(|_| is_alone);
        // A server that does not say so may have been a replica.
        let before = replication.find("master_replid2").unwrap_or_default();
        Ok(Self {
            id: replication.server()?,
            run: server.find("run_id").unwrap_or_default().to_owned(),
            before: (before.is_empty() || !is_zero(before)).then(|| before.to_owned()),
            is_safe: !has_replicas && is_durable,
            has_replicas,
            is_cluster: server.is_cluster(),
            alone_for: uptime.and_then(|time| time.parse().ok()).map(Duration::from_secs),
        })
    }

    /// Reads what the key beside the stream says.
    pub(super) fn parse(memo: &str) -> Self {
        let mut words = memo.split(' ').map(str::to_owned);
        let (id, run) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_safe = words.next().is_some_and(|word| word == SAFE);
        let has_replicas = words.next().is_some_and(|word| word == REPLICAS);
        Self { id, run, is_safe, has_replicas, ..Self::default() }
    }

    /// What the key beside the stream is to say.
    pub(super) fn memo(&self) -> String {
        let safe = if self.is_safe { SAFE } else { "" };
        let replicas = if self.has_replicas { " replicas" } else { "" };
        format!("{} {} {safe}{replicas}", self.id, self.run)
    }

    /// Whether this server has everything that `before` had acknowledged, as far as is known.
    pub(super) fn continues(&self, before: &Self) -> bool {
        let is_same_run = !self.run.is_empty() && self.run == before.run;
        let is_restarted = before.is_safe && self.is_safe;
        self.id == before.id || self.before.is_none() && (is_same_run || is_restarted)
    }

    /// Whether this server was a replica of `before` and took its place. It has what `before` had
    /// acknowledged, up to some entry.
    pub(super) fn takes_over_from(&self, before: &Self) -> bool {
        self.before.as_ref() == Some(&before.id)
    }

    /// Whether this may be the server `before` that was started anew after a replica had taken its
    /// place. `seen` is how long ago `before` was there, if that is known.
    pub(super) fn may_be_given_up(&self, before: &Self, seen: Option<Duration>) -> bool {
        let is_other_run = !self.run.is_empty() && self.run != before.run;
        // Redis subtracts whole seconds, so it may be a second younger, or older. A replica that
        // has just taken over may be young as well: only what is certain counts there.
        let second = Duration::from_secs(1);
        let is_successor = self.takes_over_from(before);
        let is_younger = |time: Duration, seen: Duration| {
            if is_successor { time + second < seen } else { time < seen + second }
        };
        let is_new = self
            .alone_for
            .is_some_and(|time| time < RETURN && seen.is_none_or(|seen| is_younger(time, seen)));
        is_other_run && is_new && before.has_replicas
    }

    /// Whether other nodes should learn what this server is now.
    pub(super) fn differs(&self, before: &Self) -> bool {
        (self.is_safe, self.has_replicas) != (before.is_safe, before.has_replicas)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lineage(replication: &str, server: &str) -> Lineage {
        let [replication, server] =
            [replication, server].map(|text| Info(text.replace(' ', "\r\n")));
        Lineage::new(&replication, &server, true).expect("it is a primary")
    }

    const PLAIN: &str = "role:master master_replid:a master_replid2:00 repl_backlog_active:0";

    #[test]
    fn a_memo_is_read_as_it_was_written() {
        for (active, safe, replicas) in [("0", true, false), ("1", false, true)] {
            let text = PLAIN.replace("active:0", &format!("active:{active}"));
            let lineage = lineage(&text, "run_id:r");
            assert_eq!((lineage.is_safe, lineage.has_replicas), (safe, replicas));
            let read = Lineage::parse(&lineage.memo());
            assert_eq!((&*read.id, &*read.run), ("a", "r"));
            assert_eq!((read.is_safe, read.has_replicas), (safe, replicas));
        }
        let old = Lineage::parse("a r safe");
        assert!(old.is_safe && !old.has_replicas, "as an earlier version wrote it");
    }

    #[test]
    fn a_primary_that_comes_back_without_its_replicas_may_be_given_up() {
        let before = lineage(&PLAIN.replace("active:0", "active:1"), "run_id:r");
        let second = Duration::from_secs(1);
        for (replication, server, seen, given_up) in [
            (PLAIN, "run_id:s uptime_in_seconds:3", None, true),
            (PLAIN, "run_id:s uptime_in_seconds:3", Some(3 * second), true),
            // It was there when the other one still was.
            (PLAIN, "run_id:s uptime_in_seconds:3", Some(2 * second), false),
            (PLAIN, "run_id:s uptime_in_seconds:30", None, false),
            (PLAIN, "run_id:r uptime_in_seconds:3", None, false),
            (PLAIN, "run_id:s", None, false),
            (&format!("{PLAIN} connected_slaves:1"), "run_id:s uptime_in_seconds:3", None, false),
        ] {
            let now = lineage(replication, server);
            assert_eq!(now.may_be_given_up(&before, seen), given_up, "{replication} {server}");
            let promoted = lineage(
                "role:master master_replid:b master_replid2:a repl_backlog_active:1",
                "run_id:s uptime_in_seconds:3",
            );
            assert!(!promoted.may_be_given_up(&before, Some(4 * second)));
            // As a primary that reads its own state from an RDB file.
            assert!(promoted.may_be_given_up(&before, Some(5 * second)));
            let alone = lineage(PLAIN, "run_id:r");
            assert!(!now.may_be_given_up(&alone, seen), "there was no other");
        }
    }

    #[test]
    fn what_is_no_primary_is_refused() {
        for (role, refused) in [
            ("slave", "the server is a replica"),
            ("active-replica", "the server is not the only primary"),
        ] {
            let info = Info(format!("role:{role}\r\nmaster_replid:a"));
            let fault = info.server().expect_err("it is no primary");
            assert_eq!(fault.to_string(), refused);
        }
        let info = Info("redis_version:7.0.15\r\nredis_mode:sentinel".to_owned());
        assert!(info.server().is_err() && info.is_sentinel());
        let info = Info("valkey_version:9.1.2\r\nserver_mode:cluster".to_owned());
        assert!(info.is_cluster() && !info.is_sentinel());
    }

    #[test]
    fn a_replica_takes_over_from_its_own_primary() {
        let before = lineage(PLAIN, "run_id:r");
        let text = "role:master master_replid:b master_replid2:a";
        let promoted = lineage(text, "run_id:s");
        assert!(promoted.takes_over_from(&before) && !promoted.continues(&before));
        let of_another = lineage(&text.replace(":a", ":c"), "run_id:s");
        assert!(!of_another.takes_over_from(&before));
        assert!(!lineage(PLAIN, "run_id:s").takes_over_from(&before));
    }
}
