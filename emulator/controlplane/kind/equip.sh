# Makes a node what the files say that were put there. Its arguments are pairs: a part of
# Kubernetes that the node image brings along, and a name under which it is asked for.
set -e
program=/opt/ekslocal/ekslocal-node
if [ -e "$program.new" ]; then
	chmod 755 "$program.new"
	mv "$program.new" "$program"
	renewed=1
	# What was pulled is of the program before.
	ctr -n k8s.io images ls -q | grep -E '/(amazon-k8s-cni(-init)?|aws-network-policy-agent|eks-pod-identity-agent):' | xargs -r ctr -n k8s.io images rm >/dev/null
fi
# Else the system starts it, which may be about to at this moment.
if [ -n "$renewed" ] || ! [ -e /etc/systemd/system/multi-user.target.wants/ekslocal-node.service ]; then
	systemctl daemon-reload
	systemctl -q enable ekslocal-node
	systemctl restart ekslocal-node
	# The last step: without it all this is done once more.
	if [ -n "$renewed" ]; then mv /opt/ekslocal/sum.new /opt/ekslocal/sum; fi
fi
# An image that brings its parts along in a file loads them at every start.
if systemctl -q is-enabled kind-images 2>/dev/null; then systemctl start kind-images; fi
have=$(ctr -n k8s.io images ls -q)
while [ $# -ge 2 ]; do
	if ! echo "$have" | grep -qxF "$2"; then
		from=$(echo "$have" | grep -E "(^|/)$1(-(amd64|arm64))?:" | grep -v '\.dkr\.ecr\.' | head -n 1)
		if [ -n "$from" ]; then ctr -n k8s.io images tag "$from" "$2" >/dev/null; fi
	fi
	shift 2
done
