//! The rule that says after which record a page ends. It is part of the format: changing it gives
//! every large directory another hash.

/// Fewest records of a page that is not the last of its level (unless its bytes end it).
pub const RECORDS_MIN: usize = 128;

/// Most records of a page.
pub const RECORDS_MAX: usize = 1024;

/// Bytes of records at which a page ends, whatever its record count.
pub const RECORD_BYTES_CUT: usize = 96 * 1024;

/// One name in 256 is a boundary: pages have about 128 + 256 records.
const BOUNDARY_MASK: u64 = 0xff;

/// Whether a page ends after the record named `name`, which is its `count`th (from 1) and brings
/// its records to `bytes` bytes.
pub(super) fn ends_page(count: usize, bytes: usize, name: &[u8]) -> bool {
    count >= RECORDS_MAX
        || bytes >= RECORD_BYTES_CUT
        || (count >= RECORDS_MIN && name_hash(name) & BOUNDARY_MASK == 0)
}

/// FNV-1a, then the finalizer of MurmurHash3, because FNV mixes its low bits poorly. An attacker
/// who picks names can make pages as small as the minimum or as large as the maximum, no more.
fn name_hash(name: &[u8]) -> u64 {
    let mut hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_hash_is_part_of_the_format() {
        assert_eq!(name_hash(b""), 0xefd0_1f60_ba99_2926);
        let boundaries = (0..100_000)
            .filter(|n| name_hash(format!("file{n}.c").as_bytes()) & BOUNDARY_MASK == 0)
            .count();
        assert!((300..500).contains(&boundaries), "{boundaries}");
    }
}
