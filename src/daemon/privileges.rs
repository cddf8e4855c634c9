//! What a daemon gives up before it serves anybody (R7).
//!
//! Owners, modes and device numbers of files live in the catalog, and the kernel checks them: no
//! capability is needed to keep them. What a daemon of root does need is in [`NEEDED`]. The rest
//! goes from all its threads; and so that no program it starts can have it back, from the bounding
//! set too, with `no_new_privs`. With a command of `--on-commit` those two stay as they were: the
//! command is root's own and may do what root does.
//!
//! A daemon of an ordinary user has no capabilities. It keeps the set-user-id `fusermount3` usable,
//! without which it could not unmount. Nobody can trace a daemon or make it dump core, and so read
//! users' files from its memory, but root.

use rustix::io;
use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// What a daemon of root keeps:
///
/// - `SYS_ADMIN` to mount and unmount;
/// - `DAC_OVERRIDE`, `DAC_READ_SEARCH` to reach a store and a mount point that lie in directories
///   of other users;
/// - `SYS_PTRACE` to name the processes that keep a mount busy.
///
/// and [`LOW_PORTS`] where the web face listens on such a port.
const NEEDED: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYS_PTRACE);

/// How eagerly the OOM killer chooses this process: from -1000, never, to 1000.
const OOM: &str = "/proc/self/oom_score_adj";

/// To listen on a port below [`ORDINARY_PORT`].
const LOW_PORTS: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

/// The first port on which everybody may listen.
const ORDINARY_PORT: u16 = 1024;

/// Gives up what is not needed. Call it before any thread is started: each has its own. `starts_programs`
/// says that a command is run for the user, `port` where the web face listens, or 0. What the kernel does not let
/// go is logged.
pub(super) fn drop_unneeded(starts_programs: bool, port: u16) {
    let needed = if (1..ORDINARY_PORT).contains(&port) { NEEDED | LOW_PORTS } else { NEEDED };
    let warn = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            log::warn!("cannot {what}: {error}");
        }
    };
    warn("forbid core dumps", set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if !geteuid().is_root() {
        return;
    }
    if !starts_programs {
        // While CAP_SETPCAP is there.
        warn("limit what programs may do", limit_programs(needed));
        warn("forbid new privileges", set_no_new_privs(true));
    }
    let wanted = permit_safety();
    warn("give up capabilities", keep_needed(needed));
    if let Some(wanted) = wanted
        && let Err(error) = std::fs::write(OOM, wanted)
    {
        log::warn!("cannot be chosen by the OOM killer as before: {error}");
    }
}

/// Lets the guard, which inherits it, put itself out of reach of the OOM killer: a process without the capability
/// for that may go down to the least value that was set with it. Returns the value that there was.
fn permit_safety() -> Option<String> {
    let before = std::fs::read_to_string(OOM).ok()?;
    std::fs::write(OOM, "-1000").ok().map(|()| before)
}

fn limit_programs(needed: CapabilitySet) -> io::Result<()> {
    for capability in CapabilitySet::all().iter().filter(|one| !needed.contains(*one)) {
        match remove_capability_from_bounding_set(capability) {
            // One that this kernel does not know.
            Ok(()) | Err(io::Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn keep_needed(needed: CapabilitySet) -> io::Result<()> {
    // A container may have taken some already.
    let kept = capabilities(None)?.permitted & needed;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: none })
}
