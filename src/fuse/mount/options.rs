//! The options of `cairn mount -o`, and how they reach the kernel.
//!
//! Some things are not for the user to choose: the kernel checks permissions
//! (`default_permissions`, R7), and mounts are nosuid and nodev unless root asks otherwise.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use rustix::mount::MountFlags;

/// Options that are taken, for the message that refuses another.
const KNOWN: &str = "allow_other, ro, rw, dev, nodev, suid, nosuid, exec, noexec, atime, noatime, \
                     nonempty, inode32, inode64, fsname=NAME, max_read=BYTES, default_permissions, defaults";

/// How a filesystem of ours is mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Other users than the one who mounts may enter.
    pub allow_other: bool,
    /// Nothing can be changed through the mount.
    pub read_only: bool,
    /// Device nodes work. Root only.
    pub dev: bool,
    /// Set-user-id and set-group-id bits work. Root only.
    pub suid: bool,
    /// Nothing can be executed.
    pub noexec: bool,
    /// Access times are not kept.
    pub noatime: bool,
    /// The mount point may hold files, which the mount hides, or be a mount already.
    pub nonempty: bool,
    /// Inode numbers of versions are below 2^32.
    pub inode32: bool,
    /// The source shown in the table of mounts; the store's path when absent.
    pub fsname: Option<String>,
    /// The largest read request, in bytes; the kernel's choice when absent.
    pub max_read: Option<u32>,
}

/// An option that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// It could be given, but cairn does not do it.
    #[error("mount option {option:?} is not supported: {reason}")]
    Refused {
        /// The option as given.
        option: String,
        /// Why.
        reason: &'static str,
    },
    /// Its value is missing, superfluous or malformed.
    #[error("mount option {option:?}: {reason}")]
    Value {
        /// The option as given.
        option: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No such option.
    #[error("unknown mount option {option:?}; known are: {KNOWN}")]
    Unknown {
        /// The option as given.
        option: String,
    },
}

impl FromStr for MountOptions {
    type Err = OptionError;

    fn from_str(list: &str) -> Result<Self, OptionError> {
        let mut options = Self::default();
        options.add(list)?;
        Ok(options)
    }
}

impl MountOptions {
    /// What the kernel lists as the source of a mount of the store at `store`.
    pub(super) fn source<'a>(&'a self, store: &'a Path) -> &'a OsStr {
        self.fsname.as_ref().map_or(store.as_os_str(), OsStr::new)
    }

    /// Adds a comma-separated list; of two that contradict each other the later one holds.
    ///
    /// # Errors
    ///
    /// Returns an [`OptionError`] for the first option that is not taken.
    pub fn add(&mut self, list: &str) -> Result<(), OptionError> {
        list.split(',').filter(|option| !option.is_empty()).try_for_each(|option| self.one(option))
    }

    /// Whether an option is taken, for those who leave out what is not.
    pub fn is_known(option: &str) -> bool {
        option.parse::<Self>().is_ok()
    }

    fn one(&mut self, option: &str) -> Result<(), OptionError> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let wrong = |reason| Err(OptionError::Value { option: option.to_owned(), reason });
        if let Some(flag) = self.flag(name) {
            let (field, set) = flag;
            if value.is_some() {
                return wrong("it takes no value");
            }
            *field = set;
            return Ok(());
        }
        match (name, value) {
            ("defaults" | "default_permissions", None) => Ok(()),
            ("fsname", Some(value)) if !value.is_empty() => {
                self.fsname = Some(value.to_owned());
                Ok(())
            }
            ("fsname", _) => wrong("it needs a name: fsname=NAME"),
            ("max_read", Some(value)) => match value.parse() {
                Ok(bytes) if bytes >= 4096 => {
                    self.max_read = Some(bytes);
                    Ok(())
                }
                _ => wrong("it needs a number of bytes, at least 4096"),
            },
            ("max_read", None) => wrong("it needs a value: max_read=BYTES"),
            _ => Err(refusal(option, name)),
        }
    }

    /// The field that an option without value sets, and what it sets it to.
    fn flag(&mut self, name: &str) -> Option<(&mut bool, bool)> {
        Some(match name {
            "allow_other" => (&mut self.allow_other, true),
            "ro" => (&mut self.read_only, true),
            "rw" => (&mut self.read_only, false),
            "dev" => (&mut self.dev, true),
            "nodev" => (&mut self.dev, false),
            "suid" => (&mut self.suid, true),
            "nosuid" => (&mut self.suid, false),
            "noexec" => (&mut self.noexec, true),
            "exec" => (&mut self.noexec, false),
            "noatime" => (&mut self.noatime, true),
            "atime" => (&mut self.noatime, false),
            "nonempty" => (&mut self.nonempty, true),
            "inode32" => (&mut self.inode32, true),
            "inode64" => (&mut self.inode32, false),
            _ => return None,
        })
    }

    /// The flags of mount(2).
    pub(super) fn flags(&self) -> MountFlags {
        let mut flags = MountFlags::empty();
        flags.set(MountFlags::RDONLY, self.read_only);
        flags.set(MountFlags::NODEV, !self.dev);
        flags.set(MountFlags::NOSUID, !self.suid);
        flags.set(MountFlags::NOEXEC, self.noexec);
        flags.set(MountFlags::NOATIME, self.noatime);
        flags
    }

    /// The options that the FUSE filesystem of the kernel reads, each with a leading comma.
    pub(super) fn fuse_data(&self) -> String {
        let mut data = String::from(",default_permissions");
        if self.allow_other {
            data.push_str(",allow_other");
        }
        if let Some(bytes) = self.max_read {
            data.push_str(&format!(",max_read={bytes}"));
        }
        data
    }
}

impl fmt::Display for MountOptions {
    /// Writes the list that parses to the same options again; it begins with `defaults`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("defaults")?;
        for (set, name) in [
            (self.allow_other, "allow_other"),
            (self.read_only, "ro"),
            (self.dev, "dev"),
            (self.suid, "suid"),
            (self.noexec, "noexec"),
            (self.noatime, "noatime"),
            (self.nonempty, "nonempty"),
            (self.inode32, "inode32"),
        ] {
            if set {
                write!(f, ",{name}")?;
            }
        }
        if let Some(name) = &self.fsname {
            write!(f, ",fsname={name}")?;
        }
        if let Some(bytes) = self.max_read {
            write!(f, ",max_read={bytes}")?;
        }
        Ok(())
    }
}

fn refusal(option: &str, name: &str) -> OptionError {
    let reason = match name {
        "allow_root" => {
            "the kernel knows only all users or one; use allow_other, files keep their permissions"
        }
        "auto_unmount" => "a dead mount is cleaned up by the next `cairn mount`",
        "subtype" => "it is always cairn, so that crawlers can be told to skip it",
        "kernel_cache" | "auto_cache" | "direct_io" | "entry_timeout" | "attr_timeout"
        | "negative_timeout" | "noforget" => "cairn chooses what the kernel keeps",
        "sync" | "dirsync" => "use fsync, or commit: both are durable when they return",
        _ => {
            return OptionError::Unknown { option: option.to_owned() };
        }
    };
    OptionError::Refused { option: option.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<MountOptions, OptionError> {
        list.parse()
    }

    #[test]
    fn the_default_is_nosuid_nodev_with_permissions() {
        let options = parse("").unwrap();
        assert_eq!(options, MountOptions::default());
        assert_eq!(options.flags(), MountFlags::NODEV | MountFlags::NOSUID);
        assert_eq!(options.fuse_data(), ",default_permissions");
    }

    #[test]
    fn each_option_is_taken() {
        let options = parse("allow_other,ro,dev,suid,noexec,noatime,nonempty").unwrap();
        let flags = MountFlags::RDONLY | MountFlags::NOEXEC | MountFlags::NOATIME;
        assert_eq!(options.flags(), flags);
        assert!(options.nonempty);
        assert_eq!(options.fuse_data(), ",default_permissions,allow_other");
        let options = parse("fsname=a=b,max_read=65536").unwrap();
        assert_eq!(options.fsname.as_deref(), Some("a=b"));
        assert_eq!(options.fuse_data(), ",default_permissions,max_read=65536");
    }

    #[test]
    fn the_later_one_holds() {
        let options =
            parse("ro,rw,dev,nodev,suid,nosuid,noexec,exec,noatime,atime,inode32,inode64,defaults")
                .unwrap();
        assert_eq!(options, MountOptions::default());
    }

    #[test]
    fn display_parses_to_the_same() {
        let list = "allow_other,ro,dev,suid,noexec,noatime,nonempty,inode32,fsname=x,max_read=8192";
        for list in [list, "", "ro"] {
            let options = parse(list).unwrap();
            assert_eq!(parse(&options.to_string()).unwrap(), options);
        }
    }

    #[test]
    fn refusals_say_why() {
        for (list, says) in [
            ("allow_root", "allow_other"),
            ("ro,auto_unmount", "cleaned up"),
            ("subtype=x", "always cairn"),
            ("kernel_cache", "cairn chooses"),
            ("sync", "durable"),
            ("ro=1", "takes no value"),
            ("fsname", "needs a name"),
            ("fsname=", "needs a name"),
            ("max_read=12", "at least 4096"),
            ("max_read=-1", "at least 4096"),
            ("max_read", "needs a value"),
            ("defaults=1", "unknown"),
            ("uid=3", "known are: allow_other"),
            ("RO", "unknown"),
            ("ro ,dev", "unknown"),
        ] {
            let message = parse(list).unwrap_err().to_string();
            assert!(message.contains(says), "{list}: {message}");
        }
    }
}
