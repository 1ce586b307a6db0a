"""I9 at the way out: what a frame calls unusable carries no opening and no outflow."""

import pytest

from ballast.events.v1 import commands_pb2, risk_pb2
from libs.common.validity import ValidityClass
from services.risk_evaluation.adapters.outlet import decides_on_unusable_mark
from services.risk_evaluation.app.ports import Output

OPENING = commands_pb2.Command(open_episode=commands_pb2.OpenEpisode(account=5))
OUTFLOW = commands_pb2.Command(verdict=commands_pb2.Verdict(account=5, reservation=9, settle=True))
VOIDED = commands_pb2.Command(verdict=commands_pb2.Verdict(account=5, reservation=9))
ORDER = commands_pb2.Command(verdict=commands_pb2.Verdict(account=5, order=9, settle=True))


@pytest.mark.parametrize(
    ("command", "validity", "is_broken"),
    [
        (OPENING, ValidityClass.VALID,    False),
        (OPENING, ValidityClass.DEGRADED, False),
        (OPENING, ValidityClass.HOLD,     True),
        (OUTFLOW, ValidityClass.VALID,    False),
        (OUTFLOW, ValidityClass.DEGRADED, True),
        (VOIDED,  ValidityClass.STALE,    False),
        (ORDER,   ValidityClass.STALE,    False),
    ],
)  # fmt: skip
def test_a_decision_is_held_against_the_frame_it_goes_out_with(
    command: commands_pb2.Command, validity: ValidityClass, is_broken: bool
) -> None:
    frame = risk_pb2.MarginFrame(account=[4, 5], validity=bytes([ValidityClass.VALID, validity]))
    output = Output(partition=0, frame=frame, commands=[command], received_wall_ns=1, on_marks=True)
    assert decides_on_unusable_mark(output) == is_broken


def test_nothing_is_said_of_accounts_that_are_not_in_the_frame() -> None:
    frame = risk_pb2.MarginFrame(account=[4], validity=bytes([ValidityClass.STALE]))
    assert not decides_on_unusable_mark(Output(0, frame, [OPENING], 1, True))
