//! The adapters, one file per peer: each drives its crate the way its own documentation does, set up at its best.

pub mod embedded_websocket;
pub mod fastwebsockets;
pub mod nexus_web;
pub mod sse_core;
pub mod sse_stream;
pub mod tokio_websockets;
pub mod tungstenite;
pub mod wtx;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use crate::cell::Refused;

/// A head in the `http` crate's types, for the peers that ask for one; values share one buffer, as hyper has it.
fn parse_request(request: &[u8]) -> Result<Request<()>, Refused> {
    let bytes = Bytes::copy_from_slice(request);
    let mut parsed = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut parsed);
    if !head.parse(&bytes).map_err(|_| Refused)?.is_complete() {
        return Err(Refused);
    }
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for header in head.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Refused)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(header.value)).map_err(|_| Refused)?;
        headers.append(name, value);
    }
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(head.method.ok_or(Refused)?.as_bytes()).map_err(|_| Refused)?;
    let path = bytes.slice_ref(head.path.ok_or(Refused)?.as_bytes());
    *request.uri_mut() = Uri::from_maybe_shared(path).map_err(|_| Refused)?;
    *request.version_mut() = match head.version {
        Some(1) => http::Version::HTTP_11,
        _ => http::Version::HTTP_10,
    };
    *request.headers_mut() = headers;
    Ok(request)
}
