# Says what this machine is and has. Changes nothing.
# Arguments: who logged in (a number)  brief|full  directory  auto|containerd|docker  socket or -  namespace
set -u
LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
login=$1 mode=$2 directory=$3 choice=$4 socket=$5 namespace=$6
csocket=/run/containerd/containerd.sock
dsocket=/var/run/docker.sock
if [ "$socket" != - ]; then
    case $choice in
        docker) dsocket=$socket ;;
        *) csocket=$socket ;;
    esac
fi
has() { command -v "$1" >/dev/null 2>&1; }
# The blocks that others may use, their size, the free inodes and the file system, of the nearest directory that exists.
room() {
    at=$2
    while [ ! -d "$at" ] && [ "$at" != / ] && [ -n "$at" ]; do at=${at%/*}; done
    [ -n "$at" ] || at=/
    set -- "$1" "$2" $(stat -f -c '%a %S %d' "$at" 2>/dev/null) $(stat -c %d "$at" 2>/dev/null)
    [ $# -eq 6 ] && printf 'room %s %s %s %s %s %s\n' "$1" "$3" "$4" "$5" "$6" "$2"
}
# Runs a program: $said is what it printed, or why it failed, in one line. What fails is not taken for an empty answer.
ask() {
    said=$("$@" 2>/dev/null) && return
    said=$("$@" 2>&1 >/dev/null | tr '\n' ' ')
    said="$1 failed: $said"
    return 1
}
# The images of Docker. One that somebody removes in between is asked for once more.
docker_images() {
    for _ in 1 2 3; do
        ask docker -H "unix://$dsocket" image ls --all --no-trunc --quiet || return 1
        [ -n "$said" ] || return 0
        # shellcheck disable=SC2046
        ask docker -H "unix://$dsocket" image inspect --format \
            'docker-image {"id":{{json .Id}},"tags":{{json .RepoTags}},"layers":{{json .RootFS.Layers}}}' \
            $(printf '%s\n' "$said" | sort -u) && return
    done
    return 1
}
# What a profile printed last may lack the end of its line.
printf '\nlarder-probe 1\n'
printf 'login %s\n' "$login"
printf 'uid %s\n' "$(id -u)"
printf 'architecture %s\n' "$(uname -m)"
room spool "$directory"
# The way back to a registry that nobody listens at any more: whoever was there was killed.
for hosts in "$directory"/tunnel-*/_default/hosts.toml; do
    [ -f "$hosts" ] || continue
    port=$(sed -n 's|^server = "http://127.0.0.1:\([0-9]*\)"$|\1|p' "$hosts")
    { [ -n "$port" ] && grep -q ":$(printf %04X "$port") 00000000:0000 0A " /proc/net/tcp; } ||
        printf 'left %s\n' "${hosts%/_default/hosts.toml}"
done
if [ "$mode" = full ]; then
    printf 'kernel %s\n' "$(uname -r)"
    for program in ctr docker tar zstd sha256sum runc; do has "$program" && printf 'has %s\n' "$program"; done
fi
runtime=
if [ "$choice" != docker ] && [ -S "$csocket" ] && has ctr; then runtime=containerd; fi
# Docker brings a containerd of its own: it is the runtime only if Kubernetes uses it.
if [ "$choice" != containerd ] && [ -S "$dsocket" ] && has docker; then
    if [ -z "$runtime" ] || ! ctr --address "$csocket" namespaces ls -q 2>/dev/null | grep -qx k8s.io; then
        [ "$choice" = auto ] && [ "$socket" != - ] || runtime=docker
    fi
fi
case $runtime in
    containerd)
        if ! images=$(ctr --address "$csocket" --namespace "$namespace" images ls 2>&1); then
            printf 'broken containerd %s\n' "$(printf %s "$images" | tr '\n' ' ')"
        else
            ask ctr --address "$csocket" --namespace "$namespace" content ls -q ||
                printf 'broken containerd %s\n' "$said"
            printf 'runtime containerd %s\n' "$csocket"
            case $images in
                # Whose sender is connected is on its way.
                *incoming.larder.invalid/*)
                    grep -aoh 'larder-held-[A-Za-z0-9]*' /proc/[0-9]*/cmdline 2>/dev/null |
                        sed 's/^larder-held-/sender /' | sort -u
                    ;;
            esac
            printf '%s\n' "$images" | while read -r name kind digest _; do
                [ "$name" = REF ] || [ -z "$digest" ] || printf 'image %s %s %s\n' "$name" "$kind" "$digest"
            done
            [ -z "$said" ] || printf '%s\n' "$said" | sed 's/^/blob /'
            if [ "$mode" = full ]; then
                ctr --address "$csocket" version 2>/dev/null | while read -r key value; do
                    [ "$key" = Version: ] && printf 'version %s\n' "$value"
                done
                for plugin in content overlayfs; do
                    ctr --address "$csocket" plugins ls -d "id==$plugin" 2>/dev/null | while read -r key value; do
                        [ "$key" = root ] || continue
                        [ "$plugin" = content ] && room content "$value" || room unpacked "$value"
                    done
                done
            fi
        fi
        ;;
    docker)
        if ! { ask docker -H "unix://$dsocket" info --format '{{.DockerRootDir}}' && root=$said && docker_images; }; then
            printf 'broken docker %s\n' "$said"
        else
            printf 'runtime docker %s\n' "$dsocket"
            [ -z "$said" ] || printf '%s\n' "$said"
            if [ "$mode" = full ]; then
                printf 'version %s\n' "$(docker -H "unix://$dsocket" version --format '{{.Server.Version}}')"
                room content "$root"
                room unpacked "$root"
            fi
        fi
        ;;
    *)
        for path in "$csocket" "$dsocket"; do
            if [ -S "$path" ]; then printf 'absent there is %s, but no program for it\n' "$path"
            else printf 'absent there is no %s\n' "$path"; fi
        done
        ;;
esac
echo end
