//! Settings of a daemon that a remount names.

use std::sync::atomic::Ordering;

use super::{Answer, StoreService};
use crate::control::protocol::{ControlError, ErrorKind};
use crate::control::reply::Reply;
use crate::control::settings::{CACHE_SIZE, MAX_FILE_SIZE, Setting};

impl StoreService {
    /// Changes settings, all or none; with `check` it only says whether it would.
    pub(super) fn remount(&self, settings: &[Setting], check: bool) -> Answer {
        let (mut file_bytes_max, mut cache_bytes_max) = (None, None);
        for wanted in settings {
            if wanted.name == MAX_FILE_SIZE {
                file_bytes_max = Some(bytes(wanted)?);
                continue;
            }
            if wanted.name == CACHE_SIZE {
                cache_bytes_max = Some(bytes(wanted)?);
                continue;
            }
            let known = self.facts.settings.iter().find(|setting| setting.name == wanted.name);
            match known {
                Some(now) if now.value == wanted.value => {}
                Some(now) => return Err(fixed(now)),
                None => {
                    let message = format!("the daemon has no setting {:?}", wanted.name);
                    return Err(ControlError::new(ErrorKind::Usage, message));
                }
            }
        }
        if check {
            return Ok(Reply::Done);
        }
        if let Some(bytes) = file_bytes_max {
            // The next write reads the new value; nothing else has to be told.
            self.facts.file_bytes_max.store(bytes, Ordering::Relaxed);
        }
        if let Some(bytes) = cache_bytes_max {
            self.facts.cache_bytes_max.store(bytes, Ordering::Relaxed);
            self.look_at_cache();
        }
        Ok(Reply::Done)
    }
}

fn bytes(setting: &Setting) -> Result<u64, ControlError> {
    setting.value.parse().map_err(|_| {
        let message = format!("{} is no number of bytes: {:?}", setting.name, setting.value);
        ControlError::new(ErrorKind::Usage, message)
    })
}

fn fixed(now: &Setting) -> ControlError {
    let Setting { name, value } = now;
    let value = if value.is_empty() { "not set" } else { value };
    let message = format!("{name} is {value}, and cannot be changed while the store is mounted");
    ControlError::new(ErrorKind::Usage, message).with_hint("unmount and mount again")
}
