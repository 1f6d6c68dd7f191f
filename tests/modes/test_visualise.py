"""`--mode=visualise`: files and page of a run whose names and sounds are awkward, in a browser."""

import json
import os
import pathlib
import re
import shutil

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from matplotlib import image

import chromium
import small_run
from qvae_jax import command_line, configuration
from qvae_jax.audio.files import read_audio, write_wav
from qvae_jax.evaluation import report
from qvae_jax.evaluation.embedding import Embedder
from qvae_jax.evaluation.statistics import Estimate
from qvae_jax.generation.inputs import pair_sources
from qvae_jax.generation.model import load_model
from qvae_jax.modes import visualise as mode
from qvae_jax.modes.requests import VisualiseRequest
from qvae_jax.modes.visualise import visualise
from qvae_jax.runs import METRICS_FILE, SPLIT_FILE, open_run, read_metrics
from qvae_jax.system import files
from qvae_jax.system.errors import UserError
from qvae_jax.visualisation import figures, page

KEYS = [
    "<script>document.title='broken'<script>&amp; a_tone.wav",
    "\"><img src='https:example.org' onerror=alert(1)> {{ 7 }}.wav",
    "犬の鳴き声 🐶, $x_1 #é?%41.wav",
    f"{'very long ' * 20}name.wav",
]
PARTS = {"train": 2, "interpolation": 2, "extrapolation": 2}  # shown, of 6, 3 and 3
GENERATED_S = 59_049 / 22_050
SIZES = [(1280, 900), (360, 740)]


@pytest.fixture(scope="module")
def run(frozen_run, tmp_path_factory) -> pathlib.Path:
    """A run on sounds of these names, whose imitations are long, silent, too loud or clicks."""
    folder = tmp_path_factory.mktemp("visualise")
    data_set = small_run.write_data_set(folder / "data & <set>")
    rate_hz = small_run.SAMPLE_RATE_HZ
    noise = np.random.default_rng(0).standard_normal(4 * rate_hz)
    for path in sorted(data_set.glob("*/*")):
        path.rename(path.with_name(awkward(path.name)))
    odd = [0.1 * noise, np.zeros(rate_hz), 3.0 * noise[:rate_hz], noise[:3]]
    for path in (data_set / "vocal_imitations").iterdir():
        write_wav(path, odd[int(path.name[:5]) % 4], rate_hz)
    workdir = shutil.copytree(frozen_run, folder / "run é <b>")
    configuration.record(small_run.config(data_set), workdir)
    record = files.read_json(workdir / SPLIT_FILE)
    record["parts"] = {
        part: {awkward(imitation): awkward(reference) for imitation, reference in names.items()}
        for part, names in record["parts"].items()
    }
    files.write_json(workdir / SPLIT_FILE, record)
    return workdir


def awkward(name: str) -> str:
    """What a file of the small data set is called here."""
    number, key = name.split("_", 1)
    return f"{number}_{KEYS[int(key.split()[1][0])]}"


@pytest.fixture(scope="module")
def shown(run) -> pathlib.Path:
    """The folder that the run is shown in."""
    visualise(VisualiseRequest(run, num_samples=2))
    return run / "visualise"


def sources(run) -> list:
    """The samples shown, in the page's order."""
    opened = open_run(run)
    by_part = {part: pair_sources(opened.index, opened.pairs(part)) for part in PARTS}
    return [by_part[part][place] for part in PARTS for place in (0, len(by_part[part]) - 1)]


def test_the_folder_has_a_page_and_a_picture_of_each_sample_and_part(shown):
    samples = [f"{part}_{n:02d}.png" for part, count in PARTS.items() for n in range(1, count + 1)]
    sheets = [f"{part}.png" for part in PARTS]
    names = sorted(path.name for path in shown.iterdir())
    assert names == sorted([*samples, *sheets, "losses.png", "index.html", "visualise.json"])
    assert sorted(files.read_json(shown / "visualise.json")["files"]) == names
    assert all(image.imread(shown / name)[..., :3].std() > 0.1 for name in names if "png" in name)
    assert (shown / "index.html").stat().st_size < 3e6


def test_the_same_run_gives_the_same_bytes(run, shown, tmp_path, capsys):
    again = tmp_path / "again"
    visualise(VisualiseRequest(run, "extrapolation", num_samples=1, output_dir=again))
    size_mb = (again / "index.html").stat().st_size / 1e6
    *_, told, page = capsys.readouterr().out.splitlines()
    assert told == f"1 sample on a page of {size_mb:.1f} MB, and pictures beside it: open"
    assert page == str(again / "index.html")
    for name in ("extrapolation_01.png", "losses.png"):
        assert (again / name).read_bytes() == (shown / name).read_bytes(), name
    whole, part = (sources_in(folder / "index.html") for folder in (shown, again))
    assert len(part) == 3 + 1 + 1 and set(part) < set(whole)


def sources_in(path: pathlib.Path) -> list[str]:
    """The sounds and pictures that a page holds."""
    return re.findall(r'src="(data:[^"]*)"', path.read_text("utf-8"))


# --- In a browser


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium without a network; skips where it, its driver or selenium is absent."""
    driver = chromium.start()
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def opened(browser, shown):
    """The browser with the page open, and what it asked for and complained of on the way."""
    browser.get_log("performance"), browser.get_log("browser")
    browser.get((shown / "index.html").as_uri())
    # Each player tells its duration once its metadata are there, which an error would never let be.
    browser.execute_async_script(
        """const done = arguments[arguments.length - 1];
        const ready = player => player.readyState > 0 || player.error ? null : new Promise(go => {
          player.addEventListener('loadedmetadata', go); player.addEventListener('error', go); });
        Promise.all([...document.querySelectorAll('audio')].map(ready)).then(() => done());"""
    )
    browser.asked_for = chromium.asked_for(browser)
    browser.complaints = browser.get_log("browser")
    return browser


def of_each(opened, selector: str, value: str) -> list:
    script = f"return [...document.querySelectorAll(arguments[0])].map(it => {value})"
    return opened.execute_script(script, selector)


def test_the_page_asks_for_nothing_but_itself(opened, shown):
    schemes = {address.partition(":")[0] for address in opened.asked_for}
    assert schemes == {"file", "data"}
    files_read = [address for address in opened.asked_for if address.startswith("file:")]
    assert files_read == [(shown / "index.html").as_uri()]


def test_the_browser_complains_of_nothing(opened):
    assert opened.complaints == []
    assert of_each(opened, "audio", "it.error && it.error.message") == [None] * 18


def test_a_page_that_asks_for_more_would_be_seen(browser, tmp_path):
    text = (
        "<!DOCTYPE html><img src='https://example.org/x.png'><script>console.error('no')</script>"
    )
    (tmp_path / "page.html").write_text(text)
    browser.get_log("performance"), browser.get_log("browser")
    browser.get((tmp_path / "page.html").as_uri())
    assert any("https://example.org" in e["message"] for e in browser.get_log("performance"))
    assert any("no" in entry["message"] for entry in browser.get_log("browser"))


@pytest.fixture
def at_the_page(opened, shown):
    opened.get((shown / "index.html").as_uri())
    return opened


def test_each_player_tells_how_long_its_sound_is(run, at_the_page):
    expected = []
    for source in sources(run):
        heard = read_audio(source.path, 22_050, max_duration_s=1.0)
        expected += [len(heard) / 22_050, GENERATED_S, GENERATED_S]
    at_the_page.execute_async_script(
        """const done = arguments[arguments.length - 1];
        const look = () => [...document.querySelectorAll('audio')].every(it => it.readyState > 0)
          ? done() : setTimeout(look, 20);
        look();"""
    )
    found = of_each(at_the_page, "audio", "it.duration")
    np.testing.assert_allclose(found, expected, atol=0.001)


def test_a_player_plays(at_the_page):
    reached_s = at_the_page.execute_async_script(
        """const done = arguments[arguments.length - 1];
        const player = document.querySelectorAll('audio')[2];
        player.muted = true;
        player.addEventListener('timeupdate', () => player.currentTime > 0.2
          ? (player.pause(), done(player.currentTime)) : null);
        player.play().catch(error => done(String(error)));"""
    )
    assert 0.2 < reached_s <= GENERATED_S + 0.001  # its end, where the browser was kept waiting


def test_each_picture_is_drawn(at_the_page):
    at_the_page.execute_async_script(
        """const done = arguments[arguments.length - 1];
        Promise.all([...document.images].map(it => it.decode())).then(() => done(), done);"""
    )
    widths = of_each(at_the_page, "img", "it.naturalWidth")
    assert len(widths) == 7 and min(widths) > 800
    assert widths == of_each(at_the_page, "img", "Number(it.getAttribute('width'))")
    assert all(of_each(at_the_page, "img", "it.alt"))


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_reaches_over_the_side(at_the_page, width, height, scheme):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    at_the_page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    at_the_page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    root = "document.documentElement"
    assert at_the_page.execute_script(f"return {root}.scrollWidth") <= width
    ends = of_each(
        at_the_page,
        "body, body *:not(.scroll *):not(.picture *)",
        "it.getBoundingClientRect().right",
    )
    assert max(ends) <= width
    colours = at_the_page.execute_script(
        "const of = getComputedStyle(document.body); return [of.color, of.backgroundColor]"
    )
    text, background = (float(colour.strip("rgb()").split(",")[0]) for colour in colours)
    assert (
        (text < 60 and background > 200) if scheme == "light" else (text > 200 and background < 60)
    )


def test_names_are_read_as_they_are(run, at_the_page):
    found = of_each(at_the_page, "figcaption", "it.innerText.split('\\n')")
    for place, source in enumerate(sources(run)):
        imitation, reference, _ = found[3 * place : 3 * place + 3]
        squeezed = lambda name: " ".join(name.split())
        assert (imitation[1], reference[1]) == tuple(
            squeezed(path.name) for path in (source.path, source.reference)
        )
    assert at_the_page.title == "Imitations and sounds of run é <b>"
    assert of_each(at_the_page, "script, b, img[onerror]", "it.tagName") == []


def test_what_is_odd_about_a_sound_is_said(run, at_the_page):
    lines = {
        source.path.name[:5]: caption
        for source, caption in zip(
            sources(run), of_each(at_the_page, "figure:first-child figcaption", "it.innerText")
        )
    }
    told = ["the first 1.0 s of 4.0 s, as the model heard it", "\nsilent", "since it would clip"]
    for number, text in lines.items():
        kind = int(number) % 4
        assert [said in text for said in told] == [kind == place for place in range(3)]
    assert {int(number) % 4 for number in lines} == {0, 1, 2, 3}, "all kinds are shown"


def test_the_page_is_about_the_runs_checkpoint(run, at_the_page):
    facts = dict(
        zip(of_each(at_the_page, "dt", "it.innerText"), of_each(at_the_page, "dd", "it.innerText"))
    )
    assert facts["latent"].startswith("4 dimensions")
    assert facts["decoder"] == "original-plus, width 0.05, 22,050 Hz"
    assert "width 0.1, frozen, from random weights" in facts["encoder"]
    step = int(facts["checkpoint"].split(",")[0].removeprefix("step "))
    assert (run / "checkpoints" / str(step)).is_dir()
    [caption] = of_each(at_the_page, "caption", "it.innerText")
    assert caption == f"losses at step {step}"
    [logged] = [e for e in read_metrics(run) if (e["step"], e["part"]) == (step, "extrapolation")]
    cells = of_each(at_the_page, "tr", "[...it.cells].map(cell => cell.innerText)")
    assert cells[0] == ["measure", "interpolation", "extrapolation"]
    assert cells[1][2] == f"{logged['total']:.3f}"


# --- What else is shown, and what is refused


@pytest.fixture
def quick(monkeypatch):
    """Pictures without drawing, and what the page was given."""
    pages = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: path.write_bytes(b""))
    monkeypatch.setattr(figures, "save_sample", lambda path, *_: path.write_bytes(b""))
    monkeypatch.setattr(mode.charts, "save_losses", lambda *_: None)
    monkeypatch.setattr(page, "write", lambda path, shown: pages.append(shown) or 0)
    return pages


def evaluated(workdir: pathlib.Path, step: int) -> None:
    """Leaves a result of --mode=evaluate in a run's folder."""
    found = report.result(
        part="extrapolation",
        trimmed=False,
        num_examples=3,
        num_references=2,
        model={"workdir": str(workdir), "step": step},
        embedder=Embedder("an embedder", True, False, lambda sounds: sounds),
        latent_dim=4,
        baselines_from="training references",
        estimates={
            "model": {"mel": Estimate(1.5, 1.0, 2.0)},
            "silence": {"mel": Estimate(1.0, 0.5, 1.25)},
        },
        silence_wins=["mel"],
    )
    files.write_json(workdir / "evaluation" / "extrapolation.json", found)


@pytest.mark.parametrize("measured_at", [None, 1])
def test_results_of_an_evaluation_are_shown_where_there_are_any(run, tmp_path, quick, measured_at):
    workdir = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("visualise"))
    step = mode.load_model(workdir=str(run)).source["step"]
    evaluated(workdir, measured_at or step)
    visualise(VisualiseRequest(workdir, from_split="extrapolation", num_samples=1))
    [shown] = quick
    [table] = shown.tables
    about = f"extrapolation, step {measured_at or step}: 3 pairs, 2 references"
    assert table.caption == f"against the reference; {about}"
    assert ["mel loss ↓", "1.500\n[1.000, 2.000]", "1.000\n[0.500, 1.250]"] in table.rows
    assert table.note == "A silent output wins, with 95 % confidence: mel loss."
    assert ("Not all are of the checkpoint" in shown.about_tables) == (measured_at is not None)
    assert ("--mode=evaluate" in shown.command) == (measured_at is not None)
    assert [part.name for part in shown.parts] == ["extrapolation"]


def test_a_run_without_a_validation_says_so(run, tmp_path, quick):
    workdir = shutil.copytree(run, tmp_path / "my run", ignore=shutil.ignore_patterns("visualise"))
    lines = (workdir / METRICS_FILE).read_text("utf-8").splitlines(keepends=True)
    (workdir / METRICS_FILE).write_text("".join(x for x in lines if '"train"' in x), "utf-8")
    visualise(VisualiseRequest(workdir, from_split="train", num_samples=1))
    [shown] = quick
    assert shown.tables == [] and "has not been validated" in shown.about_tables
    assert shown.command == f"python3 main.py --mode=evaluate --workdir='{workdir}'"


def test_the_command_line_gives_its_flags(run, tmp_path, quick):
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(
        workdir=str(run),
        output_dir=str(tmp_path / "out"),
        from_split="train",
        num_samples=3,
        compilation_cache=False,
    ):
        command_line.run_mode("visualise")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "train.png",
        *(f"train_{number:02d}.png" for number in (1, 2, 3)),
        "visualise.json",
    ]
    [shown] = quick
    assert [len(part.cards) for part in shown.parts] == [3]


def broken(workdir: pathlib.Path, how: str) -> dict:
    """Breaks a run's folder; gives the flags to show it with."""
    if how == "no run":
        (workdir / "config.json").unlink()
    elif how == "a ported model":
        (workdir / "config.json").write_text('{"kind": "qvae", "model": {}}')
    elif how == "no checkpoint":
        shutil.rmtree(workdir / "checkpoints")
    elif how == "damaged checkpoint":
        for path in (workdir / "checkpoints").glob("*/default/**/*"):
            if path.is_file():
                path.write_bytes(b"damage")
    elif how in ("missing imitation", "missing reference"):
        config = json.loads((workdir / "config.json").read_text("utf-8"))
        data_set = shutil.copytree(config["data"]["dataset_dir"], workdir.parent / "data")
        config["data"]["dataset_dir"] = str(data_set)
        files.write_json(workdir / "config.json", config)
        source = sources(workdir)[0]
        (source.path if how == "missing imitation" else source.reference).write_bytes(b"")
    elif how == "missing data set":
        config = json.loads((workdir / "config.json").read_text("utf-8"))
        config["data"]["dataset_dir"] = "no/such"
        files.write_json(workdir / "config.json", config)
    elif how == "no metrics":
        (workdir / METRICS_FILE).unlink()
    elif how == "damaged metrics":
        (workdir / METRICS_FILE).write_text("nonsense\n{}\n")
    elif how == "damaged evaluation":
        (workdir / "evaluation").mkdir()
        (workdir / "evaluation" / "train.json").write_text("{}")
    elif how == "output in a file":
        return {"output_dir": workdir / "config.json" / "out"}
    elif how == "no samples":
        return {"num_samples": 0}
    elif how == "no such part":
        return {"from_split": "test"}
    return {}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no run", "is not a run's folder"),
        ("a ported model", "config.json is not the configuration of a training run"),
        ("no checkpoint", "holds no checkpoint"),
        ("damaged checkpoint", "cannot be read as a checkpoint"),
        ("missing imitation", "00.*wav is empty"),
        ("missing reference", "00.*wav is empty"),
        ("missing data set", "no/such"),
        ("no metrics", "metrics.jsonl cannot be read"),
        ("damaged metrics", "metrics.jsonl is damaged: line 1 "),
        ("damaged evaluation", "train.json holds no result"),
        ("output in a file", "config.json"),
        ("no samples", "--num_samples is 0"),
        ("no such part", "--from_split is 'test'"),
    ],
)
def test_what_cannot_be_shown_is_one_line_and_leaves_nothing(run, tmp_path, how, message):
    workdir = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("visualise"))
    given = broken(workdir, how)
    before = sorted(os.walk(workdir))
    with pytest.raises(UserError, match=message) as raised:
        visualise(VisualiseRequest(workdir, **given))
    assert "\n" not in str(raised.value)
    assert sorted(os.walk(workdir)) == before


def test_a_failure_half_way_leaves_the_earlier_page(run, tmp_path, quick, monkeypatch):
    earlier = {"index.html": "earlier", "visualise.json": '{"files": ["index.html"]}'}
    (tmp_path / "out").mkdir()
    for name, text in earlier.items():
        (tmp_path / "out" / name).write_text(text)
    model = load_model(workdir=str(run))
    monkeypatch.setattr(model, "_decode", lambda given, z: np.full((len(z), 59_049), np.nan))
    monkeypatch.setattr(mode, "load_model", lambda **_: model)
    with pytest.raises(UserError, match="not finite of .*wav: its weights are damaged"):
        visualise(VisualiseRequest(run, num_samples=1, output_dir=tmp_path / "out"))
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == earlier


def test_fewer_samples_leave_no_older_picture_behind(run, tmp_path, quick):
    out = tmp_path / "out"
    visualise(VisualiseRequest(run, from_split="train", num_samples=2, output_dir=out))
    (out / "train_09.png").write_text("mine")
    visualise(VisualiseRequest(run, from_split="train", num_samples=1, output_dir=out))
    names = sorted(path.name for path in out.iterdir())
    assert names == ["train.png", "train_01.png", "train_09.png", "visualise.json"]
    assert (out / "train_09.png").read_text() == "mine"


@pytest.mark.parametrize("name", ["index.html", "losses.png", "train_01.png", "visualise.json"])
def test_a_file_of_the_users_is_never_overwritten(run, tmp_path, name, monkeypatch):
    monkeypatch.setattr(mode, "load_model", lambda **_: pytest.fail("no work before"))
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=name) as raised:
        visualise(VisualiseRequest(run, from_split="train", num_samples=1, output_dir=tmp_path))
    assert "\n" not in str(raised.value) and "name another --output_dir" in str(raised.value)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "mine"}


def test_in_the_modes_own_folder_an_older_page_without_a_list_is_replaced(run, tmp_path, quick):
    workdir = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("visualise"))
    (workdir / "visualise").mkdir()
    (workdir / "visualise" / "train_01.png").write_text("older")
    visualise(VisualiseRequest(workdir, from_split="train", num_samples=1))
    assert (workdir / "visualise" / "train_01.png").read_text() == ""


@pytest.mark.parametrize("names", ["index.html", [1], ["../config.json"], ["config.json"], None])
def test_a_list_that_names_files_of_others_is_refused(run, tmp_path, names):
    (tmp_path / "config.json").write_text("mine")
    files.write_json(tmp_path / "visualise.json", {"files": names})
    with pytest.raises(UserError, match="visualise.json is no list"):
        visualise(VisualiseRequest(run, num_samples=1, output_dir=tmp_path))
    assert (tmp_path / "config.json").read_text() == "mine"
