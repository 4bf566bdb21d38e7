"""Nothing happens behind your back: no file in HOME, no socket, no word of a dependency. Each command in a process of
its own, with an empty HOME, and with one that cannot be written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import ROOT, write_tiny_dataset
from tiny_finders import write_finder, write_squares
from tiny_onnx import write_tiny

# Python's own sockets are told by its audit hooks: addresses are looked up and connections made through these events.
GUARD = """
import os, sys
def hear(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.bind", "socket.sendto"):
        local = event != "socket.getaddrinfo" and isinstance(arguments[-1], (str, bytes))  # of this machine, as a file
        if not local:
            with open(os.environ["HEARD"], "a") as log:
                log.write(f"{event} {arguments[1:]}\\n")
            raise OSError("no sockets here")
sys.addaudithook(hear)
"""
COMMAND = [sys.executable, "-c", "from imago.cli.main import main; main()"]
OURS = re.compile(
    r"(imago|note): |.+: (written in [\d.]+ s|nothing was found|\d+ objects?( in \d+ photos?|: \S+( \.\.\.)?))$"
    r"|\d+ of \d+ images? done in [\d.]+ s.*$"
    r"|.*\bepoch \d+|.*: \d+ (photos|images)\b"  # a training's own lines are more than these: see below
)


def traces() -> bool:
    """Whether strace works here: it hears the sockets of libraries that are not Python's."""
    strace = shutil.which("strace")
    return (
        bool(strace) and subprocess.run([strace, "-qq", "-o", os.devnull, "true"], capture_output=True).returncode == 0
    )


@dataclass
class House:
    """A folder to work in, a HOME, a place for temporary files; and what was done there."""

    root: Path
    home: Path
    temporary: Path  # of a short name: sockets of worker processes lie there, and their paths have at most 107 bytes
    extra: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, code: int = 0, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "OMP_NUM_THREADS") if name in os.environ}
        environment = kept | {
            "HOME": str(self.home),
            "USERPROFILE": str(self.home),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": os.pathsep.join(map(str, (self.root / "guard", ROOT / "src", ROOT / "tests"))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HEARD": str(self.root / "heard.txt"),
        }
        trace = self.root / "trace.txt"
        words = ["strace", "-f", "-qq", "-e", "trace=socket,connect,sendto", "-o", str(trace)] if traces() else []
        done = subprocess.run(
            [*words, *command],
            cwd=self.root / "work", env=environment | self.extra, capture_output=True, input=stdin, timeout=600,
        )  # fmt: skip
        told = done.stderr.decode("utf-8", "replace")
        assert done.returncode == code, told
        heard = self.root / "heard.txt"
        assert not heard.exists(), f"{command}: {heard.read_text()}"
        if words:
            calls = [line for line in trace.read_text("utf-8", "replace").splitlines() if "AF_INET" in line]
            assert not calls, f"{command}: {calls[:5]}"
        inapplicable = [line for line in told.splitlines() if line and not OURS.match(line)]
        assert not inapplicable, f"{command}: {inapplicable}"
        assert self.strays() == [], command
        return done

    def strays(self) -> list[Path]:
        """Files in HOME or where temporary ones lie."""
        homes = [self.home] if self.home.is_dir() else []
        found = [path for place in (*homes, self.temporary) for path in place.rglob("*")]
        # torch makes an empty folder for its compiler among the temporary files as soon as Fabric imports that.
        return [path for path in found if not (path.name.startswith("torchinductor_") and not any(path.iterdir()))]


def unwritable() -> Path:
    """A HOME in which nobody, not even root, makes a file."""
    return Path("/proc/self/imago") if Path("/proc/self").exists() else Path(os.devnull) / "imago"


@pytest.fixture(params=["empty", "unwritable"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    for name in ("guard", "work", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    with tempfile.TemporaryDirectory(prefix="i") as temporary:
        yield House(tmp_path, tmp_path / "home" if request.param == "empty" else unwritable(), Path(temporary))


@pytest.fixture
def work(house: House) -> Path:
    """Models and data, in the folder where the commands run."""
    folder = house.root / "work"
    write_tiny(folder / "tiny.onnx", 3)
    write_tiny(folder / "red.onnx")
    write_tiny_dataset(folder / "shapes", count=4)
    write_finder(folder / "finder.onnx", [(8, 8, 20, 20)])
    write_squares(folder / "squares", 4)
    return folder


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_the_guard_hears(house: House, argument: str) -> None:
    """Else the tests below would prove nothing."""
    with pytest.raises(AssertionError, match="getaddrinfo"):
        house.run(sys.executable, "-c", "import socket; socket.getaddrinfo('example.org', 80)", code=1)


@pytest.mark.skipif(not traces(), reason="no strace")
def test_the_trace_hears(house: House) -> None:
    code = "import ctypes, socket; ctypes.CDLL(None).socket(socket.AF_INET, socket.SOCK_STREAM, 0)"
    with pytest.raises(AssertionError, match="AF_INET"):
        house.run(sys.executable, "-c", code)


ALL_IN_ONE = "import sys; from imago.cli.main import run; sys.exit(max(run(words.split()) for words in sys.argv[1:]))"


def test_commands_of_the_light_install(house: House, work: Path) -> None:
    """All in one house: what one leaves would be seen after the next. Where HOME cannot be written all in one process
    too, for the time that each takes to begin."""
    photos = "shapes/images"
    commands = (
        "--version",
        "--help",
        "models",
        "models --json",
        "models show subject",
        "models show --json tiny.onnx",
        f"cutout {photos} --model red.onnx --out cut",
        f"cutout {photos}/scene00.jpg --out subject",  # the model that comes with Imago
        f"segment {photos} --model tiny.onnx --out seg --save mask,overlay,json --tta-flip --crf",
        f"segment {photos} --model tiny.onnx --json",
        "segment squares/images --model finder.onnx --out found --save overlay,objects,yolo,coco,counts",
        "cutout squares/images --model finder.onnx --out each --instances",
        "evaluate tiny.onnx shapes --json scores.json",
        "evaluate finder.onnx squares --json -",
        "data check squares",
        "data check squares --json",
        "data anchors squares --count 2",
    )
    if house.home.is_dir():
        for words in commands:
            house.run(*COMMAND, *words.split())
    else:
        house.run(sys.executable, "-c", ALL_IN_ONE, *commands)
    house.run(*COMMAND, "cutout", "-", "--model", "red.onnx", stdin=(work / photos / "scene00.jpg").read_bytes())
    house.run(*COMMAND, "cutout", "missing.jpg", code=1)


WAYS = {
    "load": "import imago; imago.load('red.onnx')('shapes/images/scene00.jpg').save('.')",
    "load of objects": "import imago; imago.load('finder.onnx')('squares/images/squares0.png').overlay()",
    "engine": "from imago.inference.engines.onnx import OnnxEngine; OnnxEngine('tiny.onnx')",
    "import of an engine": "import imago.inference.engines.onnx, imago.inference.detection",
    "peak memory": (
        "from imago.comparison.cost import peak_memory; from pathlib import Path\n"
        "assert peak_memory(Path('tiny.onnx'), Path('shapes/images/scene00.jpg')) > 1"
    ),
    "worker processes": (
        "from concurrent.futures import ProcessPoolExecutor; import imago, multiprocessing, sys\n"
        "if __name__ == '__main__':\n"
        "  for how in multiprocessing.get_all_start_methods():\n"
        "    with ProcessPoolExecutor(1, multiprocessing.get_context(how)) as pool:\n"
        "        pool.submit(imago.load, 'tiny.onnx').exception(timeout=60)"
    ),
    "nothing set": (
        "import os, cv2; before = dict(os.environ)  # OpenCV itself sets LD_LIBRARY_PATH\n"
        "import imago; imago.load('tiny.onnx'); assert os.environ == before"
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_in_from_python(house: House, work: Path, way: str) -> None:
    script = work / "way.py"
    script.write_text(WAYS[way])
    house.run(sys.executable, str(script))


@pytest.mark.parametrize("value", ["0", "1", "", "no"])
def test_the_user_s_word_counts(house: House, work: Path, value: str) -> None:
    """Whatever it is: seen while ONNX Runtime is imported, and afterwards."""
    house.extra = {"ORT_DISABLE_TELEMETRY": value}
    script = (
        "import os, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime': print(repr(os.environ['ORT_DISABLE_TELEMETRY']))\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from imago.inference.runtime import import_onnxruntime\n"
        "try:\n"
        "    import_onnxruntime()\n"
        "finally:\n"
        "    print(repr(os.environ['ORT_DISABLE_TELEMETRY']))\n"
    )
    stub = house.root / "guard" / "onnxruntime.py"  # in the place of the real one, which would do as it is told
    stub.write_text("")
    answer = house.run(sys.executable, "-c", script)
    assert answer.stdout.decode().split("\n")[:2] == [repr(value)] * 2


@pytest.mark.slow
def test_commands_that_train(house: House, work: Path) -> None:
    small = "--epochs 1 --size 32 --batch-size 2 --workers 0 --device cpu"
    for words in (
        f"train shapes --model unet --option width=8 --out run {small}",
        "export run --out again.onnx",
        f"train squares --model yolov3 --out boxes {small}",
        f"compare shapes --models unet,tiny.onnx --option unet.width=8 --out compared {small}",
        "evaluate run/best.safetensors shapes",
        "segment shapes/images --model run/best.safetensors --out seg",
    ):
        house.run(*COMMAND, *words.split())
