//! `mount.cairn` and `umount.fuse.cairn`: what mount(8) and umount(8) run.
//!
//! The binary under these names takes their command lines (mount(8), "External helpers"):
//!
//! ```text
//! mount.cairn STORE MNT [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]
//! umount.fuse.cairn MNT [-flnrv] [-N NAMESPACE] [-t TYPE]
//! ```
//!
//! so that `mount -t cairn STORE MNT` and lines of `/etc/fstab` work. umount needs its helper because
//! a cairn mount holds a second one, of versions: umount alone would find it busy. It looks for the
//! helper when mount(8) noted an option of its own (`_netdev`, `x-…`, `uhelper=fuse.cairn`), as
//! with most lines of fstab; otherwise there are `umount -R` and `cairn unmount`.
//!
//! Options that are meant for mount(8) itself are ignored; those of `cairn mount` are written with
//! `=` and underscores (`gc_period=6h`); all others are mount options. Either command line is
//! translated to one of `cairn`, which does the work.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::control::protocol::{ControlError, ErrorKind};

/// Options with which mount(8) and systemd talk to themselves.
const OTHERS: &[&str] = &[
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "nousers",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "_netdev",
    "nofail",
    "async",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "diratime",
    "nodiratime",
    "iversion",
    "noiversion",
    "silent",
    "loud",
    "mand",
    "nomand",
];

/// Options of `cairn mount` that take a value.
const OWN: &[&str] = &[
    "gc_period",
    "protect",
    "scrub_period",
    "scrub_rate",
    "max_file_size",
    "cache_size",
    "on_commit",
    "http",
    "log",
    "log_format",
    "cache",
    "poll",
    "endpoint",
    "region",
    "password_file",
    "limit_rate",
];

/// What a name of the program asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Helper {
    /// The ordinary command.
    None,
    /// A command line of `cairn` to run instead.
    Run(Vec<OsString>),
    /// Nothing is to be done: mount(8) only asked whether it could be done (`-f`).
    Nothing,
}

/// Translates a command line, program name included, if it is one of a helper.
///
/// # Errors
/// An option that neither mount(8) nor cairn has, or a missing argument.
pub(super) fn translate(arguments: &[OsString]) -> Result<Helper, ControlError> {
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    let rest = arguments.get(1..).unwrap_or_default();
    match name.and_then(OsStr::to_str) {
        Some("mount.cairn" | "mount.fuse.cairn") => mount(rest),
        Some("umount.cairn" | "umount.fuse.cairn") => unmount(rest),
        _ => Ok(Helper::None),
    }
}

/// The letters, values and places of a helper's command line.
#[derive(Default)]
struct Line {
    letters: Vec<u8>,
    lists: Vec<String>,
    places: Vec<OsString>,
}

impl Line {
    fn parse(arguments: &[OsString]) -> Result<Self, ControlError> {
        let mut line = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let letters = argument.as_encoded_bytes().strip_prefix(b"-");
            let Some(letters) = letters.filter(|letters| !letters.is_empty()) else {
                line.places.push(argument.clone());
                continue;
            };
            match letters {
                [b'o' | b't' | b'N'] => {
                    let value = arguments.next().ok_or_else(|| wrong(argument, "needs a value"))?;
                    if letters == b"o" {
                        let list = value.to_str().ok_or_else(|| wrong(value, "is no text"))?;
                        line.lists.push(list.to_owned());
                    }
                }
                letters if letters.iter().all(|letter| b"sfnvrwl".contains(letter)) => {
                    line.letters.extend(letters);
                }
                _ => return Err(wrong(argument, "is unknown")),
            }
        }
        Ok(line)
    }

    fn has(&self, letter: u8) -> bool {
        self.letters.contains(&letter)
    }
}

fn mount(arguments: &[OsString]) -> Result<Helper, ControlError> {
    let line = Line::parse(arguments)?;
    let [store, target] = &line.places[..] else {
        return Err(usage("mount.cairn STORE MNT [-o OPTIONS]"));
    };
    let mut command: Vec<OsString> = ["cairn", "mount"].map(Into::into).into();
    let mut options = Vec::new();
    for option in line.lists.iter().flat_map(|list| list.split(',')) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let foreign = OTHERS.contains(&option) || name == "comment" || name == "uhelper";
        if foreign || option.to_ascii_lowercase().starts_with("x-") {
            continue;
        }
        if option == "edge" {
            command.push("--edge".into());
        } else if name == "repo" {
            command.push(format!("--repo={value}").into());
        } else if name == "login" {
            // `user` is an option of mount(8).
            command.push(format!("--user={value}").into());
        } else if OWN.contains(&name) {
            let own = format!("--{}=", name.replace('_', "-"));
            // The value of the command line comes after that of fstab, and the later one holds.
            command.retain(|word: &OsString| !word.to_string_lossy().starts_with(&own));
            command.push(format!("{own}{value}").into());
        } else if !line.has(b's')
            || option == "remount"
            || crate::fuse::mount::MountOptions::is_known(option)
        {
            options.push(option);
        }
    }
    if line.has(b'r') {
        options.push("ro");
    }
    if options.contains(&"remount") {
        // mount(8) passes all options that hold and leaves out words that undo others, so an option
        // that is missing is to be off. It leaves out `suid` and `dev` as well, although these are
        // off by default here; so only cairn's own command can turn those two on.
        let undo = [("noexec", "exec"), ("noatime", "atime")];
        let missing = undo.iter().filter(|(word, _)| !options.contains(word));
        options.extend(missing.map(|(_, undone)| *undone).collect::<Vec<_>>());
    }
    if !options.is_empty() {
        command.extend(["-o".into(), options.join(",").into()]);
    }
    command.extend(["--".into(), store.clone(), target.clone()]);
    if line.has(b'f') {
        return Ok(Helper::Nothing);
    }
    Ok(Helper::Run(command))
}

fn unmount(arguments: &[OsString]) -> Result<Helper, ControlError> {
    let line = Line::parse(arguments)?;
    let [target] = &line.places[..] else {
        return Err(usage("umount.fuse.cairn MNT [-l]"));
    };
    let mut command: Vec<OsString> = ["cairn", "unmount"].map(Into::into).into();
    if line.has(b'l') || line.has(b'f') {
        command.push("--lazy".into());
    }
    command.extend(["--".into(), target.clone()]);
    Ok(Helper::Run(command))
}

fn wrong(argument: &OsStr, what: &str) -> ControlError {
    ControlError::new(ErrorKind::Usage, format!("{} {what}", argument.display()))
}

fn usage(line: &str) -> ControlError {
    ControlError::new(ErrorKind::Usage, format!("usage: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> Result<Helper, ControlError> {
        let arguments: Vec<OsString> = line.split(' ').map(Into::into).collect();
        translate(&arguments)
    }

    fn run(line: &str) -> String {
        match translated(line).unwrap() {
            Helper::Run(command) => command.join(OsStr::new(" ")).into_string().unwrap(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn lines_of_mount_become_lines_of_cairn() {
        for (from, to) in [
            ("/sbin/mount.cairn /s /m", "cairn mount -- /s /m"),
            ("mount.cairn /s /m -o rw", "cairn mount -o rw -- /s /m"),
            ("mount.fuse.cairn /s /m -n -v -t fuse.cairn", "cairn mount -- /s /m"),
            (
                "mount.cairn /s /m -o rw,nofail,_netdev,x-systemd.automount,X-mount.mkdir,noauto",
                "cairn mount -o rw -- /s /m",
            ),
            (
                "mount.cairn /s /m -o allow_other,gc_period=6h,ro,user,noexec",
                "cairn mount --gc-period=6h -o allow_other,ro,noexec -- /s /m",
            ),
            (
                "mount.cairn /s /m -o protect=1h,gc_period=6h,protect=2h",
                "cairn mount --gc-period=6h --protect=2h -- /s /m",
            ),
            ("mount.cairn /s /m -o max_file_size=1T", "cairn mount --max-file-size=1T -- /s /m"),
            (
                "mount.cairn /s /m -s -o rw,noexec,remount,user_id=0,protect=1h",
                "cairn mount --protect=1h -o rw,noexec,remount,atime -- /s /m",
            ),
            ("mount.cairn -sr /s /m -o acl,noexec", "cairn mount -o noexec,ro -- /s /m"),
            (
                "mount.cairn s3://b/p /m -o ro,edge,repo=a,repo=b,login=key,password_file=/k,poll=5m",
                "cairn mount --edge --repo=a --repo=b --user=key --password-file=/k --poll=5m -o ro -- s3://b/p /m",
            ),
            ("mount.cairn /s /m -o acl", "cairn mount -o acl -- /s /m"),
            ("umount.fuse.cairn /m", "cairn unmount -- /m"),
            ("/sbin/umount.fuse.cairn /m -l -t fuse.cairn", "cairn unmount --lazy -- /m"),
        ] {
            assert_eq!(run(from), to, "{from}");
        }
    }

    #[test]
    fn other_names_and_fakes_run_nothing() {
        assert_eq!(translated("/usr/bin/cairn mount /s /m").unwrap(), Helper::None);
        assert_eq!(translated("mount.cairn /s /m -f").unwrap(), Helper::Nothing);
        for line in [
            "mount.cairn /s",
            "mount.cairn /s /m /x",
            "mount.cairn /s /m -q",
            "mount.cairn /s /m -o",
        ] {
            assert_eq!(translated(line).unwrap_err().kind, ErrorKind::Usage, "{line}");
        }
    }
}
