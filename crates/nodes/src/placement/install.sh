# Unpacks an archive into a directory of its own and switches to it at once; or goes back to the one before.
# Arguments: unpack|receive|rollback|ask  base  key  archive  then pairs of what is in the archive and where it goes.
#   unpack: the archive is a file here and zstd is too; receive: its tar comes by the input, and the archive is its size in bytes;
#   ask: only says what is there.
set -eu
umask 022
LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
way=$1 base=$2 key=$3 archive=$4
shift 4
current() { readlink "$base/current" 2>/dev/null || echo -; }
previous() { readlink "$base/previous" 2>/dev/null || echo -; }
if [ "$way" = ask ]; then
    unpacked=no
    [ -d "$base/$key" ] && unpacked=yes
    zstd=no
    command -v zstd >/dev/null 2>&1 && zstd=yes
    command -v tar >/dev/null 2>&1 || zstd=none
    printf 'state %s %s %s %s\n' "$unpacked" "$(current)" "$(previous)" "$zstd"
    exit 0
fi
# One at a time, as long as this runs; where there is no flock, the senders see to it.
mkdir -p "$base"
if command -v flock >/dev/null 2>&1; then
    exec 9> "$base/.lock"
    flock -w 300 9
fi
# A link is replaced by a rename: there is no moment without it.
point() {
    rm -f "$base/.$2.new"
    ln -s "$1" "$base/.$2.new"
    mv -fT "$base/.$2.new" "$base/$2"
}
# One name in the system: a link to the same name in what is current.
name() {
    mkdir -p "${2%/*}"
    [ "$(readlink "$2" 2>/dev/null || :)" = "$1" ] && return
    if [ -d "$2" ] && [ ! -L "$2" ]; then
        echo "$2 is a directory" >&2
        exit 73
    fi
    # What was there before larder is kept.
    if [ -e "$2" ] && ! case $(readlink "$2" 2>/dev/null || :) in "$base"/*) true ;; *) false ;; esac; then
        mkdir -p "$base/replaced${2%/*}"
        [ -e "$base/replaced$2" ] || cp -pP "$2" "$base/replaced$2"
    fi
    rm -f "${2%/*}/.${2##*/}.larder"
    ln -s "$1" "${2%/*}/.${2##*/}.larder"
    mv -fT "${2%/*}/.${2##*/}.larder" "$2"
    printf '%s\n' "$2" >> "$base/names"
}
# All names of what is current, by its list of pairs.
names() {
    while read -r from to; do
        [ "$from" = . ] && from=
        if [ -d "$base/current/$from" ]; then
            for entry in "$base/current/$from"/*; do
                [ -e "$entry" ] || continue
                name "$base/current${from:+/$from}/${entry##*/}" "$to/${entry##*/}"
            done
        elif [ -e "$base/current/$from" ]; then
            name "$base/current/$from" "$to"
        else
            echo "the archive has no $from" >&2
            exit 66
        fi
    done < "$base/$1.pairs"
    # Names that only another version had.
    [ -f "$base/names" ] || return 0
    sort -u "$base/names" > "$base/.names.new"
    : > "$base/.names.kept"
    while read -r to; do
        if [ -L "$to" ] && [ ! -e "$to" ]; then
            case $(readlink "$to") in "$base"/*) rm -f "$to" ;; esac
        else
            printf '%s\n' "$to" >> "$base/.names.kept"
        fi
    done < "$base/.names.new"
    mv -f "$base/.names.kept" "$base/names"
    rm -f "$base/.names.new"
}
if [ "$way" = rollback ]; then
    now=$(current) before=$(previous)
    if [ "$before" != - ] && [ -d "$base/$before" ]; then
        point "$before" current
        point "$now" previous
        names "$before"
        printf 'state yes %s %s -\n' "$(current)" "$(previous)"
        exit 0
    fi
    [ "$now" != - ] || { echo "nothing is installed" >&2; exit 66; }
    # The version before was not larder's: the files that were there come back, the others go.
    : >> "$base/names"
    while read -r to; do
        if [ -e "$base/replaced$to" ] || [ -L "$base/replaced$to" ]; then
            cp -pP "$base/replaced$to" "${to%/*}/.${to##*/}.larder"
            mv -fT "${to%/*}/.${to##*/}.larder" "$to"
        else
            rm -f "$to"
        fi
    done < "$base/names"
    rm -rf "$base/current" "$base/names" "$base/replaced"
    printf 'state yes - - -\n'
    exit 0
fi
if [ ! -d "$base/$key" ]; then
    new="$base/.$key.new"
    # What an interrupted one left.
    rm -rf "$base"/.*.new
    mkdir "$new"
    if [ "$way" = unpack ]; then
        zstd -q -d -c "$archive" > "$base/.$key.tar.new"
    else
        # A connection that ends looks like an input that ends.
        cat > "$base/.$key.tar.new"
        [ "$(($(wc -c < "$base/.$key.tar.new")))" = "$archive" ] || { echo "the input was cut short" >&2; exit 75; }
    fi
    tar -x -f "$base/.$key.tar.new" -C "$new"
    rm -f "$base/.$key.tar.new"
    chown -R 0:0 "$new" 2>/dev/null || :
    sync
    mv -T "$new" "$base/$key"
else
    cat > /dev/null
fi
while [ $# -ge 2 ]; do
    printf '%s %s\n' "${1:-.}" "$2"
    shift 2
done > "$base/.$key.pairs.new"
mv -f "$base/.$key.pairs.new" "$base/$key.pairs"
# What lacks something that goes somewhere is not switched to.
while read -r from to; do
    [ -e "$base/$key/$from" ] || { echo "the archive has no $from" >&2; exit 66; }
done < "$base/$key.pairs"
now=$(current)
if [ "$now" != "$key" ]; then
    [ "$now" = - ] || point "$now" previous
    point "$key" current
fi
names "$key"
# One version before is enough.
for old in "$base"/*.pairs; do
    old=${old##*/}
    old=${old%.pairs}
    if [ "$old" != "$(current)" ] && [ "$old" != "$(previous)" ]; then
        rm -rf "${base:?}/$old" "$base/$old.pairs"
    fi
done
printf 'state yes %s %s -\n' "$(current)" "$(previous)"
