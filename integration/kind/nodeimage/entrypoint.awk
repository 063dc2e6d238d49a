# Changes one function of kind's entrypoint, for hosts with cgroup v1 that mount not
# every controller: systemd in the node would mount the others itself and take them
# away from the host's cgroup2 hierarchy. kind hides one controller, misc, by a fake
# /proc/cgroups; this hides all that are not mounted.
/local misc_controller=/ {
	print "  awk 'NR==1 || $2!=0' /proc/cgroups | grep -v misc >/kind/fake-cgroups"
	print "  mount --bind /kind/fake-cgroups /proc/cgroups"
	skip = 1
}
skip && /^}/ { skip = 0 }
!skip
