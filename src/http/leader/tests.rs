use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use super::*;
use crate::http::{Handler, Hint, HttpServer, Request, Response};

/// The deadline for what must happen by itself. `FOR_EVER` is far beyond it.
const PATIENCE: Duration = Duration::from_secs(60);
const FOR_EVER: Duration = Duration::from_secs(3600);

fn no_thread() -> io::Result<()> {
    Err(io::ErrorKind::OutOfMemory.into())
}

/// Waits until `condition` holds.
#[track_caller]
fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "expected {what} within {PATIENCE:?}");
        thread::yield_now();
    }
}

/// Returns the result of a thread that is about to end.
#[track_caller]
fn join<T>(what: &str, thread: JoinHandle<T>) -> T {
    until(what, || thread.is_finished());
    thread.join().expect("it does not panic")
}

/// Starts a thread that parks until it is woken. It returns whether it became the leader.
fn parked(leadership: &Arc<Leadership>) -> JoinHandle<bool> {
    let shared = Arc::clone(leadership);
    leadership.state.lock().threads += 1;
    let before = leadership.state.lock().parked;
    let parked = thread::spawn(move || shared.wait_until(Instant::now() + FOR_EVER));
    until("a thread to park", || leadership.state.lock().parked > before);
    parked
}

#[test]
fn a_turn_that_nobody_can_take_stays_where_it_is() {
    let leadership = Leadership::default();
    assert!(leadership.pass(no_thread).is_err());
    assert_eq!(*leadership.state.lock(), State::default());
}

#[test]
fn a_turn_goes_to_a_parked_thread_rather_than_to_a_new_one() {
    let leadership = Arc::new(Leadership::default());
    let parked = parked(&leadership);
    assert!(leadership.pass(|| panic!("a thread is parked")).is_ok());
    assert!(join("a parked thread to be woken", parked));
    assert_eq!(*leadership.state.lock(), State { threads: 1, ..State::default() });
}

#[test]
fn a_thread_in_reserve_is_started_only_if_none_is_parked() {
    let leadership = Arc::new(Leadership::default());
    leadership.keep_reserve(no_thread);
    assert_eq!(*leadership.state.lock(), State::default());
    let mut started = 0;
    leadership.keep_reserve(|| {
        started += 1;
        Ok(())
    });
    assert_eq!((started, leadership.state.lock().threads), (1, 1));
    let parked = parked(&leadership);
    leadership.keep_reserve(|| panic!("a thread is parked"));
    let taken = State { vacant: true, parked: 1, ..State::default() };
    assert!({ taken }.lacks_reserve(), "the parked thread takes leadership");
    leadership.stop();
    leadership.keep_reserve(|| panic!("all threads must end"));
    assert!(!join("a parked thread to end", parked));
}

#[test]
fn a_thread_that_becomes_free_while_none_can_be_started_takes_the_turn() {
    let leadership = Leadership::default();
    leadership.state.lock().threads = 1;
    let start = || {
        // Another thread finishes its connection just now.
        assert!(leadership.wait());
        no_thread()
    };
    assert!(leadership.pass(start).is_ok());
    assert_eq!(*leadership.state.lock(), State { threads: 1, ..State::default() });
}

#[test]
fn a_thread_without_a_turn_ends_after_a_while() {
    let leadership = Leadership::default();
    leadership.state.lock().threads = 1;
    let start = Instant::now();
    assert!(!leadership.wait());
    assert!(start.elapsed() >= PARKED);
    assert_eq!(*leadership.state.lock(), State::default());
}

#[test]
fn stopping_wakes_the_parked() {
    let leadership = Arc::new(Leadership::default());
    let parked = [parked(&leadership), parked(&leadership)];
    assert_eq!(leadership.wait_ended(0, Some(Instant::now())), 2);
    assert!(leadership.stop() && !leadership.stop(), "only the first time is the first");
    for parked in parked {
        assert!(!join("a parked thread to end", parked));
    }
    assert_eq!(*leadership.state.lock(), State { stopping: true, ..State::default() });
}

/// Enough tries that in some of them the other thread waits already.
const TRIES: usize = 100;

/// Runs `wait` on another thread, and returns when that thread has probably begun to wait.
fn begin<T: Send + 'static>(
    leadership: &Arc<Leadership>,
    wait: impl FnOnce(&Leadership) -> T + Send + 'static,
) -> JoinHandle<T> {
    let (begun, has_begun) = mpsc::channel();
    let leadership = Arc::clone(leadership);
    let thread = thread::spawn(move || {
        begun.send(()).expect("it is waited for");
        wait(&leadership)
    });
    has_begun.recv().expect("it does not panic");
    (0..20).for_each(|_| thread::yield_now());
    thread
}

/// Otherwise the woken thread finds nothing and parks again, and no thread takes leadership.
#[test]
fn nobody_is_woken_before_the_turn_is_vacant() {
    for _ in 0..TRIES {
        let leadership = Arc::default();
        let parked = parked(&leadership);
        let state = leadership.state.lock();
        let passes = begin(&leadership, |leadership| leadership.pass(no_thread));
        // A thread that was woken too early looks first.
        drop(state);
        assert!(join("a parked thread to be woken", parked));
        assert!(join("the turn to be passed on", passes).is_ok());
    }
}

#[test]
fn stopping_ends_a_pause() {
    for _ in 0..TRIES {
        let leadership = Arc::default();
        let pause = begin(&leadership, |leadership| leadership.pause(Instant::now() + FOR_EVER));
        leadership.stop();
        join("a pause to end", pause);
    }
}

#[test]
fn the_last_thread_tells_who_waits_for_all_to_end() {
    for round in 0..TRIES {
        let leadership = Arc::<Leadership>::default();
        leadership.state.lock().threads = 1;
        leadership.stop();
        let waits = begin(&leadership, |leadership| leadership.wait_ended(0, None));
        if round % 2 == 0 {
            leadership.end();
        } else {
            assert!(!leadership.wait());
        }
        assert_eq!(join("the end to be noticed", waits), 0);
    }
}

#[test]
fn nothing_has_ended_before_it_is_to_stop() {
    let mut state = State { threads: 1, ..State::default() };
    assert!(!state.has_ended(1));
    assert!(state.stop());
    assert!(state.has_ended(1) && !state.has_ended(0));
}

#[test]
fn while_a_stream_of_its_own_is_written_a_thread_is_in_reserve() {
    let http = HttpServer::new()
        .get("/own", |_: &Request| Response::events(|out| out.wait(PATIENCE)))
        .bind("127.0.0.1:0")
        .expect("port 0 is always free");
    let mut socket =
        TcpStream::connect(http.local_addr().expect("bound above")).expect("it listens");
    socket.write_all(b"GET /own HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
    until("a parked thread beside the leader", || {
        http.services[0].leadership.state.lock().parked == 1
    });
    drop(socket);
    assert_eq!(http.shutdown(PATIENCE), 0);
}

/// Fails in a way that only this crate can: it panics after the handler has returned.
struct Fails {
    as_leader: bool,
}

impl Handler for Fails {
    fn handle(&self, _: &Request) -> Response {
        Response::new(200).take_over(|_, _| panic!("as the test wants"))
    }

    fn may_block(&self, _: Hint) -> bool {
        !self.as_leader
    }
}

#[test]
fn a_panic_of_this_crate_costs_its_connection_only() {
    let http = HttpServer::new()
        .get("/fails", Fails { as_leader: false })
        .get("/fails-in-turn", Fails { as_leader: true })
        .get("/well", |_: &Request| Response::text(200, "well"))
        .bind("127.0.0.1:0")
        .expect("port 0 is always free");
    let ask = |path: &str| {
        let mut socket = TcpStream::connect(http.local_addr().expect("bound above"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        write!(socket, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).map(|_| answer)
    };
    for round in 0..20 {
        for path in ["/fails", "/fails-in-turn"] {
            assert_eq!(ask(path).expect("an orderly end"), "", "{path}, round {round}");
        }
    }
    assert!(ask("/well").expect("an answer").ends_with("well\n"));
    assert_eq!(http.shutdown(PATIENCE), 0, "threads were counted that are gone, or are left");
}

/// The most threads that pass leadership around.
const THREADS: usize = 5;
const ROUNDS: usize = 50_000;

/// Takes the real locks and wake-ups in many random orders.
#[test]
fn a_turn_that_goes_round_among_threads_is_never_lost() {
    let leadership = Arc::new(Leadership::default());
    let taken = Arc::new(AtomicUsize::new(0));
    leadership.pass(|| start(&leadership, &taken)).expect("a thread");
    until("turns to be taken", || taken.load(Ordering::Relaxed) > ROUNDS);
    leadership.stop();
    assert_eq!(leadership.wait_ended(0, Some(Instant::now() + PATIENCE)), 0);
}

/// Starts one of the threads that pass leadership around; sometimes fails, and never starts too
/// many.
fn start(leadership: &Arc<Leadership>, taken: &Arc<AtomicUsize>) -> io::Result<()> {
    // The thread to start is counted already.
    if taken.load(Ordering::Relaxed) % 7 == 6 || leadership.state.lock().threads > THREADS {
        return no_thread();
    }
    let (leadership, taken) = (Arc::clone(leadership), Arc::clone(taken));
    thread::Builder::new().spawn(move || go_round(&leadership, &taken)).map(drop)
}

/// Passes leadership on as soon as it has it, then waits until another thread has it.
fn go_round(leadership: &Arc<Leadership>, taken: &Arc<AtomicUsize>) {
    while leadership.wait_until(Instant::now() + FOR_EVER) {
        let mut number;
        loop {
            if leadership.is_stopping() {
                return leadership.end();
            }
            number = taken.fetch_add(1, Ordering::Relaxed) + 1;
            if leadership.pass(|| start(leadership, taken)).is_ok() {
                break;
            }
        }
        while taken.load(Ordering::Relaxed) == number && !leadership.is_stopping() {
            thread::yield_now();
        }
    }
}
