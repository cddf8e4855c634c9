//! A scripted history that remembers what was acknowledged: everything that changes a store.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::promises::Promises;
use support::{Cairn, content, tree};

/// Versions that the history publishes from areas.
const VERSIONS: u64 = 3;

/// Answers that the history gets when nothing fails.
pub(crate) const ANSWERS: usize = 20;

/// Plays the history until it ends or the daemon fails; returns what was acknowledged.
pub(crate) fn play(cairn: &Cairn) -> Promises {
    let mut play = Play { cairn, promises: Promises::default() };
    // The end of the daemon is an error of any of the calls, and the point of this.
    drop(play.script());
    play.promises
}

struct Play<'a> {
    cairn: &'a Cairn,
    promises: Promises,
}

impl Play<'_> {
    fn script(&mut self) -> io::Result<()> {
        fs::create_dir(self.cairn.staging("lib"))?;
        for number in 1..=VERSIONS {
            self.publish(number)?;
        }
        self.tags()?;
        self.settings()?;
        self.delete_and_undelete()?;
        self.collect()?;
        self.import()?;
        self.expire()?;
        let area = self.cairn.staging("lib/open@latest");
        fs::create_dir(&area)?;
        self.fill(&area, 99)?;
        fs::create_dir(self.cairn.staging("lib/discarded"))?;
        fs::write(self.cairn.staging("lib/discarded/f"), "x")?;
        fs::remove_dir_all(self.cairn.staging("lib/discarded"))
    }

    fn publish(&mut self, number: u64) -> io::Result<()> {
        let name = format!("v{number}");
        let place = format!("lib/{name}");
        let area_name = if number == 1 { name } else { format!("{name}@latest") };
        let area = self.cairn.staging("lib").join(area_name);
        fs::create_dir(&area)?;
        self.fill(&area, number)?;
        self.promises.asks_version(&place, tree::try_read(&area)?);
        fs::rename(&area, self.cairn.tags(&place))?;
        self.promises.synced.clear();
        self.promises.answered(&place, true);
        Ok(())
    }

    fn tags(&mut self) -> io::Result<()> {
        let extra = self.cairn.tags("lib/extra");
        self.set("tag lib/extra", Value::Null, "1".into(), |_| symlink("1", &extra))?;
        self.cli_set("tag lib/extra", Value::Null, "3".into(), &["tag", "lib/extra", "3"])?;
        self.cli_set("tag lib/stable", Value::Null, "1".into(), &["tag", "lib/stable", "1"])?;
        self.set("tag lib/extra", Value::Null, Value::Null, |_| fs::remove_file(&extra))
    }

    fn settings(&mut self) -> io::Result<()> {
        let no = json!(false);
        let policy = json!({"keep_unreleased": 5});
        self.cli_set(
            "policy lib",
            Value::Null,
            policy,
            &["policy", "lib", "--keep-unreleased", "5"],
        )?;
        self.cli_set("quota lib", Value::Null, json!(1 << 30), &["quota", "lib", "--bytes", "1G"])?;
        self.cli_set(
            "quota lib",
            Value::Null,
            json!(2_u64 << 30),
            &["quota", "lib", "--bytes", "2G"],
        )?;
        self.cli_set("released lib/3", no.clone(), json!(true), &["release", "lib/3"])?;
        self.cli_set("locked lib/1", no.clone(), json!(true), &["lock", "lib/1"])?;
        self.cli_set("locked lib/1", no, json!(false), &["lock", "lib/1", "--undo"])
    }

    fn delete_and_undelete(&mut self) -> io::Result<()> {
        self.change("lib/v2", false, &["delete", "lib/2"])?;
        self.change("lib/v2", true, &["undelete", "lib/2"])?;
        self.change("lib/v2", false, &["delete", "lib/v2"])
    }

    /// Collects what only the deleted version had, without protection.
    fn collect(&mut self) -> io::Result<()> {
        self.cli(&["gc", "--full", "--wait", "--protect", "0"])
    }

    /// New content, then some of it again with more, and content that `lib` has.
    fn import(&mut self) -> io::Result<()> {
        let source = self.cairn.scratch().join("source");
        fs::create_dir_all(source.join("d"))?;
        fs::write(source.join("d/new"), content::bytes(500, 400_000))?;
        fs::write(source.join("small"), content::bytes(501, 900))?;
        self.import_as("first", &source)?;
        fs::write(source.join("d/known"), content::bytes(1, 20_000))?;
        fs::write(source.join("small"), content::bytes(502, 800))?;
        self.import_as("second", &source)
    }

    fn import_as(&mut self, name: &str, source: &Path) -> io::Result<()> {
        let place = format!("imported/{name}");
        self.promises.asks_version(&place, tree::try_read(source)?);
        let source = source.to_str().unwrap();
        self.cli(&["import", source, "imported", "--mirror", "--tag", name])?;
        self.promises.answered(&place, true);
        Ok(())
    }

    /// A policy lets the first import go.
    fn expire(&mut self) -> io::Result<()> {
        let policy = json!({"keep_unreleased": 1});
        self.cli_set(
            "policy imported",
            Value::Null,
            policy,
            &["policy", "imported", "--keep-unreleased", "1"],
        )?;
        self.change("imported/first", false, &["gc", "--full", "--wait"])
    }

    /// A command that takes a version away or brings it back.
    fn change(&mut self, place: &str, is_there: bool, command: &[&str]) -> io::Result<()> {
        self.promises.asks_change(place);
        self.cli(command)?;
        self.promises.answered(place, is_there);
        Ok(())
    }

    fn cli_set(
        &mut self,
        key: &str,
        before: Value,
        value: Value,
        command: &[&str],
    ) -> io::Result<()> {
        self.set(key, before, value, |play| play.cli(command))
    }

    fn set(
        &mut self,
        key: &str,
        before: Value,
        value: Value,
        change: impl FnOnce(&Self) -> io::Result<()>,
    ) -> io::Result<()> {
        self.promises.asks_setting(key, before, value);
        change(self)?;
        self.promises.setting_answered(key);
        Ok(())
    }

    fn cli(&self, command: &[&str]) -> io::Result<()> {
        let output = self.cairn.run(command);
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(io::Error::other(said.into_owned())) }
    }

    /// Every kind of change, with contents that depend on `seed`.
    fn fill(&mut self, area: &Path, seed: u64) -> io::Result<()> {
        let directory = area.join(format!("d{seed}"));
        fs::create_dir(&directory)?;
        for (index, size) in [10, 5_000, 300_000, 1_500_000].into_iter().enumerate() {
            let path = directory.join(format!("f{index}"));
            let bytes = content::bytes(seed * 10 + index as u64, size);
            let mut file = File::create(&path)?;
            file.write_all(&bytes)?;
            if index % 2 == 0 {
                self.sync(&file, path, bytes)?;
            }
        }
        // The same content in each version, and a file that each version replaces.
        fs::write(area.join("same"), content::bytes(1, 20_000))?;
        fs::write(area.join("new.tmp"), content::bytes(seed, 7_000))?;
        fs::rename(area.join("new.tmp"), area.join("replaced"))?;
        fs::hard_link(directory.join("f1"), area.join(format!("linked{seed}")))?;
        let linked = area.join(format!("linked{}", seed.wrapping_sub(1)));
        fs::remove_file(linked).or_else(not_found)?;
        File::options().append(true).open(area.join("replaced"))?.write_all(b"more")?;
        self.rewrite(&directory.join("f2"), seed)
    }

    /// A synced file grows, is synced again, and is written anew.
    fn rewrite(&mut self, path: &Path, seed: u64) -> io::Result<()> {
        let mut bytes = fs::read(path)?;
        let mut file = File::options().append(true).open(path)?;
        self.promises.synced.retain(|(synced, _)| synced != path);
        file.write_all(b"more")?;
        bytes.extend_from_slice(b"more");
        self.sync(&file, path.to_owned(), bytes)?;
        drop(file);
        self.promises.synced.retain(|(synced, _)| synced != path);
        fs::write(path, content::bytes(seed * 10 + 9, 5_000))
    }

    fn sync(&mut self, file: &File, path: PathBuf, bytes: Vec<u8>) -> io::Result<()> {
        file.sync_all()?;
        self.promises.synced.push((path, bytes));
        Ok(())
    }
}

fn not_found(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
