//! Topics: who subscribed to what, and one order of everything published. Sans-IO: time comes in as a number.
