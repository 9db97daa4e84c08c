# Puts a part in its place if it is what it should be, at once and whole.
# Arguments: path of the part, path of the file, SHA-256 in hexadecimal.
set -eu
sum=$(sha256sum < "$1")
if [ "${sum%% *}" != "$3" ]; then
    rm -f "$1"
    echo wrong
    exit 0
fi
chmod 0644 "$1"
sync "$1" 2>/dev/null || sync
mv -f "$1" "$2"
sync "${2%/*}" 2>/dev/null || sync
echo done
