"""Steps a second of Imago's training loop, beside a bare PyTorch loop on tensors that lie in memory.

    OMP_NUM_THREADS=2 python benchmarks/training_rate.py

Both have the same net, loss, batch, precision, memory format and optimiser. The bare loop does nothing but forward,
backward, step. Imago's own reads, augments and prepares photos in its worker processes, clips gradients, averages the
weights, and looks whether the loss is finite. They take turns; the batches that the workers have ready when a turn
starts are used up before the clock does, and the workers of one turn are gone before the next.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from report import machine, say, table, verdict

if TYPE_CHECKING:
    from imago.training.run import Run

LIMIT = 0.95
NETS: dict[str, dict[str, Any]] = {
    "u2netp": {"model": "u2netp", "size": 320},
    "unet:resnet34_slim": {"model": "unet", "encoder": "resnet34_slim", "size": 256},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Step rate of imago train by that of a bare PyTorch loop (at least 0.95)."
    )
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS), help="which nets (default: both)")
    parser.add_argument("--batch-size", type=int, default=8, help="photos a step (default 8)")
    parser.add_argument("--steps", type=int, default=20, help="steps a turn that count (default 20)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default 3)")
    parser.add_argument(
        "--workers", type=int, default=-1, help="processes that prepare photos (default: as imago train)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--precision", default="auto", help="auto, 32, bf16 or 16")
    parser.add_argument("--size", type=int, help="another side of the frames, for a trial (default: the net's)")
    parser.add_argument("--data", type=Path, help="a folder of photos and masks, two classes (default: 32 drawn ones)")
    parser.add_argument("--group", default="", help="a grouping of its labels: background=null; subject=rest")
    options = parser.parse_args()
    print(machine(), end="\n\n")
    rows = [["net", "device", "batch", "imago steps/s", "bare steps/s", "ratio", "at least", "reached"]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = options.data or draw_data(folder / "drawn")
        for net in options.nets:
            run = build_run(options, net, data.resolve(), folder / "runs" / net.replace(":", "-"))
            ours, bare = rates(run, options.steps, options.rounds, net)
            device = f"{run.fabric.device}, {run.fabric.strategy.precision.precision}"
            rows.append(
                [
                    f"{net} at {run.config.input.size}", device, str(options.batch_size), f"{ours:.3f}", f"{bare:.3f}",
                    f"{ours / bare:.3f}", f"{LIMIT}", verdict(ours / bare >= LIMIT),
                ]
            )  # fmt: skip
    print(table(rows))


def draw_data(folder: Path, count: int = 32) -> Path:
    """Pictures of a street photo's size, 550 x 830, with one light ellipse each: the cost of a step is a photo's."""
    import numpy as np
    from PIL import Image

    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    y, x = np.mgrid[:830, :550]
    for index in range(count):
        random = np.random.default_rng(index)
        inside = ((y - 415) / random.uniform(150, 350)) ** 2 + ((x - 275) / random.uniform(80, 200)) ** 2 < 1
        image = random.normal(100, 20, (830, 550, 3)) + 80 * inside[:, :, None]
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{index:03}.jpg", quality=90)
        Image.fromarray(inside.astype(np.uint8) * 255).save(folder / "masks" / f"{index:03}.png")
    return folder


def build_run(options: argparse.Namespace, net: str, data: Path, out: Path) -> Run:
    """As ``imago train`` builds it, with squares only: every step costs the same, so the two loops can be compared."""
    from imago.training.config import DataSource, TrainConfig
    from imago.training.train import build

    settings = NETS[net] | ({"size": options.size} if options.size else {})
    config = TrainConfig.of(
        data=(DataSource(str(data), group=options.group),), out=str(out), batch_size=options.batch_size, epochs=1_000,
        workers=options.workers, device=options.device, precision=options.precision, shapes=False, **settings,
    )  # fmt: skip
    return build(config, data.parent, resume=False, say=say)


def rates(run: Run, steps: int, rounds: int, title: str) -> tuple[float, float]:
    """Steps a second of Imago's loop and of the bare one: medians over the turns."""
    bare_turn = bare_loop(run)
    bare_turn(2)
    ours, bare = [], []
    for turn in range(rounds):
        ours.append(steps / imago_turn(run, steps))
        bare.append(steps / bare_turn(steps))
        say(f"  {title} {turn + 1}/{rounds}: imago {ours[-1]:.3f} steps/s, bare {bare[-1]:.3f}")
    return statistics.median(ours), statistics.median(bare)


def imago_turn(run: Run, steps: int) -> float:
    """Seconds of the last ``steps`` steps of an epoch, by Imago's own loop; the display is told of each step."""
    from imago.training.interrupt import Interrupt
    from imago.training.loop import run_steps
    from imago.training.progress import Display
    from imago.training.run import Clock

    class Stopwatch(Display):
        def step(self, *values: Any) -> None:
            super().step(*values)
            moments.append(time.perf_counter())

    moments: list[float] = []
    run.display = Stopwatch(True)
    ready = run.loader.num_workers * (run.loader.prefetch_factor or 0)  # batches that the workers may have waiting
    run.sampler.steps = ready + 1 + steps
    with Interrupt() as interrupt:
        run_steps(run, Clock(run), interrupt)
    run.progress.epoch += 1
    run.progress.step_in_epoch = 0
    return moments[-1] - moments[-1 - steps]


def bare_loop(run: Run) -> Callable[[int], float]:
    """The loop that nobody could write shorter; answers the seconds of so many steps."""
    import torch

    from imago.models.base import Target
    from imago.models.memory_format import channels_last_is_faster
    from imago.training.optim import build_optimizer
    from imago.training.tasks.semantic import build_criterion, build_net

    device = run.fabric.device
    net = build_net(run.config, run.data.labels)
    net.criterion = build_criterion(run.config, run.data)
    net = net.to(device)
    parts = [part.to(device) for part in next(iter(run.loader))]
    images, target = parts[0], Target(*parts[1:])
    if channels_last_is_faster(device.type):
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer = build_optimizer(net, run.config.optimization)
    precision = str(run.fabric.strategy.precision.precision)
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    net.train()

    def turn(steps: int) -> float:
        wait_for_device(run)
        start = time.perf_counter()
        for _ in range(steps):
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                loss = sum(net.loss(images, target).values())
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
        wait_for_device(run)
        return time.perf_counter() - start

    return turn


def wait_for_device(run: Run) -> None:
    """A GPU works on after the call has returned."""
    import torch

    if run.fabric.device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
