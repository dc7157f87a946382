"""config.toml and the environment: every field read, every mistake named with its line."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from engine.errors import BadInput
from tui.actions.registry import ACTIONS
from tui.commands.parsers import DTYPES
from tui.commands.settings import run_config, run_paths
from tui.disk.paths import config_file, sessions_folder
from tui.disk.remembered import Remembered
from tui.disk.settings import Settings, description, fields, load_settings
from tui.theme import theme_names


def write(text: str | bytes) -> None:
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_bytes(text.encode() if isinstance(text, str) else text)


def complaint(environment: dict[str, str] | None = None) -> str:
    with pytest.raises(BadInput) as caught:
        load_settings(environment or {}, theme_names)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_file_the_defaults_hold() -> None:
    loaded = load_settings({})
    assert loaded.settings == Settings()
    assert loaded.sources == {}


def test_every_field_is_documented_and_read() -> None:
    assert all(description(setting) for setting in fields())
    write(
        'model = "org/model"\nprompt = "Place:"\ndevice = "cpu"\ndtype = "bfloat16"\n'
        'cache_dir = "/c"\ntop_k = 5\ntheme = "nord"\ncolumns = ["kl", "rms"]\nplot = "rank"\n'
        'copy_format = "json"\nraw_cells = true\nlite = true\nascii = true\nmouse = false\n'
        'picture = false\nremember = false\nautosave = false\nlive = "on"\n'
        'presets_file = "/p.toml"\n\n[keys]\nrun = "f9"\n'
    )
    loaded = load_settings({})
    assert set(loaded.sources) == {setting.name for setting in fields()}
    assert all(
        getattr(loaded.settings, name) != getattr(Settings(), name) for name in loaded.sources
    )
    assert "line 6 of" in loaded.sources["top_k"]


def test_the_environment_comes_before_the_file() -> None:
    write('theme = "nord"\ntop_k = 4\n')
    loaded = load_settings(
        {"LENSCOPE_THEME": "gruvbox", "LENSCOPE_LITE": "1", "LENSCOPE_MOUSE": "no"}
    )
    assert loaded.settings.theme == "gruvbox"
    assert loaded.settings.top_k == 4
    assert loaded.settings.lite
    assert not loaded.settings.mouse
    assert loaded.sources["theme"] == "LENSCOPE_THEME"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('top_k = 5\nlite = "yes"', 2, "lite: expected true or false, got 'yes'"),
        ("\n\nasci = true", 3, "unknown setting 'asci'; did you mean 'ascii'?"),
        ("top_k = 0", 1, "top_k: expected a whole number from 1 to 100, got 0"),
        ("top_k = 2.0", 1, "top_k: expected a whole number from 1 to 100, got 2.0"),
        (f"top_k = 0x{'f' * 6000}", 1, "got a huge number"),
        ('\n\ndevice = "gpu"', 3, "device: expected auto, cpu, cuda, cuda:1 or mps, got 'gpu'"),
        ('device = "cpu\\n"', 1, "device: expected auto"),
        ("[theme]\nx = 1", 1, "theme: expected a string, got a table"),
        ('prompt = """\nlite = 3\n"""\nlite = "x"', 4, "lite: expected true or false, got 'x'"),
        ("prompt = '''\n[keys]\n'''\n\"l\\u0069te\" = 1", 4, "expected true or false, got 1"),
        ("columns = [\n  5,\n]", 1, "columns: expected a list of strings, got a list"),
        ('# theme = "nord"\ntheme = "nrd"', 2, "theme: unknown theme 'nrd'; did you mean"),
        ('columns = ["kl", "entropi"]', 1, "unknown column 'entropi'; did you mean 'entropy'?"),
        ("columns = 5", 1, "columns: expected a list of strings, got 5"),
        ('plot = "logg"', 1, "plot: expected one of log, probability, rank, got 'logg'"),
        (
            'lite = true\n[keys]\nrun = "x"\nrnu = "y"',
            4,
            "unknown action 'rnu'; did you mean 'run'?",
        ),
        ('lite = true\nkeys = { run = "x", rnu = "y" }', 2, "unknown action 'rnu'"),
        ('lite = true\nkeys.rnu = "y"', 2, "unknown action 'rnu'"),
        ('[ "keys" ]\n"run" = "a"\n\n"r\\u006eu" = "b"', 4, "unknown action 'rnu'"),
        ("[keys]\nplot = 3", 2, "keys: 'plot': expected a string, got 3"),
        ("[[keys]]\nrun = 3", 1, "keys: expected a table of strings, got a list"),
        ("a = 1\nb = = 2", 2, "Invalid value"),
        ("lite = true\ntop_k = [", 2, "Invalid value"),
        ("lite = true\nlite = false", 2, "overwrite"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, line: int, words: str) -> None:
    write(text)
    said = complaint()
    assert f"config.toml, line {line}: " in said
    assert words in said


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("LENSCOPE_LITE", "maybe", "LENSCOPE_LITE: lite: expected true or false, got 'maybe'"),
        ("LENSCOPE_TOP_K", "many", "expected a whole number from 1 to 100, got 'many'"),
        ("LENSCOPE_TOP_K", "9" * 5000, "LENSCOPE_TOP_K: top_k: expected a whole number from"),
        ("LENSCOPE_DEVICE", "cuda:x", "LENSCOPE_DEVICE: device: expected auto"),
        ("LENSCOPE_PROMPT", "a\udcff", "LENSCOPE_PROMPT: not UTF-8 text"),
        ("LENSCOPE_THEME", "nrd", "LENSCOPE_THEME: theme: unknown theme 'nrd'"),
    ],
)
def test_a_mistake_in_the_environment_is_named(variable: str, value: str, words: str) -> None:
    assert words in complaint({variable: value})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xfe", "config.toml: not UTF-8 text"),
        (b"lite = true\x00", "config.toml, line 1: "),
        (b"model = " + b"[" * 5000, "config.toml: nested too deeply"),
        (b"top_k = " + b"9" * 5000, "config.toml: a number has too many digits"),
        (b"#" * 2**21, "the limit for a config file is"),
        (b"a" * 5000 + b" = 1", "line 1: unknown setting 'aaaa"),
    ],
)
def test_what_is_no_config_is_a_line(data: bytes, words: str) -> None:
    write(data)
    assert words in complaint()
    assert len(complaint()) < 1000


def test_a_config_that_cannot_be_read_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    config_file().mkdir(parents=True)
    assert "a folder, not a config file" in complaint()
    monkeypatch.setenv("XDG_CONFIG_HOME", "/" + "x" * 300)
    assert "the config file cannot be read (File name too long)" in complaint()


def test_values_that_the_command_line_takes_too() -> None:
    for dtype in DTYPES:
        assert load_settings({"LENSCOPE_DTYPE": dtype}).settings.dtype == dtype
    assert str(DTYPES[-1]) in complaint({"LENSCOPE_DTYPE": "int8"})


@with_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(
            st.tuples(
                st.sampled_from([setting.name for setting in fields()] + ["x", "[keys]", "a.b"]),
                st.sampled_from(["true", "5", '"x"', '["kl"]', "{ run = 3 }", "[", "1979-05-27"]),
            ),
            max_size=4,
        ).map(lambda pairs: "\n".join(f"{key} = {value}" for key, value in pairs)),
    )
)
def test_any_text_is_settings_or_one_line(text: str) -> None:
    write(text.encode("utf-8", "replace"))
    try:
        load_settings({})
    except BadInput as error:
        assert "\n" not in str(error)


def test_what_config_prints_is_a_config(capsys: pytest.CaptureFixture[str]) -> None:
    write('top_k = 7\n[keys]\nrun = "f9"\n')
    run_config(theme_names)
    printed = capsys.readouterr().out
    assert "from line 1 of" in printed
    assert tomllib.loads(printed) == {"top_k": 7, "keys": {"run": "f9"}}
    names = [setting.name for setting in fields()]
    examples = [line.removeprefix("# ") for line in printed.splitlines() if " = " in line]
    examples = [line for line in examples if line.split(" = ")[0] in names]
    assert len(examples) == len(names) - 1  # keys are a table
    for example in examples:
        write(example)
        load_settings({})


def test_config_tells_where_a_value_comes_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Remembered.load()
    memory.note(theme="nord", columns=("kl",), plot="rank")
    assert memory.settle(10)
    write('plot = "log"\ncolumns = ["rms"]\n')
    monkeypatch.setenv("LENSCOPE_PLOT", "probability")
    monkeypatch.setenv("LENSCOPE_TEHME", "x")
    run_config(theme_names)
    printed = capsys.readouterr().out
    assert 'remembered\n# theme = "nord"\n' in printed
    assert '# from LENSCOPE_PLOT\nplot = "probability"\n' in printed
    assert 'config.toml\ncolumns = ["rms"]\n' in printed
    assert "# LENSCOPE_TEHME sets nothing" in printed
    monkeypatch.setenv("LENSCOPE_REMEMBER", "no")
    run_config(theme_names)
    assert "nord" not in capsys.readouterr().out


@with_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(prompt=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_any_prompt_is_printed_safely_and_comes_back(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, prompt: str
) -> None:
    if "\0" not in prompt:  # the environment cannot hold it
        monkeypatch.setenv("LENSCOPE_PROMPT", prompt)
        capsys.readouterr()
        run_config(theme_names)
        printed = capsys.readouterr().out
        assert tomllib.loads(printed) == {"prompt": prompt}
        assert all(line.isprintable() for line in printed.split("\n"))


def test_paths_count_what_is_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sessions_folder().mkdir(parents=True)
    for index in range(3):
        (sessions_folder() / f"{index}.json").write_text("x" * 100_000)
    write("lite = 5")  # and a config that is wrong is no hindrance
    monkeypatch.setenv("HF_HOME", str(tmp_path / "evil\x1b[31m\n"))
    run_paths()
    printed = capsys.readouterr().out
    assert "sessions  (3 sessions, 0.3 MB)" in printed
    assert len(printed.splitlines()) == 8
    assert all(line.isprintable() for line in printed.splitlines())
    assert len({line.index("/") for line in printed.splitlines()}) == 1
    (config_file()).write_text(f'cache_dir = "{tmp_path}/models"')
    run_paths()
    assert f"{tmp_path}/models  (not there yet)" in capsys.readouterr().out


def test_paths_say_where_everything_lies(capsys: pytest.CaptureFixture[str]) -> None:
    run_paths()
    printed = capsys.readouterr().out
    for name in ("config", "state", "journals", "model cache", "bundled model"):
        assert any(line.startswith(name) for line in printed.splitlines())
    assert "(not there yet)" in printed


def test_every_action_can_be_named_in_the_keymap() -> None:
    write("[keys]\n" + "\n".join(f'{action.id} = "f12"' for action in ACTIONS))
    assert len(load_settings({}).settings.keys) == len(ACTIONS)
