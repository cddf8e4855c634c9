//! Deterministic file content.

use super::random::Random;

/// `length` bytes that depend on `seed`, do not repeat, and do not compress.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut content = Vec::with_capacity(length + 8);
    while content.len() < length {
        content.extend_from_slice(&random.next().to_le_bytes());
    }
    content.truncate(length);
    content
}
