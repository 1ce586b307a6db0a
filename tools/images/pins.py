"""`python tools/images/pins.py EXTRA ... [--own-only]` prints what requirements.lock pins for these extras.

Runs in the image's build stage before anything is installed: the standard library only. The lock says of each package
which ones asked for it; what an extra needs is what can be reached from its names that way.
"""

import re
import sys
import tomllib
from pathlib import Path

_PROJECT = "ballast"
_ENTRY = re.compile(r"[a-z0-9][a-z0-9._-]*==")
_VIA = re.compile(r"^ +# +(?:via +)?(\S.*)$", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class UnknownExtra(ValueError):
    """pyproject.toml has no such extra; the message lists those it has."""


def pins(lock: str, project: str, extras: list[str], *, own_only: bool = False) -> str:
    """The lock's entries that the project with these extras needs.

    Args:
        lock: text of requirements.lock, as uv writes it.
        project: text of pyproject.toml.
        own_only: without what the project needs in any case.
    """
    declared = tomllib.loads(project)["project"]
    known = declared["optional-dependencies"]
    if unknown := sorted(set(extras) - known.keys()):
        raise UnknownExtra(f"expected extras among {', '.join(sorted(known))}, was {', '.join(unknown)}")
    wanted = [] if own_only else list(declared["dependencies"])
    wanted += [need for extra in extras for need in known[extra]]
    entries = _entries(lock)
    needed = {_normal(need) for need in wanted}
    before = -1
    while before != len(needed):
        before = len(needed)
        needed |= {name for name, askers, _ in entries if askers & needed}
    if missing := sorted(needed - {name for name, _, _ in entries}):
        raise UnknownExtra(f"expected {', '.join(missing)} in the lock; run make locks")
    return "".join(text for name, _, text in entries if name in needed)


def _entries(lock: str) -> list[tuple[str, set[str], str]]:
    """Name, askers and text of each entry; a package that differs by Python version has one for each."""
    found = []
    for text in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE):
        if not _ENTRY.match(text):
            continue
        askers = {_normal(asker) for asker in _VIA.findall(text) if asker != "via"} - {_PROJECT}
        found.append((_normal(text), askers, text))
    return found


def _normal(requirement: str) -> str:
    name = _NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", name[0]).lower() if name else requirement


def main(arguments: list[str]) -> int:
    """Exit status: 0, or 2 when an extra is unknown."""
    own_only = "--own-only" in arguments
    extras = [argument for argument in arguments if not argument.startswith("--")]
    lock, project = Path("requirements.lock").read_text(), Path("pyproject.toml").read_text()
    try:
        print(pins(lock, project, extras, own_only=own_only), end="")
    except UnknownExtra as error:
        print(f"pins: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
