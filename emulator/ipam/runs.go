package ipam

import "net/netip"

// BlockRun is a run of neighbouring aligned blocks that are wholly free.
type BlockRun struct {
	First  netip.Prefix
	Blocks int
}

// FreeRuns returns the runs of free aligned blocks of that length in order: what
// is left for prefix delegation, however many single addresses are free between.
func (p *Pool) FreeRuns(bits int) []BlockRun {
	var out []BlockRun
	for from, to := range p.gaps() {
		first, ok := align(from, bits)
		if !ok || !p.CIDR.Contains(first.Addr()) || to.Less(Last(first)) {
			continue
		}
		run := BlockRun{First: first}
		for blk := first; ; blk = netip.PrefixFrom(Last(blk).Next(), bits) {
			run.Blocks++
			if next := Last(blk).Next(); !next.IsValid() || to.Less(next) || to.Less(Last(netip.PrefixFrom(next, bits))) {
				break
			}
		}
		out = append(out, run)
	}
	return out
}
