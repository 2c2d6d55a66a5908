//! What the hub does under load: each guarantee with a crowd of thousands, one scenario at a time.
//!
//! `cargo test --test load` runs all, `cargo test --test load -- NAME` those whose name contains
//! NAME; with `--features cli` one more runs, against the real command. What was measured comes on
//! standard error, a line `figure: …` per scenario.
//!
//! The same program is also the crowd, and the hub where that needs a process of its own.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::{
    panic::{catch_unwind, resume_unwind},
    process::{ExitCode, exit},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use libtest_mimic::{Arguments, Completion, Trial};

mod delivery;
mod descriptors;
mod fairness;
mod no_gap;
mod scale;
mod shutdown;
mod strictness;

use support::{crowd, panics::assert_no_panics_since};

/// A scenario that takes longer hangs, and ends the whole program.
const LONGEST: Duration = Duration::from_secs(240);

fn main() -> ExitCode {
    if let Some(code) = crowd::run_as_child() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    // Two at a time would measure each other.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, scenarios()).exit_code()
}

/// What a scenario needs of the machine.
#[derive(Clone, Copy)]
enum Needs {
    /// So many descriptors in one process.
    Descriptors(u64),
    /// The same, and figures from `/proc`.
    Proc(u64),
}

fn scenarios() -> Vec<Trial> {
    use Needs::{Descriptors, Proc};

    /// Names a scenario like its function.
    macro_rules! trials {
        ($($module:ident::$name:ident, $needs:expr;)*) => {
            vec![$(trial(stringify!($name), $needs, $module::$name)),*]
        };
    }
    #[allow(unused_mut, reason = "one more with the feature `cli`")]
    let mut trials = trials![
        strictness::the_crowd_reads_a_stream_in_pieces_of_any_size, Descriptors(0);
        strictness::the_crowd_notices_what_should_not_come, Descriptors(0);
        strictness::the_crowd_notices_lost_repeated_and_broken_off_events, Descriptors(60);
        delivery::a_thousand_clients_get_a_thousand_events_posted_over_one_connection,
            Descriptors(1200);
        delivery::twenty_clients_that_never_read_are_dropped_and_delay_nobody,
            Descriptors(700);
        delivery::two_of_three_clients_that_do_not_read_do_not_freeze_the_third,
            Descriptors(60);
        scale::ten_thousand_idle_streams_cost_little_memory_and_no_threads, Proc(10_200);
        shutdown::shutdown_delivers_every_accepted_event_while_four_publishers_race_with_it,
            Proc(1200);
        shutdown::shutdown_waits_for_clients_that_are_behind_and_read_again,
            Descriptors(60);
        shutdown::shutdown_cuts_a_client_that_never_reads_at_its_deadline, Proc(60);
        descriptors::two_hundred_clients_are_answered_by_a_hub_with_64_descriptors,
            Descriptors(300);
        descriptors::twenty_thousand_connections_of_all_kinds_leave_nothing_behind,
            Proc(300);
        no_gap::a_client_that_has_its_head_gets_what_is_published_next, Descriptors(1200);
        fairness::nobody_waits_for_nobody, Descriptors(500);
        fairness::nobody_waits_for_a_client_that_pipelines, Descriptors(500);
        fairness::nobody_waits_for_a_publish_that_blocks, Descriptors(500);
        fairness::nobody_waits_for_a_client_that_sends_slowly, Descriptors(500);
        fairness::nobody_waits_for_a_client_that_takes_its_error_slowly, Descriptors(500);
        fairness::nobody_waits_for_a_route_that_blocks, Descriptors(500);
        fairness::nobody_waits_for_all_of_them_together, Descriptors(500);
    ];
    #[cfg(feature = "cli")]
    trials.extend(trials![
        scale::five_thousand_clients_connecting_at_once_have_their_heads_within_a_second,
            Proc(5200);
    ]);
    trials
}

/// A scenario, which is ignored where the machine does not have what it needs.
fn trial(name: &'static str, needs: Needs, scenario: fn()) -> Trial {
    Trial::ignorable_test(name, move || {
        let (Needs::Descriptors(descriptors) | Needs::Proc(descriptors)) = needs;
        let limit = crowd::descriptor_limit();
        if limit < descriptors {
            let reason = format!("needs {descriptors} descriptors, the limit is {limit}");
            return Ok(Completion::ignored_with(reason));
        }
        if matches!(needs, Needs::Proc(_)) && cfg!(not(target_os = "linux")) {
            return Ok(Completion::ignored_with("needs /proc of Linux"));
        }
        within(name, scenario);
        Ok(Completion::Completed)
    })
}

/// Runs a scenario, which fails also if any thread panicked; ends the program, and its children
/// with it, if the scenario hangs.
fn within(name: &'static str, scenario: fn()) {
    let (running, ended) = channel::<()>();
    let watch = thread::spawn(move || {
        if ended.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{name}: expected to end within {LONGEST:?}, it hangs");
            exit(101);
        }
    });
    let outcome = catch_unwind(scenario);
    drop(running);
    // Gone before the next scenario counts threads.
    let watched = watch.join();
    let panics = catch_unwind(assert_no_panics_since);
    if let Err(panic) = outcome.and(watched).and(panics) {
        resume_unwind(panic);
    }
}
