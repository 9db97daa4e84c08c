# Files of a node, changed as a whole or not at all. The first argument is what to do.
set -eu
LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
verb=$1
shift
temporary=
trap '[ -z "$temporary" ] || rm -f -- "$temporary"' EXIT
trap 'exit 1' HUP INT TERM
# A name beside a path. What killed runs left there goes.
beside() {
    mkdir -p -- "${1%/*}"
    rm -f -- "${1%/*}"/.larder-mirror-*
    temporary=${1%/*}/.larder-mirror-$$
}
into_place() {
    sync -- "$temporary" 2>/dev/null || sync
    mv -f -- "$temporary" "$1"
    temporary=
    sync -- "${1%/*}" 2>/dev/null || sync
}
case $verb in
    # look PATH…: a line for each.
    look)
        echo larder-files
        for path; do
            if [ -d "$path" ]; then echo directory
            elif [ ! -e "$path" ] && [ ! -L "$path" ]; then echo absent
            elif [ ! -f "$path" ]; then echo odd
            elif [ "$(wc -c <"$path")" -gt 1048576 ]; then echo large
            else printf 'file %s\n' "$(base64 -w 0 <"$path")"
            fi
        done
        ;;
    # containerd: its version and its whole configuration, defaults included.
    containerd)
        echo larder-files
        printf 'version %s\n' "$(containerd --version 2>/dev/null | tr ' ' '\n' | grep -m 1 -E '^v?[0-9]+\.[0-9]+' || :)"
        printf 'dump %s\n' "$(containerd config dump 2>/dev/null | base64 -w 0)"
        ;;
    # write PATH SHA256: from standard input. Mode and owner stay as they are.
    write)
        umask 022
        beside "$1"
        if [ -f "$1" ]; then cp -pL -- "$1" "$temporary"; fi
        cat >"$temporary"
        if [ "$(sha256sum <"$temporary" | cut -c 1-64)" != "$2" ]; then
            echo "not all of $1 arrived" >&2
            exit 1
        fi
        into_place "$1"
        ;;
    # keep PATH COPY, for nobody else to read; restore COPY PATH. With mode, owner and times; a link stays a link.
    keep | restore)
        if [ "$verb" = keep ]; then umask 077; else umask 022; fi
        beside "$2"
        cp -a -- "$1" "$temporary"
        into_place "$2"
        ;;
    # remove PATH…: files, and directories that are empty.
    remove)
        for path; do
            if [ -d "$path" ] && [ ! -L "$path" ]; then rmdir -- "$path" 2>/dev/null || :; else rm -f -- "$path"; fi
        done
        ;;
    # forget DIRECTORY: what is kept of the time before.
    forget)
        rm -f -- "$1"/manifest.json
        rm -rf -- "$1"/before
        rmdir -- "$1" 2>/dev/null || :
        ;;
    # reload: dockerd reads its settings again.
    reload)
        if [ -d /run/systemd/system ]; then systemctl reload docker; else kill -HUP "$(cat /var/run/docker.pid)"; fi
        ;;
esac
