//! The web page: its files are part of the program, so that one binary is all there is to copy.

/// A file of the page.
pub(crate) struct Page {
    pub(crate) path: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) body: &'static str,
}

/// All of them.
pub(crate) const PAGES: [Page; 9] = [
    Page { path: "/", kind: "text/html; charset=utf-8", body: include_str!("web/index.html") },
    Page { path: "/style.css", kind: "text/css; charset=utf-8", body: include_str!("web/style.css") },
    Page { path: "/app.js", kind: "text/javascript; charset=utf-8", body: include_str!("web/app.js") },
    Page { path: "/chat.js", kind: "text/javascript; charset=utf-8", body: include_str!("web/chat.js") },
    Page { path: "/lines.js", kind: "text/javascript; charset=utf-8", body: include_str!("web/lines.js") },
    Page { path: "/one.js", kind: "text/javascript; charset=utf-8", body: include_str!("web/one.js") },
    Page { path: "/plot.js", kind: "text/javascript; charset=utf-8", body: include_str!("web/plot.js") },
    Page { path: "/tautline.js", kind: "text/javascript; charset=utf-8", body: include_str!("../web/tautline.js") },
    Page { path: "/icon.svg", kind: "image/svg+xml", body: include_str!("web/icon.svg") },
];

/// What the page may do: load its own files and talk to its own server. Nothing inline, nothing from elsewhere, no frame around it.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
