//! A resource: its probes, what is believed, and its actions.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::attributes::{Attributes, Shown};
use super::managed::{self, Managed, NoUnit};
use super::parameters::{Told, UnitName};
use super::policy::{Decision, Reaction, Restarts, said};
use super::state::State;
use super::watched::Watched;
use super::{Action, Kind, Outcome, evacuation, guests, together};
use crate::config::Config;
use crate::units::Systemd;
use crate::verdict::{Health, Step, Subject};

/// For an action that has no limit of its own.
const USUAL_LIMIT: Duration = Duration::from_secs(60);
/// More than a look ever takes: probes are made anew only for an action that has less time.
const LONGEST_LOOK: Duration = Duration::from_secs(20);
/// Part of a limit that is left for what comes after it.
const MARGIN: u32 = 10;
const LARGEST_MARGIN: Duration = Duration::from_secs(2);
/// Between looks at something that is being started.
const STARTING: Duration = Duration::from_millis(500);
/// Between looks at something that changes all the time.
const BREATH: Duration = Duration::from_secs(1);
/// For the cluster to hear what an attribute is now, before a process ends.
const HEARD: Duration = Duration::from_secs(3);

/// What an agent has around it.
#[derive(Debug, Clone)]
pub struct Context {
    /// Node attributes of the cluster.
    pub attributes: Attributes,
    /// systemd.
    pub systemd: Systemd,
    /// Where is kept what outlives a process: [`FOLDER`](super::FOLDER).
    pub folder: PathBuf,
    /// Whether the same [`Agent`] runs one action after another. If not, a failure is looked at twice within one
    /// monitor.
    pub lives_on: bool,
}

/// How an action is to be run.
#[derive(Debug, Clone)]
pub struct Call {
    /// What.
    pub action: Action,
    /// Whether it comes again and again; a monitor that does not is asked to find out whether the resource runs
    /// here at all.
    pub recurring: bool,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// The cluster's name for this node.
    pub node: Option<String>,
}

impl Call {
    fn limit(&self) -> Duration {
        let limit = self.timeout.unwrap_or(USUAL_LIMIT);
        limit.saturating_sub((limit / MARGIN).min(LARGEST_MARGIN))
    }
}

/// A resource with its live probes.
#[derive(Debug)]
pub struct Agent {
    told: Told,
    config: Config,
    context: Context,
    state: State,
    watched: Vec<Watched>,
    /// What a look may take.
    limit: Duration,
    restarts: Restarts,
    health: Shown,
    colour: Shown,
}

impl Agent {
    /// A resource that nothing is known of yet. `config` is what `told` names.
    pub fn new(told: Told, instance: &str, config: Config, context: Context) -> Self {
        let state = State::of(&context.folder, told.kind, instance);
        Self {
            told,
            config,
            context,
            state,
            watched: Vec::new(),
            limit: Duration::MAX,
            restarts: Restarts::default(),
            health: Shown::default(),
            colour: Shown::default(),
        }
    }

    /// What it was told.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// Runs an action. May be dropped at any time; what systemd was asked for goes on.
    pub async fn run(&mut self, call: &Call) -> Outcome {
        let deadline = Instant::now() + call.limit();
        self.look_within(call.limit());
        let outcome = match call.action {
            Action::Monitor if call.recurring => self.monitor(deadline).await,
            Action::Monitor => self.find_out(deadline).await,
            Action::Start => self.start(call, deadline).await,
            Action::Stop => self.stop(deadline).await,
            Action::ReloadAgent | Action::ValidateAll => Outcome::ok(),
            Action::MetaData => Outcome { output: self.told.kind.metadata(), ..Outcome::ok() },
        };
        if !self.context.lives_on {
            self.health.heard(HEARD).await;
            self.colour.heard(HEARD).await;
        }
        outcome
    }

    /// Resolves once something is believed to have failed, at a time when nobody asks. Attributes are kept up to
    /// date meanwhile. May be dropped at any time.
    pub async fn bad_news(&mut self) {
        loop {
            let begun = Instant::now();
            let changes: Vec<together::Each<'_, ()>> = self
                .watched
                .iter_mut()
                .map(|watched| -> together::Each<'_, ()> { Box::pin(watched.changed()) })
                .collect();
            let which = together::first(changes).await;
            let limit = self.limit.min(USUAL_LIMIT);
            if let Some(watched) = self.watched.get_mut(which) {
                let before = watched.believed();
                watched.look_closely(Instant::now() + limit * 3).await;
                if watched.believed() == Health::Failed && before != Health::Failed {
                    self.show_health();
                    return;
                }
            }
            self.show_health();
            // One that changes all the time is not looked at all the time.
            tokio::time::sleep_until(begun + BREATH).await;
        }
    }

    /// Probes whose looks are no longer than this.
    fn look_within(&mut self, limit: Duration) {
        let limit = limit.mul_f64(if self.context.lives_on { 0.9 } else { 0.4 }).min(LONGEST_LOOK);
        if limit >= self.limit {
            return;
        }
        self.limit = limit;
        let subjects = match self.told.kind {
            Kind::Libvirt => vec![Subject::Libvirt],
            Kind::NovaCompute => vec![Subject::NovaCompute],
            Kind::ComputeHealth => self.told.checks.clone().unwrap_or_else(|| Subject::ALL.to_vec()),
        };
        let (told, config, systemd) = (&self.told, &self.config, &self.context.systemd);
        let lives_on = self.context.lives_on;
        self.watched = subjects
            .into_iter()
            .map(|subject| Watched::new(subject, told, config, systemd, limit, lives_on))
            .collect();
    }

    async fn look(&mut self, closely: bool, deadline: Instant) {
        let looks = self
            .watched
            .iter_mut()
            .map(|watched| -> together::Each<'_, ()> {
                if closely { Box::pin(watched.look_closely(deadline)) } else { Box::pin(watched.look()) }
            })
            .collect();
        together::all(looks).await;
        self.show_health();
    }

    /// A recurring monitor: it was started, and is to be well.
    async fn monitor(&mut self, deadline: Instant) -> Outcome {
        if !self.context.lives_on || self.stands_alone() {
            match self.state.read().await {
                Ok(Some(restarts)) if !self.context.lives_on => self.restarts = restarts,
                Ok(None) if self.stands_alone() => {
                    return Outcome::new(Outcome::NOT_RUNNING, "it was not started");
                }
                Ok(_) => {}
                Err(error) => return Outcome::new(Outcome::ERROR, error.to_string()),
            }
        }
        self.look(!self.context.lives_on, deadline).await;
        if self.told.kind == Kind::ComputeHealth { self.react(deadline).await } else { self.judged() }
    }

    /// A monitor that is no recurring one: whether it runs here, and if so, whether it is well.
    async fn find_out(&mut self, deadline: Instant) -> Outcome {
        if self.stands_alone() {
            return self.monitor(deadline).await;
        }
        let unit = self.unit().await;
        match &unit {
            Ok(managed) if !managed.runs => {
                return Outcome::new(Outcome::NOT_RUNNING, String::new());
            }
            Err(missing) if missing.is_certain() => {
                return Outcome::new(Outcome::NOT_INSTALLED, missing.to_string());
            }
            _ => {}
        }
        self.look(true, deadline).await;
        match (self.watched.first().map(Watched::believed), unit) {
            // Neither systemd nor the probe knows of any.
            (Some(Health::Unknown), Err(error)) if self.watched.first().is_some_and(Watched::is_missing) => {
                Outcome::new(Outcome::NOT_INSTALLED, format!("{error}; {}", self.judged().reason()))
            }
            // Nor can they tell: nothing says that it runs.
            (None | Some(Health::Unknown), Err(error)) => {
                Outcome::new(Outcome::NOT_RUNNING, format!("{error}; {}", self.judged().reason()))
            }
            _ => self.judged(),
        }
    }

    async fn start(&mut self, call: &Call, deadline: Instant) -> Outcome {
        self.restarts = Restarts::default();
        if self.told.kind == Kind::ComputeHealth {
            self.look(false, deadline).await;
            let guests = self.guests().await;
            // Whatever was red is looked at afresh; restarts begin with the first monitor.
            let decision = self.decide(guests, &mut self.restarts.clone());
            self.show_colour(&decision);
            return self.kept().await;
        }
        let unit = if self.told.unit == UnitName::None {
            None
        } else {
            match self.unit().await {
                Ok(unit) => Some(unit),
                Err(missing) if missing.is_certain() => {
                    return Outcome::new(Outcome::NOT_INSTALLED, missing.to_string());
                }
                Err(error) => return Outcome::new(Outcome::ERROR, error.to_string()),
            }
        };
        let runs = unit.as_ref().is_some_and(|unit| unit.runs);
        if self.told.kind == Kind::NovaCompute && !runs {
            let names = evacuation::names(&self.told.evacuation, call.node.as_deref()).await;
            let (attributes, delay) = (&self.context.attributes, self.told.evacuation.delay);
            if let Err(held) = evacuation::over(attributes, &names, delay, deadline).await {
                return Outcome::new(Outcome::ERROR, held.to_string());
            }
        }
        if let Some(unit) = unit.filter(|_| !runs)
            && let Err(error) = unit.start(&self.context.systemd, deadline).await
        {
            return Outcome::new(Outcome::ERROR, error.to_string());
        }
        let outcome = self.becomes_well(deadline).await;
        if outcome.is_failure() || !self.stands_alone() { outcome } else { self.kept().await }
    }

    /// Waits until what was started works.
    async fn becomes_well(&mut self, deadline: Instant) -> Outcome {
        loop {
            self.look(false, deadline).await;
            let Some(watched) = self.watched.first() else { return Outcome::ok() };
            // nova-compute that runs may connect to the message bus later: that may take as long as it likes.
            let excused = watched.is_excused() && !watched.is_gone() && self.told.kind == Kind::NovaCompute;
            if watched.found() != Health::Failed || excused {
                return self.judged();
            }
            if Instant::now() + STARTING >= deadline {
                let why = watched.report.as_ref().and_then(|report| report.worst().map(|f| f.reason.clone()));
                let why = why.unwrap_or_default();
                return Outcome::new(Outcome::ERROR, format!("it was started and does not work: {why}"));
            }
            sleep(STARTING).await;
        }
    }

    async fn stop(&mut self, deadline: Instant) -> Outcome {
        // Whoever looks at it from now on begins anew; and connections would keep libvirtd from ending.
        (self.watched, self.limit) = (Vec::new(), Duration::MAX);
        let outcome = if self.told.kind == Kind::ComputeHealth || self.told.unit == UnitName::None {
            Outcome::ok()
        } else {
            match self.unit().await {
                Ok(unit) => match unit.stop(&self.context.systemd, deadline).await {
                    Ok(()) => Outcome::ok(),
                    Err(error) => Outcome::new(Outcome::ERROR, error.to_string()),
                },
                // What is not there does not run.
                Err(missing) if missing.is_certain() => Outcome::ok(),
                Err(error) => Outcome::new(Outcome::ERROR, error.to_string()),
            }
        };
        if outcome.is_failure() {
            return outcome;
        }
        if let Err(error) = self.state.remove().await {
            return Outcome::new(Outcome::ERROR, error.to_string());
        }
        self.forget_shown();
        outcome
    }

    /// Takes away what was shown. Red stays: the cluster may have stopped us for it, and would start us
    /// again at once.
    fn forget_shown(&mut self) {
        let attributes = &self.context.attributes;
        if let Some(name) = &self.told.attribute {
            attributes.tell(name, None);
        }
        if let Some(name) = &self.told.health_attribute
            && self.told.kind == Kind::ComputeHealth
            && self.colour.value().is_some_and(|colour| colour != "red")
        {
            attributes.tell(name, None);
        }
        (self.health, self.colour) = (Shown::default(), Shown::default());
    }

    /// Whether no unit says if it is started.
    fn stands_alone(&self) -> bool {
        self.told.unit == UnitName::None
    }

    async fn kept(&self) -> Outcome {
        match self.state.write(&self.restarts).await {
            Ok(()) => Outcome::ok(),
            Err(error) => Outcome::new(Outcome::ERROR, error.to_string()),
        }
    }

    async fn unit(&self) -> Result<Managed, NoUnit> {
        let candidates = self.candidates(match self.told.kind {
            Kind::NovaCompute => Subject::NovaCompute,
            Kind::Libvirt | Kind::ComputeHealth => Subject::Libvirt,
        });
        managed::find(&self.context.systemd, self.told.kind, &self.told.unit, &candidates).await
    }

    fn candidates(&self, subject: Subject) -> Vec<String> {
        match subject {
            Subject::NovaCompute => {
                self.config.nova_compute.units.iter().map(|name| crate::units::full_name(name)).collect()
            }
            _ => self.config.libvirt.programs.iter().map(|name| format!("{name}.service")).collect(),
        }
    }

    /// How a resource of one subject is.
    fn judged(&self) -> Outcome {
        let Some(watched) = self.watched.first() else { return Outcome::ok() };
        let Some(verdict) = &watched.verdict else { return Outcome::ok() };
        let reason = || {
            let step = verdict.step.map(|step| format!("{step}: ")).unwrap_or_default();
            format!("{step}{}", verdict.reason)
        };
        let mut outcome = match verdict.health {
            Health::Ok => Outcome::ok(),
            Health::Degraded => self.degraded(reason()),
            Health::Unknown => self.degraded(format!("it cannot be told: {}", reason())),
            Health::Failed if watched.is_gone() => Outcome::new(Outcome::NOT_RUNNING, reason()),
            Health::Failed => Outcome::new(Outcome::ERROR, reason()),
        };
        if verdict.health == Health::Ok {
            return outcome;
        }
        outcome.output = format!("{} {}\n", said(watched.subject, verdict), verdict.health);
        if !verdict.advice.is_empty() {
            let _ = writeln!(outcome.output, "next: {}", verdict.advice);
        }
        outcome
    }

    fn degraded(&self, reason: String) -> Outcome {
        let code = if self.told.hide_degraded { Outcome::OK } else { Outcome::DEGRADED };
        Outcome::new(code, reason)
    }

    /// The graded response.
    async fn react(&mut self, deadline: Instant) -> Outcome {
        let guests = self.guests().await;
        let mut restarts = self.restarts.clone();
        let decision = self.decide(guests, &mut restarts);
        if restarts != self.restarts {
            self.restarts = restarts;
            // If it cannot be kept, the worst is one restart too many.
            let _ = self.state.write(&self.restarts).await;
        }
        self.show_colour(&decision);
        let mut reasons = decision.reasons;
        for subject in decision.restart {
            for unit in self.units_of(subject).await {
                if let Err(error) = managed::restart(&self.context.systemd, &unit, deadline).await {
                    reasons.push(error.to_string());
                }
            }
        }
        let reason = reasons.join(" | ");
        let mut outcome = match decision.health {
            Health::Failed => Outcome::new(Outcome::ERROR, reason),
            Health::Degraded | Health::Unknown => self.degraded(reason),
            Health::Ok => Outcome::ok(),
        };
        for verdict in self.watched.iter().filter_map(|watched| watched.verdict.as_ref()) {
            if verdict.health != Health::Ok && !verdict.advice.is_empty() {
                let _ = writeln!(outcome.output, "next: {}", verdict.advice);
            }
        }
        outcome
    }

    fn decide(&self, guests: Option<usize>, restarts: &mut Restarts) -> Decision {
        let believed: Vec<_> = self
            .watched
            .iter()
            .filter_map(|watched| Some((watched.subject, watched.verdict.clone()?)))
            // What nobody asked for by name need not be there.
            .filter(|(_, verdict)| verdict.health != Health::Unknown || self.told.checks.is_some())
            .collect();
        let mut policy = self.told.policy.clone();
        if self.context.lives_on && policy.services == Reaction::Restart {
            // The probe has done that, unit by unit, before it says that one has failed.
            policy.services = policy.then;
        }
        policy.decide(&believed, guests, restarts, SystemTime::now())
    }

    /// Guests that run here, looked for only when something failed.
    async fn guests(&self) -> Option<usize> {
        if self.watched.iter().any(|watched| watched.believed() == Health::Failed) {
            guests::count().await
        } else {
            None
        }
    }

    /// What is to be restarted for a subject.
    async fn units_of(&self, subject: Subject) -> Vec<String> {
        match subject {
            Subject::Host => Vec::new(),
            Subject::Services => self
                .watched
                .iter()
                .filter(|watched| watched.subject == subject)
                .flat_map(Watched::failed_units)
                .collect(),
            Subject::Libvirt | Subject::NovaCompute => {
                let kind = if subject == Subject::Libvirt { Kind::Libvirt } else { Kind::NovaCompute };
                let candidates = self.candidates(subject);
                let found = managed::find(&self.context.systemd, kind, &UnitName::Auto, &candidates).await;
                found.ok().map(|managed| managed.unit).into_iter().collect()
            }
        }
    }

    /// Shows what is believed now.
    fn show_health(&mut self) {
        let Some(name) = &self.told.attribute else { return };
        let worst = |watched: &Watched| watched.verdict.as_ref().map(|verdict| verdict.health);
        let wanted = |health: &Health| *health != Health::Unknown || self.watched.len() == 1;
        if let Some(health) = self.watched.iter().filter_map(worst).filter(wanted).max() {
            self.health.show(&self.context.attributes, name, health.name());
        }
    }

    fn show_colour(&mut self, decision: &Decision) {
        if let Some(name) = &self.told.health_attribute {
            self.colour.show(&self.context.attributes, name, decision.colour.name());
        }
    }
}

impl Watched {
    /// Units that have failed, as the evidence names them.
    fn failed_units(&self) -> Vec<String> {
        let findings = self.report.iter().flat_map(|report| &report.findings);
        findings
            .filter(|finding| finding.health == Health::Failed && finding.step == Step::Unit)
            .flat_map(|finding| &finding.evidence)
            .filter(|evidence| evidence.name == "unit")
            .map(|evidence| evidence.value.clone())
            .collect()
    }
}
