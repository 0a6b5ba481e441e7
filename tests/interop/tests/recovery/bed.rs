//! The cloud that all trials share.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use pcmk_interop::cloud::{Cloud, Options};
use pcmk_interop::error::Context;
use pcmk_interop::{Result, World, fail};

use super::pacemaker::scene::Scene;

/// A trial.
#[derive(Clone, Copy)]
pub(crate) enum Test {
    /// With the cloud alone.
    Cloud(fn(&Cloud) -> Result<()>),
    /// With a cluster beside it.
    Cluster(fn(&Scene, &Cloud) -> Result<()>),
}

/// When a trial runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Always.
    Always,
    /// If asked for (`--include-ignored`, `make test-recovery-all`): it takes long.
    Asked,
}

/// The cloud, one trial at a time.
pub(crate) struct Bed {
    world: World,
    /// Of those trials that need one: started for the first of them.
    scene: Mutex<Option<Scene>>,
    cloud: Mutex<Cloud>,
}

impl Bed {
    /// Starts the cloud.
    pub(crate) fn start(world: World) -> Result<Self> {
        let started = Instant::now();
        let cloud =
            Cloud::up(&world, 4, &Options { wilful_guests: true, max_limit: 20, ..Options::default() })?;
        println!("a cloud with four hosts is up after {:.1} s", started.elapsed().as_secs_f32());
        Ok(Self { world, scene: Mutex::new(None), cloud: Mutex::new(cloud) })
    }

    fn cluster(&self, cloud: &Cloud) -> Result<Scene> {
        let started = Instant::now();
        let scene = Scene::start(&self.world, cloud).context("the cluster")?;
        println!("a cluster beside it is up after {:.1} s", started.elapsed().as_secs_f32());
        Ok(scene)
    }

    /// Runs a trial, and leaves the cloud as it was.
    pub(crate) fn run(&self, test: Test) -> Result<()> {
        let cloud = self.cloud.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scene = self.scene.lock().unwrap_or_else(PoisonError::into_inner);
        let scene = match (test, &mut *scene) {
            (Test::Cloud(_), _) => None,
            (Test::Cluster(_), Some(scene)) => Some(&*scene),
            (Test::Cluster(_), none) => Some(&*none.insert(self.cluster(&cloud)?)),
        };
        let started = Instant::now();
        let result = match (test, scene) {
            (Test::Cloud(test), _) => test(&cloud),
            (Test::Cluster(test), Some(scene)) => test(scene, &cloud),
            (Test::Cluster(_), None) => fail("there is no cluster"),
        };
        let took = started.elapsed().as_secs_f32();
        if let Err(error) = &result {
            println!("{error}");
        }
        let started = Instant::now();
        scene.map_or(Ok(()), |scene| scene.reset(&cloud)).context("the cluster afterwards")?;
        cloud.reset().context("afterwards")?;
        if std::env::var_os("PCMK_RIG_TIMES").is_some() {
            println!("({took:.1} s, and {:.1} s to clean up)", started.elapsed().as_secs_f32());
        }
        result
    }
}
