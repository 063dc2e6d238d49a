# Gives a node its place in the VPC, on the interface to the engine's network of that:
# its address, the way to the VPC's others, and what is said on the link for its pods.
# Every node answers for the addresses of its own pods (proxy ARP), so that none needs a
# route to another's. Run again it changes nothing but what has changed.
set -eu
. /etc/ekslocal/network.env
proto=86 # marks our routes

# SUBNET is a /24: the engine's address begins as it does.
dev=$(ip -o -4 addr show | awk -v net="${SUBNET%.0/24}." 'index($4, net) == 1 {print $2; exit}')
dev=${dev%@*}
[ -n "$dev" ] || { echo "no interface has an address of $SUBNET" >&2; exit 1; }
source=$(ip -o -4 addr show dev "$dev" | awk -v net="${SUBNET%.0/24}." 'index($4, net) == 1 {sub("/.*", "", $4); print $4; exit}')

echo 1 >/proc/sys/net/ipv4/ip_forward
echo 2 >/proc/sys/net/ipv4/conf/all/rp_filter
echo 2 >"/proc/sys/net/ipv4/conf/$dev/rp_filter"
echo 1 >"/proc/sys/net/ipv4/conf/$dev/proxy_arp"
echo 0 >"/proc/sys/net/ipv4/neigh/$dev/proxy_delay"

if [ -n "$ADDRESS" ]; then
	ip addr replace "$ADDRESS/32" dev "$dev"
	source=$ADDRESS
fi
for c in $CIDRS; do ip route replace "$c" dev "$dev" scope link src "$source" proto $proto; done
ip -o route show dev "$dev" proto $proto | while read -r c _; do
	case " $CIDRS " in *" $c "*) ;; *) ip route del "$c" dev "$dev" proto $proto ;; esac
done

# As on EKS, pods keep their address inside the VPC and have their node's outside.
[ -n "$ADDRESS" ] || exit 0
nat() { iptables -w 10 -t nat "$@"; }
if ! nat -N AWS-SNAT-CHAIN-0 2>/dev/null; then
	# Where aws-node's settings are known, the chain is made after those.
	[ ! -e /opt/ekslocal/ekslocal-node ] || exit 0
	nat -F AWS-SNAT-CHAIN-0
fi
for c in $CIDRS "$SUBNET"; do nat -A AWS-SNAT-CHAIN-0 -d "$c" -m comment --comment "AWS SNAT CHAIN" -j RETURN; done
nat -A AWS-SNAT-CHAIN-0 ! -o vlan+ -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j MASQUERADE --random-fully
nat -C POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0 2>/dev/null ||
	nat -A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0
