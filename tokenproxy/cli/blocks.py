"""One block of a config for each kind of credential, with what was asked for it.

A secret is never asked for and never written: a block names the variable or the file that has it.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

UPSTREAM = "https://api.example"
ISSUER = "https://login.example"
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./:@-]*[A-Za-z0-9_/]")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off"}
_NO_WORD = re.compile("[^A-Z0-9]+")


@dataclass(frozen=True, slots=True)
class Answers:
    """What was asked: empty where nothing was said."""

    kind: str
    name: str = "api"
    upstream: str = UPSTREAM
    base_url: str = ""
    issuer: str = ISSUER
    grant: str = "client_credentials"
    client_id: str = "my-client"
    username: str = ""

    def variable(self, what: str) -> str:
        """The name of an environment variable for this credential."""
        name = _NO_WORD.sub("_", self.name.upper()).strip("_") or "API"
        return f"{'_' if name[0].isdigit() else ''}{name}_{what}"


@dataclass(frozen=True, slots=True)
class Block:
    """The lines of a credential, and what has to be there before it can be used."""

    lines: tuple[str, ...]
    variables: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    needs_login: bool = False
    remarks: tuple[str, ...] = ()


def block_of(answers: Answers) -> Block:
    """The credential of that kind."""
    return KINDS[answers.kind](answers)


def _static(answers: Answers) -> Block:
    variable = answers.variable("TOKEN")
    return Block(("type: static", f"token: ${{{variable}}}"), (variable,))


def _file(answers: Answers) -> Block:
    path = f"/run/secrets/{answers.name}-token"
    return Block(
        ("type: file                  # read again when it changes", f"path: {scalar(path)}"),
        files=(path,),
    )


def _kubernetes(answers: Answers) -> Block:
    del answers
    return Block(
        (
            "type: file",
            "path: /var/run/secrets/tokens/token",
        ),
        remarks=(
            "A projected service account token, which the kubelet renews: mount a volume with",
            "`projected: {sources: [{serviceAccountToken: {path: token, audience: …}}]}` there.",
        ),
    )


def _command(*argv: str, form: str = "text") -> Callable[[Answers], Block]:
    def block(answers: Answers) -> Block:
        del answers
        words = ", ".join(map(scalar, argv))
        return Block(
            (
                "type: command               # run as it is, by no shell",
                f"argv: [{words}]",
                f"format: {form}",
            )
        )

    return block


def _simplejwt(answers: Answers) -> Block:
    password = answers.variable("PASSWORD")
    user, variables = _user(answers)
    return Block(
        (
            "type: simplejwt             # Django REST framework simplejwt",
            f"base_url: {scalar(_base(answers))}   # /api/token/ is below it",
            f"username: {user}",
            f"password: ${{{password}}}",
        ),
        (*variables, password),
    )


def _json(answers: Answers) -> Block:
    password = answers.variable("PASSWORD")
    user, variables = _user(answers)
    base = _base(answers).rstrip("/")
    return Block(
        (
            "type: json                  # any login API: write down what it wants and answers",
            "login:",
            f"  url: {scalar(f'{base}/login')}",
            f'  body: {{username: {user}, password: "${{{password}}}"}}',
            "  fields: {access_token: access_token, refresh_token: refresh_token}",
            "# renew:                     # without it, login is done again",
            f"#   url: {scalar(f'{base}/refresh')}",
            '#   body: {refresh_token: "{refresh_token}"}',
        ),
        (*variables, password),
    )


def _oauth2(answers: Answers) -> Block:
    own, variables, files = GRANTS[answers.grant](answers)
    return Block(
        (
            "type: oauth2",
            f"grant: {answers.grant}",
            f"issuer: {scalar(answers.issuer)}   # its metadata tell the endpoints",
            f"client_id: {scalar(answers.client_id)}",
            *own,
            "# scope: openid offline_access",
        ),
        variables,
        files,
        needs_login=answers.grant in {"device_code", "authorization_code"},
    )


Own = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]  # lines, variables, files


def _client_secret(answers: Answers) -> Own:
    variable = answers.variable("CLIENT_SECRET")
    return (f'client_auth: {{secret: "${{{variable}}}"}}',), (variable,), ()


def _first_refresh_token(answers: Answers) -> Own:
    variable = answers.variable("REFRESH_TOKEN")
    return (f"refresh_token: ${{{variable}}}     # the first one",), (variable,), ()


def _password(answers: Answers) -> Own:
    password = answers.variable("PASSWORD")
    user, variables = _user(answers)
    return (f"username: {user}", f"password: ${{{password}}}"), (*variables, password), ()


def _signed(answers: Answers) -> Own:
    path = f"/run/secrets/{answers.name}-key.pem"
    subject = scalar(answers.username or answers.client_id)
    claims = f"claims: {{iss: {scalar(answers.client_id)}, sub: {subject}}}"
    return (f'key: "${{file:{path}}}"', claims), (), (path,)


def _exchanged(answers: Answers) -> Own:
    del answers
    lines = (
        "subject_token_file: /var/run/secrets/tokens/token",
        "subject_token_type: urn:ietf:params:oauth:token-type:jwt",
    )
    return lines, (), ("/var/run/secrets/tokens/token",)


def _nothing(answers: Answers) -> Own:
    del answers
    return (), (), ()


GRANTS: Mapping[str, Callable[[Answers], Own]] = {
    "client_credentials": _client_secret,
    "refresh_token": _first_refresh_token,
    "password": _password,
    "jwt_bearer": _signed,
    "token_exchange": _exchanged,
    "device_code": _nothing,
    "authorization_code": _nothing,
}
KINDS: Mapping[str, Callable[[Answers], Block]] = {
    "simplejwt": _simplejwt,
    "json": _json,
    "oauth2": _oauth2,
    "kubernetes": _kubernetes,
    "gcloud": _command("gcloud", "auth", "print-access-token"),
    "aws": _command(
        "aws", "eks", "get-token", "--cluster-name", "my-cluster", form="exec_credential"
    ),
    "az": _command(
        *("az", "account", "get-access-token", "--resource", "https://management.azure.com"),
        *("--query", "accessToken", "--output", "tsv"),
    ),
    "gh": _command("gh", "auth", "token"),
    "command": _command("my-tool", "print-token"),
    "file": _file,
    "static": _static,
}


def _user(answers: Answers) -> tuple[str, tuple[str, ...]]:
    """The user name, or the variable that has it."""
    if answers.username:
        return scalar(answers.username), ()
    variable = answers.variable("USER")
    return f'"${{{variable}}}"', (variable,)


def _base(answers: Answers) -> str:
    """Where it signs in: unless it was said, at the upstream's own server."""
    scheme, mark, rest = answers.upstream.partition("://")
    return answers.base_url or f"{scheme}{mark}{rest.partition('/')[0]}"


def scalar(text: str) -> str:
    """A text in YAML in which nothing is replaced; JSON's quoting is YAML's, too."""
    escaped = text.replace("$", "$$")
    is_word = escaped.lower() in _WORDS
    if _PLAIN.fullmatch(escaped) and ": " not in escaped and not is_word:
        return escaped
    return json.dumps(escaped)
