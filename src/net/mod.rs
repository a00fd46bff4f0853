//! The event loop: sockets, threads, clocks and randomness around the machines of this crate. Feature `net`.
