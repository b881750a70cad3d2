"""`tokenproxy schema`: what editors and checks know a config by."""

import json

from tokenproxy.cli.output import say
from tokenproxy.config.schema import json_schema


def schema() -> None:
    """Print the JSON Schema of the config file."""
    say(json.dumps(json_schema(), indent=2, ensure_ascii=False))
