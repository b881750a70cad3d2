#!/bin/sh
# What the tests need besides Python: a redis-server and a Chromium, which they start and end
# themselves, a git that can serve repositories over HTTP, and the programs that judge what is in
# deploy/.
#
# Where one can't be had this fails if CI=true; elsewhere it says so in one line, and the tests
# that need it are skipped.
set -u

has_redis() {
    command -v redis-server || command -v valkey-server
} >/dev/null

has_git() {
    command -v git && [ -x "$(git --exec-path)/git-http-backend" ]
} >/dev/null

# The names of tests/browser.py.
has_chromium() {
    command -v chromium || command -v google-chrome || command -v chromium-browser
} >/dev/null

has_promtool() {
    command -v promtool
} >/dev/null

has_systemd_analyze() {
    command -v systemd-analyze
} >/dev/null

# 101 from policy-rc.d: no package may start a service. It must not start at the next boot either.
from_the_system() {
    [ "$(id -u)" = 0 ] && command -v apt-get || return
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
    fi
    apt-get --quiet --quiet update &&
        DEBIAN_FRONTEND=noninteractive apt-get --quiet --quiet install --yes \
            --no-install-recommends "$1"
    case $1 in
    redis-server | prometheus) ! command -v systemctl || systemctl disable "$1" ;;
    esac
} >/dev/null 2>&1

# needs PACKAGE CHECK WHAT-IS-SKIPPED
needs() {
    "$2" || from_the_system "$1"
    "$2" && return
    echo "there is no $1: $3 are skipped" >&2
    missing=1
}

missing=0
needs redis-server has_redis "the tests of the Redis store"
needs git has_git "the tests with git"
needs chromium has_chromium "the tests in a browser"
needs prometheus has_promtool "the tests of alerts"
needs systemd has_systemd_analyze "the tests of systemd units"
[ "$missing" = 0 ] || [ "${CI:-}" != true ]
