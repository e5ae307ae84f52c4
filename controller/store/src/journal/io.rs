//! The journal's files, behind a trait so that tests can make them fail.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;

/// Positions, lengths and buffers are multiples of this, as direct I/O wants it.
pub const ALIGN: usize = 4096;
/// Zeroes are written to a new segment in pieces of this many bytes.
const ZERO_PIECE: usize = 1 << 20;

/// Makes and opens segment files.
pub trait JournalIo: Send + Sync {
    /// Makes a file of `size` bytes whose blocks are allocated, and written with zeroes if `zero` is set, so that a
    /// later sync has no metadata to write. Durable when this returns.
    fn create(&self, path: &Path, size: u64, zero: bool) -> io::Result<Box<dyn JournalFile>>;
    fn open(&self, path: &Path) -> io::Result<Box<dyn JournalFile>>;
    /// Total and available bytes of the file system that holds `path`.
    fn space(&self, path: &Path) -> io::Result<(u64, u64)>;
}

/// One segment. Buffers and positions are aligned to [`ALIGN`].
pub trait JournalFile: Send + Sync {
    fn size(&self) -> u64;
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Fills as much of `bytes` as the file has.
    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<usize>;
    /// Returns when everything written is on the device.
    fn sync(&self) -> io::Result<()>;
}

/// The real disk: direct I/O, or buffered where the file system refuses it (tmpfs, some network file systems).
pub struct DiskIo;

struct DiskFile {
    file: File,
    size: u64,
}

fn open_file(path: &Path, create: bool) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(create);
    match options.clone().custom_flags(libc::O_DIRECT).open(path) {
        Ok(file) => Ok((file, true)),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            // The refused open may have created the file.
            options.create_new(false).create(create);
            Ok((options.open(path)?, false))
        }
        Err(e) => Err(e),
    }
}

impl JournalIo for DiskIo {
    fn create(&self, path: &Path, size: u64, zero: bool) -> io::Result<Box<dyn JournalFile>> {
        let made = (|| {
            let (file, direct) = open_file(path, true)?;
            // SAFETY: the descriptor is open for the duration of the call.
            let code = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, size as libc::off_t) };
            if code != 0 {
                return Err(io::Error::from_raw_os_error(code));
            }
            if zero && direct {
                let zeroes = AlignedBuf::new(ZERO_PIECE.min(size as usize));
                let mut at = 0;
                while at < size {
                    let n = (size - at).min(zeroes.len() as u64) as usize;
                    file.write_all_at(&zeroes.as_slice()[..n], at)?;
                    at += n as u64;
                }
            }
            file.sync_all()?;
            if let Some(parent) = path.parent() {
                File::open(parent)?.sync_all()?;
            }
            Ok(Box::new(DiskFile { file, size }) as Box<dyn JournalFile>)
        })();
        if made.is_err() {
            // What is left of it must not take space; the error itself is what the caller hears.
            let _ = std::fs::remove_file(path);
        }
        made
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn JournalFile>> {
        let (file, _) = open_file(path, false)?;
        let size = file.metadata()?.len() / ALIGN as u64 * ALIGN as u64;
        Ok(Box::new(DiskFile { file, size }))
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
        let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: `path` is a C string and `stat` has room for the answer, which is read only after success.
        let stat = unsafe {
            if libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            stat.assume_init()
        };
        Ok((stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
    }
}

impl JournalFile for DiskFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, position)
    }

    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match self.file.read_at(&mut bytes[done..], position + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Buffers of at least this size are put on huge pages where the kernel has them: direct I/O then pins one page
/// instead of 512 and makes larger requests.
const HUGE: usize = 2 << 20;

/// Zeroed memory that starts and ends on an [`ALIGN`] border.
pub struct AlignedBuf {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory is owned and reached only through `&self` and `&mut self`.
unsafe impl Send for AlignedBuf {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// At least `len` bytes, rounded up.
    pub fn new(len: usize) -> Self {
        let len = len.max(1).next_multiple_of(ALIGN);
        let align = if len >= HUGE { HUGE } else { ALIGN };
        let layout = Layout::from_size_align(len, align).unwrap_or_else(|_| handle_alloc_error(Layout::new::<u8>()));
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        if len >= HUGE {
            // SAFETY: the range is the allocation just made; the advice does not change its contents. Without effect
            // if it fails, which is harmless.
            let _ = unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
        }
        AlignedBuf { start, layout }
    }

    pub fn len(&self) -> usize {
        self.layout.size()
    }

    pub fn is_empty(&self) -> bool {
        false
    }

    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` points to `layout.size()` initialised (zeroed) bytes that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}
