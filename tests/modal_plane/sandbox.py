"""A container's file system: its files and volumes at their paths, and nothing of this checkout.

In a new mount namespace (as root, or as the root of a new user namespace) a root folder is built in memory: what
this machine has, bound read-through, except along the paths of the binds. Nothing of the machine's own tree is
touched or left changed. Where no namespace is allowed it stops with one sentence, unless
MODAL_PLANE_WITHOUT_NAMESPACES=1 says that the code in the container finds its mounts by MODAL_PLANE_MOUNTS (JSON:
path inside, path here) itself; its home is then the folder that would be /root.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

NEWNS, NEWUSER = 0x20000, 0x10000000
BIND, REC, PRIVATE, REMOUNT, RDONLY = 0x1000, 0x4000, 1 << 18, 0x20, 1
REFUSED = 97
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


def enter(spec: dict) -> str:
    """Puts this process into its container; returns the folder that is its home there."""
    home = "/root"
    try:
        unshare()
        build_root(Path(spec["new_root"]), spec["binds"], spec["hide"], spec["keep"])
    except OSError as error:
        if os.environ.get("MODAL_PLANE_WITHOUT_NAMESPACES") != "1":
            sys.stderr.write(
                f"this machine lets no container have mounts of its own ({error}): allow user namespaces, run as root, "
                "or set MODAL_PLANE_WITHOUT_NAMESPACES=1 for code that finds its mounts by MODAL_PLANE_MOUNTS\n"
            )
            sys.exit(REFUSED)
        home = spec["binds"]["/root"]["source"]
        spec["environment"]["PYTHONPATH"] = home
    os.chdir(home)
    return home
