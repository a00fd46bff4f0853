//! Frames to a client, cut anywhere, with calls in between.
#![no_main]

mod frames;
#[path = "../../tests/ws_wire/mod.rs"]
mod wire;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| frames::run(wire::Role::Client, data));
