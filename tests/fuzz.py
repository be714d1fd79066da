"""Random command lines, data, signals and surroundings, and the promises that are always kept.

    python -m tests.fuzz 600           for ten minutes
    python -m tests.fuzz 0 7 12        the worlds of these seeds alone

A world is a fresh folder with data sets, a trained run, and files of the user's own. In it a
training is interrupted and resumed, or one or two commands run at once. What is promised:

- a command ends in time, with status 0, 1, 2 or 128 + n, and takes less than 2 GiB;
- one line says why it failed, none is a traceback, and no control character is printed;
- a run that was whole stays whole, what does not train leaves all networks as they are, no
  half-written file stays, and the user's own files are as they were;
- what was interrupted and resumed ends with the files of an uninterrupted run.
"""

import collections
import contextlib
import csv
import itertools
import json
import multiprocessing
import os
import pwd
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, Optional

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import conftest  # noqa: E402, F401, I001, which prepares MXNet and finds the program
import numpy as np  # noqa: E402
from helpers import mnist5k, write_digits  # noqa: E402
from PIL import Image  # noqa: E402

import evaluation  # noqa: E402, F401
import main as program  # noqa: E402
import train  # noqa: E402, F401
from process.errors import SIGNALS, UserError  # noqa: E402
from runs.run import Run  # noqa: E402

ANSWER_WITHIN = 200  # seconds, on a machine that others use too
MOST_MEMORY = 2**21  # KiB
HOSTILE = "\x1b[2J<img src=x onerror=alert(1)>"
DATA = ["digits", "digits", "own", "split", HOSTILE, "tables/mnist-train.csv", "tables/mnist.npz"]
TRAININGS = ["--train --center_loss"] * 3 + ["--train", "--train --center_loss --second_train"]
ACTIONS = (
    "--test", "--test --plotting", "--test --eval_method knn --unknown some", "--predict some",
    "--predict own some --reject 0.1 --format json", "--predict some --format csv", "--export",
    "--compare center-loss", "--compare center-loss softmax-loss", "--second_train --epochs 1",
    "--train --center_loss --resume --epochs 3", "--second_train --epochs 1 --test --plotting", "",
)  # fmt: skip
TRAINING = {  # flags and values, most of them good ones
    "--formulation": "hist paper", "--lr_schedule": "step cosine", "--feature_size": "2 1 3 64",
    "--batch_size": "128 100 32 2147483647", "--lr": "0.1 0.01 0.1 1e30", "--lr_step": "1 10",
    "--lr_factor": "0.1 1", "--momentum": "0.9", "--wd": "0 1e-4", "--lmbd": "1 0 0.01 1e20",
    "--alpha": "0.5 0", "--seed": "0 1 -1", "--prepare": "auto none none mnist",
    "--image_size": "28 28 16", "--num_classes": "10 10 10 11 2 x",
}  # fmt: skip
ANYWHERE = {
    "--use_gpu": "False True", "--gpus": "0 ,", "--dataset": "mnist5k cifar",
    "--ckpt_dir": "ckpt ckpt ckpt output digits tables digits/notes /proc/none pipe",
    "--out_dir": "output output new/output ckpt digits tables /proc/none pipe",
    "--data_dir": "digits own split tables/mnist.npz tables nowhere pipe ckpt \udcff /dev @none",
}  # fmt: skip
PREFIXES = ["center-loss", "softmax-loss", "mine", "mnist", "ä 中 $x$", "=1+1"]
SWITCHES = ["--momentum=0.9", "--plotting", "--augment", "--no_bias", "--eval_method=knn"]
STREAMS = [(None, None)] * 9 + [(1, None), (1, "/dev/full"), (2, "/dev/full")]


class How(NamedTuple):
    """The circumstances of a command: which stream is lost; how large files may become; the signal,
    and at which call in the program or a library it comes; and surroundings."""

    stream: tuple = (None, None)
    room: Optional[int] = None
    number: Optional[int] = None
    moment: Optional[int] = None
    nobody: bool = False  # no HOME, and no entry in passwd
    encoding: str = "utf-8"  # of standard output

    @classmethod
    def drawn(cls, choose):
        number = choose.choice([None] * 10 + [*SIGNALS, signal.SIGKILL])
        moment, room = int(10 ** choose.uniform(3, 7)), choose.choice([None] * 12 + [1000, 200_000])
        odd = choose.random() < 0.1, choose.choice(["utf-8"] * 9 + ["ascii"])
        return cls(choose.choice(STREAMS), room, number, moment, *odd)


class Done(NamedTuple):
    """How a command ended; `status` is None where it did not."""

    command: list
    how: How
    status: Optional[int]
    said: str


def make_template(folder):
    """What every world is a copy of; returns the names of the files that are the user's own."""
    write_digits(folder / "digits")
    images, labels = mnist5k().train.images[:, 0], mnist5k().train.labels
    for i, name in enumerate(("own", "split/train", "split/test", "split/val", HOSTILE)):
        for j, label in enumerate(("one", "=2", "drei\u200d 三")):
            write_pictures(folder / name / label, images[labels == j][12 * i :][:12])
    write_pictures(folder / "some" / "deep", images[::500])
    (folder / "tables").mkdir()
    np.savez(
        folder / "tables" / "mnist.npz", x_train=images[::20], y_train=labels[::20],
        x_test=images[5::40], y_test=labels[5::40],
    )  # fmt: skip
    rows = np.column_stack([labels, images.reshape(len(images), -1)])
    header = ",".join(["label", *(f"pixel{i}" for i in range(784))])
    for name, part in (("train", rows[::20]), ("test", rows[5::40])):
        path = folder / "tables" / f"mnist-{name}.csv"
        np.savetxt(path, part, "%d", ",", header=header, comments="")
    for name in ("digits/notes", "output/mine-test.png", "output/mine-notes.txt", "ckpt/mine.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("the user's")
    own = [path.relative_to(folder) for path in files_in(folder)]
    command = "--train --center_loss --model lenet --data_dir digits --epochs 2 --plotting"
    subprocess.run([sys.executable, ROOT / "main.py", *command.split()], cwd=folder, check=True)
    return own


def write_pictures(folder, images):
    """Write digits of MNIST as a person photographs them, in several formats and modes."""
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        picture = Image.new(("L", "RGB")[i % 2], (40 + i, 50), "white")
        picture.paste(Image.fromarray(255 - image), (5, 8))
        picture.save(folder / f"{i}.{('png', 'jpg', 'webp', 'bmp')[i % 4]}")


def files_in(folder, pattern="*"):
    return [path for path in folder.rglob(pattern) if path.is_file()]


def whole_runs(world):
    """How many epochs each run has whose files all fit its record."""
    found = {}
    for path in files_in(world, "*.json"):
        run = Run(path.stem, path.parent, world / "output")
        with contextlib.suppress(UserError):
            record = run.read_record()
            for name in record.sha256:
                run.read_params(path.parent / name, record)
            found[path] = len(record.history)
    return found


def draw_flags(choose, flags, counts):
    """Some flags, each with one of its values."""
    for name in choose.sample(sorted(flags), choose.choice(counts)):
        yield f"{name}={choose.choice(flags[name].split())}"


def draw_training(choose):
    command = choose.choice(TRAININGS).split()
    command += ["--model=lenet", f"--epochs={choose.choice('223')}"]
    command += [f"--data_dir={choose.choice(DATA)}", *draw_flags(choose, TRAINING, [0, 1, 2, 4])]
    # Softmax loss alone has no centers.
    return command + choose.sample(SWITCHES[: None if "--center_loss" in command else 4], 2)


def draw_command(choose):
    if choose.random() < 0.4:
        command = [*draw_training(choose), f"--prefix={choose.choice(PREFIXES)}"]
    else:
        command = [*choose.choice(ACTIONS).split(), "--data_dir=digits"]
    return command + [*draw_flags(choose, ANYWHERE, [0, 0, 0, 1])]


def be_the_program(command, world, how, log):
    """Be a process of the program: the imports, which take longest, are the parent's."""
    os.chdir(world)
    for place, kind in ((1, ".out"), (2, ".err")):
        lost = how.stream[0] == place
        name = how.stream[1] or os.devnull if lost else log.with_suffix(kind)
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), place)
    sys.stdout = None if how.stream == (1, None) else os.fdopen(1, "w", encoding=how.encoding)
    if how.nobody:
        os.environ.pop("HOME", None)
        pwd.getpwuid = {}.__getitem__
    if how.room:
        resource.setrlimit(resource.RLIMIT_FSIZE, (how.room, how.room))
    calls, commits, commit = itertools.count(), [], Run.commit
    Run.commit = lambda *args: (commit(*args), commits.append(next(calls)))
    if how.moment:  # time would tell phases less well
        sys.setprofile(
            lambda *_: next(calls) == how.moment and how.number and os.kill(os.getpid(), how.number)
        )
    status = program.main(command)
    sys.setprofile(None)
    log.with_suffix(".calls").write_text(json.dumps([*commits, next(calls)]))
    sys.exit(status)


def start(command, world, how, name="a"):
    """Start a command; returns a function that waits for its end and gives a Done."""
    log = world.with_name(name)
    args = command, world, how, log
    process = multiprocessing.get_context("fork").Process(target=be_the_program, args=args)
    process.start()

    def end():
        process.join(ANSWER_WITHIN)
        status = process.exitcode
        process.kill()
        logs = [log.with_suffix(kind) for kind in (".out", ".err")]
        said = "".join(path.read_text(errors="replace") for path in logs if path.exists())
        return Done(command, how, status, said)

    return end


def faults_of(done):
    """What a command did that it must not."""
    status, number = done.status, done.how.number
    beginnings = ("main.py: error: ", "Interrupted: ", "Interrupted. The same command again: ")
    errors = [line for line in done.said.splitlines() if line.startswith(beginnings)]
    if status is None:
        yield "does not end"
    elif status not in (0, 1, 2) and not (number and status in (-number, 128 + number)):
        yield f"status {status}"
    elif done.how.stream[0] != 2 and status >= 0 and len(errors) != (status != 0):
        yield f"{len(errors)} lines of error, status {status}"
    if re.search("Traceback|Exception ignored", done.said):
        yield "traceback"
    if re.search(r"[\0-\x08\x0b-\x1f\x7f-\x9f]", done.said):
        yield "control characters"


def essence(path):
    """What a file of a run has, but for how long its epochs took."""
    if path.suffix == ".csv":
        with open(path, newline="") as file:
            return [{**row, "seconds": None} for row in csv.DictReader(file)]
    if path.suffix == ".json":
        record = json.loads(path.read_bytes())
        rows = [{**row, "seconds": None} for row in record["history"]]
        return {**record, "history": rows, "checksum": None}
    return path.read_bytes()


def interrupt_and_resume(choose, world):
    """A training with and without interruptions; gives what ended, and faults."""
    command = draw_training(choose)
    whole, resumed = (
        [*command, f"--ckpt_dir={name}", f"--out_dir={name}/out"] for name in ("whole", "resumed")
    )
    done = [start(whole, world, How(moment=sys.maxsize))()]
    if done[0].status:
        return done, []
    # Most calls draw: signals come anywhere, or between the first epoch's end and the last one's.
    *commits, end = json.loads(world.with_name("a.calls").read_text())
    for number in [*choose.sample([*SIGNALS, signal.SIGKILL], choose.choice([1, 1, 2])), None]:
        moment = choose.randint(*choose.choice([(1, end), (commits[0], commits[-1])]))
        how = How(number=number, moment=moment)
        done.append(start([*resumed, "--resume"], world, how)())
    wanted, given = (
        {path.relative_to(folder): essence(path) for path in files_in(folder)}
        for folder in (world / "whole", world / "resumed")
    )
    different = {str(name) for name in {**wanted, **given} if wanted.get(name) != given.get(name)}
    return done, [f"resumed otherwise: {different}"] if different else []


def run_in_turn_or_at_once(choose, world):
    """Two commands; gives what ended."""
    done = []
    for count in choose.choice([[2], [1, 1]]):
        commands = choose.choices([draw_command(choose), draw_command(choose)], k=count)
        ends = [
            start(command, world, How.drawn(choose), name) for command, name in zip(commands, "ab")
        ]
        done += [end() for end in ends]
    return done, []


def state(world, own):
    """What must not be lost: the epochs of whole runs, all networks, and the user's own files."""
    contents = [{path: path.read_bytes() for path in paths if path.is_file()}
                for paths in (world.rglob("*.params"), map(world.joinpath, own))]  # fmt: skip
    return whole_runs(world), *contents


def try_world(choose, own, world):
    """Run commands in a world; returns them, ended, and the faults."""
    os.mkfifo(world / "pipe")
    runs, networks, users = state(world, own)
    work = choose.choice([interrupt_and_resume, run_in_turn_or_at_once])
    done, faults = work(choose, world)
    new_runs, new_networks, new_users = state(world, own)
    trained = [one for one in done if {"--train", "--second_train"} & {*one.command}]
    replaced = not all("--resume" in one.command for one in trained)
    for path, epochs in runs.items():
        if new_runs.get(path, 0) < (1 if replaced else epochs):
            faults.append(f"{path.name} has lost epochs")
    if not trained and networks != new_networks:
        faults.append("networks are changed")
    if list(world.rglob("*.new")) and not any(one.how.number == signal.SIGKILL for one in done):
        faults.append("a half-written file is left")
    if users != new_users:
        faults.append("the user's own files are changed")
    return done, faults + [fault for one in done for fault in faults_of(one)]


def main(seconds, *seeds):
    """Try these seeds, then random ones until so many seconds are over; returns the findings."""
    until, findings, statuses = time.monotonic() + float(seconds), [], collections.Counter()
    seeds, most = list(map(int, seeds)), MOST_MEMORY
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder, "template")
        template.mkdir()
        own = make_template(template)
        while seeds or time.monotonic() < until:
            seed = seeds.pop(0) if seeds else random.SystemRandom().randrange(10**6)
            world = Path(folder, f"{seed}", "world")
            shutil.copytree(template, world)
            done, faults = try_world(random.Random(seed), own, world)
            statuses.update(one.status for one in done)
            memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
            if memory > most:
                faults, most = [*faults, f"{memory} KiB"], memory
            if faults:
                findings.append(f"seed {seed}: {'; '.join(faults)}")
                print(findings[-1])
                for one in done:
                    print(f"  {shlex.join(one.command)}: status {one.status}, {tuple(one.how)}")
                    print(f"    {one.said[-1500:]!r}", flush=True)
            shutil.rmtree(world.parent)
    print(f"{sum(statuses.values())} commands, {len(findings)} findings; by status: {statuses}")
    return findings


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))
