//! Random histories of one repository: commits beside every kind of change, with the flush held
//! back for some of the time, and restarts.

use std::cell::RefCell;
use std::sync::mpsc::TryRecvError;

use cairn::engine::stop_point::{Hold, StopPoint};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use super::seen::{Flight, check_in_flight, settled};
use super::{
    Answer, applied, change_owner, delete, delete_tag, flag, rename_tag, set_policy, set_quota,
    set_tag, stage, start_commit, tag, undelete,
};
use crate::world::World;

#[derive(Debug, Clone)]
enum Step {
    /// Publishes an area with this content: equal content is a commit that changes nothing.
    Commit(&'static str, Option<&'static str>),
    SetTag(&'static str, u64, bool),
    RenameTag(&'static str, &'static str),
    DeleteTag(&'static str),
    Delete(u64),
    Undelete(u64),
    Flag(u64, bool),
    Policy(u64),
    Quota(u64),
    Owner(u16, u32),
    Stage(&'static str),
    /// Holds the flush back, or lets it go on.
    Hold,
    Release,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let name = || select(&["a", "b", "c"][..]);
    let number = || 1_u64..6;
    prop_oneof![
        6 => (select(&["x", "y", "z"][..]), proptest::option::of(name()))
            .prop_map(|(content, name)| Step::Commit(content, name)),
        3 => (name(), number(), any::<bool>()).prop_map(|(t, n, fresh)| Step::SetTag(t, n, fresh)),
        3 => (name(), name()).prop_filter("two names", |(from, to)| from != to)
            .prop_map(|(from, to)| Step::RenameTag(from, to)),
        2 => name().prop_map(Step::DeleteTag),
        2 => number().prop_map(Step::Delete),
        2 => number().prop_map(Step::Undelete),
        1 => (number(), any::<bool>()).prop_map(|(number, released)| Step::Flag(number, released)),
        1 => (0_u64..3).prop_map(Step::Policy),
        1 => (100_u64..200).prop_map(Step::Quota),
        1 => (0_u16..0o777, 0_u32..9).prop_map(|(mode, uid)| Step::Owner(mode, uid)),
        1 => name().prop_map(Step::Stage),
        4 => Just(Step::Hold),
        3 => Just(Step::Release),
        1 => Just(Step::Restart),
    ]
}

/// A world under test, with what was asked of it and is not answered.
struct Run {
    world: World,
    hold: Option<Hold>,
    commits: Vec<(Answer, Option<&'static str>)>,
    others: Vec<Answer>,
    areas: u64,
}

impl Run {
    fn start() -> Self {
        let world = World::with_repository();
        Self { world, hold: None, commits: Vec::new(), others: Vec::new(), areas: 0 }
    }

    fn apply(mut self, step: &Step) -> Self {
        let world = &self.world;
        let asked = match *step {
            Step::Commit(content, name) => {
                self.areas += 1;
                let area = world.stage(&format!("work{}", self.areas));
                world.write(area, "f", content.as_bytes());
                self.commits.push((start_commit(world, area, name), name));
                return self;
            }
            Step::Hold => {
                if self.hold.is_none() {
                    self.hold = Some(world.engine.stop_points.hold(StopPoint::Flushing));
                }
                return self;
            }
            Step::Release => {
                self.hold = None;
                return self;
            }
            Step::Restart => return self.restart(),
            Step::SetTag(name, number, fresh) => set_tag(world, name, number, fresh),
            Step::RenameTag(from, to) => rename_tag(world, from, to),
            Step::DeleteTag(name) => delete_tag(world, name),
            Step::Delete(number) => delete(world, number),
            Step::Undelete(number) => undelete(world, number),
            Step::Flag(number, released) => flag(world, number, released),
            Step::Policy(keep) => set_policy(world, keep),
            Step::Quota(files) => set_quota(world, files),
            Step::Owner(mode, uid) => change_owner(world, mode, uid),
            Step::Stage(name) => stage(world, name),
        };
        self.others.push(asked);
        self
    }

    /// Compares readers and catalog as far as the commits under way allow.
    fn check(&mut self) -> Result<(), String> {
        applied(&self.world);
        // While nothing holds the flush, a commit may move between the two looks.
        if self.hold.is_none() {
            self.answered();
        }
        self.commits.retain(|(answer, _)| answer.try_recv() == Err(TryRecvError::Empty));
        let names = self.commits.iter().filter_map(|(_, name)| name.map(tag)).collect();
        check_in_flight(&self.world, &Flight { commits: self.commits.len(), names })
    }

    fn answered(&mut self) {
        for answer in self.commits.drain(..).map(|(answer, _)| answer).chain(self.others.drain(..))
        {
            answer.recv().unwrap();
        }
    }

    fn restart(mut self) -> Self {
        self.hold = None;
        self.answered();
        let seen = settled(&self.world);
        self.world = self.world.reopen();
        assert_eq!(settled(&self.world), seen, "after a restart");
        self
    }
}

#[test]
fn readers_and_catalog_agree_after_every_step() {
    let config = Config {
        cases: support::scale("CAIRN_TEST_CASES", 12),
        max_shrink_time: 60_000,
        failure_persistence: None,
        ..Config::default()
    };
    let histories = proptest::collection::vec(step(), 40);
    let result = TestRunner::new(config).run(&histories, |history| {
        let run = RefCell::new(Some(Run::start()));
        for (index, step) in history.iter().enumerate() {
            let mut next = run.take().expect("put back below").apply(step);
            next.check().map_err(|difference| {
                TestCaseError::fail(format!("after step {index}, {step:?}: {difference}"))
            })?;
            run.replace(Some(next));
        }
        drop(run.take().map(Run::restart));
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
