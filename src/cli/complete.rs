//! Completion of the command line: what a shell's script asks the program for at each TAB.
//!
//! clap knows verbs, options and paths. Names in the store are asked of its daemon, or read from
//! its catalog where none runs. The name of an argument's value (`REPO`, `REPO/AREA`) tells which
//! names it takes. A shell waits for the answer, so it comes within [`PATIENCE`] or not at all, and
//! nothing but candidates is ever printed.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use clap::Arg;
use clap_complete::CompleteEnv;
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};

use super::{Context, Hooks, STORE};
use crate::cli::output::Output;
use crate::control::client::{Client, Connection};
use crate::control::names::NamesOf;
use crate::control::protocol::Request;
use crate::control::reply::Reply;
use crate::model::name::RepoName;

/// Set by the shells' scripts to the name of the shell.
pub(super) const VARIABLE: &str = "CAIRN_COMPLETE";

/// How long a shell waits for names of the store. A daemon answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers a shell, if it is one that asks: returns the exit code then.
pub(super) fn answer(args: &[OsString], hooks: Hooks) -> Option<u8> {
    if std::env::var_os(VARIABLE).is_none_or(|shell| shell.is_empty()) {
        return None;
    }
    // The words begin after `--`; the first is the program's name.
    let words = args.iter().skip_while(|word| *word != "--").skip(2).cloned().collect();
    let line = Arc::new(Line { words, hooks });
    let factory = || command(&line);
    let directory = std::env::current_dir().ok();
    let completed = CompleteEnv::with_factory(factory)
        .var(VARIABLE)
        .bin("cairn")
        .completer("cairn")
        .try_complete(args.iter().cloned(), directory.as_deref());
    Some(u8::from(!matches!(completed, Ok(true))))
}

/// What is on the command line, and how to reach a store.
struct Line {
    words: Vec<OsString>,
    hooks: Hooks,
}

/// Names that an argument takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// `REPO`
    Repository,
    /// `REPO/…`, where what follows the slash may be left out or not.
    Part { part: Part, optional: bool },
    /// A version of the repository that another word names.
    Version,
}

/// What follows the slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Version,
    Area,
    Tag,
    Deleted,
    /// Something that does not exist yet.
    New,
}

impl Takes {
    /// What the argument of a verb takes, by the name of its value.
    fn of(verb: &str, value: &str) -> Option<Self> {
        let part = |part, optional| Some(Self::Part { part, optional });
        match (verb, value) {
            // What is made must not be there yet.
            ("create", _) => None,
            ("stage", "REPO/NAME") => part(Part::New, false),
            ("undelete", "REPO[/VERSION]") => part(Part::Deleted, true),
            (_, "REPO") => Some(Self::Repository),
            (_, "REPO/VERSION" | "REPO/VERSION/PATH" | "HASH|FILE|REPO/VERSION/PATH") => {
                part(Part::Version, false)
            }
            (_, "REPO[/VERSION]" | "REPO[/VERSION][/PATH]") => part(Part::Version, true),
            (_, "REPO/NAME") => part(Part::Area, false),
            (_, "REPO[/TAG]") => part(Part::Tag, true),
            (_, "VERSION") => Some(Self::Version),
            _ => None,
        }
    }
}

/// The command line as clap knows it, with completions. Options are offered where a hyphen asks for them,
/// or where there is nothing else.
fn command(line: &Arc<Line>) -> clap::Command {
    let hides = !line.current().as_encoded_bytes().starts_with(b"-");
    let hide = |command: clap::Command| {
        command.disable_help_flag(hides).mut_args(|argument| {
            let hidden = argument.is_hide_set() || (hides && !argument.is_positional());
            argument.hide(hidden)
        })
    };
    hide(super::command()).mut_subcommands(|verb| {
        let name = verb.get_name().to_owned();
        hide(verb).mut_args(|argument| match takes(&name, &argument) {
            Some(takes) => argument.add(ArgValueCompleter::new(Names {
                takes,
                paths: ["why", "prefetch"].contains(&name.as_str()),
                line: Arc::clone(line),
            })),
            None => argument,
        })
    })
}

fn takes(verb: &str, argument: &Arg) -> Option<Takes> {
    Takes::of(verb, argument.get_value_names()?.first()?)
}

/// Candidates for one argument.
struct Names {
    takes: Takes,
    /// Whether it may be a path as well.
    paths: bool,
    line: Arc<Line>,
}

impl ValueCompleter for Names {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let names = current.to_str().map(|current| self.names(current)).unwrap_or_default();
        let mut candidates: Vec<_> = names.into_iter().map(CompletionCandidate::new).collect();
        if self.paths {
            candidates.extend(PathCompleter::file().complete(current));
        }
        candidates
    }
}

impl Names {
    fn names(&self, current: &str) -> Vec<String> {
        match self.takes {
            Takes::Repository => self.line.ask(NamesOf::Repositories, current),
            Takes::Version => {
                let repository = self.line.repository();
                repository
                    .map(|name| self.line.ask(NamesOf::Versions(name), current))
                    .unwrap_or_default()
            }
            Takes::Part { part, optional } => match current.split_once('/') {
                Some((repository, rest)) => self.parts(part, repository, rest),
                None => {
                    let repositories = self.line.ask(NamesOf::Repositories, current);
                    let with_slash = repositories.iter().map(|name| format!("{name}/"));
                    let alone = repositories.iter().filter(|_| optional).cloned();
                    alone.chain(with_slash).collect()
                }
            },
        }
    }

    fn parts(&self, part: Part, repository: &str, rest: &str) -> Vec<String> {
        let Ok(name) = repository.parse::<RepoName>() else { return Vec::new() };
        let of = match part {
            Part::Version => NamesOf::Versions(name),
            Part::Area => NamesOf::Areas(name),
            Part::Tag => NamesOf::Tags(name),
            Part::Deleted => NamesOf::Deleted(name),
            Part::New => return Vec::new(),
        };
        let found = self.line.ask(of, rest);
        found.into_iter().map(|part| format!("{repository}/{part}")).collect()
    }
}

impl Line {
    /// The word that is to be completed. Shells that do not say which one it is end the line there.
    fn current(&self) -> &OsStr {
        let index = std::env::var("_CLAP_COMPLETE_INDEX").ok().and_then(|text| text.parse().ok());
        let word = index.map_or_else(|| self.words.last(), |index: usize| self.words.get(index));
        word.map_or(OsStr::new(""), OsString::as_os_str)
    }

    /// The store that the command would use.
    fn store(&self) -> Option<PathBuf> {
        let mut words = self.words.iter();
        while let Some(word) = words.next() {
            if word == "--store" {
                return words.next().map(PathBuf::from);
            }
            if let Some(path) = word.to_str().and_then(|word| word.strip_prefix("--store=")) {
                return Some(path.into());
            }
        }
        std::env::var_os(STORE).filter(|store| !store.is_empty()).map(PathBuf::from)
    }

    /// The first repository that a word names.
    fn repository(&self) -> Option<RepoName> {
        let named = self.words.iter().skip(1).filter_map(|word| word.to_str());
        named
            .filter(|word| word.contains('/'))
            .find_map(|word| word.split('/').next()?.parse().ok())
    }

    /// Asks for names; returns none if there is no answer in time. The thread that waits for the
    /// answer then ends with the process.
    fn ask(&self, of: NamesOf, prefix: &str) -> Vec<String> {
        let (sender, receiver) = channel();
        let (store, hooks) = (self.store(), self.hooks);
        let request = Request::Names { of, prefix: prefix.to_owned() };
        let ask = move || {
            let context = Context::new(store, true, Output::new(Box::new(std::io::sink())), hooks);
            let names = context.store().ok().and_then(|store| {
                let mut connection = match Client::connect(store).ok()? {
                    Some(client) => Connection::Daemon(client),
                    None => Connection::local((hooks.open_glance)(store).ok()?),
                };
                connection.ask(request).ok()
            });
            // Whoever asked may have given up.
            sender.send(names).unwrap_or_default();
        };
        if std::thread::Builder::new().spawn(ask).is_err() {
            return Vec::new();
        }
        match receiver.recv_timeout(PATIENCE) {
            Ok(Some(Reply::Names(names))) => names,
            Ok(_) | Err(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_that_names_something_of_the_store_is_completed() {
        for verb in crate::cli::command().get_subcommands() {
            for argument in verb.get_arguments() {
                let names = argument.get_value_names().unwrap_or_default();
                let named = names.iter().any(|name| name.contains("REPO") || *name == "VERSION");
                let expected = named && verb.get_name() != "create";
                let takes = takes(verb.get_name(), argument);
                assert_eq!(takes.is_some(), expected, "{} {names:?}", verb.get_name());
            }
        }
    }
}
