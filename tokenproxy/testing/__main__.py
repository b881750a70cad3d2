"""`python -m tokenproxy.testing schema` prints the JSON Schema of scenario files, for editors."""

import json
import sys


def main(words: list[str]) -> int:
    """Print it, or how to ask for it."""
    if words != ["schema"]:
        sys.stderr.write("usage: python -m tokenproxy.testing schema\n")
        return 2
    from tokenproxy.testing.scenarios.script import Scenario  # noqa: PLC0415 - heavy

    sys.stdout.write(json.dumps(Scenario.model_json_schema(), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
