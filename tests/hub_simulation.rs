//! Many clients, one hub of up to three workers, links that delay, cut and stall, a clock: all of it virtual, all of it from one seed.
//!
//! What is real: the hub's core (`Desk`, `Sequence`, `Sequencer`, `Keys`, commands, notices, polls' answers), the server's HTTP, WebSocket and event streams,
//! and the client's session, byte by byte. What is not: sockets, threads, clocks, and the glue of `src/net/hub/`, which `sim/peer.rs` follows.
//!
//! Every promise is checked as each event is reported (`sim/witness.rs`), the bounds after each action, and at the end, when nothing is owed any
//! more, that nothing is left. `SIM_STEPS` says how many steps all seeds take together (120,000 by default), `SIM_SEED` runs one seed alone.

#[path = "counting/mod.rs"]
mod counting;
mod sim;

#[path = "sim/acts.rs"]
mod acts;
#[path = "sim/client.rs"]
mod client;
#[path = "sim/hub.rs"]
mod hub;
#[path = "sim/link.rs"]
mod link;
#[path = "sim/peer.rs"]
mod peer;
#[path = "sim/polls.rs"]
mod polls;
#[path = "sim/witness.rs"]
mod witness;
#[path = "sim/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use world::World;

/// Steps of one seed.
const STEPS: u64 = 6_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs a seed to its end; its trace and what happened in it.
fn run(seed: u64, steps: u64) -> (u64, u64) {
    let mut world = World::new(seed);
    world.run(steps);
    world.come_to_rest();
    if std::env::var_os("SIM_VERBOSE").is_some() {
        eprintln!(
            "seed {seed}: {} steps, {} s, {} events, {} missed, {:?}",
            world.steps,
            world.now.as_nanos() / 1_000_000_000 - 1000,
            world.events(),
            world.missed(),
            world.counts
        );
    }
    let (trace, steps) = (world.trace, world.steps);
    let hub = world.come_to_an_end();
    for worker in hub.workers {
        // What a desk that has nothing left still holds is what it may keep for the next burst.
        let before = counting::counts().live;
        drop(worker.desk);
        let held = before - counting::counts().live;
        assert!(held < 16 << 10, "an empty desk holds {held} bytes");
    }
    (trace, steps)
}

#[test]
fn every_subscriber_sees_each_event_once_and_in_order_or_is_told_of_a_gap() {
    let total = number("SIM_STEPS").unwrap_or(120_000);
    let only = number("SIM_SEED");
    let seeds = total.div_ceil(STEPS).max(1);
    let mut steps = 0;
    for seed in only.map_or(0..seeds, |seed| seed..seed + 1) {
        match catch_unwind(AssertUnwindSafe(|| run(seed, STEPS))) {
            Ok((_, taken)) => steps += taken,
            Err(panic) => {
                let (client, kind) = world::STORY.get();
                eprintln!("last heard: client {client}, a {kind}");
                eprintln!(
                    "seed {seed} failed; again: SIM_SEED={seed} cargo test --test hub_simulation every_subscriber"
                );
                resume_unwind(panic);
            }
        }
    }
    assert!(only.is_some() || steps >= total.min(100_000), "{steps} steps");
}

#[test]
fn a_seed_replays_exactly() {
    let first = run(11, 2_000);
    assert_eq!(first, run(11, 2_000));
    assert_ne!(first, run(12, 2_000));
}
