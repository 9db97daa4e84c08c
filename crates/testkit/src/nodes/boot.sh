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
pivot_root . mnt
umount -l /mnt
cd /
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mkdir -p /run/sshd /run/lock
/usr/sbin/sshd -D -E /var/log/sshd.log &
case $engine in
  containerd) "${tools:+$tools/}containerd" >>/var/log/containerd.log 2>&1 & ;;
  docker) dockerd --bridge none --iptables=false --ip6tables=false --storage-driver overlay2 >>/var/log/dockerd.log 2>&1 & ;;
esac
while :; do
  sleep 3600 &
  wait
done
