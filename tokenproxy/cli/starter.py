"""The config that `tokenproxy init` writes, and what to do then."""

from tokenproxy.cli.blocks import Answers, block_of, scalar

HEAD = """\
# tokenproxy: a local reverse proxy that injects and refreshes access tokens.
#
# ${NAME} is an environment variable, ${file:/path} the text of a file, $$ a dollar sign.
# 'tokenproxy check' tells what is wrong in here, and 'tokenproxy check --online' gets a token.
# 'tokenproxy schema > tokenproxy.schema.json' makes what editors complete and check it by.

listen: 127.0.0.1:8080          # where clients talk to it
admin: 127.0.0.1:8081           # status page, health and metrics; null for none

"""


def written(answers: Answers) -> str:
    """The config file."""
    block = block_of(answers)
    name = scalar(answers.name)
    remarks = [f"  # {remark}" for remark in block.remarks]
    credential = [f"  {name}:", *(f"    {line}" for line in block.lines)]
    route = [
        "  - path: /                     # a prefix; the longest that fits wins",
        f"    upstream: {scalar(answers.upstream)}",
        f"    credential: {name}",
        '    # inject: {header: Authorization, value: "Bearer {token}"}   # where the token goes',
        "    # refresh_on: [401]         # which answers say that the token was rejected",
    ]
    return HEAD + "\n".join(["credentials:", *remarks, *credential, "", "routes:", *route, ""])


def next_step(answers: Answers, file: str) -> str:
    """What to do then, in one sentence."""
    block = block_of(answers)
    named = "" if file in {"-", "tokenproxy.yaml"} else f" -c {file}"
    steps = [f"'export {variable}=…'" for variable in block.variables]
    steps += [f"put the secret into {path}" for path in block.files]
    if block.needs_login:
        steps.append(f"'tokenproxy login{named} {answers.name}'")
    steps.append(f"'tokenproxy run{named}'")
    return f"next: {', then '.join(steps)}"
