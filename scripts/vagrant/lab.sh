# Shared by the scripts of this directory, which source it: where things are, and how to reach the VM.
# shellcheck shell=bash
# shellcheck disable=SC2034 # the variables are read by the scripts that source this file

vagrant_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
checkout=$(cd "$vagrant_dir/../.." && pwd -P)
provider=${VAGRANT_DEFAULT_PROVIDER:-}
[ -n "$provider" ] || [ "$(uname -s)" != Linux ] || provider=libvirt

# In CI, and where no systemd runs libvirt, it is ours alone, in namespaces of its own: see own-libvirt.
own_libvirt() { [ "$provider" = libvirt ] && { [ "${CI:-}" = true ] || [ ! -d /run/systemd/system ]; }; }

# Namespaces need root. With -H root's files stay out of the caller's home.
if own_libvirt && [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "lab: the VM needs root here: become root, or install sudo" >&2; exit 125; }
    exec sudo -H --preserve-env=CI,MINIDOCK_VM_CPUS,MINIDOCK_VM_MEMORY -- "$0" "$@"
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/minidock
# Named by the checkout's path: two checkouts have two VMs, and one that is cloned again finds its old VM.
lab_id=$(printf %s "$checkout" | cksum)
lab_id=$(printf %08x "${lab_id%% *}")
lab=$cache/labs/$lab_id
run_dir=/run/minidock-lab-$lab_id
mkdir -p "$lab"
chmod 700 "$lab"

say() { printf 'lab: %s\n' "$*" >&2; }

fail() {
    say "$1"
    [ $# -lt 2 ] || printf '     %s\n' "${@:2}" >&2
    exit 125
}

# Says what is done before, and how long it took after: nobody should wonder whether a minute's silence is a hang.
timed() {
    local what=$1 start=$SECONDS
    shift
    say "$what …"
    "$@" >&2 || return
    say "$what: done in $((SECONDS - start)) s"
}

# Of two callers that would change the VM, one works and the other finds the work done. macOS has no flock.
locked() {
    (
        if command -v flock >/dev/null; then
            flock -n 9 || { say "waiting for another command that changes this VM"; flock 9; }
        fi
        "$@"
    ) 9>"$lab/lock"
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Arguments for a shell, that reads them back as they were, newlines and all.
quote() {
    # As a variable, since bash 3 (macOS) reads quotes within a replacement otherwise than bash 5.
    local arg quoted="'\\''"
    for arg; do printf "'%s' " "${arg//\'/$quoted}"; done
}

# Starts the calling script anew with the right to use the system's libvirt, if this login doesn't have it yet.
enter_libvirt_group() {
    if [ "$provider" != libvirt ] || own_libvirt || [ "$(id -u)" = 0 ] || id -nG | grep -qw libvirt; then return; fi
    exec sg libvirt -c "exec $(quote "$@")"
}

# Prints the process that a file names by number and start time, if it still is the same.
living() {
    local pid born stat
    read -r pid born 2>/dev/null <"$1" || return
    stat=$(cat "/proc/$pid/stat" 2>/dev/null) || return
    # Field 22 of proc_pid_stat(5), the start time; counted after the command's name, which may hold blanks.
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    [ "${20}" = "$born" ] && echo "$pid"
}

own_libvirt_pid() { living "$run_dir/pid"; }

# Runs a command where our libvirt and its network are.
beside_libvirt() {
    if own_libvirt; then nsenter -t "$(own_libvirt_pid)" -m -n -p -- "$@"; else "$@"; fi
}

# Where our libvirt keeps what the VM's kernel says; users of the system's libvirt may not read its logs.
console=/var/log/libvirt/qemu/console.log

virsh_here() { beside_libvirt virsh -q -c qemu:///system "$@"; }

beside_vm() {
    if own_libvirt; then nsenter -t "$(own_libvirt_pid)" -n -- "$@"; else "$@"; fi
}

box_name() { echo "minidock-$("$vagrant_dir/box/build" --hash)"; }

vagrant_here() {
    local deadline=(env)
    # Vagrant's own limit on booting is 600 s; this one is for a libvirt that doesn't answer. macOS has no timeout.
    ! command -v timeout >/dev/null || deadline=(timeout --foreground 1200)
    MINIDOCK_BOX=$(cat "$lab/box" 2>/dev/null || true)
    export MINIDOCK_BOX MINIDOCK_DOMAIN_PREFIX=minidock-$lab_id-
    ! own_libvirt || export MINIDOCK_CONSOLE=$console
    export VAGRANT_CWD=$checkout VAGRANT_DOTFILE_PATH=$lab/vagrant VAGRANT_CHECKPOINT_DISABLE=1
    beside_libvirt "${deadline[@]}" vagrant --no-tty "$@"
}

# Every call goes through one connection. Without it, ProxyCommand=false fails at once: outside our namespaces the VM's
# address may be another machine's.
guest_ssh() { ssh -F "$lab/ssh_config" -o ProxyCommand=false "$@"; }

connected() {
    # A connection notices after minutes only that the VM's process is gone.
    [ ! -f "$lab/qemu" ] || living "$lab/qemu" >/dev/null || return
    guest_ssh -O check lab 2>/dev/null
}

connect() {
    [ -f "$lab/ssh_config" ] || return
    guest_ssh -O exit lab 2>/dev/null || true
    rm -f "$lab/ssh.socket"
    beside_vm ssh -F "$lab/ssh_config" -o ControlMaster=yes "$@" -fN lab </dev/null >/dev/null 2>"$lab/ssh.log" 9>&-
}

disconnect() {
    [ ! -f "$lab/ssh_config" ] || guest_ssh -O exit lab 2>/dev/null || true
    rm -f "$lab/ssh_config" "$lab/ssh.socket"
}

# Ends our libvirtd and, since its namespaces end with it, the VM and everything else it started.
stop_own_libvirt() {
    local pid
    pid=$(own_libvirt_pid) || return 0
    kill -KILL "$pid"
    while own_libvirt_pid >/dev/null; do sleep 0.05; done
    rm -rf "$run_dir"
}

remove_vm() {
    disconnect
    if own_libvirt; then
        stop_own_libvirt
    elif [ -d "$lab/vagrant" ]; then
        vagrant_here destroy -f >&2
    fi
    # The lock stays: its holder is at work.
    find "$lab" -mindepth 1 -maxdepth 1 ! -name lock -exec rm -rf {} +
}
