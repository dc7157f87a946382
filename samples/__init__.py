"""The sample material that ships with Lenscope: paths only, nothing heavy is imported here."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent

MODEL = _HERE / "model"
PICTURES = _HERE / "pictures"
DEFAULT_PICTURE = PICTURES / "scene_1.png"
PROMPTS = _HERE / "prompts.toml"
