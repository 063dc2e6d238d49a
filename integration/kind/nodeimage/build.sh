#!/usr/bin/env bash
# Builds a node image for kind without pulling anything: Debian packages for the
# system, Go modules for Kubernetes, etcd and CoreDNS, kind's own files on top.
#
#   build.sh [IMAGE]     default ekslocal/node:<version of k8s.io/kubernetes in go.mod>
#   build.sh fetch       only what waits for the network: packages and modules
#
# It needs root, Docker, mmdebstrap, jq and Go. What takes long is kept below
# $EKSLOCAL_KIND_CACHE (default ~/.cache/ekslocal/kind): the image as a tarball, else
# the binary and the packages, else what Go itself caches.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
GO=${GO:-go}
k8s=$($GO list -m -f '{{.Version}}' k8s.io/kubernetes)
etcd=$($GO list -m -f '{{.Version}}' go.etcd.io/etcd/server/v3)
dns=$($GO list -m -f '{{.Version}}' github.com/coredns/coredns)
kind=$(cd ../../.. && $GO list -m -f '{{.Version}}' sigs.k8s.io/kind)
fetch=
[ "${1:-}" != fetch ] || { fetch=yes; shift; }
image=${1:-ekslocal/node:$k8s}
cache=${EKSLOCAL_KIND_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ekslocal/kind}
suite=bookworm
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false
mkdir -p "$cache"

digest() { cat "$@" | sha256sum | cut -c1-16; }
binary=$cache/kubernetes-$($GO env GOARCH)-$(digest go.mod go.sum kubernetes/main.go)
rootfs=$cache/$suite-$(digest packages.txt).tar
tarball=$cache/node-$(digest "$binary" build.sh packages.txt entrypoint.awk pause/main.go layers/main.go 2>/dev/null || true)-$kind.tar.gz
began=$(date +%s)
lap() { local now; now=$(date +%s); printf 'node image: %-32s %4d s\n' "$1" $((now - began)); began=$now; }

install_packages() {
	mmdebstrap --quiet --variant=minbase --include="$(grep -v '^#' packages.txt | paste -sd,)" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--aptopt='Acquire::Languages "none"' --format=tar "$suite" "$rootfs.part" "${APT_SOURCES:-/etc/apt/sources.list.d/debian.sources}" &&
		mv "$rootfs.part" "$rootfs"
}

if [ -n "$fetch" ]; then
	[ -s "$rootfs" ] && [ -s "$binary" ] && exit 0
	$GO list -deps ./kubernetes >/dev/null
elif [ -s "$binary" ] && [ -s "$tarball" ]; then
	docker load -q -i "$tarball" >/dev/null
	docker tag ekslocal/node:built "$image"
	lap "loaded from $tarball"
	exit 0
fi

# The packages wait for the network, the compiler for the processor. One at a time
# installs them: who fetches ahead may still be at it.
packages=
if [ ! -s "$rootfs" ]; then
	( flock 9; [ -s "$rootfs" ] || install_packages ) 9>"$rootfs.lock" &
	packages=$!
fi
if [ ! -s "$binary" ] && [ -z "$fetch" ]; then
	# Compiled as ekslocal itself is, without -trimpath and from the same versions, so
	# that each takes from Go's cache what the other has compiled.
	flags="-s -w"
	minor=${k8s#v1.}; minor=${minor%%.*}
	for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		flags="$flags -X $p.gitVersion=$k8s -X $p.gitMajor=1 -X $p.gitMinor=$minor -X $p.gitTreeState=clean -X $p.gitCommit=unknown -X $p.buildDate=1970-01-01T00:00:00Z"
	done
	$GO build -ldflags "$flags" -o "$binary.part" ./kubernetes
	mv "$binary.part" "$binary"
	lap "compiled Kubernetes, etcd, CoreDNS"
	tarball=$cache/node-$(digest "$binary" build.sh packages.txt entrypoint.awk pause/main.go layers/main.go)-$kind.tar.gz
fi
if [ -n "$fetch" ]; then
	[ -z "$packages" ] || wait "$packages"
	exit 0
fi
if [ -n "$packages" ]; then
	wait "$packages"
	lap "installed packages"
fi

work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir "$root" "$work/bin"
$GO build -ldflags "-s -w" -o "$work/bin/" ./pause ./layers
tar -C "$root" --numeric-owner -xf "$rootfs"

# kind's module carries the files of its base image.
files=$(cd ../../.. && $GO mod download -json "sigs.k8s.io/kind@$kind" | jq -r .Dir)/images/base/files
cp -r --no-preserve=mode,ownership "$files/etc/." "$root/etc/"
cp -r --no-preserve=mode,ownership "$files/kind" "$root/"
chmod 755 "$root"/kind/bin/*
awk -f entrypoint.awk "$files/usr/local/bin/entrypoint" >"$root/usr/local/bin/entrypoint"
chmod 755 "$root/usr/local/bin/entrypoint"
bash -n "$root/usr/local/bin/entrypoint"
printf %s "$k8s" >"$root/kind/version"

mkdir -p "$root/kind/applets" "$root/kind/manifests" "$root/opt/cni/bin" "$root/etc/cni/net.d" "$root/etc/kubernetes/manifests"
install -m755 "$binary" "$root/kind/applets/kubernetes"
for x in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy coredns; do ln -s kubernetes "$root/kind/applets/$x"; done
for x in kubelet kubeadm kubectl; do ln -s /kind/applets/kubernetes "$root/usr/bin/$x"; done
for x in containerd ctr containerd-shim-runc-v2; do ln -s "/usr/bin/$x" "$root/usr/local/bin/$x"; done
for x in loopback ptp bridge host-local portmap; do mv "$root/usr/lib/cni/$x" "$root/opt/cni/bin/"; done
rm -rf "$root/usr/lib/cni" "$root"/usr/bin/containerd-stress "$root"/usr/bin/containerd-shim "$root"/usr/bin/containerd-shim-runc-v1
# A machine that may not lower oom_score_adj clamps it instead of failing.
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$root/etc/containerd/config.toml"
# Every container sees the one binary at /.kindbin, so that the images are empty.
chroot "$root" ctr oci spec | jq '.hooks.createContainer += [{path: "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)
	| .mounts += [{destination: "/.kindbin", type: "bind", source: "/kind/applets", options: ["rbind", "ro"]}]' >"$root/etc/containerd/cri-base.json"

# kube-proxy calls iptables; libxt_statistic, for services of several endpoints, wants libm.
proxy=$work/proxy
lib=usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo x86_64-linux-gnu)
mkdir -p "$proxy/usr/sbin" "$proxy/$lib" "$proxy/lib64" "$proxy/lib"
cp -a "$root"/usr/sbin/{xtables-nft-multi,nft,conntrack} "$proxy/usr/sbin/"
for x in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do ln -s xtables-nft-multi "$proxy/usr/sbin/$x"; done
cp -a "$root/$lib/xtables" "$proxy/$lib/"
chroot "$root" sh -c "ldd /usr/sbin/xtables-nft-multi /usr/sbin/nft /usr/sbin/conntrack /$lib/xtables/libxt_*.so" | grep -oE '/[^ ]+\.so[^ :]*' | sort -u | while read -r l; do
	case $l in /lib64/*) cp -L "$root$l" "$proxy/lib64/" ;; *) cp -L "$root$l" "$proxy/$lib/" ;; esac
done
ln -s "../$lib" "$proxy/lib/$(basename "$lib")"
busybox=
for x in sh ls cat sleep nc httpd ping ip nslookup hostname env id ps; do busybox="$busybox ->busybox=/bin/$x"; done
"$work/bin/layers" >"$root/kind/images.tar" <<L
registry.k8s.io/kube-apiserver:$k8s kube-apiserver -=var/lib
registry.k8s.io/kube-controller-manager:$k8s kube-controller-manager -=var/lib
registry.k8s.io/kube-scheduler:$k8s kube-scheduler -=var/lib
registry.k8s.io/kube-proxy:$k8s kube-proxy $proxy/=/ ->/.kindbin/kube-proxy=/usr/local/bin/kube-proxy
registry.k8s.io/etcd:${etcd#v}-0 etcd -=var/lib
registry.k8s.io/coredns/coredns:$dns /coredns ->/.kindbin/coredns=/coredns
registry.k8s.io/pause:3.10,registry.k8s.io/pause:3.10.1,registry.k8s.io/pause:3.10.2 /pause $work/bin/pause=/pause
docker.io/library/busybox:latest,docker.io/library/busybox:test /bin/sh $root/bin/busybox=/bin/busybox$busybox
L
cat >"$root/etc/systemd/system/kind-images.service" <<'U'
[Unit]
Description=Load the images that came with this node image
After=containerd.service
Requires=containerd.service
Before=kubelet.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/bin/ctr -n k8s.io images import /kind/images.tar
[Install]
WantedBy=multi-user.target
U
mkdir -p "$root/etc/systemd/system/kubelet.service.d"
printf '[Unit]\nAfter=kind-images.service\nWants=kind-images.service\n' >"$root/etc/systemd/system/kubelet.service.d/12-images.conf"

# As kind's Dockerfile leaves systemd.
find "$root/lib/systemd/system/sysinit.target.wants/" -name systemd-tmpfiles-setup.service -delete
rm -f "$root"/lib/systemd/system/multi-user.target.wants/* "$root"/etc/systemd/system/*.wants/* "$root"/lib/systemd/system/local-fs.target.wants/* \
	"$root"/lib/systemd/system/sockets.target.wants/*udev* "$root"/lib/systemd/system/sockets.target.wants/*initctl* "$root"/lib/systemd/system/basic.target.wants/*
echo ReadKMsg=no >>"$root/etc/systemd/journald.conf"
systemctl --root="$root" enable kubelet containerd undo-mount-hacks kind-images >/dev/null 2>&1
systemctl --root="$root" mask systemd-binfmt.service >/dev/null 2>&1
lap assembled

tar -C "$root" --numeric-owner -c . | docker import \
	--change 'ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]' --change 'ENV container=docker' - ekslocal/node:built >/dev/null
# `docker import` takes no STOPSIGNAL; the classic builder does, without a layer.
printf 'FROM ekslocal/node:built\nSTOPSIGNAL SIGRTMIN+3\n' | DOCKER_BUILDKIT=0 docker build -q -t ekslocal/node:built - >/dev/null
docker tag ekslocal/node:built "$image"
lap "imported as $image"
rm -f "$cache"/node-*.tar.gz
docker save ekslocal/node:built | gzip -1 >"$tarball.part"
mv "$tarball.part" "$tarball"
lap "kept as a tarball"
