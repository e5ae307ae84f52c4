//! Disks that can be full or slow.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

/// A mounted tmpfs; unmounted when dropped.
pub struct Ramdisk {
    path: PathBuf,
}

impl Ramdisk {
    /// Needs root.
    pub fn mount(path: &Path, mib: u64) -> anyhow::Result<Ramdisk> {
        fs::create_dir_all(path)?;
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(path)
            .status()
            .context("mount")?;
        anyhow::ensure!(done.success(), "a tmpfs could not be mounted (needs root)");
        Ok(Ramdisk { path: path.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file until nothing more fits.
    pub fn fill(&self) -> anyhow::Result<()> {
        const BLOCK: usize = 1 << 20;
        const SMALL: usize = 1 << 12;
        let mut filler = fs::OpenOptions::new().create(true).append(true).open(self.filler())?;
        for size in [BLOCK, SMALL] {
            let block = vec![1u8; size];
            loop {
                match filler.write_all(&block) {
                    Ok(()) => {}
                    Err(e) if e.kind() == io::ErrorKind::StorageFull => break,
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(())
    }

    /// Takes the file of [`Ramdisk::fill`] away.
    pub fn free(&self) -> anyhow::Result<()> {
        match fs::remove_file(self.filler()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for Ramdisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// A file system in a file, which can be made to fail: from then on every access is an I/O error.
pub struct BreakableDisk {
    path: PathBuf,
    file: PathBuf,
}

impl BreakableDisk {
    /// `None` if this machine cannot: it takes root, loop devices and `mkfs.ext4`.
    pub fn mount(path: &Path, mib: u64) -> anyhow::Result<Option<BreakableDisk>> {
        fs::create_dir_all(path)?;
        let file = path.with_extension("image");
        fs::File::create(&file)?.set_len(mib << 20)?;
        let disk = BreakableDisk { path: path.to_owned(), file };
        Ok(disk.mount_new()?.then_some(disk))
    }

    fn mount_new(&self) -> anyhow::Result<bool> {
        let run = |command: &mut Command| command.status().is_ok_and(|status| status.success());
        Ok(run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&self.file))
            && run(Command::new("mount").args(["-o", "loop"]).arg(&self.file).arg(&self.path)))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `EXT4_IOC_SHUTDOWN`, by Python: std has no ioctl.
    pub fn fail(&self) -> anyhow::Result<()> {
        const SCRIPT: &str = "import fcntl, os, struct, sys\n\
            fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
        let done = Command::new("python3").args(["-c", SCRIPT]).arg(&self.path).status()?;
        anyhow::ensure!(done.success(), "the file system at {} could not be made to fail", self.path.display());
        Ok(())
    }

    /// An empty one in its place; nobody may use the old one.
    pub fn replace(&self) -> anyhow::Result<()> {
        let done = Command::new("umount").arg(&self.path).status()?;
        anyhow::ensure!(done.success(), "{} could not be unmounted", self.path.display());
        anyhow::ensure!(self.mount_new()?, "{} could not be mounted again", self.path.display());
        Ok(())
    }
}

impl Drop for BreakableDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

const V1: &str = "/sys/fs/cgroup/blkio";
const V2: &str = "/sys/fs/cgroup";

/// A control group that lets a process write only slowly; the process leaves it when dropped.
pub struct SlowDisk {
    root: &'static str,
    group: PathBuf,
    pid: u32,
}

impl SlowDisk {
    /// Limits what the process writes to the device under `dir`; `None` if this machine cannot.
    pub fn throttle(pid: u32, dir: &Path, bytes_per_second: u64) -> anyhow::Result<Option<SlowDisk>> {
        let device = fs::metadata(dir)?.dev();
        let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let v1 = Path::new(V1).join("blkio.throttle.write_bps_device").exists();
        let v2 = fs::read_to_string(format!("{V2}/cgroup.subtree_control")).is_ok_and(|c| c.contains("io"));
        let (root, file, rule) = match (v1, v2) {
            (true, _) => (V1, "blkio.throttle.write_bps_device", format!("{device} {bytes_per_second}")),
            (_, true) => (V2, "io.max", format!("{device} wbps={bytes_per_second}")),
            _ => return Ok(None),
        };
        let group = Path::new(root).join(format!("millrace-test-{pid}"));
        if fs::create_dir_all(&group).is_err() {
            return Ok(None);
        }
        let slow = SlowDisk { root, group, pid };
        // A partition or a memory disk has no rate of its own.
        if fs::write(slow.group.join(file), rule).is_err() {
            return Ok(None);
        }
        fs::write(slow.group.join("cgroup.procs"), pid.to_string())?;
        Ok(Some(slow))
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        let _ = fs::write(Path::new(self.root).join("cgroup.procs"), self.pid.to_string());
        let _ = fs::remove_dir(&self.group);
    }
}
