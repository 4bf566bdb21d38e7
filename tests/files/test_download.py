"""Downloads against a real server on this machine: whole, resumed, cut short, wrong, missing, unreachable."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from file_server import Server, serving

from imago.core.model_card import ModelCard
from imago.files.download import DownloadError, Remote, compute_sha256, download, models_folder
from imago.models.published import PUBLISHED, recognize

CONTENT = bytes(range(256)) * 4000  # 1.02 MB: several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving({"/net.onnx": CONTENT}) as state:
        yield state


def remote_of(server: Server, path: str = "/net.onnx") -> Remote:
    return Remote(server.address(path), len(CONTENT), SHA256)


def test_a_whole_file_comes_verified_and_reports_progress(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    target = download(remote_of(server), tmp_path / "deep" / "net.onnx", lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["net.onnx"]
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


def test_a_cut_file_is_kept_and_the_next_call_goes_on(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    server.stop_after = 300_000
    with pytest.raises(DownloadError, match=rf"stopped after 300000 of {len(CONTENT)} bytes.*Run the command again"):
        download(remote_of(server), target)
    assert not target.exists()
    assert (tmp_path / "net.onnx.part").read_bytes() == CONTENT[:300_000]
    server.stop_after = None
    download(remote_of(server), target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]  # only the rest was sent


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "net.onnx.part").write_bytes(CONTENT[:1000])
    server.ranges = False
    assert download(remote_of(server), tmp_path / "net.onnx").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "came",
    [
        pytest.param(b"x" * len(CONTENT), id="same size, other content"),
        pytest.param(CONTENT + b"more", id="too long"),
    ],
)
def test_a_wrong_file_is_refused_and_nothing_is_left(server: Server, tmp_path: Path, came: bytes) -> None:
    server.files["/net.onnx"] = came
    with pytest.raises(DownloadError, match=r"not the published file \(SHA-256 .*expected " + SHA256[:12]):
        download(remote_of(server), tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [len(CONTENT), len(CONTENT) + 5], ids=["whole", "longer than the file"])
def test_a_wrong_part_does_not_spoil_the_file_for_ever(server: Server, tmp_path: Path, length: int) -> None:
    (tmp_path / "net.onnx.part").write_bytes(b"?" * length)
    try:
        download(remote_of(server), tmp_path / "net.onnx")
    except DownloadError:  # the part has the right size, so it is looked at first, and removed
        download(remote_of(server), tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_bytes() == CONTENT


def test_a_part_of_a_longer_file_is_dropped(server: Server, tmp_path: Path) -> None:
    server.files["/net.onnx"] = CONTENT[:10]
    (tmp_path / "net.onnx.part").write_bytes(CONTENT[:1000])
    with pytest.raises(DownloadError, match="has changed; run the command again"):
        download(remote_of(server), tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_names_address_and_way_out(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"/gone\.onnx: the server answers 404 .*--model"):
        download(remote_of(server, "/gone.onnx"), tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_no_network_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        remote = Remote(f"http://127.0.0.1:{taken.getsockname()[1]}/net.onnx", 10, SHA256)
        with pytest.raises(DownloadError, match=r"cannot be reached .*Check the network.*shipped with Imago") as caught:
            download(remote, tmp_path / "net.onnx")
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_said_and_the_part_is_kept(server: Server, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, which is on Linux only")
    (tmp_path / "net.onnx.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=r"no space left in .*\(1 MB are needed\); make room or set IMAGO_HOME"):
        download(remote_of(server), tmp_path / "net.onnx")


def test_a_folder_that_cannot_be_made_is_said(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match=r"cannot be written \(.*\); set IMAGO_HOME"):
        download(remote_of(server), tmp_path / "file" / "net.onnx")


def test_imago_home_says_where_models_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGO_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "models"
    assert PUBLISHED["u2netp"].path == tmp_path / "models" / "u2netp.onnx"
    monkeypatch.delenv("IMAGO_HOME")
    assert models_folder().parts[-2:] == ("imago", "models")


def test_a_published_file_is_known_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "renamed.onnx"
    path.write_bytes(CONTENT)
    assert recognize(path) is None
    entry = PUBLISHED["u2netp"]
    here = replace(entry, remote=Remote("http://localhost/", len(CONTENT), compute_sha256(path)))
    monkeypatch.setitem(PUBLISHED, "u2netp", here)
    assert recognize(path) == entry.card
    path.write_bytes(CONTENT[:-1] + b"?")  # same size
    assert recognize(path) is None


@pytest.mark.parametrize("name", [name for name, entry in PUBLISHED.items() if not entry.converted])
def test_catalog_entries_are_whole(name: str) -> None:
    entry = PUBLISHED[name]
    assert entry.card.name == name
    assert entry.remote.address.startswith("https://")
    assert entry.remote.address.endswith(f"/{name}.onnx")
    assert len(bytes.fromhex(entry.remote.sha256)) == 32
    assert entry.remote.size > 1_000_000
    assert entry.card.license == "Apache-2.0"
    assert entry.card.input.rule == "resize"
    assert entry.card.input.size_hw == (320, 320)
    assert ModelCard.from_json(entry.card.to_json()) == entry.card
