"""The wire contract's tool: `python -m tools.proto` turns proto/ into Python in the ignored build/gen when it changed.

`python -m tools.proto breaking` compares proto/ with the committed image of v1, which may only gain fields.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path

from grpc_tools import protoc

_REPOSITORY = Path(__file__).resolve().parents[1]
_SOURCES = _REPOSITORY / "proto"
_GENERATED = _REPOSITORY / "build" / "gen"
_IMAGE = _SOURCES / "v1.binpb"
_PACKAGE = "ballast"


def _fingerprint(protos: list[Path]) -> str:
    digest = hashlib.sha256(version("grpcio-tools").encode() + Path(__file__).read_bytes())
    for proto in protos:
        digest.update(b"\0" + str(proto.relative_to(_SOURCES)).encode() + b"\0" + proto.read_bytes())
    return digest.hexdigest()


def _compile(protos: list[Path], into: Path) -> int:
    well_known = Path(protoc.__file__).parent / "_proto"
    outputs = [f"--{kind}_out={into}" for kind in ("python", "pyi", "grpc_python")]
    status: int = protoc.main(["protoc", f"-I{_SOURCES}", f"-I{well_known}", *outputs, *map(str, protos)])
    package = into / _PACKAGE
    for directory in [package, *(each for each in package.rglob("*") if each.is_dir())]:
        if directory.is_dir():
            (directory / "__init__.py").write_text("")
    if package.is_dir():
        (package / "py.typed").write_text("")
    return status


def _publish(fresh: Path) -> None:
    # File by file, so that a program that imports them meanwhile never finds the package gone.
    wanted = {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()}
    for relative in sorted(wanted):
        target = _GENERATED / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_file() or target.read_bytes() != (fresh / relative).read_bytes():
            (fresh / relative).replace(target)
    for path in list(_GENERATED.rglob("*.py*")):
        if "__pycache__" not in path.parts and path.relative_to(_GENERATED) not in wanted:
            path.unlink()


def breaking() -> int:
    """Exit status of buf breaking against the committed image, 0 while there is none."""
    if not _IMAGE.is_file():
        print("proto: breaking changes not checked, proto/v1.binpb is absent (make proto-image)")
        return 0
    buf = shutil.which("buf", path=sysconfig.get_path("scripts")) or "buf"
    return subprocess.run([buf, "breaking", "--against", str(_IMAGE)], cwd=_REPOSITORY, check=False).returncode


def generate() -> int:
    """Exit status: 0 when build/gen agrees with proto/, 1 when protoc refused a file."""
    protos = sorted(_SOURCES.rglob("*.proto"))
    if not protos:
        print(f"proto: no .proto file under {_SOURCES}", file=sys.stderr)
        return 1
    _GENERATED.mkdir(parents=True, exist_ok=True)
    # One at a time; the kernel drops this lock with the process.
    with (_REPOSITORY / "buf.yaml").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp, wanted = _GENERATED / "protos.sha256", _fingerprint(protos)
        if stamp.is_file() and stamp.read_text() == wanted:
            return 0
        with tempfile.TemporaryDirectory(dir=_GENERATED.parent) as scratch:
            fresh = Path(scratch)
            if _compile(protos, fresh) != 0:
                return 1
            _publish(fresh)
        stamp.write_text(wanted)
    print(f"proto: generated {len(protos)} files into {_GENERATED.relative_to(_REPOSITORY)}")
    return 0


if __name__ == "__main__":
    sys.exit(breaking() if sys.argv[1:] == ["breaking"] else generate())
