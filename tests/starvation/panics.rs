//! Handlers that panic, in the thread that accepts and in others.

use std::{panic::panic_any, sync::Barrier, thread};

use websse::http::{Request, Response};

use crate::{InTurn, get};
use support::{Hub, SOON};

fn panics(_: &Request) -> Response {
    panic!("as the test wants")
}

fn hub() -> Hub {
    let both_there = Barrier::new(2);
    let meet = move |_: &Request| {
        both_there.wait();
        Response::new(200)
    };
    Hub::with(
        &["", "probe"],
        |builder| builder,
        |http| {
            http.get("/panic", panics)
                .get("/panic-in-turn", InTurn(panics))
                .get("/well", |_: &Request| Response::new(200))
                .get("/well-in-turn", InTurn(|_: &Request| Response::new(200)))
                .get("/meet", meet)
        },
    )
}

#[test]
fn a_handler_that_panics_costs_one_answer_and_not_the_connection() {
    let hub = hub();
    let order = [
        ("/panic-in-turn", 500),
        ("/well-in-turn", 200),
        ("/panic", 500),
        ("/panic", 500),
        ("/well", 200),
        ("/panic-in-turn", 500),
        ("/well", 200),
    ];
    let mut one_by_one = hub.connect();
    let mut at_once = hub.ask(order.map(|(path, _)| get(path)).concat());
    for (path, status) in order {
        one_by_one.send(get(path));
        assert_eq!(one_by_one.answer().status, status, "{path}");
        assert_eq!(at_once.answer().status, status, "{path}");
    }
    assert_eq!(hub.http.shutdown(SOON), 0, "threads are left");
}

#[test]
fn many_panics_lose_neither_a_thread_nor_the_turn() {
    let hub = hub();
    thread::scope(|scope| {
        for path in ["/panic-in-turn", "/panic", "/panic-in-turn", "/panic"] {
            let hub = &hub;
            scope.spawn(move || {
                for round in 0..200 {
                    let answer = hub.ask(get(path)).answer();
                    assert_eq!(answer.status, 500, "{path}, round {round}");
                }
            });
        }
    });
    // Somebody accepts, and others can be had besides.
    let mut pair = [hub.ask(get("/meet")), hub.ask(get("/meet"))];
    assert_eq!(pair.each_mut().map(|client| client.answer().status), [200, 200]);
    hub.assert_still_serves();
    assert_eq!(hub.http.shutdown(SOON), 0, "threads were counted that are gone, or are left");
}

/// What a handler panics with: so many times it panics again when it is dropped.
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Bomb(self.0 - 1));
        }
    }
}

#[test]
fn a_panic_that_panics_again_when_it_is_dropped_is_a_panic_like_any_other() {
    let explode = |request: &Request| -> Response {
        let (_, times) = request.query().next().unwrap();
        panic_any(Bomb(times.parse().unwrap()))
    };
    let hub = Hub::with(
        &["", "probe"],
        |builder| builder,
        |http| http.get("/explode", explode).get("/explode-in-turn", InTurn(explode)),
    );
    for path in ["/explode", "/explode-in-turn"] {
        for times in [0, 1, 2, 9] {
            let answer = hub.ask(get(&format!("{path}?times={times}"))).answer();
            assert_eq!(answer.status, 500, "{path}, {times} times");
        }
    }
    hub.assert_still_serves();
    assert_eq!(hub.http.shutdown(SOON), 0, "threads were counted that are gone, or are left");
}
