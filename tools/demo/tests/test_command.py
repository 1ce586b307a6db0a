"""The report names the command that made it, whatever the options were."""

from pathlib import Path

import pytest

from tools.demo.__main__ import command, main, parse


@pytest.mark.parametrize(
    "options",
    ["", "--kill risk_evaluation", "--span first --accounts 100", "--seed 8 --speed 600"],
)
def test_the_command_of_a_run_gives_the_same_options_again(options: str) -> None:
    said = command(parse(options.split()))
    assert said == ("make demo" + (f' ARGS="{options}"' if options else ""))


def test_a_kafka_that_does_not_answer_is_said_in_one_line_and_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BALLAST_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    assert main([]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("demo: expected a usable Kafka at 127.0.0.1:1, was ")
