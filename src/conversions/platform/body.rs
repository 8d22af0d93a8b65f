//! The bodies of requests.

use serde::Serialize;

/// A body as JSON.
pub(super) fn json(body: &impl Serialize) -> Vec<u8> {
    // Bodies are structures of texts, numbers and JSON values, whose writing to memory has nothing to fail by.
    serde_json::to_vec(body).unwrap_or_default()
}
