"""The pages: commands the program takes, links that lead somewhere, numbers of records, and the
same in both languages."""

import dataclasses
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from urllib.parse import unquote

import mxnet as mx
import pytest
from helpers import ROOT, mnist5k

import evaluation
import main
from experiments import lambdas, seeds
from experiments.controls import SUFFIXES
from recipe import Network, Recipe
from runs import report
from runs import run as runs
from runs.plan import schedule
from runs.run import Run
from runs.trained import open_run
from utils import accuracies, classify

PAGES = [
    path for where in ("", "docs/", "output/", "benchmarks/") for path in ROOT.glob(f"{where}*.md")
]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
RESULTS = ("docs/results.md", "docs/results_zh.md")
LABS = ("docs/lab.md", "docs/lab_zh.md")
TROUBLES = ("docs/troubleshooting.md", "docs/troubleshooting_zh.md")
READMES = ("README.md", "README_zh.md")
PAIRS = [
    (page, page.replace(".md", "_zh.md"))
    for page in TEXTS
    if page.replace(".md", "_zh.md") in TEXTS
]
# By language: what came out, and how it was found.
MEASURED = [TEXTS[page] + TEXTS[lab] for page, lab in zip(RESULTS, LABS)]
LINK = re.compile(r"\]\(([^)]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# run | class prediction | KNN | best epoch | the same and the number of the last epoch | tightness
ROW = re.compile(r"^\| ([\w.-]+)((?: \| [\d.]+| \| -){7}) \|$", re.MULTILINE)
# run, training set | class prediction | KNN | tightness
TRAINED = re.compile(r"^\| ([\w.-]+)((?: \| [\d.]+| \| -){3}) \|$", re.MULTILINE)
COMMAND = re.compile(r"^\| ([\w.-]+) \| `python main.py (.+?)` \|", re.MULTILINE)
SEEDS = re.compile(r"^python -m experiments\.seeds(?: --control (\S+))? (\d+) (.+)$", re.MULTILINE)
LAMBDAS = re.compile(r"^python -m experiments\.lambdas (.+)$", re.MULTILINE)
ROWS = ROW.findall(MEASURED[0])
COMMANDS = COMMAND.findall(MEASURED[0])
SHIPPED = sorted(
    path.name.replace("-best.params", "") for path in runs.SHIPPED.glob("*-best.params")
)


def commands(text):
    """What stands in blocks, a line each, and what stands in code in a line of text or a table."""
    blocks = [
        line for kind, block in BLOCK.findall(text) if not kind for line in block.splitlines()
    ]
    return blocks + re.findall(r"`(python [^`]+)`", BLOCK.sub("", text))


@pytest.fixture(autouse=True)
def in_the_clone(monkeypatch):
    """Where @recipes/... are."""
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("page", TEXTS)
def test_every_command_is_one_that_the_program_takes(page):
    for command in commands(TEXTS[page]):
        for part in re.split(r" && |; do |; | & ", command):
            words = [word for word in shlex.split(part) if not word.startswith("DMLC_")]
            if words[:2] == ["python", "main.py"] and not {"--help", "--version", "RUN"} & {*words}:
                main.parse([word for word in words[2:] if word != "&"])
            elif words[:2] == ["python", "-m"]:
                assert importlib.util.find_spec(words[2]), part
                if words[2] == "experiments.seeds":
                    main.parse(words[6 if words[3] == "--control" else 4 :])
                elif words[2] == "experiments.lambdas":
                    main.parse([*lambdas.FLAGS, *words[3:]])


def test_the_results_have_their_commands():
    assert all(len(commands(text)) > 20 for text in MEASURED)


@pytest.mark.parametrize("page", TROUBLES)
def test_the_flags_that_show_and_cure_a_symptom_are_ones_that_the_program_takes(page):
    """The page adds them to its command."""
    (base,) = re.findall(r"^python main\.py (--train .+)$", TEXTS[page], re.MULTILINE)
    flags = re.findall(r"`(--[^`]+)`", TEXTS[page])
    assert len(flags) >= 15
    for each in flags:
        main.parse(shlex.split(f"{base} {each}"))


def slug(heading):
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_page_has_both_languages():
    assert {page for pair in PAIRS for page in pair} == set(TEXTS) - {"benchmarks/RESULTS.md"}


@pytest.mark.parametrize("english, chinese", PAIRS)
def test_both_languages_have_the_same_commands_numbers_and_links(english, chinese):
    texts = TEXTS[english], TEXTS[chinese]
    for text, other in zip(texts, (chinese, english)):
        assert f"]({other.rpartition('/')[2]})" in text.splitlines()[0]
    for one, other in zip(*map(parts, texts)):
        assert one == other


def parts(text):
    """What stands in blocks, the code in lines of text, the numbers, and where links lead."""
    body = text.partition("\n")[2]
    links = [link.partition("#")[0].replace("_zh.md", ".md") for link in LINK.findall(body)]
    codes = re.findall(r"`([^`]+)`", BLOCK.sub("", body))
    numbers = re.findall(r"\d[\d,.]*\d|\d", LINK.sub("", body))
    return BLOCK.findall(body), set(codes), sorted(numbers), sorted(links)


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere_and_pictures_have_a_text(page):
    for alt, picture in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", TEXTS[page]):
        assert len(alt) > 15, picture
    for link in LINK.findall(TEXTS[page]):
        if not link.startswith("https://"):
            path, _, anchor = unquote(link).partition("#")
            target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
            assert target.exists(), link
            if anchor and f'<a id="{anchor}">' not in target.read_text(encoding="utf-8"):
                headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.M)
                assert anchor in map(slug, headings), link


@pytest.mark.parametrize("page", READMES)
def test_two_lines_install_everything(page):
    first, second = re.findall(r"^sh install\.sh.*$", TEXTS[page], re.MULTILINE)
    assert first == (
        "sh install.sh && . .venv/bin/activate && python main.py --train @recipes/quick"
    )
    assert second == "sh install.sh dev && . .venv/bin/activate && python -m pytest"


@pytest.mark.parametrize("page", READMES)
def test_the_lines_that_the_first_command_prints_are_those_of_its_record(page, capsys):
    ((_, block),) = (each for each in BLOCK.findall(TEXTS[page]) if each[0] == "text")
    record = record_of("quick")
    printed = []
    for row in record.history:
        report.say_epoch(dataclasses.replace(record, history=[row]))
        # Seconds are another matter: the record's are of a busy machine.
        printed.append(re.sub(r"(Epoch-time=).*", r"\1…", capsys.readouterr().out))
    report.say_how_it_ended(Run("quick", "ckpt", "output"), record, [])
    printed += capsys.readouterr().out.splitlines(keepends=True)
    said = [line for line in block.splitlines(keepends=True) if line[:4] in ("Epoc", "Test")]
    assert len(said) >= 3 and set(said) <= set(printed)


@pytest.mark.parametrize("name", ("quick", "best", "paper", "ring"))
def test_the_accuracies_in_a_recipe_are_those_of_its_record(name):
    text = (ROOT / "recipes" / name).read_text(encoding="utf-8")
    said = re.findall(r"(0\.\d+)(?: to (0\.\d+))? by (class prediction|the nearest center)", text)
    last = record_of(main.parse(["--train", f"@recipes/{name}"]).prefix).history[-1]
    values = {"class prediction": last.test_softmax, "the nearest center": last.test_knn}
    assert {by for *_, by in said} == set(values)
    for low, high, by in said:
        digits = len(low) - len("0.")
        assert float(low) <= round(values[by], digits) <= float(high or low)


@pytest.mark.parametrize("page", READMES)
def test_the_table_of_the_readme_is_that_of_three_seeds(page):
    table = re.findall(r"^\| ([\w-]+) \| (0\.\d+ ± 0\.\d+) \| (.+?) \|$", TEXTS[page], re.M)
    wanted = {}
    for _, prefixes in runs_of_seeds():
        row, _ = seeds.rows_of([record_of(prefix) for prefix in prefixes])
        wanted[prefixes[0]] = row[3:5]
    assert [run for run, *_ in table] == [*list(wanted)[:3], "best"]
    for run, *cells in table:
        assert cells == list(wanted[run])


def test_the_example_runs_beside_the_two_files_it_names(tmp_path):
    """In a plain interpreter: nothing else of this program prepares the ground."""
    (example,) = (block for kind, block in BLOCK.findall(TEXTS["README.md"]) if kind == "python")
    for name in ("center_loss.py", "process/mxnet_compat.py"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "feature_matrix.params").exists()


# --- results -----------------------------------------------------------------------------------


def record_of(prefix):
    return Run(prefix, runs.SHIPPED, "output").read_record()


def test_both_languages_have_the_same_runs():
    for pattern in (ROW, COMMAND):
        for pages in (RESULTS, LABS):
            found = [pattern.findall(TEXTS[page]) for page in pages]
            assert found[0] and found[0] == found[1]
    trained = [TRAINED.findall(TEXTS[page]) for page in RESULTS]
    assert trained[0] == trained[1] and len(trained[0]) >= 3


@pytest.mark.parametrize("prefix, cells", dict(ROWS).items())
def test_the_table_says_what_the_record_says(prefix, cells):
    record = record_of(prefix)
    best, last = record.history[record.best.epoch], record.history[-1]
    said = cells.split(" | ")[1:]
    wanted = [
        *(best.test_softmax, best.test_knn, best.epoch),
        *(last.test_softmax, last.test_knn, last.epoch),
    ]
    assert said[:6] == [evaluation.cell(value) for value in wanted]


@pytest.mark.parametrize("prefix, cells", TRAINED.findall(TEXTS[RESULTS[0]]))
def test_the_table_of_the_training_set_says_what_the_record_says(prefix, cells):
    record = record_of(prefix)
    best = record.history[record.best.epoch]
    wanted = [evaluation.cell(value) for value in (best.train_softmax, best.train_knn)]
    assert cells.split(" | ")[1:3] == wanted


def scheduled(recipe, args):
    """The recipe with the step, and the epochs, that a training on the full MNIST has."""
    epochs, lr_step = schedule(recipe, 60_000, args.epochs, args.given.get("lr_step"))
    return dataclasses.replace(recipe, lr_step=lr_step), epochs


@pytest.mark.parametrize("prefix", dict(ROWS + COMMANDS))
def test_the_command_beside_a_run_is_the_one_that_trained_it(prefix):
    record = record_of(prefix)
    args = main.parse(shlex.split(dict(COMMANDS)[prefix]))
    assert prefix == args.prefix + "-second" * args.second_train
    assert record.recipe.action == ("second_train" if args.second_train else "train")
    if args.second_train:
        origin, first = record.started_from, record_of(args.prefix)
        assert (origin.prefix, origin.epoch) == (args.prefix, first.best.epoch)
    assert record.dataset.name == "mnist" and record.dataset.train == 60_000
    recipe = recipe_of(args)
    assert (record.recipe, record.epochs) == scheduled(recipe, args)


def recipe_of(args, **given):
    """What flags mean; a second training takes the network from the run it starts from."""
    network = {}
    if args.second_train:
        network = vars(Network.merge({}, record_of(args.prefix).recipe.flags()))
    return Recipe.merge({**args.given, **given}, network, second=args.second_train)


def runs_of_seeds():
    """Of each command that trains several seeds its flags, and the prefixes of what it trains."""
    for control, count, flags in SEEDS.findall(MEASURED[0]):
        args = main.parse(shlex.split(flags))
        suffix = SUFFIXES.get(control, "-second") * args.second_train
        prefixes = [seeds.prefix_of(args.prefix, seed) for seed in range(int(count))]
        yield args, [f"{prefix}{suffix}" for prefix in prefixes]


@pytest.mark.parametrize("text", MEASURED, ids=("en", "zh"))
def test_the_spread_is_that_of_the_records(text):
    assert SEEDS.search(text)
    for args, prefixes in runs_of_seeds():
        records = [record_of(prefix) for prefix in prefixes]
        for seed, record in enumerate(records):
            assert (record.recipe, record.epochs) == scheduled(recipe_of(args, seed=seed), args)
            assert len(record.history) == record.epochs
            assert record.dataset.name == "mnist"
        for row in seeds.rows_of(records):
            assert f"| {' | '.join(map(str, row))} |\n" in text


def runs_of_lambdas():
    """The flags of the command that trains several weights, and what it trains by the weight."""
    (flags,) = LAMBDAS.findall(TEXTS[LABS[0]])
    args = main.parse([*lambdas.FLAGS, *shlex.split(flags)])
    return args, lambdas.prefixes_of(args)


@pytest.mark.parametrize("page", LABS)
def test_the_weights_are_those_of_the_records(page):
    args, prefixes = runs_of_lambdas()
    for lmbd, names in prefixes.items():
        records = [record_of(prefix) for prefix in names]
        for seed, record in enumerate(records):
            assert record.dataset.name == "mnist"
            recipe = recipe_of(args, seed=seed, lmbd=lmbd)
            assert (record.recipe, record.epochs) == scheduled(recipe, args)
        last = [record.history[-1] for record in records]
        columns = ([getattr(epoch, name) for epoch in last] for name in lambdas.COLUMNS)
        row = (f"{lmbd}", *map(seeds.spread_of, columns))
        assert f"\n| {' | '.join(row)} |\n" in TEXTS[page]


@pytest.mark.parametrize("text", MEASURED, ids=("en", "zh"))
def test_the_rows_say_which_networks_are_shipped(text):
    said = re.findall(r"^\| ([\w.-]+) \| `python main.py .+?` \| (?:shipped|附带) \|", text, re.M)
    assert sorted(said) == SHIPPED
    assert {"softmax-loss", "center-loss", "center-loss-second", "no-bias", "best"} == set(SHIPPED)


def test_what_is_shipped_is_what_pages_need():
    pictures = {
        path.name for path in runs.SHIPPED.iterdir() if path.suffix in (".gif", ".png", ".jpg")
    }
    linked = {
        name for name in pictures if any(f"shipped/{name}" in text for text in TEXTS.values())
    }
    assert pictures == linked
    records = {path.stem for path in runs.SHIPPED.glob("*.json")} - {"best.onnx"}
    spread = {prefix for _, prefixes in runs_of_seeds() for prefix in prefixes}
    lines = {prefix for prefix, _ in COMMANDS}
    assert records == lines | spread | set(sum(runs_of_lambdas()[1].values(), []))


@pytest.mark.parametrize("prefix", SHIPPED)
def test_the_network_tells_digits_apart(prefix):
    trained = open_run(Run(prefix, runs.SHIPPED, "output"), {})
    net, centers, *_ = trained.on(mx.cpu())
    images, labels = mnist5k().test
    answers = classify(net, centers, images, mx.cpu())
    assert min(accuracies(answers, labels).values()) > 0.98
