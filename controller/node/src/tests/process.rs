//! Controllers with a runtime each, so that one can be killed as a process is: its connections break, nothing listens
//! at its address any more, and what it did not sync is gone.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millrace_metadata::command::{ConfigChange, ConfigOp, ConfigOpKind};
use millrace_metadata::{Command, ConfigResource, Reply, ResourceKind};
use millrace_store::{Kv, KvBatch, MemoryKv, StoreError};
use parking_lot::RwLock;
use socket2::{Domain, Socket, Type};
use tokio::runtime::{Builder, Runtime};

use crate::{Controller, ControllerOptions, StartError, VoterAddress};

/// Far beyond what an election takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One process' way to its disk, which can be cut and made slow.
struct Disk {
    kv: MemoryKv,
    cut: RwLock<bool>,
    delay_ms: Arc<AtomicU64>,
}

impl Kv for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.kv.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.kv.scan(from, to, visit)
    }

    fn write(&self, batch: KvBatch, durable: bool) -> Result<(), StoreError> {
        if durable {
            std::thread::sleep(Duration::from_millis(self.delay_ms.load(Ordering::Relaxed)));
        }
        let cut = self.cut.read();
        if *cut { Err(StoreError::Closed) } else { self.kv.write(batch, durable) }
    }
}

/// A controller that runs.
struct Running {
    runtime: Runtime,
    disk: Arc<Disk>,
    controller: Arc<Controller>,
}

/// A machine for a controller: its disk and its address stay.
pub struct Process {
    pub options: ControllerOptions,
    pub port: Port,
    pub kv: MemoryKv,
    /// How long each sync takes beyond what it does anyway.
    pub delay_ms: Arc<AtomicU64>,
    running: Option<Running>,
}

/// A port that nobody else gets as long as this or a copy lives, also while its machine is down: the socket is bound,
/// and does not listen.
#[derive(Clone)]
pub struct Port {
    pub number: u16,
    _socket: Arc<Socket>,
}

impl Port {
    fn reserve() -> Port {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // As listeners have it: two such sockets may share a port until one of them listens.
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let number = socket.local_addr().unwrap().as_socket().unwrap().port();
        Port { number, _socket: Arc::new(socket) }
    }
}

pub fn ports(count: usize) -> Vec<Port> {
    (0..count).map(|_| Port::reserve()).collect()
}

/// Machines whose settings name all of them as voters.
pub fn machines(count: usize) -> Vec<Process> {
    let ports = ports(count);
    let voters: Vec<VoterAddress> = (1..)
        .zip(&ports)
        .map(|(node_id, port)| VoterAddress { node_id, host: "127.0.0.1".into(), port: port.number })
        .collect();
    let options = |id| ControllerOptions { voters: voters.clone(), ..ControllerOptions::new(id, "memory") };
    (1..).zip(ports).map(|(id, port)| Process::new(options(id), port)).collect()
}

impl Process {
    pub fn new(options: ControllerOptions, port: Port) -> Process {
        Process { options, port, kv: MemoryKv::new(), delay_ms: Arc::default(), running: None }
    }

    pub fn id(&self) -> i32 {
        self.options.node_id
    }

    /// Starts it in the background; the receiver gets it when it is ready.
    pub fn launch(&self) -> Launched {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        // Whoever was killed may still be letting go of it.
        let listener = wait_for("the port", || TcpListener::bind(("127.0.0.1", self.port.number)).ok());
        let disk = Arc::new(Disk { kv: self.kv.clone(), cut: RwLock::new(false), delay_ms: self.delay_ms.clone() });
        let options = ControllerOptions { listener: Some(Arc::new(listener)), ..self.options.clone() };
        let (ready, started) = std::sync::mpsc::channel();
        let kv = disk.clone();
        runtime.spawn(async move {
            drop(ready.send(Controller::start_on(kv, options, 500).await));
        });
        Launched { runtime, disk, started }
    }

    /// Why it does not start.
    pub fn refused(&self) -> StartError {
        let launched = self.launch();
        let error = launched.started.recv_timeout(PATIENCE).expect("it still tries").err().expect("it started");
        launched.abandon();
        error
    }

    pub fn settle(&mut self, launched: Launched) {
        let Launched { runtime, disk, started } = launched;
        let controller = Arc::new(started.recv_timeout(PATIENCE).expect("it does not start").unwrap());
        self.running = Some(Running { runtime, disk, controller });
    }

    pub fn start(&mut self) {
        let launched = self.launch();
        self.settle(launched);
    }

    /// As `kill -9` and a power failure in one.
    pub fn kill(&mut self) {
        let Running { runtime, disk, controller } = self.running.take().unwrap();
        *disk.cut.write() = true;
        self.kv.crash();
        runtime.shutdown_background();
        drop(controller);
    }

    pub fn controller(&self) -> &Arc<Controller> {
        &self.running.as_ref().unwrap().controller
    }

    pub fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// Runs something in this process.
    pub fn run<T>(&self, what: impl Future<Output = T>) -> T {
        self.running.as_ref().unwrap().runtime.block_on(what)
    }

    pub fn spawn(&self, what: impl Future<Output = ()> + Send + 'static) {
        self.running.as_ref().unwrap().runtime.spawn(what);
    }
}

/// A process that is not ready yet.
pub struct Launched {
    runtime: Runtime,
    disk: Arc<Disk>,
    pub started: std::sync::mpsc::Receiver<Result<Controller, StartError>>,
}

impl Launched {
    pub fn abandon(self) {
        *self.disk.cut.write() = true;
        self.runtime.shutdown_background();
    }
}

pub fn start_all(processes: &mut [Process]) {
    let launched: Vec<Launched> = processes.iter().map(Process::launch).collect();
    processes.iter_mut().zip(launched).for_each(|(process, launched)| process.settle(launched));
}

/// Whom a majority of those that run takes for the leader.
pub fn leader(processes: &[Process]) -> Option<usize> {
    let mut votes: BTreeMap<i32, usize> = BTreeMap::new();
    let running: Vec<&Process> = processes.iter().filter(|p| p.runs()).collect();
    for process in &running {
        if let Some(leader) = process.controller().quorum().leader {
            *votes.entry(leader).or_default() += 1;
        }
    }
    let (id, _) = votes.into_iter().find(|(_, count)| count * 2 > running.len())?;
    processes.iter().position(|p| p.id() == id && p.runs() && p.controller().leads())
}

pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A fact that needs nothing but an active controller.
pub async fn write_fact(controller: &Controller, name: &str) -> bool {
    let change = ConfigChange {
        resource: ConfigResource::new(ResourceKind::Group, name),
        ops: vec![ConfigOp {
            key: "consumer.session.timeout.ms".into(),
            op: ConfigOpKind::Set,
            value: Some("1000".into()),
        }],
        replace: false,
    };
    let reply = controller.submit(Command::AlterConfigs { changes: vec![change], validate_only: false }).await;
    matches!(reply, Ok(Reply::AlterConfigs(results)) if results[0].1.is_ok())
}

pub fn has_fact(process: &Process, name: &str) -> bool {
    let images = process.controller().images();
    let image = images.borrow();
    image.config(&ConfigResource::new(ResourceKind::Group, name)).is_some()
}
