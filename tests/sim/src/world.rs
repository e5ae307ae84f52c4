//! The simulated cluster: one queue of events in simulated time, and whoever an event concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use millrace_metadata::NodeId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Runtime;

use crate::calls::{Call, CallId, Purpose, Request, Response};
use crate::check::{Checker, Violation};
use crate::clients::Client;
use crate::controller::Controller;
use crate::faults::Undo;
use crate::groups::Known;
use crate::mutation::Mutation;
use crate::net::{Addr, Net, Route};
use crate::node::Node;
use crate::plan::Plan;
use crate::trace::Trace;

/// Time of day at which every run begins, ms since 1970.
const DAWN_MS: i64 = 1_700_000_000_000;
/// Events of a run; more means that something goes round in circles.
const EVENTS_MAX: u64 = 400_000;

/// What a broker does from time to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    Register,
    Beat,
    /// The store writes and syncs what is queued.
    Sync,
    /// Metadata up to this index has arrived.
    Images(u64),
    /// The watch stream is looked after.
    Watch,
    /// Replicas that lag are looked for.
    Replicas,
    /// Fetchers whose back-off is over, fetches that waited long enough.
    Fetchers,
}

#[derive(Debug)]
pub enum Event {
    Request {
        call: CallId,
        to: Addr,
        boot: u32,
        request: Request,
    },
    Answer {
        call: CallId,
        response: Response,
    },
    /// The caller gives up or learns that the connection broke.
    Fail {
        call: CallId,
    },
    Tick {
        node: NodeId,
        boot: u32,
        tick: Tick,
    },
    Client(usize),
    Decider,
    Suspect {
        node: NodeId,
        epoch: i64,
    },
    Begin(usize),
    End(Undo),
}

pub struct World {
    /// Simulated time, µs.
    pub now: u64,
    pub rng: StdRng,
    pub trace: Trace,
    pub plan: Plan,
    pub net: Net,
    pub controller: Controller,
    pub nodes: Vec<Node>,
    pub clients: Vec<Client>,
    pub check: Checker,
    pub known: Known,
    pub mutation: Option<Mutation>,
    /// Clients make new work.
    pub working: bool,
    pub calls: BTreeMap<CallId, Call>,
    pub events: u64,
    /// For the tasks of the group coordinators; its clock follows `now`.
    pub runtime: Rc<Runtime>,
    pub begun: tokio::time::Instant,
    queue: BTreeMap<(u64, u64), Event>,
    held: Vec<(Addr, Addr, Event)>,
    next: u64,
    touched: BTreeSet<NodeId>,
}

impl World {
    pub fn new(seed: u64, plan: Plan, trace: Trace, mutation: Option<Mutation>, runtime: Rc<Runtime>) -> World {
        let mut rng = StdRng::seed_from_u64(seed);
        let controller = Controller::new(StdRng::seed_from_u64(rng.random()), DAWN_MS);
        let nodes = (1..=plan.brokers).map(Node::new).collect();
        World {
            now: 0,
            rng,
            trace,
            net: Net::new(plan.net_us),
            controller,
            nodes,
            clients: Vec::new(),
            check: Checker::default(),
            known: Known::default(),
            mutation,
            working: true,
            calls: BTreeMap::new(),
            events: 0,
            begun: runtime.block_on(async { tokio::time::Instant::now() }),
            runtime,
            queue: BTreeMap::new(),
            held: Vec::new(),
            next: 0,
            touched: BTreeSet::new(),
            plan,
        }
    }

    pub fn now_ms(&self) -> i64 {
        DAWN_MS + i64::try_from(self.now / 1000).unwrap_or(i64::MAX)
    }

    pub fn node(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id as usize - 1]
    }

    /// The event happens after so many µs.
    pub fn after(&mut self, us: u64, event: Event) {
        self.next += 1;
        self.queue.insert((self.now + us, self.next), event);
    }

    pub fn tick(&mut self, node: NodeId, us: u64, tick: Tick) {
        let boot = self.node(node).boot;
        self.after(us, Event::Tick { node, boot, tick });
    }

    /// Something may have changed on this broker.
    pub fn touch(&mut self, node: NodeId) {
        self.touched.insert(node);
    }

    fn boot_of(&mut self, addr: Addr) -> u32 {
        match addr {
            Addr::Node(id) => self.node(id).boot,
            Addr::Controller | Addr::Client(_) => 0,
        }
    }

    /// Sends a request; [`crate::world::Event::Answer`] or `Fail` comes back, once.
    pub fn call(&mut self, (from, to): (Addr, Addr), request: Request, purpose: Purpose, timeout_us: u64) -> CallId {
        self.next += 1;
        let call = self.next;
        let (boot, to_boot) = (self.boot_of(from), self.boot_of(to));
        self.calls.insert(call, Call { from, to, boot, purpose });
        self.after(timeout_us, Event::Fail { call });
        self.send((from, to), call, Event::Request { call, to, boot: to_boot, request });
        call
    }

    pub fn answer(&mut self, call: CallId, response: Response) {
        if let Some(Call { from, to, .. }) = self.calls.get(&call) {
            let (from, to) = (*from, *to);
            self.send((to, from), call, Event::Answer { call, response });
        }
    }

    fn send(&mut self, (from, to): (Addr, Addr), call: CallId, event: Event) {
        match self.net.route(from, to, &mut self.rng) {
            Route::After(us) => self.after(us, event),
            Route::Held => self.held.push((from, to, event)),
            // A connection that breaks is noticed; a cut is not.
            Route::Lost if !self.net.is_cut(from, to) => {
                let us = self.net.delay(&mut self.rng);
                self.after(us, Event::Fail { call });
            }
            Route::Lost => {}
        }
    }

    /// What was held back on this way arrives now.
    pub fn heal(&mut self, from: Addr, to: Addr) {
        self.net.heal(from, to);
        let (free, held) = std::mem::take(&mut self.held).into_iter().partition(|(f, t, _)| (*f, *t) == (from, to));
        self.held = held;
        for (_, _, event) in free {
            let us = self.net.delay(&mut self.rng);
            self.after(us, event);
        }
    }

    /// Runs until this time.
    pub fn run_until(&mut self, until: u64) -> Result<(), Violation> {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.events += 1;
            if self.events > EVENTS_MAX {
                return Err(Violation::new("progress", format!("more than {EVENTS_MAX} events")));
            }
            self.dispatch(event)?;
            while let Some(node) = self.touched.pop_first() {
                self.settle(node)?;
            }
        }
        self.now = until;
        Ok(())
    }

    /// The broker whose process has to run for this event.
    fn runs_on(&self, event: &Event) -> Option<NodeId> {
        let node = |addr: &Addr| match addr {
            Addr::Node(id) => Some(*id),
            Addr::Controller | Addr::Client(_) => None,
        };
        match event {
            Event::Request { to, .. } => node(to),
            Event::Answer { call, .. } | Event::Fail { call } => self.calls.get(call).and_then(|c| node(&c.from)),
            Event::Tick { node, .. } => Some(*node),
            Event::Client(_) | Event::Decider | Event::Suspect { .. } | Event::Begin(_) | Event::End(_) => None,
        }
    }

    fn dispatch(&mut self, event: Event) -> Result<(), Violation> {
        if let Some(id) = self.runs_on(&event) {
            let until = self.node(id).paused_until;
            if until > self.now {
                let us = until - self.now + self.rng.random_range(0..2_000);
                self.after(us, event);
                return Ok(());
            }
        }
        match event {
            Event::Request { call, to, boot, request } => self.request(call, (to, boot), request)?,
            Event::Answer { call, response } => {
                if let Some(call) = self.calls.remove(&call) {
                    self.returned(call, Some(response))?;
                }
            }
            Event::Fail { call } => {
                if let Some(call) = self.calls.remove(&call) {
                    self.returned(call, None)?;
                }
            }
            Event::Tick { node, boot, tick } => {
                let alive = self.node(node).boot == boot && self.node(node).process.is_some();
                if alive {
                    self.broker_tick(node, tick)?;
                }
            }
            Event::Client(client) => self.client_turn(client),
            Event::Decider => self.decider_tick()?,
            Event::Suspect { node, epoch } => self.suspect(node, epoch)?,
            Event::Begin(fault) => self.begin(fault)?,
            Event::End(undo) => self.end(undo)?,
        }
        Ok(())
    }

    fn request(&mut self, call: CallId, (to, boot): (Addr, u32), request: Request) -> Result<(), Violation> {
        match to {
            Addr::Controller => self.decide(call, request),
            Addr::Node(id) => {
                if self.node(id).boot != boot || self.node(id).process.is_none() {
                    let us = self.net.delay(&mut self.rng);
                    self.after(us, Event::Fail { call });
                    return Ok(());
                }
                self.serve(id, call, request)
            }
            Addr::Client(_) => Ok(()),
        }
    }

    /// A call is over.
    fn returned(&mut self, call: Call, response: Option<Response>) -> Result<(), Violation> {
        match call.from {
            Addr::Client(client) => self.client_returned(client, response),
            Addr::Node(id) => {
                if self.node(id).boot == call.boot && self.node(id).process.is_some() {
                    self.broker_returned(id, call, response)?;
                }
                Ok(())
            }
            Addr::Controller => Ok(()),
        }
    }

    /// Calls to a process that died fail soon.
    pub fn break_calls_to(&mut self, id: NodeId) {
        let broken: Vec<(CallId, Addr)> =
            self.calls.iter().filter(|(_, c)| c.to == Addr::Node(id)).map(|(call, c)| (*call, c.from)).collect();
        for (call, from) in broken {
            if !self.net.is_cut(Addr::Node(id), from) {
                let us = self.net.delay(&mut self.rng);
                self.after(us, Event::Fail { call });
            }
        }
    }
}
