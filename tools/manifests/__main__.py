"""`python -m tools.manifests check` holds overlays against schemas, policies and flows; `write` renews the topics."""

import argparse
import sys

from tools.manifests.flows import BadTable, disagreements, flows
from tools.manifests.policies import violations
from tools.manifests.render import OVERLAYS, CannotRender, Object, overlay
from tools.manifests.schemas import misfits
from tools.manifests.topics import topic_files


def broken(objects: list[Object]) -> list[str]:
    """Everything that is wrong with an overlay; policies are asked only about objects that fit their schemas."""
    return misfits(objects) or [*violations(objects), *disagreements(objects, flows())]


def _check() -> int:
    stale = [path.name for path, text in topic_files().items() if path.read_text(encoding="utf-8") != text]
    faults = [f"{name} is stale: make manifests" for name in stale]
    for name in OVERLAYS:
        objects = overlay(name)
        found = broken(objects)
        faults += [f"{name}: {words}" for words in found]
        print(f"manifests: {name}, {len(objects)} objects, {len(found) or 'no'} faults")
    for fault in faults:
        print(f"manifests: {fault}", file=sys.stderr)
    return 1 if faults else 0


def main() -> int:
    """Exit status: 0, 1 when a manifest is wrong, 2 when nothing could be rendered."""
    parser = argparse.ArgumentParser(prog="python -m tools.manifests", description=__doc__)
    parser.add_argument("command", choices=["check", "write"])
    if parser.parse_args().command == "write":
        for path, text in topic_files().items():
            path.write_text(text, encoding="utf-8")
        return 0
    try:
        return _check()
    except (CannotRender, BadTable) as fault:
        print(f"manifests: {fault}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
