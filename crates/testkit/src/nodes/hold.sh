# Holds what lasts over a restart of the node: its network, its name and its disk. Arguments: disk, host name, bytes or 0.
set -eu
disk=$1 name=$2 bytes=$3
hostname "$name"
if [ "$bytes" != 0 ]; then
  mount -t tmpfs -o "size=$bytes,mode=0755" disk "$disk"
  (cd "$disk.seed" && cp -a . "$disk")
else
  (cd "$disk.seed" && cp -a . "$disk")
  mount --bind "$disk" "$disk"
fi
cd "$disk"
mkdir -p usr etc dev proc sys run tmp mnt opt home root srv var/lib var/log var/tmp var/cache .layers/usr .layers/usr.work .layers/etc.work
chmod 1777 tmp var/tmp
ln -sfn /run var/run
for link in bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$link" ]; then cp -P "/$link" "$disk/$link"; fi
done
mount -t overlay -o "lowerdir=/usr,upperdir=$disk/.layers/usr,workdir=$disk/.layers/usr.work" usr usr
mount -t overlay -o "lowerdir=/etc,upperdir=$disk/.layers/etc,workdir=$disk/.layers/etc.work" etc etc
# What the machine below has there is none of the node's business.
mkdir -p .layers/local/bin .layers/local/etc .layers/local/lib .layers/local/sbin .layers/local/src
mount --bind .layers/local usr/local
touch "$disk.held"
exec sleep infinity
