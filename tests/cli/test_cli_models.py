"""``imago models``: the list, one card, downloads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_onnx import tiny_onnx, write_tiny

from imago.cli.main import run
from imago.core.model_card import ModelCard


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IMAGO_HOME", str(tmp_path))
    write_tiny(tmp_path / "models" / "mine.onnx", scores={"people/iou": 0.9412})
    (tmp_path / "models" / "cardless.onnx").write_bytes(tiny_onnx(None))
    (tmp_path / "models" / "broken.onnx").write_bytes(b"?")
    return tmp_path


def test_models_lists_what_there_is(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "on disk" in lines["mine"]
    assert "people/iou 0.941" in lines["mine"]
    assert "CC0-1.0" in lines["mine"]
    assert "no model card" in lines["cardless"]
    assert "no model card" in lines["broken"]
    assert "to download" in lines["u2netp"]
    assert "4.6 MB" in lines["u2netp"]


def test_models_json_is_for_scripts(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    mine = listed["mine"]
    assert mine["classes"] == ["background", "subject"]
    assert mine["scores"] == {"people/iou": 0.9412}
    assert mine["path"] == str(home / "models" / "mine.onnx")
    assert listed["u2net"]["bytes"] == 175_997_641
    assert listed["u2net"]["path"] is None


def test_what_only_looks_like_a_model(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder, a link that leads nowhere, a file that may not be read: the list and the other models stand."""
    (home / "models" / "d.onnx").mkdir()
    (home / "models" / "u2netp.onnx").mkdir()
    (home / "models" / "gone.onnx").symlink_to(home / "nowhere")
    assert run(["models"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert "mine" in names
    assert not {"d", "gone"} & set(names)
    assert names.count("u2netp") == 1
    for model in ("d", str(home / "models" / "d.onnx"), "gone"):
        assert run(["models", "show", model]) == 1
        err = capsys.readouterr().err
        assert err.startswith("imago: ")
        assert "unforeseen" not in err
    assert run(["models", "download", "u2netp", "--from", "http://127.0.0.1:9/x"]) == 1
    assert "u2netp.onnx: is a folder" in capsys.readouterr().err


def test_models_show_prints_a_card_to_start_from(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "show", "u2netp"]) == 0
    assert "rule resize, 320 x 320" in capsys.readouterr().out
    assert run(["models", "show", "u2netp", "--json"]) == 0
    card = capsys.readouterr().out
    assert ModelCard.from_json(card).minmax_normalize
    (home / "models" / "cardless.onnx.json").write_text(card)  # as the message about cardless files advises
    assert run(["models", "show", str(home / "models" / "cardless.onnx")]) == 0
    assert "u2netp" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "cardless"], "without an Imago model card"),
        (["show", "broken"], "not a"),
        (["show", "nobody"], "there is no model 'nobody'"),
        (["download", "nobody"], "model 'nobody' is not to be downloaded; to be had are u2net, u2netp"),
        (["download", "u2netp", "--from", "http://127.0.0.1:9/u2netp.onnx"], "cannot be reached"),
    ],
)
def test_models_failures(arguments: list[str], message: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", *arguments]) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


def test_a_model_that_is_there_is_not_downloaded_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (home / "models" / "u2netp.onnx").open("wb") as stream:
        stream.truncate(4_574_861)
    assert run(["models", "download", "u2netp", "--from", "http://127.0.0.1:9/u2netp.onnx"]) == 0
    assert "is there already" in capsys.readouterr().err
