//! permessage-deflate (RFC 7692), below the messages.

#![allow(dead_code)]

mod distance;
