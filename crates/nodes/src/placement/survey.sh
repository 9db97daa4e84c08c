# Says what is there of files. Changes nothing.
# Arguments: for each file its directory, its path, and the path of the part that an interrupted transfer left.
set -u
LC_ALL=C
export LC_ALL
echo larder-survey 1
while [ $# -ge 3 ]; do
    at=$1
    while [ ! -d "$at" ] && [ "$at" != / ] && [ -n "$at" ]; do at=${at%/*}; done
    [ -n "$at" ] || at=/
    # The line may be broken in two where the name of the device is long; the numbers are on the last one.
    free=$(df -Pk "$at" 2>/dev/null | tail -n 1 | while read -r _ _ _ kib _; do echo "$kib"; done)
    part=0
    [ -f "$3" ] && part=$(wc -c < "$3")
    sum=-
    if [ -f "$2" ]; then
        sum=$(sha256sum < "$2") || exit 1
        sum=${sum%% *}
    fi
    printf 'file %s %s %s\n' "$sum" "$((part))" "${free:--}"
    shift 3
done
echo end
