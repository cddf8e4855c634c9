//! Who signed a `Release`: `gpgv` says, which knows which signatures are too weak and which keys are too old.
//!
//! What was signed is cut out of an `InRelease` here and nothing else of the file is used, so that nobody can add a line
//! before or after it. The program sees exactly the bytes that are parsed later.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::model::text::printable;

const PROGRAM: &str = "gpgv";
const BEGIN_MESSAGE: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &[u8] = b"-----END PGP SIGNATURE-----";
const BEGIN_KEYS: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END_KEYS: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// What the program says of a signature, by the words that its documentation promises (GnuPG, `doc/DETAILS`).
const STATUS: &str = "[GNUPG:] ";

/// Why a signature does not do.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// None at all.
    #[error("it is not signed")]
    Missing,
    /// The form.
    #[error("what is signed cannot be told from what is not: {0}")]
    Form(&'static str),
    /// It is of another content.
    #[error("the signature is not of this content")]
    Bad,
    /// Nobody whose key is in the keyring.
    #[error("none of the keys that signed it is in the keyring ({0})")]
    UnknownKey(String),
    /// Too old, revoked, too weak.
    #[error("the signature is not good any more: {0}")]
    NotGood(&'static str),
    /// The keyring.
    #[error("the keyring cannot be used: {0}")]
    Keyring(&'static str),
    /// The program is missing.
    #[error("the program {PROGRAM} cannot be run: {0}")]
    Program(io::Error),
    /// Something that the program said.
    #[error("{PROGRAM} refuses it: {0}")]
    Refused(String),
}

/// A signed text, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signed {
    /// What was signed.
    pub(super) text: Vec<u8>,
    /// By whom, for the program.
    pub(super) signature: Vec<u8>,
}

/// Takes a clear-signed text apart (RFC 9580, 7); `None` where it is not signed at all.
pub(super) fn split(whole: &[u8]) -> Result<Option<Signed>, SignatureError> {
    let form = |what| Err(SignatureError::Form(what));
    let mut lines = whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    if lines.next() != Some(BEGIN_MESSAGE) {
        let is_signed = whole.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"-----"));
        return if is_signed { form("something comes before it") } else { Ok(None) };
    }
    loop {
        match lines.next() {
            None => return form("it has no end"),
            Some([]) => break,
            Some(line) if line.starts_with(b"Hash:") => {}
            Some(_) => return form("it has a header that is none"),
        }
    }
    let mut text: Vec<&[u8]> = Vec::new();
    loop {
        match lines.next() {
            None => return form("it has no signature"),
            Some(line) if line == BEGIN_SIGNATURE => break,
            Some(line) => match (line.strip_prefix(b"- "), line.first()) {
                (Some(escaped), _) => text.push(escaped),
                (None, Some(b'-')) => return form("a line begins with a dash"),
                (None, _) => text.push(line),
            },
        }
    }
    let mut signature = BEGIN_SIGNATURE.to_vec();
    for line in lines.by_ref() {
        signature.push(b'\n');
        signature.extend(line);
        if line == END_SIGNATURE {
            signature.push(b'\n');
            return match lines.all(<[u8]>::is_empty) {
                true => Ok(Some(Signed { text: text.join(&b'\n'), signature })),
                false => form("something comes after it"),
            };
        }
    }
    form("the signature has no end")
}

/// The keys of a keyring in the form that the program reads: as they are, or without the armor (`.asc`).
pub(super) fn keys(keyring: &[u8]) -> Result<Vec<u8>, SignatureError> {
    let wrong = |what| Err(SignatureError::Keyring(what));
    let Some(armored) = std::str::from_utf8(keyring).ok().filter(|text| text.contains(BEGIN_KEYS))
    else {
        // A packet of a public key, in both forms of its header, or the form of GnuPG's own.
        let is_keys = matches!(keyring.first(), Some(0x98..=0x9a | 0xc6))
            || keyring.get(8..12) == Some(b"KBXf");
        return if is_keys { Ok(keyring.to_vec()) } else { wrong("it holds no OpenPGP key") };
    };
    let mut keys = Vec::new();
    for block in armored.split(BEGIN_KEYS).skip(1) {
        let Some((block, _)) = block.split_once(END_KEYS) else {
            return wrong("a key has no end");
        };
        // Headers end with an empty line; a checksum may come last.
        let body = block.lines().map(str::trim).skip(1).skip_while(|line| !line.is_empty());
        let digits: String = body.filter(|line| !line.starts_with('=')).collect();
        let Ok(bytes) = STANDARD.decode(digits) else {
            return wrong("a key is not written in base64");
        };
        keys.extend(bytes);
    }
    Ok(keys)
}

/// Checks that one of these keys signed the text; returns its fingerprint.
pub(super) fn check(text: &[u8], signature: &[u8], keys: &[u8]) -> Result<String, SignatureError> {
    let files = [(c"keys", keys), (c"signature", signature), (c"text", text)];
    let files = files.map(|(name, bytes)| in_memory(name, bytes));
    let [keys, signature, text] = files;
    let (keys, signature, text) = (
        keys.map_err(SignatureError::Program)?,
        signature.map_err(SignatureError::Program)?,
        text.map_err(SignatureError::Program)?,
    );
    let place = |file: &File| format!("/proc/self/fd/{}", file.as_raw_fd());
    let output = Command::new(PROGRAM)
        .args(["--status-fd", "1", "--weak-digest", "SHA1", "--weak-digest", "RIPEMD160"])
        .args(["--homedir", "/", "--keyring", &place(&keys)])
        .args([place(&signature), place(&text)])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .current_dir("/")
        .output()
        .map_err(SignatureError::Program)?;
    verdict(&String::from_utf8_lossy(&output.stdout), &String::from_utf8_lossy(&output.stderr))
}

/// A file without a name that a program of ours can open by its number. It holds nothing secret, and so does not matter to
/// other programs that are started meanwhile.
fn in_memory(name: &CStr, bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(name, MemfdFlags::empty())?);
    file.write_all(bytes)?;
    Ok(file)
}

/// What the program found. A suite may be signed by several keys: one good signature will do, if none is wrong.
fn verdict(status: &str, log: &str) -> Result<String, SignatureError> {
    let mut unknown = Vec::new();
    let mut not_good = None;
    let (mut is_good, mut good) = (false, None);
    for line in status.lines().filter_map(|line| line.strip_prefix(STATUS)) {
        let mut words = line.split(' ');
        match (words.next().unwrap_or_default(), words.next()) {
            ("BADSIG", _) => return Err(SignatureError::Bad),
            ("GOODSIG", _) => is_good = true,
            // Comes after the word that says whether it is good.
            ("VALIDSIG", Some(key)) if std::mem::take(&mut is_good) => {
                good.get_or_insert_with(|| key.to_owned());
            }
            ("EXPKEYSIG", _) => not_good = Some("the key has expired"),
            ("EXPSIG", _) => not_good = Some("it has expired"),
            ("REVKEYSIG", _) => not_good = Some("the key was revoked"),
            ("NO_PUBKEY", Some(key)) => unknown.push(key.to_owned()),
            _ => {}
        }
    }
    match (good, not_good) {
        (Some(key), _) => Ok(key),
        (None, Some(why)) => Err(SignatureError::NotGood(why)),
        (None, None) if !unknown.is_empty() => Err(SignatureError::UnknownKey(unknown.join(", "))),
        (None, None) => {
            let said = log.lines().last().unwrap_or("it does not say why");
            Err(SignatureError::Refused(printable(said)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nSuite: stable \n- -x\n\nDate: x\n\
         -----BEGIN PGP SIGNATURE-----\n\nabc=\n=x\n-----END PGP SIGNATURE-----\n";

    #[test]
    fn what_is_signed_is_cut_out() {
        let found = split(SIGNED.as_bytes()).unwrap().unwrap();
        assert_eq!(String::from_utf8(found.text).unwrap(), "Suite: stable\n-x\n\nDate: x");
        let signature = String::from_utf8(found.signature).unwrap();
        assert!(signature.starts_with("-----BEGIN") && signature.ends_with("SIGNATURE-----\n"));
        let found = split(SIGNED.replace('\n', "\r\n").as_bytes()).unwrap().unwrap();
        assert_eq!(String::from_utf8(found.text).unwrap(), "Suite: stable\n-x\n\nDate: x");
        assert_eq!(split(b"Suite: stable\n").unwrap(), None);
        assert_eq!(split(b"").unwrap(), None);
    }

    #[test]
    fn what_is_beside_it_is_refused() {
        for bad in [
            format!("Suite: other\n{SIGNED}"),
            format!("\n{SIGNED}"),
            format!("{SIGNED}Suite: other\n"),
            format!("{SIGNED}{SIGNED}"),
            SIGNED.replace("Hash:", "Suite:"),
            SIGNED.replace("- -x", "-x"),
            SIGNED.replace("-----BEGIN PGP SIGNATURE-----", ""),
            SIGNED.replace("-----END PGP SIGNATURE-----", ""),
            SIGNED[..40].to_owned(),
        ] {
            assert!(split(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_good_signature_will_do_if_none_is_wrong() {
        let verdict = |lines: &[&str]| {
            let status: String = lines.iter().map(|line| format!("[GNUPG:] {line}\n")).collect();
            verdict(&status, "gpgv: something\n").map_err(|error| error.to_string())
        };
        let good = ["GOODSIG 1 me", "VALIDSIG F1 2025", "NO_PUBKEY 2"];
        assert_eq!(verdict(&good).unwrap(), "F1");
        assert_eq!(verdict(&["NO_PUBKEY 2", good[0], good[1]]).unwrap(), "F1");
        for (bad, what) in [
            (&["GOODSIG 1 me", "VALIDSIG F1 2025", "BADSIG 2 you"][..], "not of this content"),
            (&["EXPKEYSIG 1 me", "VALIDSIG F1 2025"], "the key has expired"),
            (&["REVKEYSIG 1 me", "VALIDSIG F1 2025"], "revoked"),
            (&["EXPSIG 1 me", "VALIDSIG F1 2025"], "expired"),
            (&["NO_PUBKEY 1", "NO_PUBKEY 2"], "keyring (1, 2)"),
            (&["VALIDSIG F1"], "gpgv: something"),
            (&[], "gpgv: something"),
        ] {
            assert!(verdict(bad).unwrap_err().contains(what), "{bad:?}");
        }
    }

    #[test]
    fn keys_come_with_and_without_armor() {
        let armored = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: x\n\nmA\n==\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n";
        let (one, plain) = (armored.replace("mA\n==", "mA=="), [0x98, 1, 2]);
        assert_eq!(keys(one.as_bytes()).unwrap(), [0x98]);
        assert_eq!(keys(format!("note\n{one}\n{one}").as_bytes()).unwrap(), [0x98, 0x98]);
        assert_eq!(keys(&plain).unwrap(), plain);
        for bad in [&b""[..], b"text", BEGIN_KEYS.as_bytes(), one.replace("mA==", "%").as_bytes()] {
            assert!(keys(bad).is_err(), "{bad:?}");
        }
    }
}
