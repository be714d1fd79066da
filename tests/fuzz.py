"""Random command lines, data, records and signals, and the promises that the program always keeps.

    python -m tests.fuzz 600           for ten minutes
    python -m tests.fuzz 0 7 12        the worlds of these seeds alone

A world is a fresh folder with data sets, a trained run and pictures, some of them damaged. Two
commands are run in it. What is promised: they end in time, with status 0, 1, 2 or 128 + n; one line
says why they failed, and none is a traceback; a run that was whole stays whole; what does not train
leaves all runs as they are; and no half-written file stays.
"""

import json
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
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ["OMP_NUM_THREADS"] = "1"

from process import startup  # noqa: E402

startup.prepare_mxnet()

import numpy as np  # noqa: E402
from helpers import write_digits  # noqa: E402
from PIL import Image  # noqa: E402

import evaluation  # noqa: E402, F401
import main as program  # noqa: E402
import train  # noqa: E402, F401
from process.errors import UserError  # noqa: E402
from runs.record import dump, sha256  # noqa: E402
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
    "--model": (["lenet"], ["lenetplus", "alexnet", ""]),
    "--formulation": (["hist", "paper"], ["x"]),
    "--eval_method": (["softmax", "knn"], ["k"]),
    "--num_classes": (["10", "11", "2"], ["1", "x", "99999999999"]),
    "--feature_size": (["2", "1", "3", "64"], ["0", "-2", "2.5"]),
    "--image_size": (["28", "16", "33"], ["8", "8192", "1e2"]),
    "--batch_size": (["128", "1", "100", "1000", "2147483647"], ["0", "2147483648"]),
    "--lr": (["0.1", "0.01", "1e30"], ["0", "nan", "1e39", "-1"]),
    "--lr_step": (["1", "10"], ["0", "x"]),
    "--lr_schedule": (["step", "cosine"], ["linear"]),
    "--momentum": (["0", "0.9"], ["1", "inf"]),
    "--wd": (["0", "1e-4", "1e30"], ["-1"]),
    "--lmbd": (["1", "0", "1e20"], ["-1", "1e-50"]),
    "--alpha": (["0.5", "0", "1e20"], ["x"]),
    "--threshold": (["1", "0"], ["-1"]),
    "--reject": (["0.05", "1"], ["2"]),
    "--prefix": (["center-loss", "softmax-loss", "ä 中 $x$"], ["a/b", "", "x" * 201, "\n"]),
    "--data_dir": (["digits", "own", "odd"], ["nowhere", "pipe", "ckpt", "", "\udcff", "/dev"]),
    "--ckpt_dir": (["ckpt", "ckpt", "new/ckpt"], ["digits/notes", "/proc/none", "pipe"]),
    "--out_dir": (["output", "output", "new/output"], ["digits/notes", "/proc/none"]),
    "--epochs": (["1", "2", "3"], ["0", "x"]),
    "--use_gpu": (["True", "False"], ["maybe"]),
    "--gpus": ([], ["0", "0,0", ","]),
    "--dataset": (["mnist5k"], ["cifar"]),
    "--seed": (["0", "1"], ["-1"]),
    "--format": (["text", "csv"], ["xml"]),
    "--unknown": (["some", "digits/t10k-images-idx3-ubyte"], ["pipe", "nowhere", "odd"]),
}  # fmt: skip
SWITCHES = ("--plotting", "--no_bias", "--color", "--augment", "--invert", "--nonsense", "--test",
            "--resume", "--center_loss")  # fmt: skip
STREAMS = [(None, None)] * 5 + [(1, None), (2, None), (1, "/dev/full"), (2, "/dev/full")]


def make_template(folder):
    """What every world is a copy of: sets of digits and pictures, and a run of two epochs."""
    write_digits(folder / "digits")
    (folder / "digits" / "notes").write_text("a file")
    noise = np.random.RandomState(0)
    for name in ("own/a", "own/b", "own/c", "some/deep"):
        (folder / name).mkdir(parents=True)
        for i in range(11):
            pixels = noise.randint(0, 255, (20 + i, 30, 3), np.uint8)
            mode = noise.choice(["L", "RGB", "RGBA", "P", "1", "I;16"][: 6 if i else 1])
            image = Image.fromarray(pixels).convert("L" if mode == "I;16" else mode)
            image.save(folder / name / f"{i}.{'png' if mode in ('RGBA', 'P', '1') else 'jpg'}")
    os.mkfifo(folder / "pipe")
    shutil.copytree(folder / "digits", folder / "odd")
    command = "--train --center_loss --model lenet --data_dir digits --epochs 2 --plotting"
    subprocess.run([sys.executable, ROOT / "main.py", *command.split()], cwd=folder, check=True)


def copy_template(template, world):
    """Copy files, and make pipes anew."""

    def copy(source, target):
        if Path(source).is_fifo():
            os.mkfifo(target)
        else:
            shutil.copy2(source, target)

    shutil.copytree(template, world, copy_function=copy, symlinks=True)


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
    elif kind in ("link", "loop", "zero"):
        path.symlink_to({"link": "nowhere", "loop": path.name, "zero": "/dev/zero"}[kind])
    elif kind == "folder":
        path.mkdir()
    return f"{kind} {path.name}"


def edit_record(choose, path):
    """Change one value of a record by hand, with a checksum that is right."""
    record = json.loads(path.read_bytes())
    record.pop("checksum")
    place = record
    while True:
        key = choose.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if isinstance(place[key], (dict, list)) and place[key] and choose.random() < 0.8:
            place = place[key]
            continue
        break
    old = place[key]
    place[key] = choose.choice(
        [None, True, -1, 0, 1, 2**31, 10**400, 1e308, 0.5, "", "x", "../x", [], {}, [1], {"a": 1}]
    )
    path.write_bytes(dump({**record, "checksum": sha256(dump(record))}))
    return f"record {key}: {str(old)[:40]} -> {str(place[key])[:40]}"


def disturb(choose, world):
    """Change a few things in a world; returns what."""
    done = []
    for _ in range(choose.choice([0, 0, 1, 1, 2])):
        kind = choose.choice(["odd", "own", "some", "ckpt", "output", "record", "record"])
        if kind == "record":
            path = world / "ckpt" / "center-loss.json"
            if path.is_file() and not path.is_symlink() and not done:
                done.append(edit_record(choose, path))
            continue
        files = sorted(p for p in (world / kind).rglob("*") if p.is_file() and not p.is_symlink())
        if files:
            done.append(damage(choose, choose.choice(files)))
    return done


def draw_command(choose):
    """A command line, most of whose flags are valid."""
    command = choose.choice(ACTIONS).split()
    if "--train" in command or choose.random() < 0.8:
        command += [f"--data_dir={choose.choice(['digits', 'digits', 'own', 'odd'])}"]
    if "--train" in command:
        command += ["--model=lenet", "--epochs=2"]
    for name in choose.sample(sorted(FLAGS), choose.choice([0, 1, 1, 2, 4])):
        good, bad = FLAGS[name]
        command.append(f"{name}={choose.choice(good if good and choose.random() < VALID else bad)}")
    command += choose.sample(SWITCHES, choose.choice([0, 0, 0, 1, 2]))
    return command


def child(command, world, stream, room):
    """Be a process of the program: the imports, which take longest, are the parent's."""
    os.chdir(world)
    for number, name in ((1, "out"), (2, "err")):
        if stream[0] != number:
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        elif stream[1]:
            os.dup2(os.open(stream[1], os.O_RDWR), number)
        else:
            os.close(number)
            setattr(sys, {1: "stdout", 2: "stderr"}[number], None)
    if room:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    sys.exit(program.main(command))


def run(choose, command, world):
    """Run a command, with a signal, a full disk or lost streams now and then.

    Returns the status, None where it does not end; standard error; the signal; and the stream.
    """
    stream, room = choose.choice(STREAMS), choose.choice([None] * 9 + [1000, 200_000])
    number = choose.choice([None] * 4 + [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    after = choose.uniform(0.1, 6)
    start = multiprocessing.get_context("fork").Process
    process = start(target=child, args=(command, world, stream, room))
    process.start()
    process.join(after if number else ANSWER_WITHIN)
    if number and process.exitcode is None:
        os.kill(process.pid, number)
        process.join(ANSWER_WITHIN)
    status = process.exitcode
    process.kill()
    process.join()
    said = (world / "err").read_text(errors="replace") if (world / "err").exists() else ""
    return status, said, number, stream


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


def snapshot(world):
    """What runs are made of: contents of the files in ckpt."""
    files = (path for path in (world / "ckpt").rglob("*.[pj]*") if path.is_file())
    return {path: path.read_bytes() for path in files if not path.is_symlink()}


def broken_promises(command, world, before, result):
    """What a command did that it must not."""
    (runs, files, leftovers), (status, said, number, stream) = before, result
    if status is None:
        return "does not end"
    lines = said.splitlines()
    errors = [line for line in lines if line.startswith(("main.py: error: ", "Interrupted: "))]
    if status not in (0, 1, 2) and not (number and status in (-number, 128 + number)):
        return f"status {status}"
    if any("Traceback" in line or "Exception ignored" in line for line in lines):
        return "traceback"
    if stream[0] != 2 and status >= 0 and len(errors) != (status != 0):
        return f"{len(errors)} lines of error, status {status}"
    lost = [path.name for path in runs if path not in whole_runs(world)]
    if lost:
        return f"{', '.join(lost)} is whole no more"
    if not any("train" in word for word in command) and snapshot(world) != files:
        return "runs are changed"
    left = {path.name for path in world.rglob("*.new")} - leftovers
    if left and number != signal.SIGKILL:
        return f"{', '.join(left)} is left"
    return None


def try_world(seed, template, folder):
    """Run the commands of a seed; returns how many, and the findings."""
    choose, world = random.Random(seed), folder / f"world-{seed}"
    copy_template(template, world)
    findings = []
    changes = disturb(choose, world)
    for _ in range(COMMANDS):
        command = draw_command(choose)
        leftovers = {path.name for path in world.rglob("*.new")}
        before = whole_runs(world), snapshot(world), leftovers
        result = run(choose, command, world)
        broken = broken_promises(command, world, before, result)
        if broken:
            findings.append(
                f"seed {seed}: {broken}\n  {shlex.join(command)} (signal {result[2]}, stream "
                f"{result[3]})\n  after {changes}\n  {result[1][-1500:]}"
            )
    shutil.rmtree(world)
    return findings


def main(seconds, *seeds):
    """Try these seeds, then random ones until so many seconds are over; returns the findings."""
    until, findings, count = time.monotonic() + float(seconds), [], 0
    seeds = list(map(int, seeds))
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder, "template")
        template.mkdir()
        make_template(template)
        while seeds or time.monotonic() < until:
            seed = seeds.pop(0) if seeds else random.SystemRandom().randrange(10**6)
            for finding in try_world(seed, template, Path(folder)):
                print(finding, flush=True)
                findings.append(finding)
            count += COMMANDS
    print(f"{count} commands, {len(findings)} findings")
    return findings


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))
