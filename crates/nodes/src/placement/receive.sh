# Appends what comes to a part.
# Arguments: directory, path of the part, its size so far.
set -eu
umask 022
mkdir -p "$1"
: >> "$2"
# Somebody else may have gone on meanwhile; what follows belongs behind these bytes and nowhere else.
[ "$(($(wc -c < "$2")))" = "$3" ] || { echo "the part has another size now" >&2; exit 75; }
exec cat >> "$2"
