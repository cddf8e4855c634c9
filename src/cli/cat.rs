//! `cairn cat`: the content of one file of a version, without a mount.

use std::fs::File;
use std::io::{self, Read, Write};

use serde::Serialize;

use super::Context;
use super::error::CliError;
use super::parse::VersionPath;
use super::text::{escape_path, size};
use crate::archive::control_sink::ControlExport;
use crate::archive::restore::{self, Found};
use crate::control::protocol::{ControlError, ErrorKind};
use crate::control::versions::VersionInfo;
use crate::model::raw::{RawBytes, RawPath};
use crate::model::tree::Content;

const HELP: &str = "\
Writes the bytes of a file to standard output. Content that a remote declared and that was not
fetched yet is fetched first. A symbolic link is not followed: the error says where it leads.

JSON
  {version, path, size_bytes, content}; version as in `cairn show`, content is text, or
  {\"bytes\": [...]} where it is not UTF-8; files of 16 MiB at most

EXAMPLES
  cairn cat web/7/index.html
  cairn cat web/latest/etc/nginx.conf | diff - /etc/nginx.conf
  cairn cat web/7/index.html --json | jq -r .content";

/// The largest content that is put into a JSON document, in bytes.
const JSON_BYTES_MAX: u64 = 16 << 20;

/// Bytes moved at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Arguments of `cairn cat`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct CatArgs {
    /// The file, as REPO/VERSION/PATH; VERSION is a number, a tag or `latest`
    #[arg(value_name = "REPO/VERSION/PATH", value_parser = VersionPath::parser())]
    file: VersionPath,
    /// Fail if the content was not fetched from its remote yet, and do not fetch it
    #[arg(long)]
    no_fetch: bool,
}

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    version: &'a VersionInfo,
    path: RawPath,
    size_bytes: u64,
    content: RawBytes,
}

impl CatArgs {
    /// Prints the content.
    ///
    /// # Errors
    /// There is no such file, or its content cannot be had.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        let VersionPath { repository, version, path } = self.file;
        let mut connection = context.connect()?;
        let source = ControlExport::begin(&mut connection, repository, version)?;
        let mut source = source.without_fetching(self.no_fetch);
        let shown = path.to_string();
        let Some(found) = restore::find(&mut source, &path)? else {
            return Err(super::restore::not_found(source.version(), &path).into());
        };
        let (bytes, blob) = match found {
            Found::Entry(entry) => match entry.content {
                Content::File { size, blob } => (size, blob),
                other => return Err(no_file(&shown, &other).into()),
            },
            Found::Root(_) => return Err(directory(&shown).into()),
        };
        let file = match blob {
            Some(name) => restore::open(&mut source, name)?,
            None => None,
        };
        if !context.json {
            return Ok(copy(file, context.output.writer())?);
        }
        if bytes > JSON_BYTES_MAX {
            let message = format!("{shown} has {}, too much for a JSON document", size(bytes));
            return Err(ControlError::new(ErrorKind::Usage, message)
                .with_hint("leave out --json, or write it to a file with `cairn restore`")
                .into());
        }
        let mut content = Vec::new();
        copy(file, &mut content)?;
        let (version, path) = (source.version(), path.to_raw());
        let content = RawBytes::from(content);
        Ok(context.output.json(&Document { version, path, size_bytes: bytes, content })?)
    }
}

/// An empty file has no content to open.
fn copy(file: Option<File>, to: &mut dyn Write) -> io::Result<()> {
    let Some(mut file) = file else { return Ok(()) };
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn directory(path: &str) -> ControlError {
    ControlError::new(ErrorKind::Usage, format!("{path} is a directory"))
        .with_hint("`cairn find` lists paths, `cairn restore` writes a directory")
}

fn no_file(path: &str, content: &Content) -> ControlError {
    match content {
        Content::Directory { .. } => directory(path),
        Content::Symlink { target } => {
            let target = escape_path(target);
            let message = format!("{path} is a symbolic link to `{target}`");
            ControlError::new(ErrorKind::Usage, message).with_hint("name the file that it leads to")
        }
        _ => ControlError::new(ErrorKind::Usage, format!("{path} is no regular file")),
    }
}
