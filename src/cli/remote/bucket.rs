//! `cairn remote gc` and `cairn remote fsck`: what nothing needs in a bucket is removed, what is needed is checked.

use std::path::Path;

use crate::cli::Context;
use crate::cli::bucket::signing_key;
use crate::cli::error::CliError;
use crate::cli::text::size;
use crate::control::protocol::{ControlError, ErrorKind, Request};
use crate::control::remote::{BucketCheck, BucketCollection, RemoteRequest};
use crate::control::reply::Reply;
use crate::model::name::{RemoteName, RepoName};
use crate::model::text::count;

pub(super) fn collect(
    context: &mut Context,
    name: RemoteName,
    dry_run: bool,
    sign: Option<&Path>,
) -> Result<(), CliError> {
    let sign = sign.map(signing_key).transpose()?;
    let request = Request::Remote(RemoteRequest::Gc { name, dry_run, sign });
    let Reply::BucketCollection(done) = context.connect()?.ask(request)? else {
        return Err(CliError::unexpected_reply());
    };
    if context.json {
        return Ok(context.output.json(&*done)?);
    }
    for line in report(&done) {
        context.output.line(line)?;
    }
    Ok(())
}

fn report(done: &BucketCollection) -> Vec<String> {
    let mut lines = Vec::new();
    let objects = |number| count(number, "object");
    if let Some(bytes) = done.candidate_bytes {
        let all = objects(done.objects);
        lines.push(format!(
            "nothing needs {} ({}) of {all}",
            objects(done.candidates),
            size(bytes)
        ));
    } else {
        lines.push(format!(
            "deleted {} ({}) of {}",
            objects(done.deleted),
            size(done.deleted_bytes),
            objects(done.objects)
        ));
        if done.condemned > 0 {
            lines.push(format!("no push uses {} any more", objects(done.condemned)));
        }
        if done.waiting > 0 {
            let waiting = objects(done.waiting);
            lines.push(format!("{waiting} can be deleted seven days after they were condemned"));
        }
    }
    if done.strangers > 0 {
        lines.push(format!("{} that cairn did not make stay", count(done.strangers, "thing")));
    }
    lines
}

pub(super) fn accept(
    context: &mut Context,
    name: RemoteName,
    repository: RepoName,
) -> Result<(), CliError> {
    let request = RemoteRequest::Accept { name: name.clone(), repository: repository.clone() };
    let Reply::Done = context.connect()?.ask(Request::Remote(request))? else {
        return Err(CliError::unexpected_reply());
    };
    if context.json {
        let done = serde_json::json!({ "remote": name, "repository": repository });
        return Ok(context.output.json(&done)?);
    }
    let line = format_args!("what {name} holds of {repository} is taken for the truth from now on");
    Ok(context.output.line(line)?)
}

pub(super) fn check(
    context: &mut Context,
    name: RemoteName,
    with_content: bool,
) -> Result<(), CliError> {
    let request = Request::Remote(RemoteRequest::Fsck { name, with_content });
    let Reply::BucketCheck(done) = context.connect()?.ask(request)? else {
        return Err(CliError::unexpected_reply());
    };
    let BucketCheck { remote, repositories, versions, objects, read_bytes, found, notes } = &*done;
    if context.json {
        context.output.json(&*done)?;
    } else {
        for note in notes {
            context.output.line(note)?;
        }
        context.output.line(format_args!(
            "checked {}, {} and {}, read {}",
            count(*repositories, "repository"),
            count(*versions, "version"),
            count(*objects, "object"),
            size(*read_bytes)
        ))?;
    }
    if *found == 0 {
        return Ok(());
    }
    let message = format!("{} in {remote}", count(*found, "finding"));
    Err(ControlError::new(ErrorKind::Failed, message)
        .with_hint("push the versions again, under new numbers, from a machine that has them")
        .into())
}
