//! Signing by `ssh-keygen`, which knows keys in files, in an agent and on a token.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};

use super::{NAMESPACE, SignError, Signer};
use crate::bucket::event::SIGNATURE_BYTES_MAX;
use crate::model::text::printable;

const PROGRAM: &str = "ssh-keygen";

/// How long `ssh-keygen` may take. It is long because somebody may have to touch a token.
const PATIENCE: Duration = Duration::from_secs(120);

/// The pause between two looks whether `ssh-keygen` has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How much of its message is read when it fails, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 4096;

/// A key that `ssh-keygen` signs with.
#[derive(Debug, Clone)]
pub struct SshKeygen {
    key_file: PathBuf,
    agent_socket: Option<PathBuf>,
}

impl SshKeygen {
    /// Signs with the private key in that file; where it is a public key, an agent signs that has the private one.
    pub fn new(key_file: PathBuf, agent_socket: Option<PathBuf>) -> Self {
        Self { key_file, agent_socket }
    }

    fn start(&self, bytes: &[u8]) -> io::Result<Child> {
        let mut signed = File::from(memfd_create(c"event", MemfdFlags::CLOEXEC)?);
        signed.write_all(bytes)?;
        signed.rewind()?;
        let mut command = Command::new(PROGRAM);
        command.args(["-Y", "sign", "-n", NAMESPACE, "-f"]).arg(&self.key_file);
        if let Some(socket) = &self.agent_socket {
            command.env("SSH_AUTH_SOCK", socket);
        }
        // Nobody is there to type a passphrase: this program is asked for it, and knows none.
        command.env("SSH_ASKPASS", "false").env("SSH_ASKPASS_REQUIRE", "force");
        command.env("LC_ALL", "C").current_dir("/");
        command.stdin(signed).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }
}

impl Signer for SshKeygen {
    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, SignError> {
        let key = self.key_file.display();
        let failed =
            |error: String| SignError(format!("{PROGRAM} cannot sign with {key}: {error}"));
        let unrun = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => SignError(format!(
                "the program {PROGRAM} is missing, which signs: install OpenSSH's client"
            )),
            _ => failed(error.to_string()),
        };
        let mut child = self.start(bytes).map_err(unrun)?;
        if !ends(&mut child).map_err(|error| failed(error.to_string()))? {
            return Err(failed(format!("no answer within {} seconds", PATIENCE.as_secs())));
        }
        // It has ended, and what it says at most fits into a pipe.
        let (mut signature, mut said) = (Vec::new(), Vec::new());
        let read = |from: Option<&mut dyn Read>, max: u64, into: &mut Vec<u8>| match from {
            Some(from) => from.take(max).read_to_end(into).map(drop),
            None => Ok(()),
        };
        let output = child.stdout.as_mut().map(|pipe| pipe as &mut dyn Read);
        read(output, SIGNATURE_BYTES_MAX as u64 + 1, &mut signature).map_err(unrun)?;
        let complaint = child.stderr.as_mut().map(|pipe| pipe as &mut dyn Read);
        read(complaint, COMPLAINT_BYTES_MAX, &mut said).map_err(unrun)?;
        let status = child.wait().map_err(unrun)?;
        if status.success() && !signature.is_empty() {
            return Ok(signature);
        }
        let said = String::from_utf8_lossy(&said);
        let why = said
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("it does not say why");
        Err(failed(format!("{}{}", printable(why), hint(&self.key_file, why))))
    }
}

/// Waits until a program has ended, for [`PATIENCE`] at most. Then the program is killed, so that a push does not hang
/// behind an agent or a token that never answers. Returns whether it ended by itself.
fn ends(child: &mut Child) -> io::Result<bool> {
    let until = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        thread::sleep(LOOK_INTERVAL);
    }
    Ok(true)
}

/// What to do about it.
fn hint(key_file: &Path, said: &str) -> &'static str {
    let is_public = key_file.extension().is_some_and(|end| end == "pub");
    match (said.contains("passphrase"), is_public) {
        (true, _) => ". Add the key to an agent (ssh-add), and give the .pub file as the key",
        (false, true) => ". The agent must have the private key: `ssh-add -l` says what it has",
        (false, false) => "",
    }
}
