package ipam

import (
	"iter"
	"net/netip"
	"slices"
	"sort"
)

// Range is a run of addresses, both ends included.
type Range struct {
	From netip.Addr
	To   netip.Addr
}

func (r Range) size() int { return distance(r.From, r.To) + 1 }

// chunkMax bounds the runs of a chunk: what an insertion moves.
const chunkMax = 128

// runList is sorted, disjoint runs with a gap between any two, in chunks that are
// never empty. Finding a run takes O(log n) for n runs, changing one the moving of at
// most chunkMax more.
//
// A tree was rejected: chunks do the same with one allocation for a hundred runs. A
// bitmap was, too: it knows no /80 of IPv6.
type runList struct {
	chunks []*chunk
	// All chunks before the one of index seek are barren of blocks of seekBits.
	seek, seekBits int
}

type chunk struct {
	runs []Range
	// barren, if not 0, is the prefix length of which the gaps after the chunk's runs
	// are known to hold no aligned block, nor therefore of any shorter.
	barren int
}

// find returns where the run is that holds a or, not found, the first one after it:
// an index of a chunk, and one of its runs, which may be one too many.
func (l *runList) find(a netip.Addr) (ci, i int, found bool) {
	if len(l.chunks) == 0 {
		return 0, 0, false
	}
	ci = max(sort.Search(len(l.chunks), func(i int) bool { return a.Less(l.chunks[i].runs[0].From) })-1, 0)
	runs := l.chunks[ci].runs
	i = sort.Search(len(runs), func(i int) bool { return !runs[i].To.Less(a) })
	return ci, i, i < len(runs) && !a.Less(runs[i].From)
}

// at returns the run at a place that find returned, nil behind the last.
func (l *runList) at(ci, i int) *Range {
	if ci < len(l.chunks) && i < len(l.chunks[ci].runs) {
		return &l.chunks[ci].runs[i]
	}
	if ci+1 < len(l.chunks) {
		return &l.chunks[ci+1].runs[0]
	}
	return nil
}

// add puts r, which overlaps no run, among the runs and joins its neighbours.
func (l *runList) add(r Range) {
	if len(l.chunks) == 0 {
		l.chunks = []*chunk{{runs: []Range{r}}}
		return
	}
	ci, i, _ := l.find(r.From)
	c, next := l.chunks[ci], l.at(ci, i)
	joinsNext := next != nil && r.To.Next() == next.From
	joinsPrev := i > 0 && c.runs[i-1].To.Next() == r.From
	switch {
	case joinsPrev && joinsNext:
		c.runs[i-1].To = next.To
		if i < len(c.runs) {
			c.runs = slices.Delete(c.runs, i, i+1)
			return
		}
		// The gap behind next becomes this chunk's.
		if b := l.chunks[ci+1].barren; b < c.barren {
			l.fertile(ci, b)
		}
		l.replace(ci+1, 0)
	case joinsPrev:
		c.runs[i-1].To = r.To
	case joinsNext:
		next.From = r.From
	default:
		if i == 0 {
			l.fertile(ci, 0) // the gap behind r was before all runs
		}
		c.runs = slices.Insert(c.runs, i, r)
		l.split(ci)
	}
}

// fertile says that a chunk is known to be barren only as far as barren says.
func (l *runList) fertile(ci, barren int) {
	l.chunks[ci].barren = barren
	l.seek = min(l.seek, ci)
}

// replace puts with in the place of one run and drops a chunk that it empties.
func (l *runList) replace(ci, i int, with ...Range) {
	c := l.chunks[ci]
	c.runs = slices.Replace(c.runs, i, i+1, with...)
	if len(c.runs) == 0 {
		l.chunks = slices.Delete(l.chunks, ci, ci+1)
		if ci < l.seek {
			l.seek--
		}
		return
	}
	l.split(ci)
}

func (l *runList) split(ci int) {
	c := l.chunks[ci]
	if len(c.runs) <= chunkMax {
		return
	}
	half := len(c.runs) / 2
	tail := &chunk{runs: append(make([]Range, 0, chunkMax+1), c.runs[half:]...), barren: c.barren}
	clear(c.runs[half:])
	c.runs = c.runs[:half]
	l.chunks = slices.Insert(l.chunks, ci+1, tail)
	if ci < l.seek {
		l.seek++
	}
}

// remove takes r out of the runs, splitting those it overlaps, and returns how many
// addresses went.
func (l *runList) remove(r Range) int {
	gone := 0
	for {
		ci, i, found := l.find(r.From)
		u := l.at(ci, i)
		if u == nil || !found && r.To.Less(u.From) {
			return gone
		}
		if i == len(l.chunks[ci].runs) {
			ci, i = ci+1, 0
		}
		l.fertile(ci, 0)
		if i == 0 && ci > 0 {
			l.fertile(ci-1, 0)
		}
		part := Range{maxAddr(u.From, r.From), minAddr(u.To, r.To)}
		gone += part.size()
		l.cut(ci, i, part)
		if part.To == r.To {
			return gone
		}
		r.From = part.To.Next()
	}
}

// cut takes part out of the run at a place.
func (l *runList) cut(ci, i int, part Range) {
	u := &l.chunks[ci].runs[i]
	switch head, tail := u.From != part.From, u.To != part.To; {
	case head && tail:
		l.replace(ci, i, Range{u.From, part.From.Prev()}, Range{part.To.Next(), u.To})
	case head:
		u.To = part.From.Prev()
	case tail:
		u.From = part.To.Next()
	default:
		l.replace(ci, i)
	}
}

// gaps yields the runs of addresses of b that are in no run, in order.
func (l *runList) gaps(b netip.Prefix) iter.Seq2[netip.Addr, netip.Addr] {
	return func(yield func(from, to netip.Addr) bool) {
		next := b.Addr()
		for _, c := range l.chunks {
			for i := range c.runs {
				if r := &c.runs[i]; next.Less(r.From) && !yield(next, r.From.Prev()) {
					return
				}
				next = c.runs[i].To.Next()
			}
		}
		if next.IsValid() && b.Contains(next) {
			yield(next, Last(b))
		}
	}
}

// firstBlock returns the lowest aligned block of b, of that length, in no run. It
// goes on where the last search of that length ended, unless a lower address was
// given back since, and looks into the chunks of which it does not know yet that they
// have none: O(n/chunkMax) of n runs at worst.
func (l *runList) firstBlock(b netip.Prefix, bits int) (netip.Prefix, bool) {
	head := Last(b)
	if len(l.chunks) > 0 {
		head = l.chunks[0].runs[0].From.Prev()
	}
	if blk, ok := blockIn(b, b.Addr(), head, bits); ok {
		return blk, true
	}
	if bits != l.seekBits {
		l.seek, l.seekBits = 0, bits
	}
	for ; l.seek < len(l.chunks); l.seek++ {
		ci, c := l.seek, l.chunks[l.seek]
		if c.barren >= bits {
			continue
		}
		for i := range c.runs {
			to := Last(b)
			if next := l.at(ci, i+1); next != nil {
				to = next.From.Prev()
			}
			if blk, ok := blockIn(b, c.runs[i].To.Next(), to, bits); ok {
				return blk, true
			}
		}
		c.barren = bits
	}
	return netip.Prefix{}, false
}

// blockIn returns the first aligned block of b between two addresses.
func blockIn(b netip.Prefix, from, to netip.Addr, bits int) (netip.Prefix, bool) {
	if !from.IsValid() || !to.IsValid() || to.Less(from) {
		return netip.Prefix{}, false
	}
	blk, ok := align(from, bits)
	return blk, ok && b.Contains(blk.Addr()) && !to.Less(Last(blk))
}

func (l *runList) clone() runList {
	out := runList{chunks: make([]*chunk, len(l.chunks)), seek: l.seek, seekBits: l.seekBits}
	for i, c := range l.chunks {
		out.chunks[i] = &chunk{runs: slices.Clone(c.runs), barren: c.barren}
	}
	return out
}

// all returns the runs as one list.
func (l *runList) all() []Range {
	var out []Range
	for _, c := range l.chunks {
		out = append(out, c.runs...)
	}
	return out
}

func listOf(runs []Range) runList {
	var l runList
	for part := range slices.Chunk(runs, chunkMax/2) {
		l.chunks = append(l.chunks, &chunk{runs: slices.Clone(part)})
	}
	return l
}
