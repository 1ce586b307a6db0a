"""`make golden` adds golden bytes for what the contract gained; it never changes what is there.

`ARGS="--change NAME ..."` writes these samples anew and forgets their earlier generations: only for what never left
this checkout, because readers of old records depend on the rest.
"""

import argparse
import sys

from tests.golden.samples import HOME, difference, enum_values, kept, samples, subject


def _renewed(name: str, held: dict[str, list[bytes]], changeable: set[str]) -> tuple[dict[str, list[bytes]], list[str]]:
    """Generations of every sample of a subject, and why some could not be renewed."""
    problems: list[str] = []
    today = {each: sample for each, sample in samples().items() if subject(each) == name}
    numbers = {each: wire for each, wire in enum_values().items() if subject(each) == name}
    renewed: dict[str, list[bytes]] = {}
    for each, sample in today.items():
        generations = [] if each in changeable else held.get(each, [])
        problems += filter(None, (difference(wire, sample) for wire in generations))
        renewed[each] = generations if sample.wire in generations else [*generations, sample.wire]
    for each, wire in numbers.items():
        generations = [] if each in changeable else held.get(each, [wire])
        problems += [f"{each}: its number changed"] if generations and generations != [wire] else []
        renewed[each] = [wire]
    problems += [f"{each}: is gone from the contract" for each in held.keys() - renewed.keys() - changeable]
    return renewed, problems


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 when the golden bytes are complete, 1 when something that exists would have to change."""
    parser = argparse.ArgumentParser(prog="make golden ARGS=...", description=__doc__)
    parser.add_argument("--change", nargs="+", default=[], metavar="NAME", help="samples to write anew")
    changeable = set(parser.parse_args(arguments).change)
    status = 0
    for name in sorted({subject(each) for each in (*samples(), *enum_values())}):
        held = kept(name)
        renewed, problems = _renewed(name, held, changeable)
        if problems:
            print("\n".join(f"golden: {problem}" for problem in problems), file=sys.stderr)
            status = 1
            continue
        lines = [
            f"{each} {generation} {wire.hex()}".rstrip()
            for each, generations in sorted(renewed.items())
            for generation, wire in enumerate(generations, 1)
        ]
        (HOME / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
        added = sum(map(len, renewed.values())) - sum(map(len, held.values()))
        print(f"golden: {name}.txt holds {len(lines)} samples, {added:+d}")
    return status


if __name__ == "__main__":
    sys.exit(main())
