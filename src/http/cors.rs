//! CORS: any page may call, since who may send for a project is decided by its key and its allowed origins.
//!
//! It wraps everything else, because a page that cannot read a refusal sees a network error in its place. `OPTIONS`
//! is answered here for every path. Credentials are allowed only because a beacon always sends them; no cookie is
//! set or read. The script alone passes by, for reasons of its own: see `script.rs`.

use std::time::Duration;

use http::Method;
use http::header::RETRY_AFTER;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// How long a browser may remember a preflight; none remembers it for longer.
const PREFLIGHT_AGE: Duration = Duration::from_hours(24);

/// The headers of every answer of the public listener but the script. Echoes `Origin`, `null` too.
pub(super) fn layer() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::OPTIONS])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([RETRY_AFTER])
        .max_age(PREFLIGHT_AGE)
}
