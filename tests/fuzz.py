"""Random command lines, data and signals, and the promises that the program always keeps.

    python -m tests.fuzz 600           for ten minutes
    python -m tests.fuzz 0 7 12        the worlds of these seeds alone

A world is a fresh folder with data sets, a trained run and pictures, some of them damaged. Two
commands are run in it. What is promised: they end in time, with status 0, 1, 2 or 128 + n; one line
says why they failed, and none is a traceback; a run that was whole stays whole; what does not train
leaves all runs as they are; and no half-written file stays.
"""

import collections
import itertools
import multiprocessing
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import conftest  # noqa: E402, F401, I001, which prepares MXNet and finds the program
import numpy as np  # noqa: E402
from helpers import write_digits  # noqa: E402
from PIL import Image  # noqa: E402

import evaluation  # noqa: E402, F401
import main as program  # noqa: E402
import train  # noqa: E402, F401
from process.errors import UserError  # noqa: E402
from runs.run import Run  # noqa: E402

COMMANDS = 2  # in a world
ANSWER_WITHIN = 200  # seconds, on a machine that others use too
VALID = 0.9  # the share of flags that get a value from the first list below
ACTIONS = (
    "--train", "--train --center_loss", "--train --center_loss --resume", "--second_train",
    "--second_train --resume", "--train --center_loss --second_train --test", "--test",
    "--test --plotting", "--test --eval_method knn --unknown some", "--predict some",
    "--predict own/a some --reject 0.1 --format json", "--compare center-loss", "--export",
    "--compare center-loss softmax-loss center-loss", "--train --test --predict some --export", "",
)  # fmt: skip
FLAGS = {
    "--model": (["lenet"], ["lenetplus", ""]), "--formulation": (["hist", "paper"], ["x"]),
    "--eval_method": (["softmax", "knn"], ["k"]), "--lr_schedule": (["step", "cosine"], ["x"]),
    "--num_classes": (["10", "11", "2"], ["1", "x", "99999999999"]),
    "--feature_size": (["2", "1", "3", "64"], ["0", "-2", "2.5"]),
    "--image_size": (["28", "16", "33"], ["8", "8192", "1e2"]),
    "--batch_size": (["128", "1", "100", "1000", "2147483647"], ["0", "2147483648"]),
    "--lr": (["0.1", "1e30"], ["0", "nan", "1e39", "-1"]), "--lr_step": (["1", "10"], ["0"]),
    "--momentum": (["0", "0.9"], ["1", "inf"]), "--wd": (["0", "1e-4", "1e30"], ["-1"]),
    "--lmbd": (["1", "0", "1e20"], ["-1", "1e-50"]), "--alpha": (["0.5", "0", "1e20"], ["x"]),
    "--threshold": (["1", "0"], ["-1"]), "--reject": (["0.05", "1"], ["2"]),
    "--prefix": (["center-loss", "softmax-loss", "ä 中 $x$"], ["a/b", "", "x" * 201, "\n"]),
    "--data_dir": (["digits", "own", "odd"], ["nowhere", "pipe", "ckpt", "", "\udcff", "/dev"]),
    "--ckpt_dir": (["ckpt", "ckpt", "new/ckpt"], ["digits/notes", "/proc/none", "pipe"]),
    "--out_dir": (["output", "output", "new/output"], ["digits/notes", "/proc/none"]),
    "--epochs": (["1", "2", "3"], ["0", "x"]), "--use_gpu": (["True", "False"], ["maybe"]),
    "--gpus": ([], ["0", "0,0", ","]), "--dataset": (["mnist5k"], ["cifar"]),
    "--seed": (["0", "1"], ["-1"]), "--format": (["text", "csv"], ["xml"]),
    "--unknown": (["some", "digits/t10k-images-idx3-ubyte"], ["pipe", "nowhere", "odd"]),
}  # fmt: skip
SWITCHES = ("--plotting", "--no_bias", "--color", "--augment", "--nonsense", "--test",
            "--resume", "--center_loss")  # fmt: skip
STREAMS = [(None, None)] * 5 + [(1, None), (1, "/dev/full"), (2, "/dev/full")]


def make_template(folder):
    """What every world is a copy of: sets of digits and pictures, and a run of two epochs."""
    write_digits(folder / "digits")
    (folder / "digits" / "notes").write_text("a file")
    noise = np.random.RandomState(0)
    for name in ("own/a", "own/b", "own/c", "some/deep"):
        (folder / name).mkdir(parents=True)
        for i in range(11):
            pixels = noise.randint(0, 255, (20 + i, 30, 3), np.uint8)
            Image.fromarray(pixels).convert(noise.choice(["L", "RGB"])).save(
                folder / name / f"{i}.{noise.choice(['png', 'jpg', 'webp', 'bmp'])}"
            )
    shutil.copytree(folder / "digits", folder / "odd")
    command = "--train --center_loss --model lenet --data_dir digits --epochs 2 --plotting"
    subprocess.run([sys.executable, ROOT / "main.py", *command.split()], cwd=folder, check=True)


def damage(choose, path):
    """Damage a file, or put something else in its place."""
    content = path.read_bytes()
    at = choose.randrange(len(content) + 1)
    kind = choose.choice(["cut", "flip", "noise", "pipe", "link", "loop", "folder", "gone", "zero"])
    if kind in ("cut", "flip", "noise"):
        noise = bytes(choose.randrange(256) for _ in range(choose.choice([1, 8, 64])))
        rest = {"cut": b"", "flip": content[at + 1 :], "noise": content[at:]}[kind]
        path.write_bytes(content[:at] + noise * (kind != "cut") + rest)
        return f"{kind} {path.name}"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "gone":
        path.symlink_to({"link": "nowhere", "loop": path.name, "zero": "/dev/zero"}[kind])
    return f"{kind} {path.name}"


def disturb(choose, world):
    """Change a few things in a world; returns what."""
    done = []
    for _ in range(choose.choice([0, 0, 1, 2])):
        folder = world / choose.choice(["odd", "own", "some", "ckpt", "output"])
        done.append(damage(choose, choose.choice(regular(folder))))
    return done


def draw_command(choose):
    """A command line, most of whose flags are valid."""
    command = choose.choice(ACTIONS).split()
    if "--train" in command or choose.random() < 0.8:
        command += [f"--data_dir={choose.choice(['digits', 'digits', 'own', 'odd'])}"]
    if any("train" in word for word in command):
        command += ["--epochs=2", *["--model=lenet"] * ("--train" in command)]
    for name in choose.sample(sorted(FLAGS), choose.choice([0, 1, 1, 2, 4])):
        good, bad = FLAGS[name]
        command.append(f"{name}={choose.choice(good if good and choose.random() < VALID else bad)}")
    command += choose.sample(SWITCHES, choose.choice([0, 0, 0, 1, 2]))
    return command


def child(command, world, stream, room, number, moment):
    """Be a process of the program: the imports, which take longest, are the parent's."""
    os.chdir(world)
    for place, name in ((1, "out"), (2, "err")):
        name = stream[1] or os.devnull if stream[0] == place else name
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), place)
    if stream == (1, None):
        sys.stdout = None  # it was closed
    if room:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    if number:  # comes with a call in the program or a library: time would tell phases less well
        calls = itertools.count()
        sys.setprofile(lambda *_: next(calls) == moment and os.kill(os.getpid(), number))
    sys.exit(program.main(command))


def run(choose, command, world):
    """Run a command, with a signal, a full disk or lost streams now and then; returns the status,
    None where it does not end; standard error; the signal; and the stream."""
    stream, room = choose.choice(STREAMS), choose.choice([None] * 9 + [1000, 200_000])
    number = choose.choice([None] * 2 + [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    moment = int(10 ** choose.uniform(3, 7))
    start = multiprocessing.get_context("fork").Process
    (world / "err").write_text("")
    process = start(target=child, args=(command, world, stream, room, number, moment))
    process.start()
    process.join(ANSWER_WITHIN)
    status = process.exitcode
    process.kill()
    return status, (world / "err").read_text(errors="replace"), number, stream


def whole_runs(world):
    """The runs of a world whose files all fit their record, with how many epochs they have."""
    found = {}
    for path in world.rglob("*.json"):
        run = Run(path.stem, path.parent, world / "output")
        try:
            record = run.read_record()
            for name in record.sha256:
                run.read_params(path.parent / name, record)
            found[path] = len(record.history)
        except (UserError, AttributeError, OSError):
            continue
    return found


def regular(folder, pattern="*"):
    """The files in a folder, however deep."""
    return sorted(p for p in folder.rglob(pattern) if p.is_file() and not p.is_symlink())


def state(world):
    """What must not be lost: whole runs; files of runs; and files that no command may leave."""
    files = {path: path.read_bytes() for path in regular(world / "ckpt", "*.[pj]*")}
    return whole_runs(world), files, {path.name for path in world.rglob("*.new")}


def broken_promise(command, before, after, status, said, number, stream):
    """What a command did that it must not, or None."""
    lines = said.splitlines()
    beginnings = ("main.py: error: ", "Interrupted: ", "Interrupted. The same command again: ")
    errors = [line for line in lines if line.startswith(beginnings)]
    if status is None:
        return "does not end"
    if status not in (0, 1, 2) and not (number and status in (-number, 128 + number)):
        return f"status {status}"
    if any("Traceback" in line or "Exception ignored" in line for line in lines):
        return "traceback"
    if stream[0] != 2 and status >= 0 and len(errors) != (status != 0):
        return f"{len(errors)} lines of error, status {status}"
    resumed = "--resume" in command
    for path, epochs in before[0].items():
        if after[0].get(path, 0) < (epochs if resumed else 1):
            return f"{path.name} has lost epochs"
    if not any("train" in word for word in command) and before[1] != after[1]:
        return "runs are changed"
    if after[2] - before[2] and number != signal.SIGKILL:
        return f"{after[2] - before[2]} left"
    return None


def try_world(seed, template, folder, statuses):
    """Run the commands of a seed; returns the findings."""
    choose, world, findings = random.Random(seed), folder / f"world-{seed}", []
    shutil.copytree(template, world)
    os.mkfifo(world / "pipe")
    changes = disturb(choose, world)
    for _ in range(COMMANDS):
        command, before = draw_command(choose), state(world)
        status, said, *rest = run(choose, command, world)
        statuses[status] += 1
        broken = broken_promise(command, before, state(world), status, said, *rest)
        if broken:
            findings.append(
                f"seed {seed}: {broken}\n  {shlex.join(command)} (signal, stream: {rest})\n"
                f"  after {changes}\n  {said[-1500:]}"
            )
    shutil.rmtree(world)
    return findings


def main(seconds, *seeds):
    """Try these seeds, then random ones until so many seconds are over; returns the findings."""
    until, findings, statuses = time.monotonic() + float(seconds), [], collections.Counter()
    seeds = list(map(int, seeds))
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder, "template")
        template.mkdir()
        make_template(template)
        while seeds or time.monotonic() < until:
            seed = seeds.pop(0) if seeds else random.SystemRandom().randrange(10**6)
            for finding in try_world(seed, template, Path(folder), statuses):
                print(finding, flush=True)
                findings.append(finding)
    print(f"{sum(statuses.values())} commands, {len(findings)} findings; by status: {statuses}")
    return findings


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))
