//! `cairn remote test`: what works with a remote, and what does not.

use crate::cli::Context;
use crate::cli::error::CliError;
use crate::control::protocol::{ControlError, ErrorKind, Request};
use crate::control::remote::RemoteRequest;
use crate::control::reply::Reply;
use crate::model::name::RemoteName;
use crate::model::remote::RemoteTest;
use crate::model::text::count;

pub(super) fn test(context: &mut Context, name: RemoteName) -> Result<(), CliError> {
    let request = Request::Remote(RemoteRequest::Test { name: name.clone() });
    let Reply::RemoteTest(found) = context.connect()?.ask(request)? else {
        return Err(CliError::unexpected_reply());
    };
    if context.json {
        #[derive(serde::Serialize)]
        struct Document<'a> {
            remote: &'a RemoteName,
            #[serde(flatten)]
            found: &'a RemoteTest,
        }
        context.output.json(&Document { remote: &name, found: &found })?;
    } else {
        for line in report(&found) {
            context.output.line(line)?;
        }
    }
    if found.usable {
        return Ok(());
    }
    let why = found.failure.unwrap_or_else(|| "it cannot be used".to_owned());
    Err(ControlError::new(ErrorKind::Failed, format!("{name}: {why}")).into())
}

fn report(found: &RemoteTest) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(declared) = found.declared {
        let files = count(declared, "file");
        lines.push(match (found.conditional, found.has_sizes) {
            // What is read from this machine is not asked whether it changed.
            (None, _) => format!("yes  holds {files}"),
            (Some(_), Some(true)) => format!("yes  declares {files} by SHA-256 and size"),
            (Some(_), _) => format!("yes  declares {files} by SHA-256"),
        });
    }
    let mut say = |works: Option<bool>, yes: &str, no: &str| match works {
        Some(true) => lines.push(format!("yes  {yes}")),
        Some(false) => lines.push(format!("no   {no}")),
        None => {}
    };
    say(
        found.conditional,
        "says when nothing changed: that is one short answer",
        "does not say when nothing changed: what declares the files is fetched each time",
    );
    say(
        found.ranges,
        "sends parts: a download that breaks off goes on",
        "does not send parts: a download that breaks off begins anew",
    );
    say(
        found.creates_once,
        "creates an object only if there is none: several machines may push",
        "overwrites what is there although that was not asked for: ONE machine may push, two would lose versions",
    );
    say(
        found.lists_at_once,
        "lists what was written at once",
        "lists what was written later: a push may upload again what is there",
    );
    lines.extend(found.notes.iter().map(|note| format!("note {note}")));
    lines
}
