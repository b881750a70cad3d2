#!/bin/sh
# What the tests need besides Python: a redis-server, which they start and end themselves.
#
# Where none can be had this fails if CI=true; elsewhere it says so in one line, and the tests
# that need it are skipped.
set -u

able() {
    command -v redis-server || command -v valkey-server
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
            --no-install-recommends redis-server
    command -v systemctl && systemctl disable redis-server
} >/dev/null 2>&1

able || from_the_system
able && exit 0
echo "there is no redis-server: the tests of the Redis store are skipped" >&2
[ "${CI:-}" != true ]
