package ipam

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
)

// record is the form in which a Pool is stored: a few runs in words, many of them as
// Packed, each as the varints of how many free addresses are before it and how many
// taken ones follow its first.
type record struct {
	CIDR     netip.Prefix
	Used     []Range `json:",omitempty"`
	Packed   []byte  `json:",omitempty"`
	Reserved int
}

// wordy is how many runs are written in words.
const wordy = 16

// MarshalJSON implements json.Marshaler.
func (p *Pool) MarshalJSON() ([]byte, error) {
	r := record{CIDR: p.CIDR, Used: p.runs.all(), Reserved: p.Reserved}
	if len(r.Used) > wordy && p.CIDR.Addr().BitLen()-p.CIDR.Bits() <= 64 {
		r.Packed, r.Used = pack(p.CIDR.Addr(), r.Used), nil
	}
	return json.Marshal(r)
}

func pack(next netip.Addr, runs []Range) []byte {
	out := make([]byte, 0, 2*len(runs))
	for _, r := range runs {
		out = binary.AppendUvarint(out, Offset(next, r.From))
		out = binary.AppendUvarint(out, Offset(r.From, r.To))
		next = r.To.Next()
	}
	return out
}

func unpack(next netip.Addr, in []byte) ([]Range, error) {
	var out []Range
	for len(in) > 0 {
		gap, n := binary.Uvarint(in)
		more, m := binary.Uvarint(in[max(n, 0):])
		if n <= 0 || m <= 0 || !next.IsValid() {
			return nil, errors.New("the runs of a pool are not as they were written")
		}
		r := Range{From: Add(next, gap)}
		r.To = Add(r.From, more)
		out, in, next = append(out, r), in[n+m:], r.To.Next()
	}
	return out, nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *Pool) UnmarshalJSON(b []byte) error {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return err
	}
	if len(r.Packed) > 0 {
		runs, err := unpack(r.CIDR.Addr(), r.Packed)
		if err != nil {
			return fmt.Errorf("%s: %w", r.CIDR, err)
		}
		r.Used = runs
	}
	*p = Pool{CIDR: r.CIDR, Reserved: r.Reserved, runs: listOf(r.Used)}
	for _, u := range r.Used {
		p.held += u.size()
	}
	return nil
}
