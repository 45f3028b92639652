# Shared by the scripts here: what Culvert needs on Debian 12, and how to say so. Sourced, not run.

# name of a Debian package for each thing that building needs, and for what the tests use beside it
build_packages="libgnutls28-dev libngtcp2-crypto-gnutls-dev libngtcp2-dev libyaml-dev pkg-config"
test_packages="iproute2 iputils-ping nftables openssl python3 tcpdump"

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

need_root() {
  [ "$(id -u)" -eq 0 ] || die "run this as root: it makes network namespaces and installs packages"
}

need_swift() {
  command -v swift >/dev/null 2>&1 || die "Swift 6.3 is needed and \`swift\` is not in PATH (https://www.swift.org/install)"
}

# Installs the packages that are missing, and says which.
install_missing() {
  missing=""
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  say "installing Debian packages:$missing"
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
