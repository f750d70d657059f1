"""The folder of a store: one owner, a file system that keeps its word, and bytes held in reserve.

- `flock` on `lock`: a second process gets StoreLocked.
- Network file systems are refused: their locks and syncs do not promise what SQLite needs.
- `ballast` is a file of reserved bytes, given up when the disk is full so that settlements still fit, and made again before
  hits are taken again.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from gateway.errors import StoreLocked, StoreUnfit

NETWORK = frozenset(
    """nfs nfs4 cifs smb smb2 smb3 smbfs ncpfs afs coda 9p ceph lustre beegfs gpfs glusterfs gfs2 ocfs2 davfs fuse.sshfs
    fuse.glusterfs fuse.ceph fuse.ceph-fuse fuse.s3fs fuse.rclone fuse.gcsfuse fuse.goofys fuse.davfs fuse.mount-s3
    fuse.blobfuse fuse.blobfuse2 fuse.juicefs fuse.cvmfs fuse.smbnetfs fuse.curlftpfs""".split()
)
MOUNTS = Path("/proc/self/mounts")


class Folder:
    """The folder while we own it.

    >>> folder = Folder(Path("data"), ballast=64_000_000); folder.take()
    """

    def __init__(self, path: Path, *, ballast: int, mounts: Path = MOUNTS) -> None:
        self.path = path
        self.file = path / "tagway.db"
        self.wal = path / "tagway.db-wal"
        self.ballast = ballast
        self._ballast_file = path / "ballast"
        self._mounts = mounts
        self._lock: int | None = None

    def take(self) -> None:
        """Make the folder, check it and lock it. Raises StoreUnfit, StoreLocked."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnfit(f"the queue's folder {self.path} cannot be made: {error.strerror}") from error
        self._refuse_network()
        try:
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnfit(f"the queue's folder {self.path} is not writable: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._lock)
            self._lock = None
            raise StoreLocked(f"{self.path} is in use by another process (pid {owner})") from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process own it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def sync(self) -> None:
        """Make the names of new files last."""
        for path in (self.path, self.path.parent):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def free_bytes(self) -> int:
        """What the file system still has for us."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def reserve(self) -> bool:
        """Make the ballast where it is missing; False when there is no room for it."""
        if not self.ballast:
            return True
        try:
            if self._ballast_file.exists() and self._ballast_file.stat().st_size >= self.ballast:
                return True
            descriptor = os.open(self._ballast_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self.ballast)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            self.give_up_reserve()
            return False
        return True

    def give_up_reserve(self) -> None:
        """Free the ballast's bytes."""
        self._ballast_file.unlink(missing_ok=True)

    def _refuse_network(self) -> None:
        kind = mount_type(self.path.resolve(), self._mounts)
        if kind in NETWORK:
            raise StoreUnfit(
                f"{self.path} is on a network file system ({kind}), whose locks and syncs cannot be relied on; "
                "put queue.path on a local disk or a block volume"
            )


def mount_type(path: Path, mounts: Path) -> str:
    """The file system type of the mount that holds a path; empty when the table cannot be read."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(fields[1].encode("latin-1", "replace").decode("unicode_escape"))
        if len(point.parts) >= best and path.is_relative_to(point):
            best, kind = len(point.parts), fields[2]
    return kind
