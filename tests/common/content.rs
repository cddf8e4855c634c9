//! Deterministic file content.

/// `length` bytes that depend on `seed`, do not repeat, and do not compress.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    // Xorshift64*: good enough to make blobs differ, and the same on each run.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut content = Vec::with_capacity(length + 8);
    while content.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        content.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    content.truncate(length);
    content
}
