# Shared by the scripts here: what Culvert needs on Debian 12, and how to say so. Sourced, not run.

# name of a Debian package for each thing that building needs, and for what the tests use beside it
build_packages="libgnutls28-dev libngtcp2-crypto-gnutls-dev libngtcp2-dev libyaml-dev pkg-config"
test_packages="bind9-dnsutils coturn curl dropbear-bin ethtool gir1.2-nice-0.1 iproute2 iputils-ping netcat-openbsd nftables openssh-client
openssl python3 python3-gi python3-venv tcpdump tshark wireguard-tools"

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
  # The package of coturn starts a relay on this machine, which nobody asked for.
  case " $missing " in
    *" coturn "*) ! command -v systemctl >/dev/null 2>&1 || systemctl disable -q --now coturn 2>/dev/null || true ;;
  esac
}

# A Python of its own for the tests, with a QUIC that shares no code with ours: the other ends of the tests are written
# for it. `CULVERT_AIOQUIC_PYTHON` names it to them; one that is set already is left alone. Its parts come from PyPI,
# in exactly these versions, because the peers reach into them. Without it the tests that need it skip and say why.
python_packages="aioice==0.13.0 aioquic==1.7.2 jsonschema==4.26.0 prometheus-client==0.26.0 websockets==17.4"

use_test_python() {
  [ -z "${CULVERT_AIOQUIC_PYTHON:-}" ] || return 0
  venv="$PWD/.build/test-venv"
  if [ "$(cat "$venv/packages" 2>/dev/null)" != "$python_packages" ]; then
    say "making the tests' Python in .build/test-venv, with $python_packages from PyPI"
    # shellcheck disable=SC2086
    if /usr/bin/python3 -m venv --clear "$venv" && "$venv/bin/pip" install -q --disable-pip-version-check $python_packages
    then
      printf '%s\n' "$python_packages" >"$venv/packages"
    else
      rm -rf "$venv"
      say "no $python_packages to be had: the tests that need it will be skipped"
      return 0
    fi
  fi
  CULVERT_AIOQUIC_PYTHON="$venv/bin/python3"
  export CULVERT_AIOQUIC_PYTHON
}
