"""What the program can be told, as docs/configuration.md has it; tests hold that page against
the program."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent.parent

# | `--flag` | `VARIABLE` | default | commands | what for |
_ROWS = re.findall(
    r"^\| `--([\w-]+)` \| `(\w+)` \| [^|]* \| ([^|]*) \|",
    (ROOT / "docs/configuration.md").read_text(),
    re.M,
)
FLAGS = {flag: commands.strip().split(", ") for flag, _, commands in _ROWS}
VARIABLES = {variable: commands.strip().split(", ") for _, variable, commands in _ROWS}
# Not of one command: where the file is.
VARIABLES_OF_ALL = {"LONGHAUL_CONFIG"}


def unknown(arguments, variables):
    """What `longhaul` with these arguments does not know of its flags and of its environment."""
    words = [argument for argument in arguments if not argument.startswith("-")]
    commands = {words[0], " ".join(words[:2])}
    for argument in arguments:
        flag = argument.removeprefix("--").split("=")[0]
        if argument.startswith("--") and flag in FLAGS and not commands & set(FLAGS[flag]):
            yield f"`longhaul {words[0]}` has no {argument}"
    for variable in variables:
        if variable not in VARIABLES_OF_ALL and not commands & set(VARIABLES.get(variable, [])):
            yield f"`longhaul {words[0]}` does not read {variable}"
