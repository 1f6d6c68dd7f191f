"""The command line: one line for each mistake, and the modes from end to end."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import warnings

import pytest
import soundfile
from absl import flags
from absl.testing import flagsaver

import compiling
import small_run
import waiting
from configs import vimsketch
from qvae_jax import command_line
from qvae_jax.modes import request_flags
from qvae_jax.modes.requests import TrainRequest
from qvae_jax.runs import read_metrics
from qvae_jax.system.errors import Notice, UserError

REPOSITORY = pathlib.Path(__file__).parents[1]
QUICKSTART = "--config=configs/quickstart.py"


def started(
    *arguments: str, cwd: pathlib.Path = REPOSITORY, stdin=None, **variables: str
) -> subprocess.Popen:
    """A command, sharing this session's compiled programs."""
    environment = compiling.environment(PYTHONPATH=str(REPOSITORY / "tests/support"), **variables)
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / "main.py"), *arguments],
        cwd=cwd,
        env=environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    output, error = process.communicate(timeout=waiting.HANG_S)
    return process.returncode, output, error


def assert_refused(message: str, process: subprocess.Popen) -> None:
    status, output, error = finished(process)
    assert status == 1 and output == ""
    assert error.startswith("error: ") and error.count("\n") == 1 and error.endswith("\n")
    assert re.search(message, error), error


@pytest.fixture
def refused(monkeypatch, capsys):
    """refused(message, flag, …): a command's one line, found in this process.

    system/test_entrance.py has how a process ends with it, and whole processes are further below.
    """
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(command_line, "_silence_libraries", lambda: None)

    def assert_refused_here(message: str, *arguments: str) -> None:
        command = [str(REPOSITORY / "main.py"), *arguments]
        monkeypatch.setattr(sys, "argv", command)
        # Else a config file would find what the one before it has left in the module of this name.
        monkeypatch.delitem(sys.modules, "config_config", raising=False)
        with flagsaver.flagsaver(), warnings.catch_warnings(), pytest.raises(UserError) as raised:
            command_line.main(command_line.parse_flags(command))
        error = str(raised.value)
        assert capsys.readouterr() == ("", "") and error and "\n" not in error
        assert re.search(message, error), error

    return assert_refused_here


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--mode=train needs --config and --workdir"),
        ([QUICKSTART], "--mode=train needs --workdir"),
        (["--config=quickstart"], "--mode=train needs --workdir"),
        (["--config", "quickstart"], "--mode=train needs --workdir"),
        (["--mode=prepare"], "--mode=prepare needs --config"),
        (["--mode=download"], "--mode=download needs --config"),
        (["--mode=doctor"], "--mode=doctor needs --config"),
        (
            [QUICKSTART, "--workdir=unused", "--num_processes=2"],
            "--coordinator_address, --num_processes and --process_id belong together",
        ),
        (
            ["--temperature=0.5", "--voices=x"],
            r"--mode=train does not take --temperature \(a flag of generate\) and --voices \(a flag "
            r"of evaluate\)",
        ),
        (
            ["--mode=generate", QUICKSTART, "--config.training.seed=1"],
            r"--mode=generate does not take --config \(a flag of download, doctor, prepare, train, "
            r"pretrain\)",
        ),
        (["--mode=evaluate", "--source="], r"does not take --source \(a flag of download\)"),
        (["--mode=visualise", "--noreset_epoch"], r"does not take --reset_epoch \(a flag of train"),
        (["--mode=listen"], "--mode=listen: .*prepare|train|generate|evaluate"),
        (["--mode=evaluate", "--checkpoint=x"], "give --pairs, a folder of pairs"),
        (["--mode"], "--mode"),
        (["help"], "'help' is not a flag: write --help"),
        (["workdir=x"], "'workdir=x' is not a flag: write --workdir=x"),
        (["--wrokdir=x"], "'wrokdir'. Did you mean: workdir"),
        (["--workdir=a", "--workdir=b"], "--workdir is given more than once"),
        (["--workdir=gs://bucket/x"], "--workdir=gs://bucket/x: .* is an address"),
        (["--compilation_cache=maybe"], "--compilation_cache=maybe: it is either true or false"),
        (["--flagfile=/absent"], "/absent"),
        (["train"], "'train' is not a flag: write --mode=train"),
        (["hum.wav"], "'hum.wav' is not a flag: write --inputs=hum.wav"),
        (["--batch_size=3"], r"'batch_size'.*\(python3 .*main.py --help lists the flags\)"),
        (["--mode=generate"], "--mode=generate needs --inputs and --output_dir"),
        (["--mode=diagnose"], "--mode=diagnose needs --workdir"),
        (["--mode=visualise"], "--mode=visualise needs --workdir"),
        (["--mode=diagnose", "--workdir=no/such"], "no/such is not a run's folder"),
        (["--mode=generate", "--inputs=a.wav"], "--mode=generate needs --output_dir"),
        (["--mode=generate", "--inputs=", "--output_dir=x"], "--mode=generate needs --inputs"),
        (["--mode=generate", "--prior_samples=2"], "--mode=generate needs --output_dir"),
        (
            ["--mode=generate", "--prior_samples=2", "--inputs=a.wav", "--output_dir=out"],
            "--prior_samples takes no imitation",
        ),
        (["--mode=generate", "--variations=few"], "--variations=few"),
        (["--mode=generate", "--temperature=hot"], "--temperature=hot: it takes a number"),
        (["--mode=generate", "--seed=1.5"], "--seed=1.5: it takes a whole number"),
        (["--config=configs/absent.py", "--workdir=x"], "'configs/absent.py' does not exist"),
        (
            ["--config=absent", "--workdir=x"],
            "does not exist: .* quickstart, qvim, qvim_baseline, qvim_folds, steered, vimsketch",
        ),
        (["--config=configs/absent.py", "--config.training.seed=1"], "configs/absent.py"),
        (["--config=", "--workdir=x"], "'' does not exist"),
        (["--config.training.seed=1", QUICKSTART], "before a value for --config"),
        ([QUICKSTART, "--config.training.batchsize=4"], "no such setting: .*batch_size"),
        ([QUICKSTART, "--config.trainin.seed=4"], "no such setting: .*training"),
        ([QUICKSTART, "--config.training.num-epochs=4"], "did you mean .*num_epochs"),
        (
            [QUICKSTART, "--workdir=x", "--config.data.dataset_dir=s3://b"],
            "data.dataset_dir: .* is an address",
        ),
        ([QUICKSTART, "--config.training.seed=four"], "config.training.seed=four"),
        ([QUICKSTART, "--config.training=4"], "config.training=4"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_a_flag_is_one_line(refused, arguments, message):
    refused(message, *arguments)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def get_config(:\n", "SyntaxError.*mine.py, line 1"),
        ("import no_such_module\n", "ModuleNotFoundError.*no_such_module"),
        ("x = 1\n", "get_config"),
        ("def get_config():\n    return 3\n", "mine.py gives no config"),
        ("def get_config():\n    return int('x')\n", "mine.py.*ValueError.*'x'"),
        ("def get_config():\n    return 1 / 0\n", "ZeroDivisionError: division by zero|Zero"),
        (
            "from configs import vimsketch\ndef get_config():\n"
            "    config = vimsketch.get_config()\n    config.sed = 1\n    return config\n",
            "mine.py.*sed is not a setting",
        ),
    ],
)
def test_a_mistake_in_a_config_file_is_one_line(refused, tmp_path, code, message):
    (tmp_path / "mine.py").write_text(code)
    workdir = tmp_path / "run"
    refused(message, f"--config={tmp_path / 'mine.py'}", f"--workdir={workdir}")
    assert not workdir.exists()


def test_mistakes_are_one_line_of_a_process_when_they_are_found_at_once_or_later(tmp_path):
    (tmp_path / "in").mkdir()
    generate = ["--mode=generate", f"--output_dir={tmp_path / 'out'}"]
    mistakes = [
        (r"'batch_size'.*\(python3 .*main.py --help lists the flags\)", ["--batch_size=3"]),
        (
            f"{tmp_path}/none does not exist",
            ["--mode=prepare", QUICKSTART, "--config.data.synthesize=False"]
            + [f"--config.data.dataset_dir={tmp_path}/none"],
        ),
        (f"{tmp_path / 'in'} holds no audio file", [*generate, f"--inputs={tmp_path / 'in'}"]),
    ]
    processes = [started(*arguments) for _, arguments in mistakes]
    for (message, _), process in zip(mistakes, processes):
        assert_refused(message, process)
    assert os.listdir(tmp_path) == ["in"]


def test_a_backend_that_does_not_start_is_one_line_and_nothing_is_begun(tmp_path):
    ported = REPOSITORY / "tests/fixtures/ported"
    modes = [
        ["--mode=generate", f"--checkpoint={ported}", "--prior_samples=1", "--output_dir=out"],
        ["--mode=train", "--config=quickstart", "--workdir=run"],
        ["--mode=prepare", "--config=quickstart", "--workdir=run"],
    ]
    processes = [started(*mode, cwd=tmp_path, JAX_PLATFORMS="cuda") for mode in modes]
    for process in processes:
        assert_refused("JAX starts no device with JAX_PLATFORMS=cuda", process)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("flag", ["--help", "--helpfull", "-h"])
def test_help_lists_the_flags_of_each_mode(flag, capsys):
    with pytest.raises(SystemExit) as ended:
        command_line.parse_flags(["main.py", "--mode=prepare", flag])
    output, error = capsys.readouterr()
    assert not ended.value.code and error == ""
    everywhere, *of_modes = output.split("\n--mode=")
    assert "--mode" in everywhere and "--compilation_cache" in everywhere
    shown = {text.partition(":")[0]: re.findall(r"^  --(\w+):", text, re.M) for text in of_modes}
    assert shown == {mode: list(fields) for mode, fields in request_flags.FLAGS.items()}


def test_a_notice_is_a_line_on_standard_output(capsys, monkeypatch):
    def notice(mode):
        warnings.warn("x.wav is loud", Notice, stacklevel=1)

    monkeypatch.setattr(command_line, "run_mode", notice)
    monkeypatch.setattr(command_line, "_silence_libraries", lambda: None)
    with flagsaver.flagsaver(), warnings.catch_warnings():
        warnings.simplefilter("default")
        flags.FLAGS.mark_as_parsed()
        command_line.main(["main.py"])
    assert capsys.readouterr() == ("warning: x.wav is loud\n", "")


@pytest.mark.parametrize(
    ("at_end", "ended", "called"),
    [(True, True, ["evaluate", "visualise"]), (True, False, []), (False, True, [])],
)
def test_a_run_that_has_ended_is_measured_and_shown_where_the_config_says_so(
    monkeypatch, capsys, at_end, ended, called
):
    from qvae_jax.modes import evaluate, train, visualise

    config, seen = vimsketch.get_config(), []
    config.report.at_end = at_end
    monkeypatch.setattr(command_line.caches, "prepare_for_libraries", lambda **_: None)
    monkeypatch.setattr(command_line.request_flags, "check", lambda mode: None)
    monkeypatch.setattr(
        command_line.request_flags, "request_of", lambda mode: TrainRequest(workdir="run")
    )
    monkeypatch.setattr(command_line.config_flag, "checked_config", lambda: config)
    monkeypatch.setattr(train, "train", lambda *_: ended)
    for mode in (evaluate, visualise):
        name = mode.__name__.rpartition(".")[2]
        monkeypatch.setattr(mode, name, lambda request, name=name: seen.append((name, request)))
    with flagsaver.flagsaver(compilation_cache=False):
        flags.FLAGS.mark_as_parsed()
        command_line.run_mode("train")
    assert [name for name, _ in seen] == called
    assert all(request.workdir == "run" for _, request in seen)
    named = re.search("^hum into it: .* --mode=serve --workdir=run\n\\Z", capsys.readouterr().out)
    assert bool(named) == bool(called)


def test_what_orbax_complains_of_is_silenced_and_nothing_else(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "__unraisablehook__", shown.append)

    class Unraisable:
        exc_value = RuntimeError("Event loop is closed")

    command_line._show_unraisable(Unraisable)
    assert shown == []
    Unraisable.exc_value = ValueError("something else")
    command_line._show_unraisable(Unraisable)
    assert shown == [Unraisable]


def test_after_sigterm_nothing_half_done_is_left(tmp_path):
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    temporary.mkdir()
    process = started(
        "--mode=generate",
        "--checkpoint=x",
        "--inputs=-",
        f"--output_dir={out}",
        stdin=subprocess.PIPE,
        TMPDIR=str(temporary),
    )
    # It holds the output folder, and has a temporary one for what it reads from standard input.
    waiting.until(lambda: out.is_dir() and any(temporary.iterdir()), process)
    process.send_signal(signal.SIGTERM)
    status, _, error = finished(process)
    assert (status, error) == (128 + signal.SIGTERM, "terminated\n")
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]


def test_a_data_set_is_unpacked_and_looked_over(data_set, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", data_set)
    folder = f"--config.data.dataset_dir={tmp_path / 'data' / 'vimsketch'}"
    to_vimsketch = ("--config=vimsketch", folder)
    status, output, error = finished(
        started("--mode=download", *to_vimsketch, f"--source={archive}")
    )
    assert status == 0 and "4 references and 12 imitations" in output and error == ""
    assert re.search(r"Next, .*: python3 .*main.py --mode=doctor", output)
    status, output, error = finished(
        started("--mode=doctor", *to_vimsketch, f"--output_dir={tmp_path / 'report'}")
    )
    assert status == 0 and "prepare can begin: 12 pairs" in output and error == ""
    assert (tmp_path / "report" / "report.json").is_file()


def test_the_modes_from_end_to_end(data_set, frozen_run, tmp_path):
    """Trains until SIGTERM, generates, and goes on; frozen_run has compiled what training needs."""
    config, workdir = tmp_path / "small.py", tmp_path / "run"
    config.write_text(
        "import pathlib, small_run\n"
        "def get_config():\n"
        f"    return small_run.config(pathlib.Path({str(data_set)!r}))\n"
    )
    forever = "--config.training.num_epochs=100000"
    process = started(f"--config={config}", f"--workdir={workdir}", forever, cwd=tmp_path)
    waiting.until((workdir / "checkpoints" / "3").exists, process)
    process.send_signal(signal.SIGTERM)
    status, output, error = finished(process)
    assert status == 0 and "error" not in error
    stopped = int(re.search(r"stopped and saved at step (\d+)", output)[1])
    assert (workdir / "checkpoints" / str(stopped)).is_dir()

    imitation = sorted((data_set / "vocal_imitations").iterdir())[0]
    assert "," in imitation.name
    status, output, error = finished(
        started(
            "--mode=generate",
            f"--workdir={workdir}",
            f"--inputs={imitation},{imitation},{imitation}",
            f"--output_dir={tmp_path / 'out'}",
        )
    )
    assert status == 0 and "3 sounds" in output, error
    entries = json.loads((tmp_path / "out" / "manifest.json").read_text())["outputs"]
    assert [entry["input"] for entry in entries] == [str(imitation)] * 3
    sound = tmp_path / "out" / entries[2]["generated"]
    assert soundfile.info(sound).frames == 59_049

    num_epochs = stopped // 3 + 2
    small_run.trained(data_set, workdir, **{"training.num_epochs": num_epochs})
    assert (workdir / "checkpoints" / str(3 * num_epochs)).is_dir()
    steps = [entry["step"] for entry in read_metrics(workdir) if entry["part"] == "train"]
    assert steps == list(range(1, 3 * num_epochs + 1))
