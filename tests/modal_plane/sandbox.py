"""A container's file system: its files and volumes at their paths, and nothing of this checkout.

In a new mount namespace (as root, or as the root of a new user namespace) a root folder is built in memory: what this
machine has, bound read-through, except along the paths of the binds. Nothing of the machine's own tree is touched or
left changed.

Where no namespace is allowed (a plain Docker container) the paths are links instead: `/foresight` becomes a link to
`/proc/self/fd/900/foresight`, and descriptor 900 is, in each container, the folder with its own mounts. So two
containers see different files at one path, in native code too. Less holds there: the link must be creatable and stays
(it leads nowhere without the descriptor), a read-only mount is not, files of this machine can be seen (modules of the
checkout still cannot be imported), and a process that the container starts has the paths only if it inherits
descriptors. Where neither is allowed no container starts, and the call that waits for it says why.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

NEWNS, NEWUSER = 0x20000, 0x10000000
BIND, REC, PRIVATE, REMOUNT, RDONLY = 0x1000, 0x4000, 1 << 18, 0x20, 1
REFUSED = 97
HOME = "/root"
DESCRIPTOR = 900
MAGIC = f"/proc/self/fd/{DESCRIPTOR}"
libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int) -> None:
    checked(libc.mount(source.encode(), target.encode(), kind.encode(), flags, None), f"mounting {source} at {target}")


def bind(source: Path, target: Path, read_only: bool = False) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(str(source), str(target), "", BIND | REC)
    if read_only:
        mount(str(source), str(target), "", BIND | REMOUNT | RDONLY)


def unshare() -> None:
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(NEWNS) == 0:
        return
    checked(libc.unshare(NEWUSER | NEWNS), "making a mount namespace")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def build_root(root: Path, binds: dict[str, dict], hide: list[str], keep: list[str]) -> None:
    mount("none", "/", "", REC | PRIVATE)
    root.mkdir(exist_ok=True)
    mount("plane", str(root), "tmpfs", 0)
    targets = {Path(path) for path in [*binds, *hide]}
    leading = {parent for target in targets for parent in target.parents}

    def fill(folder: Path) -> None:
        inside = root / folder.relative_to("/")
        inside.mkdir(exist_ok=True)
        if not folder.is_dir():
            return
        for entry in folder.iterdir():
            if entry in targets:
                continue
            if entry in leading:
                fill(entry)
            elif entry.is_symlink():
                (inside / entry.name).symlink_to(entry.readlink())
            elif entry.is_dir() or entry.is_file():
                bind(entry, inside / entry.name)

    fill(Path("/"))
    for path in hide:
        (root / Path(path).relative_to("/")).mkdir(parents=True, exist_ok=True)
    for path in sorted(binds):
        bind(Path(binds[path]["source"]), root / Path(path).relative_to("/"), binds[path].get("read_only", False))
    for path in keep:
        if any(Path(path).is_relative_to(target) for target in targets):
            bind(Path(path), root / Path(path).relative_to("/"))
    os.chroot(root)


def link_root(root: Path, binds: dict[str, dict]) -> None:
    """The same paths by links, without any right but to make them."""
    for path, bound in binds.items():
        inside = root / Path(path).relative_to("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.symlink_to(bound["source"])
        if path == HOME:
            continue
        top = next(part for part in [*reversed(Path(path).parents), Path(path)] if not part.is_dir() or is_ours(part))
        if not is_ours(top):
            with contextlib.suppress(FileExistsError):  # another plane was as quick
                top.symlink_to(f"{MAGIC}{top}")
            if not is_ours(top):
                raise OSError(f"{top} is in the way")
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY)
    os.dup2(descriptor, DESCRIPTOR, inheritable=True)
    os.close(descriptor)


def is_ours(path: Path) -> bool:
    return path.is_symlink() and str(path.readlink()) == f"{MAGIC}{path}"


def enter(spec: dict) -> str:
    """Puts this process into its container; returns the folder that is its home there."""
    home, root = HOME, Path(spec["new_root"])
    try:
        if spec["mounts"] == "links":
            raise OSError("a test asked for links")
        unshare()
        build_root(root, spec["binds"], spec["hide"], spec["keep"])
    except OSError as refused:
        try:
            link_root(root, spec["binds"])
        except OSError as error:
            sys.stderr.write(
                f"this machine lets no container have mounts of its own ({refused}), nor links instead ({error}): "
                "allow user namespaces (on Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0) or be root\n"
            )
            sys.exit(REFUSED)
        home = spec["binds"][HOME]["source"]
        spec["environment"] |= {"PYTHONPATH": home, "HOME": home}
    os.chdir(home)
    return home
