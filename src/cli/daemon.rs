//! What `cairn mount` and `cairn unmount` print, and their failures as the other verbs have them.

use std::io;
use std::path::Path;

use super::Context;
use super::error::CliError;
use super::mount::MountArgs;
use super::text::printable;
use super::unmount::{Asked, UnmountArgs, Unsaved};
use crate::control::client::Client;
use crate::control::protocol::{ControlError, ErrorKind, Request};
use crate::control::service::Attachment;
use crate::daemon::DaemonError;
use crate::fuse::mount::MountError;

/// Starts a daemon and says where it is mounted; in the foreground, serves and says nothing.
///
/// # Errors
/// The store cannot be mounted.
pub(super) fn mount(args: MountArgs, context: &mut Context) -> Result<(), CliError> {
    if super::remount::is_asked(&args) {
        return super::remount::run(&args, context);
    }
    args.edge.check()?;
    let args = if args.edge.edge { super::edge::prepare(args, context)? } else { args };
    let serves = args.foreground || args.daemon_child;
    let report = args.run(context.hooks.serve)?;
    if serves {
        return Ok(());
    }
    if context.json {
        return Ok(context.output.json(&report)?);
    }
    let (store, target) = (text(&report.store), text(&report.target));
    Ok(context.output.line(format_args!("mounted {store} at {target}"))?)
}

/// Stops a daemon and says what was unmounted.
///
/// # Errors
/// There is no such mount, or it is in use.
pub(super) fn unmount(args: UnmountArgs, context: &mut Context) -> Result<(), CliError> {
    let report = args.run(ask_to_save, ask_to_stop, super::error::warn)?;
    if context.json {
        return Ok(context.output.json(&report)?);
    }
    Ok(context.output.line(format_args!("unmounted {}", text(&report.target)))?)
}

fn text(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// Has the daemon bring into the store what it has in memory only. The only error is that something
/// cannot be saved. A daemon that cannot be asked ends when its mounts are gone, and an older one
/// does not know the request; neither is an error here.
fn ask_to_save(store: &Path, unsaved: Unsaved) -> Result<(), ControlError> {
    let Ok(Some(mut client)) = Client::connect_to_stop(store) else {
        return Ok(());
    };
    let save = Request::Save { give_up: unsaved == Unsaved::GiveUp };
    match client.call(&save, &Attachment::none(), &mut |_| {}) {
        Err(error) if error.kind == ErrorKind::Failed => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A daemon that cannot be asked ends when its mounts are gone, so no failure is an error here.
fn ask_to_stop(store: &Path) -> Asked {
    let Ok(Some(mut client)) = Client::connect_to_stop(store) else {
        return Asked::Unreachable;
    };
    match client.call(&Request::Shutdown, &Attachment::none(), &mut |_| {}) {
        Ok(_) => Asked::Stopping,
        Err(_) => Asked::Unreachable,
    }
}

impl From<DaemonError> for CliError {
    fn from(error: DaemonError) -> Self {
        let hint = error.hint();
        let kind = match &error {
            DaemonError::NotAStore(_) => ErrorKind::StoreUnusable,
            DaemonError::NoAccess(_) => ErrorKind::Permission,
            DaemonError::LogFilter { .. } => ErrorKind::Usage,
            DaemonError::StillRunning { .. } => ErrorKind::Busy,
            DaemonError::Mount(error) => kind_of_mount(error),
            // The daemon said kind and hint in its own words.
            DaemonError::Child(error) => return Self::Control((**error).clone()),
            DaemonError::Start(cause) => match cause.downcast_ref::<ControlError>() {
                Some(error) => return Self::Control(error.clone()),
                None => ErrorKind::Failed,
            },
            #[cfg(feature = "net")]
            DaemonError::Web(_) => ErrorKind::Failed,
            DaemonError::Session { .. }
            | DaemonError::Slow(_)
            | DaemonError::Interrupted
            | DaemonError::Process { .. }
            | DaemonError::Log { .. }
            | DaemonError::ChildDied { .. } => ErrorKind::Failed,
        };
        let error = ControlError::new(kind, error.to_string());
        Self::Control(match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        })
    }
}

fn kind_of_mount(error: &MountError) -> ErrorKind {
    match error {
        MountError::Busy { .. } => ErrorKind::Busy,
        MountError::Remount { source, .. } => match source.kind() {
            io::ErrorKind::ResourceBusy => ErrorKind::Busy,
            io::ErrorKind::PermissionDenied => ErrorKind::Permission,
            _ => ErrorKind::Failed,
        },
        MountError::Missing(_) | MountError::NotMounted(_) => ErrorKind::NotFound,
        MountError::RootOnly(_) | MountError::AllowOther | MountError::Device(_) => {
            ErrorKind::Permission
        }
        MountError::Option(_)
        | MountError::NotDirectory(_)
        | MountError::NotEmpty(_)
        | MountError::InsideStore { .. }
        | MountError::AroundStore { .. }
        | MountError::Inner { .. } => ErrorKind::Usage,
        MountError::Table(_)
        | MountError::NoDevice
        | MountError::NoHelper
        | MountError::Helper { .. }
        | MountError::Examine { .. }
        | MountError::AlreadyMounted { .. }
        | MountError::Unresponsive(_)
        | MountError::Mount { .. }
        | MountError::Unmount { .. }
        | MountError::Covered(_) => ErrorKind::Failed,
    }
}
