# Starts static pods again with the manifests that lie beside theirs: NAME.next for NAME.
# The kubelet would need three quarters of a minute for a changed manifest: an API server
# that has stopped answering waits 30 s for its watchers, and a pod in a new form waits
# 10 s or more, once its old form was seen ending. So the old one goes first, and whole.
cd /etc/kubernetes || exit 1
pods=
for name; do
	rm -f "manifests/$name.yaml"
	for pid in $(pgrep -f "^$name "); do
		pod=$(sed -n 's/.*pod\([0-9a-f]\{32\}\).*/\1/p' "/proc/$pid/cgroup" 2>/dev/null | head -n 1)
		[ -z "$pod" ] || pods="$pods $pid/$pod"
	done
done
# Two seconds for what is being answered.
for i in $(seq 20); do
	left=
	for p in $pods; do [ ! -e "/proc/${p%/*}" ] || left="$left ${p%/*}"; done
	[ -n "$left" ] || break
	sleep 0.1
done
[ -z "$left" ] || kill -9 $left
# The kubelet's last act on a pod is to remove its control group. Where that is not seen
# it costs the 10 s.
for i in $(seq 100); do
	left=
	for p in $pods; do [ -z "$(find /sys/fs/cgroup -maxdepth 7 -type d -name "*pod${p#*/}*" 2>/dev/null | head -n 1)" ] || left=yes; done
	[ -n "$left" ] || break
	sleep 0.1
done
sleep 0.5
for name; do mv "$name.next" "manifests/$name.yaml" || exit 1; done
