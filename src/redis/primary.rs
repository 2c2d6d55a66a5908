//! Where the stream's primary is: at the address that was given, where sentinels say, or where a
//! node of a Cluster says.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use redis::ConnectionInfo;

use super::{
    address::{Address, Redirect},
    config::RedisConfig,
    link::Fault,
};

/// How long to wait for the other sentinels once half of them have answered: one of them may know
/// of a later failover.
const OTHERS: Duration = Duration::from_millis(300);

/// What a sentinel said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) primary: Address,
    /// The number of the failover that made it the primary.
    pub(super) epoch: u64,
    /// Another server is about to take its place.
    pub(super) is_leaving: bool,
}

#[derive(Debug)]
pub(super) struct Primary {
    /// Never held across a call to Redis.
    state: Mutex<State>,
    /// Sentinels' threads wait here for a question, others for the answers.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Counts the questions.
    asked: usize,
    answers: Vec<Answer>,
    /// Where the nodes of a Cluster said that the stream is, the last time.
    redirect: Option<Redirect>,
    /// The server that was last connected to, or tried.
    tried: Option<String>,
    /// The threads must end.
    is_over: bool,
}

/// The last answer of a sentinel.
#[derive(Debug)]
struct Answer {
    /// The question that it answers; 0 before the first answer.
    asked: usize,
    said: Result<Word, String>,
}

/// Where to connect to.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) info: ConnectionInfo,
    /// Set if a server told this address.
    pub(super) told: Option<Address>,
    /// See [`Redirect::is_asking`].
    pub(super) is_asking: bool,
}

impl Primary {
    pub(super) fn new(config: &RedisConfig) -> Self {
        let sentinels = config.sentinels.as_ref().map_or(0, |sentinels| sentinels.each.len());
        let answer = || Answer { asked: 0, said: Err(String::new()) };
        let answers = std::iter::repeat_with(answer).take(sentinels).collect();
        let state = State { asked: 0, answers, redirect: None, tried: None, is_over: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Where to connect to. Sentinels are asked anew, and may take until `until`.
    pub(super) fn find(&self, config: &RedisConfig, until: Instant) -> Result<Found, Fault> {
        let found = self.look_up(config, until);
        let tried = found.as_ref().map(|found| found.info.addr().to_string());
        self.state.lock().tried = tried.ok();
        found
    }

    /// Of which server a line in the log tells: ` at ADDRESS`, or nothing if none was found.
    pub(super) fn place(&self) -> String {
        let state = self.state.lock();
        state.tried.as_ref().map_or(String::new(), |address| format!(" at {address}"))
    }

    fn look_up(&self, config: &RedisConfig, until: Instant) -> Result<Found, Fault> {
        if config.sentinels.is_none() {
            let redirect = self.state.lock().redirect.clone();
            return Ok(match redirect {
                Some(Redirect { address, is_asking }) => {
                    Found { info: address.by(&config.info), told: Some(address), is_asking }
                }
                None => Found { info: config.info.clone(), told: None, is_asking: false },
            });
        }
        let Word { primary: address, is_leaving, .. } = self.ask(until)?;
        if is_leaving {
            let reason = "the sentinels are about to make another server the primary";
            return Err(Fault::Refused(reason.to_owned()));
        }
        Ok(Found { info: address.by(&config.info), told: Some(address), is_asking: false })
    }

    /// Asks all sentinels. At least half of them must answer: one by itself may be where the
    /// primary is that the others have given up. Of what they say, the latest failover counts.
    pub(super) fn ask(&self, until: Instant) -> Result<Word, Fault> {
        let mut state = self.state.lock();
        state.asked += 1;
        let asked = state.asked;
        self.changed.notify_all();
        let others = Instant::now() + OTHERS;
        loop {
            let fresh = || state.answers.iter().filter(|answer| answer.asked >= asked);
            let words: Vec<&Word> =
                fresh().filter_map(|answer| answer.said.as_ref().ok()).collect();
            let (count, all) = (words.len(), state.answers.len());
            let is_enough = 2 * count >= all;
            let patience = if is_enough { others.min(until) } else { until };
            if state.is_over || fresh().count() == all || Instant::now() >= patience {
                let latest = words.into_iter().max_by_key(|word| word.order());
                if let Some(word) = latest.filter(|_| is_enough) {
                    return Ok(word.clone());
                }
                let reason = state.answers.iter().find_map(|answer| answer.said.as_ref().err());
                let reason = reason.filter(|reason| !reason.is_empty()).cloned();
                let reason = reason.unwrap_or_else(|| "no answer in time".to_owned());
                return Err(Fault::Lost(format!("{count} of {all} sentinels answer: {reason}")));
            }
            self.changed.wait_until(&mut state, patience);
        }
    }

    /// Whether nothing is known of another primary than that at this address.
    pub(super) fn is_still(&self, address: &Address) -> bool {
        let state = self.state.lock();
        state.latest().is_none_or(|word| word.primary == *address)
            && state.redirect.as_ref().is_none_or(|redirect| redirect.address == *address)
    }

    /// Whether others say where the primary is.
    pub(super) fn is_told(&self) -> bool {
        let state = self.state.lock();
        !state.answers.is_empty() || state.redirect.is_some()
    }

    /// Whether a node of a Cluster has said where the stream is.
    pub(super) fn is_redirected(&self) -> bool {
        self.state.lock().redirect.is_some()
    }

    /// A node of a Cluster says that the stream is there.
    pub(super) fn redirect(&self, redirect: Redirect) {
        self.state.lock().redirect = Some(redirect);
    }

    /// The server at this address cannot be reached: the address that was given is tried again.
    pub(super) fn forget(&self, address: &Address) {
        self.state.lock().redirect.take_if(|redirect| redirect.address == *address);
    }

    /// The stream is at this address and on its way no more.
    pub(super) fn settled(&self, address: &Address) {
        let mut state = self.state.lock();
        if let Some(redirect) = state.redirect.as_mut().filter(|known| known.address == *address) {
            redirect.is_asking = false;
        }
    }

    /// Whether nothing is known of another primary, nor that another one is about to be.
    pub(super) fn is_to_stay(&self, address: &Address) -> bool {
        let state = self.state.lock();
        state.latest().is_none_or(|word| word.primary == *address && !word.is_leaving)
    }

    /// Waits for a question, at most for `time`; returns its number, or `None` at the end.
    pub(super) fn next_question(&self, answered: usize, time: Duration) -> Option<usize> {
        let until = Instant::now() + time;
        let mut state = self.state.lock();
        while !state.is_over
            && state.asked == answered
            && !self.changed.wait_until(&mut state, until).timed_out()
        {}
        (!state.is_over).then_some(state.asked)
    }

    /// Notes what a sentinel said. Returns the latest word if it is another one than before.
    pub(super) fn answer(
        &self,
        sentinel: usize,
        asked: usize,
        said: Result<Word, String>,
    ) -> Option<Word> {
        let mut state = self.state.lock();
        let before = state.latest().cloned();
        state.answers[sentinel] = Answer { asked, said };
        let now = state.latest().cloned();
        drop(state);
        self.changed.notify_all();
        now.filter(|now| before.is_some_and(|before| before != *now))
    }

    /// Ends the sentinels' threads.
    pub(super) fn end(&self) {
        self.state.lock().is_over = true;
        self.changed.notify_all();
    }
}

impl State {
    fn latest(&self) -> Option<&Word> {
        let words = self.answers.iter().filter_map(|answer| answer.said.as_ref().ok());
        words.max_by_key(|word| word.order())
    }
}

impl Word {
    /// Which of two words is the later one.
    fn order(&self) -> (u64, bool) {
        (self.epoch, self.is_leaving)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn word(port: u16, epoch: u64) -> Word {
        Word { primary: Address { host: "h".to_owned(), port }, epoch, is_leaving: false }
    }

    /// What is found if the sentinels say this.
    fn found(said: [Result<Word, String>; 3]) -> Result<u16, String> {
        let config = RedisConfig::new("redis-sentinel://a,b,c/m").expect("it is good");
        let primary = Primary::new(&config);
        thread::scope(|scope| {
            let asking = scope.spawn(|| primary.ask(Instant::now() + Duration::from_secs(10)));
            let asked = primary.next_question(0, Duration::from_secs(10)).expect("it goes on");
            for (sentinel, said) in said.into_iter().enumerate() {
                primary.answer(sentinel, asked, said);
            }
            let found = asking.join().expect("it does not panic");
            found.map(|word| word.primary.port).map_err(|fault| fault.to_string())
        })
    }

    #[test]
    fn the_latest_failover_counts_and_half_must_answer() {
        let silent = || Err("gone".to_owned());
        assert_eq!(found([Ok(word(1, 5)), Ok(word(2, 6)), Ok(word(1, 5))]), Ok(2));
        assert_eq!(found([silent(), Ok(word(1, 5)), Ok(word(2, 6))]), Ok(2));
        let refused = Err("1 of 3 sentinels answer: gone".to_owned());
        assert_eq!(found([silent(), silent(), Ok(word(2, 6))]), refused);
    }

    #[test]
    fn a_change_is_noticed_once() {
        let config = RedisConfig::new("redis-sentinel://a,b/m").expect("it is good");
        let primary = Primary::new(&config);
        let at = |port| Address { host: "h".to_owned(), port };
        assert!(primary.is_still(&at(1)), "nothing is known");
        assert_eq!(primary.answer(0, 1, Ok(word(1, 5))), None);
        assert_eq!(primary.answer(1, 1, Ok(word(1, 5))), None);
        assert_eq!(primary.answer(0, 1, Ok(word(2, 6))), Some(word(2, 6)));
        assert_eq!(primary.answer(1, 1, Ok(word(2, 6))), None);
        assert!(primary.is_still(&at(2)) && !primary.is_still(&at(1)));
        assert!(primary.is_to_stay(&at(2)) && !primary.is_to_stay(&at(1)));
        // One of them makes another server the primary, but has not done so yet.
        let leaving = Word { is_leaving: true, ..word(2, 6) };
        assert_eq!(primary.answer(0, 2, Ok(leaving.clone())), Some(leaving));
        assert!(primary.is_still(&at(2)) && !primary.is_to_stay(&at(2)));
    }
}
