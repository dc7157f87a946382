"""config.toml and the environment: every field read, every mistake named with its line."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from engine.errors import BadInput
from tui.actions import ACTIONS
from tui.commands.settings import run_config, run_paths
from tui.disk.paths import config_file
from tui.disk.settings import Settings, description, fields, load_settings


def write(text: str | bytes) -> None:
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_bytes(text.encode() if isinstance(text, str) else text)


def complaint(environment: dict[str, str] | None = None) -> str:
    with pytest.raises(BadInput) as caught:
        load_settings(environment or {})
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
        'copy_format = "json"\nlite = true\nascii = true\nmouse = false\npicture = false\n'
        'remember = false\nautosave = false\npresets_file = "/p.toml"\n\n[keys]\nrun = "f9"\n'
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
        ("\n\nasci = true", 3, "there is no setting 'asci'; perhaps 'ascii'"),
        ("top_k = 0", 1, "top_k: expected a whole number >= 1, got 0"),
        ('# theme = "nord"\ntheme = "nrd"', 2, "theme: there is none called 'nrd'; perhaps"),
        ('columns = ["kl", "entropi"]', 1, "there is no column 'entropi'; perhaps 'entropy'"),
        ("columns = 5", 1, "columns: expected a list, got 5"),
        ('plot = "logg"', 1, "plot: not one of its values, got 'logg' (what is plotted:"),
        ('lite = true\n[keys]\nrun = "x"\nrnu = "y"', 4, "there is no action 'rnu'; perhaps 'run'"),
        ('lite = true\nkeys = { run = "x", rnu = "y" }', 2, "there is no action 'rnu'"),
        ('lite = true\nkeys.rnu = "y"', 2, "there is no action 'rnu'"),
        ("[keys]\nplot = 3", 2, "keys: plot: expected a text, got 3"),
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
        ("LENSCOPE_TOP_K", "many", "LENSCOPE_TOP_K: top_k: expected a whole number, got 'many'"),
        ("LENSCOPE_THEME", "nrd", "LENSCOPE_THEME: theme: there is none called 'nrd'"),
    ],
)
def test_a_mistake_in_the_environment_is_named(variable: str, value: str, words: str) -> None:
    assert words in complaint({variable: value})


@pytest.mark.parametrize("data", [b"\xff\xfe", b"lite = true\x00"])
def test_what_is_no_text_is_a_line(data: bytes) -> None:
    write(data)
    complaint()


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
    run_config()
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


def test_paths_say_where_everything_lies(capsys: pytest.CaptureFixture[str]) -> None:
    run_paths()
    printed = capsys.readouterr().out
    for name in ("config", "state", "journals", "model cache", "bundled model"):
        assert any(line.startswith(name) for line in printed.splitlines())
    assert "(not there yet)" in printed


def test_every_action_can_be_named_in_the_keymap() -> None:
    write("[keys]\n" + "\n".join(f'{action.id} = "f12"' for action in ACTIONS))
    assert len(load_settings({}).settings.keys) == len(ACTIONS)
