//! The thread that appends. It sends what waits in one round trip.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{
    backoff::Backoff,
    link::{EntryState, Fault, Link, given_up},
    part::Answer,
    queue::{Job, Taken},
    reader::LOOK,
    say,
    shared::Shared,
};
use crate::{error::PublishError, logs::Level, panics::AtEnd};

/// How long an answer may take before it is checked that its server is still the primary. It may
/// have been given up meanwhile.
const PROMPT: Duration = Duration::from_millis(500);

/// How many servers of a Cluster are asked where the stream is.
const REDIRECTIONS: usize = 3;

pub(super) struct Writer {
    shared: Arc<Shared>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(super) fn run(self) {
        let shared = &*self.shared;
        // However this thread ends, no publisher must wait for an answer that will not come.
        let _end = AtEnd(|| {
            shared.queue.abandon();
            shared.change(|state| state.is_writing = false);
            shared.ends();
        });
        let mut backoff = Backoff::new();
        let mut is_told = false;
        loop {
            let fault = match self.connect() {
                Ok((mut link, server)) => {
                    shared.queue.connected();
                    shared.change(|state| state.is_writing = true);
                    say(Level::Info, format_args!("connected for publishing"));
                    is_told = false;
                    let result = self.serve(&mut link, &server, &mut backoff);
                    shared.change(|state| state.is_writing = false);
                    match result {
                        Ok(true) => return,
                        Ok(false) => continue,
                        Err(fault) => fault,
                    }
                }
                Err(fault) => fault,
            };
            let waited = shared.queue.disconnected(&fault.to_string());
            shared.counts.refused(waited);
            // Only the first failure is logged, not each failed reconnect.
            if !std::mem::replace(&mut is_told, true) {
                say(Level::Warn, format_args!("cannot publish{}: {fault}", shared.primary.place()));
            }
            if shared.is_stopping() || !shared.backoff(&mut backoff) {
                return;
            }
        }
    }

    /// Connects to a server that the reader vouches for. What is appended to another server could
    /// be lost, or could come before clients are told what they have lost. Also returns the
    /// server's replication id.
    fn connect(&self) -> Result<(Link, String), Fault> {
        let shared = &self.shared;
        shared.queue.connects();
        let (mut link, id) = self.open()?;
        // The reader may be connected to the server to which this node appended before, and so not
        // notice the change.
        let (appended, content) = shared.append_content();
        let is_lost = link.entry_state(&shared.config, appended, content)? == EntryState::Lost;
        if is_lost || shared.vouched().is_some_and(|vouched| vouched != id) {
            shared.unvouch();
        }
        match shared.wait_vouched(Instant::now() + shared.config.timeout) {
            Some(vouched) if vouched == id => Ok((link, id)),
            Some(_) => Err(Fault::Lost("the address leads to another server now".to_owned())),
            None => {
                let reason = shared.change(|state| state.trouble.clone());
                Err(Fault::Lost(format!("the stream cannot be read: {reason}")))
            }
        }
    }

    /// Opens a connection to the server that has the stream. In a Cluster another one says where it
    /// is. Also returns its replication id.
    fn open(&self) -> Result<(Link, String), Fault> {
        let shared = &self.shared;
        for _ in 0..REDIRECTIONS {
            let mut link = Link::open(shared)?;
            let id = link.server(&shared.config);
            match id.and_then(|id| link.extent(&shared.config).map(|_| id)) {
                Err(_) if link.is_redirected() => {}
                Err(fault) => return Err(fault),
                Ok(id) => return Ok((link, id)),
            }
        }
        Err(Fault::Lost("the nodes of the Cluster do not agree where the stream is".to_owned()))
    }

    /// Appends until the queue is closed and empty; returns true then, and false if a new
    /// connection is needed.
    fn serve(&self, link: &mut Link, server: &str, backoff: &mut Backoff) -> Result<bool, Fault> {
        let mut looked = Instant::now();
        loop {
            match self.shared.queue.take(looked + LOOK) {
                Taken::Over => return Ok(true),
                Taken::Doubted => return Ok(false),
                Taken::Idle => {}
                Taken::Jobs(jobs) => {
                    if !self.append(link, jobs)? {
                        return Ok(false);
                    }
                }
            }
            if looked.elapsed() >= LOOK {
                // Also while nothing is published, so that a publisher is not the first to find
                // out.
                looked = Instant::now();
                let now = link.server(&self.shared.config)?;
                if now != server || !stays(link, looked) {
                    return Ok(false);
                }
            }
            backoff.reset();
        }
    }

    /// Returns false if the stream has moved to another server: what was not appended any more is in
    /// the queue again.
    fn append(&self, link: &mut Link, jobs: Vec<Job>) -> Result<bool, Fault> {
        let counts = &self.shared.counts;
        let packed: Vec<&[u8]> = jobs.iter().map(Job::packed).collect();
        let mut moved = Vec::new();
        let mut since = Instant::now();
        let is_one_by_one = link.is_asking();
        let mut lost = if is_one_by_one { None } else { link.send(&packed.concat()).err() };
        let mut refused = None;
        for job in jobs {
            if is_one_by_one && lost.is_none() {
                lost = link.send(job.packed()).err();
            }
            // Once the connection is lost, Redis may have executed the rest.
            let answers = if lost.is_none() {
                // What is acknowledged by a server that is not the primary any more may be lost, so it
                // is as if it had not answered.
                let answers = job.receive(link).and_then(|answers| {
                    if stays(link, since) { Ok(answers) } else { Err(given_up()) }
                });
                since = Instant::now();
                answers.map_err(|fault| lost = Some(fault)).ok()
            } else {
                None
            };
            let Some(answers) = answers else {
                // Dropping the job tells its publisher so.
                counts.outcome_unknown.fetch_add(job.messages(), Relaxed);
                continue;
            };
            let appended = answers.iter().flatten().count();
            if link.is_redirected() && appended == 0 {
                moved.push(job);
                continue;
            }
            counts.appended.fetch_add(appended, Relaxed);
            counts.refused(answers.len() - appended);
            if let Some(newest) = answers.iter().flatten().max() {
                // The newest is the last one, unless that was refused.
                let is_last = answers.last().is_some_and(Result::is_ok);
                self.shared.appended(*newest, is_last.then(|| job.last()));
            }
            if let Some(reason) = answers.iter().find_map(|answer| answer.as_ref().err()) {
                refused = Some(Fault::Refused(reason.clone()));
            }
            let result = |answer: Answer| answer.map_err(PublishError::RedisUnavailable);
            job.answer(answers.into_iter().map(result));
        }
        let has_moved = !moved.is_empty();
        self.shared.queue.put_back(moved);
        // A server that refuses may be the former primary: a new connection may lead to the present
        // one.
        lost.or(refused).map_or(Ok(!has_moved), Err)
    }
}

/// Whether nothing is known of another primary than the server that has just answered. If that took
/// long, sentinels are asked first.
fn stays(link: &Link, since: Instant) -> bool {
    let is_late = since.elapsed() >= PROMPT;
    link.is_to_stay(is_late.then(|| Instant::now() + PROMPT))
}
