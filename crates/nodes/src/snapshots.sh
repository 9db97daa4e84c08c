# Makes snapshots of containerd from layers that are unpacked already, by ctr. Says `end` when it is done.
# Arguments: mode  socket  namespace  directory of larder  root of the snapshotter  and those of the mode:
#   look    chain ids, from the bottom
#   commit  for each snapshot: its chain id  that of the one below or -  the directory of its content
#   free    chain ids
set -u
LC_ALL=C
export LC_ALL
mode=$1 socket=$2 namespace=$3 marks=$4/snapshots/$3 root=$5
shift 5
# Everything that is not finished carries the number of the larder-node that this runs for, and when that began: numbers come again.
began() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }
lives() { [ -n "$2" ] && [ "$(began "$1")" = "$2" ]; }
session=$PPID-$(began "$PPID")
snapshots() { ctr --address "$socket" --namespace "$namespace" snapshots --snapshotter overlayfs "$@"; }
fail() { printf 'failed %s\n' "$*"; exit 0; }
# Where the content of a snapshot goes, or what lies below: `bind SOURCE` or `overlay OPTIONS`, of the one mount that ctr prints.
mount_of() {
    case $1 in
        *"
"*) fail "several mounts: $1" ;;
        "mount -t bind "*" / -o "*) at=${1#mount -t bind }; printf 'bind %s' "${at%% / -o *}" ;;
        "mount -t overlay overlay / -o "*) printf 'overlay %s' "${1#mount -t overlay overlay / -o }" ;;
        *) fail "unknown mount: $1" ;;
    esac
}
option() { printf '%s\n' "$2" | tr , '\n' | sed -n "s/^$1=//p"; }
ours() {
    case $1 in
        "$root"/snapshots/*/fs) id=${1#"$root"/snapshots/}; id=${id%/fs} ;;
        *) id= ;;
    esac
    case $id in '' | *[!0-9]*) fail "unknown place of a snapshot: $1" ;; esac
}
case $mode in
    look)
        # One that is not root's maps the owners of files.
        [ "$(stat -c %u "$root")" = 0 ] || fail "$root is not root's"
        list=$(snapshots ls) || exit 1
        # What a delivery left that was killed.
        for key in $(printf '%s\n' "$list" | sed -n 's/^\(larder-[0-9]*-[0-9]*-[0-9a-z]*\) .*/\1/p'); do
            number=${key#larder-} rest=${key#larder-*-}
            lives "${number%%-*}" "${rest%%-*}" || snapshots rm "$key" >/dev/null 2>&1
        done
        # Those that others are making, or look at, do not count.
        list=" $(printf '%s\n' "$list" | sed -n 's/^\(sha[0-9]*:[0-9a-f]*\) .*Committed *$/\1/p' | tr '\n' ' ')"
        for mark in "$marks"/*; do
            [ -f "$mark" ] || continue
            read -r number <"$mark" && lives "${number%-*}" "${number#*-}" && continue
            chain=${mark##*/}
            case $list in
                *" $chain "*) ;;
                *) rm -f "$mark"; continue ;;
            esac
            case " $* " in
                # This delivery needs it, and gives it up when an image has it: without its label it could be collected before.
                *" $chain "*) echo "$session" >"$mark" && printf 'held %s\n' "$chain" ;;
                *) snapshots label "$chain" containerd.io/gc.root= >/dev/null 2>&1 && rm -f "$mark" ;;
            esac
        done
        count=0 last=
        for chain in "$@"; do
            case $list in *" $chain "*) ;; *) break ;; esac
            count=$((count + 1)) last=$chain
        done
        if [ "$count" -gt 0 ] && [ "$count" -lt $# ]; then
            view=$(snapshots view -t / "larder-$session-view" "$last") || exit 1
            snapshots rm "larder-$session-view" >/dev/null || exit 1
            below=$(mount_of "$view")
            case $below in
                failed*) echo "$below"; exit 0 ;;
                bind*) printf '%s\n' "${below#bind }" ;;
                overlay*) option lowerdir "${below#overlay }" | tr : '\n' ;;
            esac | while read -r path; do
                said=$(ours "$path")
                [ -n "$said" ] || printf 'lower %s\n' "$path"
            done
        fi
        printf 'have %s\n' "$count"
        ;;
    commit)
        mkdir -p "$marks" || exit 1
        number=0
        while [ $# -ge 3 ]; do
            chain=$1 parent=$2 content=$3 key=larder-$session-$number
            number=$((number + 1))
            shift 3
            [ "$parent" != - ] || parent=
            given=$(snapshots prepare -t / "$key" $parent) || exit 1
            place=$(mount_of "$given")
            case $place in
                failed*) snapshots rm "$key"; echo "$place"; exit 0 ;;
                bind*) upper=${place#bind } ;;
                overlay*)
                    upper=$(option upperdir "${place#overlay }")
                    case ,${place#overlay }, in *,userxattr,* | *,uidmap=* | *,gidmap=*) upper=$given ;; esac
                    ;;
            esac
            said=$(ours "$upper")
            if [ -n "$said" ]; then snapshots rm "$key"; echo "$said"; exit 0; fi
            if [ "$(stat -c %d "$content")" != "$(stat -c %d "$upper")" ]; then
                snapshots rm "$key"
                fail "snapshots are on another device than $root"
            fi
            # From here to its end, a killed delivery leaves what this names.
            echo "$session" >"$marks/$chain" || exit 1
            if ! mv -T "$content" "$upper"; then snapshots rm "$key"; exit 1; fi
            if ! snapshots commit "$chain" "$key"; then
                # Somebody else made the same meanwhile.
                snapshots rm "$key"
                snapshots info "$chain" >/dev/null || exit 1
            fi
        done
        ;;
    free)
        for chain in "$@"; do
            # What is not there was not made. What cannot be changed now is changed by the next delivery.
            snapshots label "$chain" containerd.io/gc.root= >/dev/null 2>&1 && rm -f "$marks/$chain"
        done
        ;;
esac
echo end
