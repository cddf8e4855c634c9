//! What the machine says of itself: its boot, its users, random names.

use std::io;

use rustix::rand::GetRandomFlags;

/// The id of this boot of the machine: it differs after a power loss.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn boot_id() -> io::Result<String> {
    random_file("/proc/sys/kernel/random/boot_id")
}

/// A new random uuid, as text.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn new_uuid() -> io::Result<String> {
    random_file("/proc/sys/kernel/random/uuid")
}

fn random_file(path: &str) -> io::Result<String> {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned())
}

/// Random bytes, fit for keys and names that nobody may guess.
///
/// # Errors
/// When the system has no randomness to offer.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += rustix::rand::getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

/// Name of a user in `/etc/passwd`; `None` when it is not there (directory services are not asked,
/// since they may block).
pub fn user_name(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_has_one_id_and_each_uuid_is_new() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
        assert_ne!(new_uuid().unwrap(), new_uuid().unwrap());
        assert_ne!(random_bytes::<16>().unwrap(), random_bytes::<16>().unwrap());
    }
}
