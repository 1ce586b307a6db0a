"""`python -m tools.images build|base|smoke`: images of the services with docker or podman, whichever answers."""

import argparse
import os
import sys
from collections.abc import Sequence

from tools.broker import BrokerFault
from tools.demo.processes import SERVICES
from tools.images.build import base_image, build, build_base, image_name
from tools.images.engine import Engine, ImageFault, engine
from tools.images.smoke import smoke
from tools.report import Measure, Run

_COMMAND = {"build": "make images", "smoke": "make images-smoke"}
_TARGET = {"build": "images", "smoke": "images-smoke"}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__)
    parser.add_argument("command", choices=["build", "base", "smoke"])
    parser.add_argument("services", nargs="*", help="default: all")
    parser.add_argument("--prefix", default="localhost/ballast", help="what image names begin with")
    parser.add_argument("--tag", default="dev", help="tag of the images (default dev)")
    parser.add_argument("--base", default=os.environ.get("BASE_IMAGE"), help="base image (default: see Dockerfile)")
    found = parser.parse_args()
    if unknown := sorted(set(found.services) - set(SERVICES)):
        parser.error(f"expected services among {', '.join(SERVICES)}, was {', '.join(unknown)}")
    return found


def _build_all(chosen: Engine, images: dict[str, str], base: str | None) -> list[Measure]:
    base = base_image(chosen, base)
    print(f"images: {chosen.name}, base {base}", flush=True)
    measures: list[Measure] = []
    for service, name in images.items():
        found = build(chosen, service, base=base, name=name)
        size, seconds = found
        verdict = "met" if size.met else "missed"
        print(
            f"  {name:<46} {size.value:>6} MB above the base (goal {size.goal}: {verdict}), {seconds.value} s",
            flush=True,
        )
        measures += found
    return measures


def _print(measures: Sequence[Measure]) -> None:
    for measure in measures:
        print(f"  {measure.name:<44} {measure.value:>8} {measure.unit}")


def main() -> int:
    """Exit status: 0, 1 when an image failed its test, 2 when a tool is missing or a build fails."""
    arguments = _arguments()
    command = arguments.command
    services = arguments.services or list(SERVICES)
    images = {each: image_name(each, prefix=arguments.prefix, tag=arguments.tag) for each in services}
    try:
        chosen = engine()
        if command == "base":
            print(f"images: {chosen.name} holds {build_base(chosen)}")
            return 0
        run = Run(_TARGET[command], command=_COMMAND[command], seed=0)
        if command == "build":
            measures = _build_all(chosen, images, arguments.base)
        else:
            measures = smoke(chosen, images)
            _print(measures)
    except (ImageFault, BrokerFault) as fault:
        print(f"images: {fault}", file=sys.stderr)
        return 1 if command == "smoke" else 2
    print(f"images: report in {run.finish(ok=True, measures=measures).write()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
