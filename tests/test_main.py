"""The program through its command line."""

import csv
import gzip
import re
import resource
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import mxnet as mx
import numpy as np
import pytest
from helpers import QUICK, ROOT, assert_one_line, run, snapshot, write_digits, write_idx

import data
import main
import utils
from models import LeNet
from process import cores, startup
from process.errors import UserError
from recipe import Network
from runs.run import Run
from runs.trained import open_run

EPOCH_LINE = (
    r"^Epoch \[{}\]: Loss=\d+\.\d{{6}}, Train-Acc=[01]\.\d{{6}}, "
    r"Test-Acc=[01]\.\d{{6}}, Epoch-time=\d+\.\d{{6}}$"
)
TEST_LINE = r"^Test_acc: ([01]\.\d{4}), Elapsed_time: \d+\.\d{6} s$"

SEED_COMMANDS = """
--train --prefix=softmax-loss --epochs 30 --lr 0.1 --lr_step 10 --batch_size 128 --num_classes 10 --feature_size 2 --use_gpu True --plotting
--train --center_loss --prefix=center-loss --lmbd 1 --alpha 0.5 --epochs 30 --lr 0.1 --lr_step 10 --batch_size 128 --num_classes 10 --feature_size 2 --use_gpu True --plotting
--second_train --prefix=center-loss --lmbd 1 --alpha 0.5  --epochs 30 --lr 0.1 --lr_step 10 --batch_size 128 --num_classes 10 --feature_size 2 --use_gpu True --plotting
--test --prefix=center-loss --lmbd 1 --batch_size 128 --num_classes 10 --feature_size 2 --use_gpu True --eval_method softmax
--test --prefix=center-loss --lmbd 1 --batch_size 128 --num_classes 10 --feature_size 2 --use_gpu True --eval_method knn
--train --prefix=softmax
--train --center_loss --prefix=center-loss
--test --prefix=softmax
--test --prefix=center-loss
"""  # noqa: E501


@pytest.mark.slow
def test_the_three_commands(tmp_path):
    """Without any flag beyond those that make it quick, in processes of their own."""
    quick = ("--dataset", "mnist5k")
    for flags in (("--train", "--center_loss", *QUICK), ("--second_train", *QUICK[2:])):
        done = run(*flags, *quick, cwd=tmp_path)
        assert done.status == 0 and done.err == "", done.err
        assert re.search(EPOCH_LINE.format(0), done.out, re.MULTILINE)
    for prefix in ("center-loss", "center-loss-second"):
        done = run("--test", "--eval_method", "knn", "--prefix", prefix, *quick, cwd=tmp_path)
        assert done.status == 0 and done.err == "", done.err
        accuracy = float(re.search(TEST_LINE, done.out, re.MULTILINE).group(1))
        history = read_history(tmp_path, prefix)
        assert accuracy == pytest.approx(float(history[0]["test_knn"]), abs=1e-4)
        assert history[0]["dataset"] == "mnist5k"


@pytest.mark.slow
def test_every_command_of_the_seed(cli):
    for command in SEED_COMMANDS.strip().splitlines():
        quick = QUICK if "--test" not in command else ()
        done = cli(*command.split(), "--data_dir", "digits", *quick)
        assert done.status == 0, done.err
        assert ("WARNING: there is no GPU" in done.err) == ("--use_gpu" in command)
        form = TEST_LINE if "--test" in command else EPOCH_LINE.format(0)
        assert re.search(form, done.out, re.MULTILINE), done.out


@pytest.mark.slow
def test_actions_run_in_order_and_softmax_only_runs_have_their_own_name(cli, tmp_path):
    done = cli("--test", "--train", "--data_dir", "digits", *QUICK)
    assert done.status == 0
    assert done.out.index("Epoch [0]") < done.out.index("Test_acc")
    names = {path.name for path in (tmp_path / "ckpt").glob("*.params")}
    assert names == {"softmax-loss-best.params", "softmax-loss-resume.params"}
    done = cli("--train", "--center_loss", "--second_train", "--data_dir", "digits", *QUICK)
    assert done.status == 0
    assert (tmp_path / "ckpt" / "center-loss-second-feature_matrix.params").exists()


@pytest.mark.slow
def test_it_learns_the_digits(cli):
    """Softmax and center loss on real digits: far above chance, by both methods."""
    done = cli(
        "--train", "--center_loss", "--dataset", "mnist5k", "--model", "lenet", "--epochs", 8,
        "--momentum", 0.9, "--lr", 0.02, "--feature_size", 16,
    )  # fmt: skip
    assert done.status == 0, done.err
    last = read_history(".", "center-loss")[-1]
    assert float(last["test_softmax"]) > 0.93 and float(last["test_knn"]) > 0.93
    assert float(last["softmax_loss"]) < 0.3


def test_second_train_moves_neither_centers_nor_classifier(trained, tmp_path):
    from runs.params import unpack

    done = trained("--second_train", "--data_dir", "digits", "--epochs", 2)
    assert done.status == 0, done.err

    def read(name):
        return unpack((tmp_path / "ckpt" / name).read_bytes())

    first, second = read("center-loss-best.params"), read("center-loss-second-best.params")
    for name in first:
        assert np.array_equal(first[name], second[name]) == name.startswith("output"), name
    centers = read("center-loss-feature_matrix.params")["embedding.weight"]
    kept = read("center-loss-second-feature_matrix.params")["embedding.weight"]
    np.testing.assert_array_equal(centers, kept)


@pytest.mark.slow
def test_best_is_the_epoch_of_highest_accuracy_by_the_chosen_method(cli):
    done = cli(
        "--train", "--center_loss", "--test", "--data_dir", "digits", "--model", "lenet",
        "--epochs", 4, "--eval_method", "knn",
    )  # fmt: skip
    best = max(float(row["test_knn"]) for row in read_history(".", "center-loss"))
    assert f"Test_acc: {best:.4f}" in done.out


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--feature_size", 1], ["--feature_size", 3], ["--no_bias"]])
def test_other_networks_are_trained_tested_and_drawn(cli, flags):
    quick = ("--data_dir", "digits", *QUICK, "--plotting")
    assert cli("--train", "--center_loss", "--second_train", *quick, *flags).status == 0
    test = ("--test", "--eval_method", "knn", "--plotting", "--data_dir", "digits", "--prefix")
    for prefix in ("center-loss", "center-loss-second"):
        done = cli(*test, prefix)
        assert done.status == 0 and f"Feature map: output/{prefix}-test.png" in done.out, done.err
        for name in (f"{prefix}-test.png", f"{prefix}/train-epoch-0.png"):
            picture = iio.imread(f"output/{name}", mode="RGB")
            assert picture.shape == (640, 640, 3) and coloured(picture) > 300
        assert iio.imread(f"output/{prefix}-curves.png").std() > 10


@pytest.mark.slow
def test_the_same_command_gives_the_same_bytes(tmp_path, monkeypatch):
    write_digits(tmp_path / "digits")
    monkeypatch.delenv("OMP_NUM_THREADS")  # the program chooses
    contents = []
    for i, seed in enumerate((3, 3, 4)):
        done = run(
            "--train", "--center_loss", "--data_dir", "digits", *QUICK, "--seed", seed,
            "--ckpt_dir", f"ckpt{i}", "--out_dir", f"output{i}", cwd=tmp_path,
        )  # fmt: skip
        assert done.status == 0, done.err
        folder = tmp_path / f"ckpt{i}"
        contents.append([path.read_bytes() for path in sorted(folder.glob("*.params"))])
    assert contents[0] == contents[1]
    assert len(contents[0]) == 3 and all(a != b for a, b in zip(contents[0], contents[2]))


def read_history(folder, prefix):
    with open(f"{folder}/output/{prefix}-history.csv") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_compare(cli, tmp_path):
    flags = ("--data_dir", "digits", "--model", "lenet", "--epochs", 3, "--batch_size", 32)
    assert cli("--train", *flags).status == 0
    assert cli("--train", "--center_loss", "--second_train", *flags).status == 0
    prefixes = ("softmax-loss", "center-loss", "center-loss-second")
    done = cli("--compare", *prefixes, "--data_dir", "digits")
    assert done.status == 0 and done.err == "", done.err
    tables = re.findall(r"^\| ((?:softmax|center)-loss.*) \|$", done.out, re.MULTILINE)
    rows = [row.split(" | ") for row in tables]
    assert [row[0] for row in rows] == [*prefixes, *prefixes]  # training set, then test set
    assert (rows[3][2], rows[3][5], rows[3][7]) == ("-", "-", "-")  # there are no centers
    for row in rows[4:]:
        last = read_history(tmp_path, row[0])[-1]
        for method, cell, last_cell in (("softmax", row[1], row[4]), ("knn", row[2], row[5])):
            flags = ("--prefix", row[0], "--eval_method", method, "--data_dir", "digits")
            assert f"Test_acc: {cell}," in cli("--test", *flags).out
            assert last_cell == f"{float(last[f'test_{method}']):.4f}"
    for name in ("train", "test"):
        picture = iio.imread(f"output/{name}_feature_map_with_different_loss.jpg")
        assert picture.shape == (3600, 1600, 3)
        assert min(map(coloured, np.split(picture, 3))) > 1000
    assert_one_line(cli("--compare", "softmax-loss", "nothing"), "nothing-best.params is missing")
    done = cli("--train", "--prefix", "new", "--compare", "new", "nothing", "--data_dir", "digits")
    assert_one_line(done, "nothing-best.params is missing")
    assert not list(tmp_path.glob("ckpt/new*"))  # that was found before the training


def coloured(picture):
    """How many pixels are of a bright colour."""
    return (np.ptp(picture.astype(int), axis=2) > 60).sum()


@pytest.mark.parametrize(
    "flags, words",
    [
        ("--train --lmbd 2", "--lmbd has no effect without --center_loss"),
        ("--train --formulation paper", "--formulation has no effect without --center_loss"),
        ("--train --center_loss --alpha 0 --eval_method knn", "--alpha 0 leaves the centers"),
        ("--test --dataset mnist --data_dir digits", "--dataset mnist has no effect"),
        ("--train --center_loss --lmbd 2 --alpha 0", None),
        ("--second_train --lmbd 1 --alpha 0.5", None),  # two commands of 2019
        ("--test --lmbd 1", None),
        ("--train --resume --lmbd 2", None),
    ],
)
def test_flags_without_effect_are_said(flags, words):
    said = list(main.without_effect(main.parse(flags.split())))
    assert len(said) == bool(words) and all(words in line for line in said)


def test_golden_numbers(cli):
    """Any change of initialization, order, loss or update shows here: then say so, and rerun."""
    done = cli(
        "--train", "--center_loss", "--data_dir", "digits", "--model", "lenet", "--epochs", 2,
        "--batch_size", 60, "--lr_step", 1, "--momentum", 0.9, "--lmbd", 0.5,
    )  # fmt: skip
    assert done.status == 0
    golden = [(2.297471, 0.01370328), (2.262276, 0.01528053)]
    for row, (softmax, center) in zip(read_history(".", "center-loss"), golden):
        assert float(row["softmax_loss"]) == pytest.approx(softmax, rel=1e-4)
        assert float(row["center_loss"]) == pytest.approx(center, rel=1e-3)


def test_help_answers_before_mxnet_is_imported():
    script = (
        "import sys, main\n"
        "try: main.main(['--help'])\n"
        "except SystemExit: print('mxnet' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith("False False\n"), done.stderr


def test_centers_of_classes_without_training_images_are_ignored(cli, tmp_path):
    """Labels 1 to 10 and 62 classes: the other 52 centers lie where they were initialized."""
    for name in ("train", "t10k"):
        path = tmp_path / "digits" / f"{name}-labels-idx1-ubyte.gz"
        labels = np.frombuffer(gzip.decompress(path.read_bytes())[8:], np.uint8)
        write_idx(path, labels + 1)
    flags = ("--data_dir", "digits", "--num_classes", 62)
    assert cli("--train", "--center_loss", *flags, *QUICK, "--lr", 1e-6).status == 0
    run = Run("center-loss", "ckpt", "output")
    trained = open_run(run, {})
    dataset = data.load_dataset("auto", "digits", Network(num_classes=62))
    net, centers, *_ = trained.on(mx.cpu())
    features = utils.classify(net, None, dataset.test.images, mx.cpu()).features
    everyone = utils.nearest_center(features, centers)
    assert not set(everyone) <= set(range(1, 11))  # which it would be without the rule
    known = 1 + utils.nearest_center(features, centers[1:11])
    wanted = np.mean(known == dataset.test.labels)
    assert float(read_history(".", "center-loss")[0]["test_knn"]) == pytest.approx(wanted)
    done = cli("--test", "--eval_method", "knn", *flags[:2])
    assert f"Test_acc: {wanted:.4f}" in done.out


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags, words",
    [
        ("", "nothing to do"),
        ("--trian", "--trian"),
        ("--train --center-loss", "arguments: --center-loss: did you mean --center_loss?"),
        ("--train --epoch 5", "did you mean --epochs?"),
        ("--train --batch-size=64", "did you mean --batch_size?"),
        ("--train --line\x1b[0m", "unrecognized arguments: --line\\x1b[0m"),
        ("--train --xyz", "unrecognized arguments: --xyz (see --help)"),
        ("--train --gpus 0:1", "--gpus: '0:1' is not a list of GPUs such as 0,1"),
        ("--train --epochs 1.5", "--epochs: invalid whole number value: '1.5'"),
        ("--train --epochs 0", "--epochs: 0 is not between 1"),
        ("--train --batch_size -1", "--batch_size"),
        ("--train --lr 0", "--lr: 0 is not a finite number above 0"),
        ("--train --lr nan", "--lr"),
        ("--train --wd -0.1", "--wd"),
        ("--train --lmbd inf", "--lmbd"),
        ("--train --momentum 1", "--momentum"),
        ("--train --alpha 1e300", "--alpha: 1e300 is not between 1e-37 and 1e+38"),
        ("--train --lr_factor 1e-50", "--lr_factor: 1e-50 is not between"),
        ("--train --num_classes 1", "--num_classes"),
        ("--train --feature_size 0", "--feature_size"),
        ("--train --image_size 8192", "--image_size: 8192 is not between 16 and 8191"),
        ("--train --num_classes 10000000 --feature_size 1000", "the limit of MXNet"),
        ("--train --seed -1", "--seed"),
        ("--train --use_gpu maybe", "--use_gpu: 'maybe' is neither True nor False"),
        ("--train --gpus 0,0", "--gpus: 0,0 names a GPU twice"),
        ("--train --model resnet", "--model"),
        ("--train --formulation other", "--formulation"),
        ("--train --dataset cifar", "--dataset"),
        ("--train --prefix a/b", "--prefix"),
        ("--test --eval_method nearest", "--eval_method"),
        ("--test --center_loss", "--center_loss goes with --train"),
        ("--test --resume", "--resume goes with"),
        ("--test --kvstore dist_sync", "--kvstore dist_sync goes with --train"),
        ("--train --eval_method knn", "train with --center_loss"),
        ("--train --second_train", "train with --center_loss"),
        ("--train --prepare mnist --image_size 64", "leave --image_size and --color out"),
        ("--train --prepare mnist --color", "leave --image_size and --color out"),
    ],
)
def test_wrong_flags_are_one_line_and_status_2(cli, tmp_path, flags, words):
    assert_one_line(cli(*flags.split()), words, status=2)
    assert not (tmp_path / "ckpt").exists()


def test_an_empty_or_overlong_prefix_is_refused(cli):
    for prefix in ("", " ", "a" * 201, "line\nfeed", "\udcff"):
        assert_one_line(cli("--train", "--prefix", prefix), "--prefix", status=2)


def test_missing_checkpoints(cli):
    folder = str(Path("elsewhere").absolute())
    for flags in (["--test"], ["--second_train"], ["--test", "--eval_method", "knn"]):
        done = cli(*flags, "--prefix", "mine", "--ckpt_dir", "elsewhere")
        assert_one_line(done, "mine-best.params is missing", f"this is {folder}")


def test_a_softmax_only_run_has_no_centers(cli, monkeypatch):
    assert cli("--train", "--data_dir", "digits", *QUICK).status == 0
    # Refused before any work: the data set is not even looked for.
    flags = ("--prefix", "softmax-loss", "--data_dir", "nowhere")
    done = cli("--test", "--eval_method", "knn", *flags)
    assert_one_line(done, "softmax loss alone", "feature matrix")
    assert_one_line(cli("--second_train", *flags), "softmax loss alone", "--second_train needs")


def test_resume_of_nothing_checks_what_it_starts(cli):
    done = cli("--train", "--resume", "--eval_method", "knn", "--data_dir", "digits", *QUICK)
    assert_one_line(done, "--eval_method knn needs centers")


def test_other_data_than_a_run_was_trained_on_are_worth_a_warning(trained, tmp_path):
    write_digits(tmp_path / "others", train=128)
    for action in (["--test"], ["--second_train", "--epochs", 1], ["--compare", "center-loss"]):
        done = trained(*action, "--data_dir", "others")
        assert done.status == 0
        assert "WARNING: center-loss was trained on digits" in done.err


def test_a_softmax_only_run_does_not_inherit_centers(trained):
    flags = ("--prefix", "center-loss", "--data_dir", "digits")
    assert trained("--train", *flags, *QUICK).status == 0
    assert_one_line(trained("--test", "--eval_method", "knn", *flags), "softmax loss alone")


def test_flags_that_contradict_the_run_are_named(trained):
    for flag in ("--model lenetplus", "--num_classes 11", "--feature_size 3", "--no_bias"):
        for action in ("--test", "--second_train"):
            done = trained(action, *flag.split())
            assert_one_line(done, flag.split()[0], "contradicts the run center-loss")


def test_checkpoints_of_2019_have_no_record(trained, tmp_path):
    """They load with the values of the flags, and wrong ones are told apart by names and shapes."""
    (tmp_path / "ckpt" / "center-loss.json").unlink()
    flags = ("--test", "--data_dir", "digits", "--eval_method", "knn")
    assert trained(*flags, "--model", "lenet").status == 0
    assert_one_line(trained(*flags), "--model")
    done = trained(*flags, "--model", "lenet", "--feature_size", 3)
    assert_one_line(done, "features.8.weight is (2, 512), but (3, 512) is wanted")
    assert_one_line(trained(*flags, "--model", "lenet", "--num_classes", 12), "output.weight")
    assert_one_line(trained(*flags, "--model", "lenet", "--no_bias"), "features.8.bias")
    (tmp_path / "ckpt" / "center-loss-feature_matrix.params").unlink()
    assert_one_line(trained(*flags, "--model", "lenet"), "feature matrix")


def test_gluon_itself_loads_the_checkpoints(trained, tmp_path):
    net = LeNet()
    net.load_parameters(str(tmp_path / "ckpt" / "center-loss-best.params"))


def test_folders_that_cannot_be_written(trained, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    before = snapshot(tmp_path / "ckpt")
    flags = ("--train", "--center_loss", "--data_dir", "digits", *QUICK)
    for flag in ("--ckpt_dir", "--out_dir"):
        assert_one_line(trained(*flags, flag, "file/below"), "file/below cannot be written")
    assert snapshot(tmp_path / "ckpt") == before


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_old_one(trained, tmp_path):
    before = snapshot(tmp_path / "ckpt")
    done = trained("--train", "--center_loss", "--data_dir", "digits", *QUICK, "--lr", 1e20)
    assert_one_line(done, "NaN or infinite", "lower --lr")
    assert snapshot(tmp_path / "ckpt") == before


def test_a_gpu_that_is_not_there(cli):
    done = cli("--train", "--data_dir", "digits", "--gpus", "0,1", *QUICK)
    assert_one_line(done, "--gpus 0", "no GPU 0")


@pytest.mark.slow
def test_memory_that_is_not_there(tmp_path):
    write_digits(tmp_path / "digits")
    flags = ("--num_classes", 10**5, "--feature_size", 2000)
    done = run(
        "--train", "--center_loss", "--data_dir", "digits", *QUICK, *flags, cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)),
    )  # fmt: skip
    assert_one_line(done, "not enough memory")


def test_openmp_gets_the_physical_cores_unless_the_user_chose(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    startup.use_physical_cores()
    assert startup.os.environ["OMP_NUM_THREADS"] == "7"
    monkeypatch.delenv("OMP_NUM_THREADS")
    startup.use_physical_cores()
    assert startup.os.environ["OMP_NUM_THREADS"] == str(cores.physical_cores())
    for threads in ("2,1", "\u0662", "0", ""):  # which MXNet dies of
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        with pytest.raises(UserError, match="OMP_NUM_THREADS is .* whole number above 0"):
            startup.use_physical_cores()


def test_a_folder_may_have_the_name_of_a_data_set(cli, tmp_path):
    write_digits(tmp_path / "mnist5k", test=90)
    flags = ("--train", "--center_loss", "--data_dir", "mnist5k")
    assert cli(*flags, *QUICK).status == 0
    for action in ("--test", "--second_train"):
        done = cli(action, *QUICK[2:])
        assert done.status == 0 and not done.err, done
    done = cli("--test", "--dataset", "mnist5k")
    assert done.status == 0 and "is now used on other data" in done.err


def test_home_may_be_written_as_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    args = main.parse(["--train", "--data_dir=~", "--ckpt_dir=~/a", "--out_dir=~/b"])
    assert (args.data_dir, args.ckpt_dir, args.out_dir) == ("/home/me", "/home/me/a", "/home/me/b")
