//! `cairn mount -o remount,…`: changes a mount that is there.
//!
//! Flags of the mounts are changed here, since only the kernel checks them; the daemon is asked to
//! change its own settings. Either all is changed or nothing: kernel and daemon are both asked
//! before the first change.

use super::Context;
use super::error::CliError;
use super::mount::{MountArgs, MountReport};
use super::text::printable;
use super::unmount::outer_mount;
use crate::control::client::Client;
use crate::control::protocol::{ControlError, ErrorKind, Request};
use crate::control::service::Attachment;
use crate::control::settings::{INODE32, Setting};
use crate::daemon::DaemonError;
use crate::fuse::mount::{self, FlagChanges, MountEntry, MountError, MountTable};

/// Whether a command line of `cairn mount` asks to change a mount.
pub(super) fn is_asked(args: &MountArgs) -> bool {
    options(args).any(|option| option == "remount")
}

/// Changes the mount.
///
/// # Errors
/// There is none, something cannot be changed, or it is in use.
pub(super) fn run(args: &MountArgs, context: &mut Context) -> Result<(), CliError> {
    let entry = find(args).map_err(DaemonError::from)?;
    check_store(args, &entry)?;
    let mut settings = args.given_settings()?;
    let mut flags = FlagChanges::default();
    for option in options(args) {
        if option == INODE32 {
            settings.push(Setting::new(INODE32, true.to_string()));
        } else {
            flags.add(option, &entry).map_err(|error| DaemonError::Mount(error.into()))?;
        }
    }
    if args.read_only {
        flags.add("ro", &entry).map_err(|error| DaemonError::Mount(error.into()))?;
    }
    ask(&entry, &settings, true)?;
    let table = MountTable::read().map_err(DaemonError::from)?;
    let family: Vec<MountEntry> = table.made_for(&entry.source).into_iter().cloned().collect();
    mount::remount(&entry, &family, flags).map_err(DaemonError::from)?;
    ask(&entry, &settings, false)?;
    let report = MountReport { store: entry.source, target: entry.target };
    if context.json {
        return Ok(context.output.json(&report)?);
    }
    let target = printable(&report.target.to_string_lossy());
    Ok(context.output.line(format_args!("changed the mount at {target}"))?)
}

fn options(args: &MountArgs) -> impl Iterator<Item = &str> {
    args.options.iter().flat_map(|list| list.split(','))
}

fn find(args: &MountArgs) -> Result<MountEntry, MountError> {
    let target = mount::resolve(&args.target)?;
    outer_mount(&MountTable::read()?, &target)
}

/// The command names the store as well: as a path, or as mount(8) takes it from the table of mounts.
fn check_store(args: &MountArgs, entry: &MountEntry) -> Result<(), CliError> {
    let named = args.store_path.canonicalize();
    if args.store_path == entry.source || named.is_ok_and(|store| store == entry.source) {
        return Ok(());
    }
    let (target, shown) = (entry.target.display(), entry.source.display());
    let message = format!("{target} shows {shown}, and not {}", args.store_path.display());
    Err(CliError::new(ErrorKind::Usage, message))
}

/// Has the daemon change its settings, or only say whether it would.
fn ask(entry: &MountEntry, settings: &[Setting], check: bool) -> Result<(), ControlError> {
    if settings.is_empty() {
        return Ok(());
    }
    let Some(mut client) = Client::connect(&entry.source)? else {
        let message = format!("no daemon answers for {}", entry.source.display());
        return Err(ControlError::new(ErrorKind::Failed, message)
            .with_hint("only the flags of the mount can be changed without it"));
    };
    let request = Request::Remount { settings: settings.to_vec(), check };
    client.call(&request, &Attachment::none(), &mut |_| {}).map(|_| ())
}
