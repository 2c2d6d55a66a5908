//! What the hub does under load: each guarantee with a crowd of thousands, one scenario at a time.
//!
//! `cargo test --test load` runs all, `cargo test --test load -- NAME` those whose name contains
//! NAME; with `--features cli` one more runs, against the real command. What was measured comes on
//! standard error, a line `figure: …` per scenario.
//!
//! The same program is also the crowd, and the hub where that needs a process of its own.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::{
    process::{ExitCode, exit},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use libtest_mimic::{Arguments, Trial};

mod crowd;

#[path = "crowd/scenario_delivery.rs"]
mod scenario_delivery;
#[path = "crowd/scenario_descriptors.rs"]
mod scenario_descriptors;
#[path = "crowd/scenario_no_gap.rs"]
mod scenario_no_gap;
#[path = "crowd/scenario_scale.rs"]
mod scenario_scale;
#[path = "crowd/scenario_shutdown.rs"]
mod scenario_shutdown;
#[path = "crowd/scenario_strictness.rs"]
mod scenario_strictness;

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
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Sockets,
    /// Figures from `/proc`.
    Linux,
    /// So many descriptors in one process, and `/proc`.
    Descriptors(usize),
}

fn scenarios() -> Vec<Trial> {
    use Needs::{Descriptors, Linux, Sockets};

    /// Names a scenario like its function.
    macro_rules! trials {
        ($($module:ident::$name:ident, $needs:expr;)*) => {
            vec![$(trial(stringify!($name), $needs, $module::$name)),*]
        };
    }
    #[allow(unused_mut, reason = "one more with the feature `cli`")]
    let mut trials = trials![
        scenario_strictness::the_crowd_reads_a_stream_in_pieces_of_any_size, Sockets;
        scenario_strictness::the_crowd_notices_what_should_not_come, Sockets;
        scenario_strictness::the_crowd_notices_lost_repeated_and_broken_off_events, Sockets;
        scenario_delivery::a_thousand_clients_get_a_thousand_events_posted_over_one_connection,
            Descriptors(1200);
        scenario_delivery::twenty_clients_that_never_read_are_dropped_and_delay_nobody,
            Descriptors(700);
        scenario_delivery::two_of_three_clients_that_stop_reading_in_a_burst_do_not_freeze_the_third,
            Sockets;
        scenario_scale::ten_thousand_idle_streams_cost_little_memory_and_no_threads,
            Descriptors(scenario_scale::MANY + 200);
        scenario_shutdown::shutdown_delivers_every_accepted_event_while_four_publishers_race_with_it,
            Descriptors(1200);
        scenario_shutdown::shutdown_cuts_a_client_that_never_reads_at_its_deadline, Linux;
        scenario_descriptors::two_hundred_clients_are_answered_by_a_hub_with_64_descriptors, Linux;
        scenario_descriptors::twenty_thousand_connections_of_all_kinds_leave_nothing_behind, Linux;
        scenario_no_gap::a_client_that_has_its_head_gets_what_is_published_next, Sockets;
    ];
    #[cfg(feature = "cli")]
    trials.extend(trials![
        scenario_scale::five_thousand_clients_connecting_at_once_have_their_heads_within_a_second,
            Descriptors(5200);
    ]);
    trials
}

/// A scenario; ignored where the machine does not have what it needs.
fn trial(name: &'static str, needs: Needs, scenario: fn()) -> Trial {
    let is_possible = match needs {
        Needs::Sockets => true,
        Needs::Linux => cfg!(target_os = "linux"),
        Needs::Descriptors(count) => {
            cfg!(target_os = "linux") && crowd::descriptor_limit() >= count as u64
        }
    };
    let run = move || {
        within(name, scenario);
        Ok(())
    };
    Trial::test(name, run).with_ignored_flag(!is_possible)
}

/// Runs a scenario, and ends the program if it hangs. The children end with it.
fn within(name: &'static str, scenario: fn()) {
    let (running, ended) = channel::<()>();
    thread::spawn(move || {
        if ended.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{name}: expected to end within {LONGEST:?}, it hangs");
            exit(101);
        }
    });
    scenario();
    drop(running);
}
