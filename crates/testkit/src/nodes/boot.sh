# The first process of a node that is switched on; when it ends, all others do. Arguments: disk, engine, directory of its
# programs or nothing.
set -eu
disk=$1 engine=$2 tools=$3
cd "$disk"
mount -t tmpfs -o mode=0755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
if [ -n "$tools" ]; then
  # Programs of another suite have their libraries beside their bin.
  shown=${tools%/bin}
  mkdir -p "$disk$shown"
  mount --bind "$shown" "$disk$shown"
fi
# What tells one start of a machine from another.
cat /proc/sys/kernel/random/uuid >run/boot_id
mount --bind run/boot_id proc/sys/kernel/random/boot_id
pivot_root . mnt
umount -l /mnt
cd /
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mkdir -p /run/sshd /run/lock
# A daemon that dies is started again, as an init system does it.
keep() {
  log=$1
  shift
  while :; do
    "$@" >>"/var/log/$log.log" 2>&1 || :
    sleep 0.2
  done
}
keep sshd /usr/sbin/sshd -D -e &
case $engine in
  containerd) keep containerd "${tools:+$tools/}containerd" & ;;
  docker) keep dockerd dockerd --bridge none --iptables=false --ip6tables=false --storage-driver overlay2 & ;;
esac
while :; do
  sleep 3600 &
  wait
done
