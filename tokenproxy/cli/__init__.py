"""The command line: one verb a file. This is the only place that prints."""

import sys

FAILED, WRONG_USAGE, NEEDS_A_PERSON = 1, 2, 3  # contract 2, exit codes
INTERRUPTED = 130  # as a shell says it of a Ctrl-C


def main() -> None:
    """The console script: an error is one sentence on standard error, and an exit code."""
    try:
        _run()  # what it needs is imported in there: a Ctrl-C may come that early
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run() -> None:
    from tokenproxy.cli.output import complain, give_up_output, open_output  # noqa: PLC0415

    open_output()
    from tokenproxy.cli.app import WrongUsage, run  # noqa: PLC0415 - with the streams open
    from tokenproxy.errors import ConfigError, SourceRefused, TokenproxyError  # noqa: PLC0415

    try:
        sys.exit(run())
    except WrongUsage as error:
        complain(str(error))
        sys.exit(WRONG_USAGE)
    except ConfigError as error:
        for problem in error.problems:
            complain(str(problem))
        sys.exit(WRONG_USAGE)
    except TokenproxyError as error:
        complain(str(error))
        sys.exit(NEEDS_A_PERSON if isinstance(error, SourceRefused) else FAILED)
    finally:
        give_up_output()
