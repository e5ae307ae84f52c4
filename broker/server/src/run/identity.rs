//! Who a data directory belongs to: a small file in each one, written when the directory is first used and compared
//! on every later start, before anything in it is opened. A new directory is claimed first, and gets its file when it is
//! known which cluster the node belongs to.
//!
//! ```text
//! <log dir>/millrace.properties
//!     version=1                 format of the directory
//!     cluster.id=…              22 characters
//!     node.id=1
//!     directory.id=…            22 characters, of this directory alone
//! <log dir>/.lock               held while a broker uses the directory
//! ```

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use millrace_metadata::{DirId, NodeId};
use rustix::fs::{FlockOperation, flock};

use super::StartError;
use crate::config::properties;

/// Format of data directories that this version reads and writes.
const FORMAT: u32 = 1;
const IDENTITY: &str = "millrace.properties";
const LOCK: &str = ".lock";
/// Free bytes without which no start is tried: the metadata log keeps half of it in reserve, and a database that is
/// opened on a full disk leaves half-written files behind.
const LEAST_FREE: u64 = 16 << 20;
/// The same file of Apache Kafka: its directories are not ours to touch.
const KAFKA_IDENTITY: &str = "meta.properties";

/// A data directory that is ours, locked until dropped.
#[derive(Debug)]
pub struct DataDir {
    pub path: PathBuf,
    pub id: DirId,
    /// Whether this start wrote its identity.
    pub is_new: bool,
    _lock: File,
}

/// All data directories of a broker.
#[derive(Debug)]
pub struct DataDirs {
    pub cluster_id: String,
    pub dirs: Vec<DataDir>,
}

/// Directories that are locked and checked; nothing was written to them.
#[derive(Debug)]
pub struct Claimed {
    node_id: NodeId,
    /// The cluster that they belong to, or that the user asked for; `None` until the controllers say it.
    pub cluster_id: Option<String>,
    dirs: Vec<ClaimedDir>,
}

#[derive(Debug)]
struct ClaimedDir {
    path: PathBuf,
    lock: File,
    id: DirId,
    identity: Option<Identity>,
}

/// What is to be, or what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    cluster_id: String,
    node_id: NodeId,
    directory_id: DirId,
}

/// Locks and checks every directory.
///
/// `wanted` is the cluster id that the user asked for. `random` makes the ids of what is new.
pub fn claim(
    paths: &[PathBuf],
    node_id: NodeId,
    wanted: Option<&str>,
    random: &mut dyn FnMut() -> [u8; 16],
) -> Result<Claimed, StartError> {
    let mut found = Vec::with_capacity(paths.len());
    for path in paths {
        let lock = lock(path)?;
        let identity = read(path)?;
        if let Some(identity) = &identity {
            check_node(path, identity, node_id)?;
        }
        found.push((path, lock, identity));
    }
    // The first directory holds the metadata log. Another one that is full takes nothing, and goes on serving reads.
    if let Some(first) = paths.first() {
        check_space(first)?;
    }
    let cluster_id = agree(&found, wanted)?;
    let mut dirs: Vec<ClaimedDir> = Vec::with_capacity(found.len());
    for (path, lock, identity) in found {
        let id = identity.as_ref().map_or_else(|| DirId::from_random(random()), |identity| identity.directory_id);
        if let Some(twin) = dirs.iter().find(|d| d.id == id) {
            let why = format!("it is the same directory as {}; name each one once in log.dirs", twin.path.display());
            return Err(StartError::path(path, why));
        }
        dirs.push(ClaimedDir { path: path.clone(), lock, id, identity });
    }
    Ok(Claimed { node_id, cluster_id, dirs })
}

impl Claimed {
    /// Id of the first directory.
    pub fn first_id(&self) -> Option<DirId> {
        self.dirs.first().map(|dir| dir.id)
    }

    /// Gives new directories their identity.
    ///
    /// # Errors
    /// The directories belong to another cluster, or cannot be written to.
    pub fn format(self, cluster_id: &str) -> Result<DataDirs, StartError> {
        let mut dirs = Vec::with_capacity(self.dirs.len());
        for ClaimedDir { path, lock, id, identity } in self.dirs {
            match &identity {
                Some(identity) if identity.cluster_id != cluster_id => {
                    let why = format!(
                        "it belongs to cluster {}, but the controllers to {cluster_id}; correct controller.quorum.voters or controller.quorum.bootstrap.servers, or choose another directory with log.dirs",
                        identity.cluster_id
                    );
                    return Err(StartError::path(&path, why));
                }
                Some(_) => {}
                None => format(&path, cluster_id, self.node_id, id)?,
            }
            dirs.push(DataDir { path, id, is_new: identity.is_none(), _lock: lock });
        }
        Ok(DataDirs { cluster_id: cluster_id.to_owned(), dirs })
    }
}

fn lock(path: &Path) -> Result<File, StartError> {
    std::fs::create_dir_all(path).map_err(|e| StartError::path(path, unusable(&e, "created")))?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK));
    let file = file.map_err(|e| StartError::path(path, unusable(&e, "written to")))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let why = "another broker is using this directory; stop it, or choose another one with log.dirs";
            Err(StartError::path(path, why.to_owned()))
        }
        Err(error) => Err(StartError::path(path, format!("it cannot be locked: {error}"))),
    }
}

fn check_space(path: &Path) -> Result<(), StartError> {
    let volume = rustix::fs::statvfs(path).map_err(|e| StartError::path(path, unusable(&e.into(), "examined")))?;
    let free = volume.f_bavail.saturating_mul(volume.f_frsize);
    if free >= LEAST_FREE {
        return Ok(());
    }
    let why = format!(
        "no space left ({free} bytes free, {LEAST_FREE} needed to start); free some space, or choose another directory with log.dirs"
    );
    Err(StartError::path(path, why))
}

fn unusable(error: &std::io::Error, what: &str) -> String {
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied => {
            "give this user the right to write there, or choose another directory with log.dirs"
        }
        ErrorKind::StorageFull => "free some space, or choose another directory with log.dirs",
        ErrorKind::ReadOnlyFilesystem => "choose a directory on another file system with log.dirs",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "a file is in the way; choose another directory with log.dirs"
        }
        _ => "choose another directory with log.dirs",
    };
    format!("it cannot be {what}: {error}; {remedy}")
}

fn read(path: &Path) -> Result<Option<Identity>, StartError> {
    let bad = |why: String| StartError::path(&path.join(IDENTITY), why);
    let text = match std::fs::read_to_string(path.join(IDENTITY)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if path.join(KAFKA_IDENTITY).exists() {
                let why =
                    "it holds data of Apache Kafka, which stays untouched; choose an empty directory with log.dirs";
                return Err(StartError::path(path, why.to_owned()));
            }
            return Ok(None);
        }
        Err(error) => return Err(bad(unusable(&error, "read"))),
    };
    let entries = properties::parse(&text).map_err(bad)?;
    let value = |key: &str| entries.iter().rev().find(|e| e.key == key).map(|e| e.value.trim());
    let damaged = || bad("it is damaged; restore it from a backup of the directory".to_owned());
    let version: u32 = value("version").and_then(|v| v.parse().ok()).ok_or_else(damaged)?;
    if version > FORMAT {
        return Err(StartError::path(
            path,
            format!(
                "it has format {version}, written by a newer version; this one reads up to {FORMAT}: use the newer version"
            ),
        ));
    }
    let cluster_id = value("cluster.id").filter(|v| !v.is_empty()).ok_or_else(damaged)?.to_owned();
    let node_id = value("node.id").and_then(|v| v.parse().ok()).ok_or_else(damaged)?;
    let directory_id = value("directory.id").and_then(|v| v.parse().ok()).ok_or_else(damaged)?;
    Ok(Some(Identity { cluster_id, node_id, directory_id }))
}

fn check_node(path: &Path, identity: &Identity, node_id: NodeId) -> Result<(), StartError> {
    if identity.node_id == node_id {
        return Ok(());
    }
    let theirs = identity.node_id;
    let why = format!(
        "it belongs to node {theirs}, not to node {node_id}; set node.id={theirs}, or choose another directory with log.dirs"
    );
    Err(StartError::path(path, why))
}

type Found<'a> = (&'a PathBuf, File, Option<Identity>);

/// The one cluster id that all directories and the user agree on, if anybody has one.
fn agree(found: &[Found<'_>], wanted: Option<&str>) -> Result<Option<String>, StartError> {
    let mut agreed = wanted.map(|id| (id.to_owned(), "the cluster id that was asked for".to_owned()));
    for (path, _, identity) in found {
        let Some(identity) = identity else { continue };
        match &agreed {
            Some((id, whose)) if *id != identity.cluster_id => {
                let why = format!(
                    "it belongs to cluster {}, but {whose} is {id}; choose another directory with log.dirs, or leave out --cluster-id and CLUSTER_ID",
                    identity.cluster_id
                );
                return Err(StartError::path(path, why));
            }
            Some(_) => {}
            None => agreed = Some((identity.cluster_id.clone(), format!("that of {}", path.display()))),
        }
    }
    Ok(agreed.map(|(id, _)| id))
}

/// Writes the identity so that a crash leaves either nothing or all of it.
fn format(path: &Path, cluster_id: &str, node_id: NodeId, id: DirId) -> Result<(), StartError> {
    let text = format!("version={FORMAT}\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={id}\n");
    let write = || -> std::io::Result<()> {
        let temporary = path.join(format!("{IDENTITY}.tmp"));
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path.join(IDENTITY))?;
        File::open(path)?.sync_all()
    };
    write().map_err(|e| StartError::path(path, unusable(&e, "written to")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts on from `n`, which must not have been given to a directory of the same test.
    fn counter(mut n: u8) -> impl FnMut() -> [u8; 16] {
        move || {
            n += 1;
            [n; 16]
        }
    }

    fn try_open(paths: &[PathBuf], node: NodeId, cluster: Option<&str>) -> Result<DataDirs, StartError> {
        open_from(0, paths, node, cluster)
    }

    fn open_from(n: u8, paths: &[PathBuf], node: NodeId, cluster: Option<&str>) -> Result<DataDirs, StartError> {
        let claimed = claim(paths, node, cluster, &mut counter(n))?;
        let id = claimed.cluster_id.clone().unwrap_or_else(|| "new-cluster".to_owned());
        claimed.format(&id)
    }

    #[test]
    fn a_new_directory_keeps_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("a"), dir.path().join("b")];
        let first = try_open(&paths[..1], 1, None).unwrap();
        assert!(first.dirs[0].is_new);
        let (cluster, id) = (first.cluster_id.clone(), first.dirs[0].id);
        drop(first);
        let second = open_from(10, &paths, 1, Some(&cluster)).unwrap();
        assert_eq!((second.dirs[0].id, second.dirs[0].is_new, second.dirs[1].is_new), (id, false, true));
        assert_ne!(second.dirs[1].id, id);
        assert_eq!(second.cluster_id, cluster);
    }

    #[test]
    fn strangers_are_refused_and_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let cluster = try_open(std::slice::from_ref(&a), 1, None).unwrap().cluster_id;
        let says = |r: Result<DataDirs, StartError>, what: &str| {
            let text = r.unwrap_err().to_string();
            assert!(text.contains(what), "{text}");
        };
        says(try_open(&[b.clone(), a.clone()], 2, None), "set node.id=1");
        says(try_open(&[b.clone(), a.clone()], 1, Some("another-cluster")), &cluster);
        assert!(!b.join(IDENTITY).exists());
        std::fs::write(a.join(IDENTITY), "version=9\n").unwrap();
        says(try_open(std::slice::from_ref(&a), 1, None), "newer version");
        std::fs::write(a.join(IDENTITY), "version=1\n").unwrap();
        says(try_open(std::slice::from_ref(&a), 1, None), "damaged");
        std::fs::write(b.join(KAFKA_IDENTITY), "version=1\n").unwrap();
        says(try_open(std::slice::from_ref(&b), 1, None), "Apache Kafka");
        says(try_open(&[a.join(IDENTITY)], 1, None), "log.dirs");
    }

    #[test]
    fn the_controllers_say_which_cluster_new_directories_belong_to() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("a")];
        let claimed = claim(&paths, 1, None, &mut counter(0)).unwrap();
        assert!(claimed.cluster_id.is_none() && claimed.first_id() == Some(DirId::from_random([1; 16])));
        assert!(!paths[0].join(IDENTITY).exists());
        drop(claimed.format("theirs").unwrap());
        let again = claim(&paths, 1, None, &mut counter(0)).unwrap();
        assert_eq!(again.cluster_id.as_deref(), Some("theirs"));
        let refused = again.format("another").unwrap_err().to_string();
        assert!(refused.contains("theirs") && refused.contains("controller.quorum.voters"), "{refused}");
    }

    #[test]
    fn two_brokers_cannot_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = [dir.path().to_owned()];
        let first = try_open(&path, 1, None).unwrap();
        assert!(try_open(&path, 1, None).unwrap_err().to_string().contains("another broker"));
        drop(first);
        assert!(try_open(&path, 1, None).is_ok());
    }
}
