"""The command line: one verb a file. This is the only place that prints."""

import sys

from tokenproxy.cli.app import app
from tokenproxy.cli.output import complain, give_up_output, open_output
from tokenproxy.errors import ConfigError, SourceRefused, TokenproxyError

FAILED, WRONG_USAGE, NEEDS_A_PERSON = 1, 2, 3  # contract 2, exit codes


def main() -> None:
    """The console script: an error is one sentence on standard error, and an exit code."""
    open_output()
    try:
        app()
    except ConfigError as error:
        for problem in error.problems:
            complain(str(problem))
        sys.exit(WRONG_USAGE)
    except TokenproxyError as error:
        complain(str(error))
        sys.exit(NEEDS_A_PERSON if isinstance(error, SourceRefused) else FAILED)
    finally:
        give_up_output()
