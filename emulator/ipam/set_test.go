package ipam

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSubnetKeepsAWSsFive(t *testing.T) {
	p := NewSubnet(netip.MustParsePrefix("10.0.1.0/28"))
	if p.Free() != 11 || p.Taken() != 0 {
		t.Fatalf("free %d, taken %d", p.Free(), p.Taken())
	}
	for _, a := range []string{"10.0.1.0", "10.0.1.3", "10.0.1.15", "10.0.2.1"} {
		if err := p.Take(netip.MustParseAddr(a)); !errors.Is(err, ErrOutside) {
			t.Errorf("Take(%s) = %v", a, err)
		}
		p.Release(netip.MustParseAddr(a))
	}
	got, err := p.TakeFree(11)
	if err != nil {
		t.Fatal(err)
	}
	if got[0].String() != "10.0.1.4" || got[10].String() != "10.0.1.14" {
		t.Errorf("got %v", got)
	}
	if _, err := p.TakeFree(1); !errors.Is(err, ErrFull) {
		t.Errorf("full pool: %v", err)
	}
	if len(p.Runs()) != 1 {
		t.Errorf("runs not joined: %v", p.Runs())
	}
	p.Release(got[3])
	if err := p.Take(got[4]); !errors.Is(err, ErrInUse) {
		t.Errorf("Take of a taken address: %v", err)
	}
	if again, err := p.TakeFree(1); err != nil || again[0] != got[3] {
		t.Errorf("TakeFree = %v, %v", again, err)
	}
}

func TestPrefixes(t *testing.T) {
	p := NewSubnet(netip.MustParsePrefix("10.0.0.0/26"))
	if _, err := p.TakeFree(1); err != nil { // 10.0.0.4 spoils the first /28 further
		t.Fatal(err)
	}
	for _, want := range []string{"10.0.0.16/28", "10.0.0.32/28"} {
		got, err := p.TakePrefix(28)
		if err != nil || got.String() != want {
			t.Fatalf("got %v, %v; want %s", got, err, want)
		}
	}
	if _, err := p.TakePrefix(28); !errors.Is(err, ErrNoPrefix) {
		t.Errorf("fragmented: %v", err)
	}
	if p.Free() != 64-5-1-32 {
		t.Errorf("free %d", p.Free())
	}
	b := netip.MustParsePrefix("10.0.0.16/28")
	if err := p.TakeBlock(b); !errors.Is(err, ErrInUse) {
		t.Errorf("TakeBlock: %v", err)
	}
	p.ReleaseBlock(b)
	if err := p.TakeBlock(b); err != nil {
		t.Error(err)
	}
}

func TestIPv6(t *testing.T) {
	p := NewSubnet(netip.MustParsePrefix("2600:1f18::/64"))
	got, err := p.TakeFree(2)
	if err != nil || got[0].String() != "2600:1f18::4" {
		t.Fatalf("%v, %v", got, err)
	}
	b, err := p.TakePrefix(80)
	if err != nil || b.String() != "2600:1f18:0:0:1::/80" {
		t.Fatalf("%v, %v", b, err)
	}
	if p.Free() != 1<<31-1 {
		t.Errorf("free %d", p.Free())
	}
}

// TestAgainstMap runs random histories against a plain map.
func TestAgainstMap(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		cidr := netip.MustParsePrefix("10.9.0.0/24")
		p, model := NewSubnet(cidr), map[netip.Addr]bool{}
		var held []netip.Addr
		for range 2000 {
			switch rnd.IntN(4) {
			case 0, 1:
				got, err := p.TakeFree(1 + rnd.IntN(5))
				for _, a := range got {
					if model[a] {
						t.Fatalf("seed %d: %s given twice", seed, a)
					}
					model[a] = true
					held = append(held, a)
				}
				if err != nil && !errors.Is(err, ErrFull) {
					t.Fatal(err)
				}
			case 2:
				if b, err := p.TakePrefix(28); err == nil {
					for a := b.Addr(); b.Contains(a); a = a.Next() {
						if model[a] {
							t.Fatalf("seed %d: %s given twice", seed, a)
						}
						model[a] = true
						held = append(held, a)
					}
				}
			case 3:
				for range min(len(held), 8) {
					i := rnd.IntN(len(held))
					p.Release(held[i])
					delete(model, held[i])
					held[i] = held[len(held)-1]
					held = held[:len(held)-1]
				}
			}
			if p.Taken() != len(model) || p.Free() != 251-len(model) {
				t.Fatalf("seed %d: taken %d, free %d, model %d", seed, p.Taken(), p.Free(), len(model))
			}
			runs := p.Runs()
			for i := 1; i < len(runs); i++ {
				if !runs[i-1].To.Next().Less(runs[i].From) {
					t.Fatalf("seed %d: runs touch: %v", seed, runs)
				}
			}
		}
		raw, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		back := new(Pool)
		if err := json.Unmarshal(raw, back); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(p.Runs(), back.Runs(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Error(d)
		}
	}
}

// TestStoredForms: a pool is read as it was written, in words and packed, and as
// earlier versions wrote it.
func TestStoredForms(t *testing.T) {
	for _, c := range []struct {
		cidr         string
		taken, every int
		packed       bool
	}{
		{"10.0.0.0/24", 3, 1, false},
		{"10.0.0.0/24", 200, 2, true},
		{"10.0.0.0/14", 70_000, 3, true},
		{"2600:1f18::/64", 200, 2, true},
		{"2600:1f18::/56", 200, 2, false},
	} {
		p := NewSubnet(netip.MustParsePrefix(c.cidr))
		all, err := p.TakeFree(c.taken)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range all {
			if i%c.every != 0 {
				p.Release(a)
			}
		}
		raw, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(raw), "Packed"); got != c.packed {
			t.Errorf("%s: packed: %v", c.cidr, got)
		}
		words, err := json.Marshal(struct {
			CIDR     netip.Prefix
			Used     []Range
			Reserved int
		}{p.CIDR, p.Runs(), p.Reserved})
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range [][]byte{raw, words} {
			back := new(Pool)
			if err := json.Unmarshal(form, back); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(p.Runs(), back.Runs()) {
				t.Errorf("%s: %v became %v", c.cidr, p.Runs(), back.Runs())
			}
			if back.Taken() != p.Taken() || back.Free() != p.Free() || back.Reserved != 5 {
				t.Errorf("%s: %d taken, was %d", c.cidr, back.Taken(), p.Taken())
			}
		}
	}
	for _, bad := range []string{`{"CIDR":"10.0.0.0/24","Packed":"gA=="}`, `{"CIDR":"255.255.255.0/24","Packed":"AP8BAAA="}`, `{"CIDR":1}`} {
		if err := json.Unmarshal([]byte(bad), new(Pool)); err == nil {
			t.Errorf("%s is read", bad)
		}
	}
}

func BenchmarkTakeFree(b *testing.B) {
	p := NewSubnet(netip.MustParsePrefix("10.0.0.0/16"))
	for i := range b.N {
		if i%60000 == 0 {
			p = NewSubnet(netip.MustParsePrefix("10.0.0.0/16"))
		}
		if _, err := p.TakeFree(1); err != nil {
			b.Fatal(err)
		}
	}
}

func TestFillAndWithin(t *testing.T) {
	p := NewSubnet(netip.MustParsePrefix("10.0.0.0/24"))
	if err := p.Take(netip.MustParseAddr("10.0.0.70")); err != nil {
		t.Fatal(err)
	}
	part := p.Within(netip.MustParsePrefix("10.0.0.64/26"))
	if part.Free() != 63 || part.Taken() != 1 {
		t.Errorf("part: free %d, taken %d", part.Free(), part.Taken())
	}
	if got, err := part.TakePrefix(28); err != nil || got.String() != "10.0.0.80/28" {
		t.Errorf("TakePrefix = %v, %v", got, err)
	}
	full := p.Clone()
	full.Fill(netip.MustParsePrefix("10.0.0.0/25"))
	if full.Free() != 127 || p.Free() != 250 {
		t.Errorf("free %d after Fill, %d in the original", full.Free(), p.Free())
	}
	if got, err := full.TakeFree(1); err != nil || got[0].String() != "10.0.0.128" {
		t.Errorf("TakeFree = %v, %v", got, err)
	}
}

// TestPrefixesAgainstScan: in a pool of many runs, under random histories, the prefix
// that is taken is the lowest that a plain look at all free addresses finds.
func TestPrefixesAgainstScan(t *testing.T) {
	for seed := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		p := NewSubnet(netip.MustParsePrefix("10.4.0.0/20"))
		base := p.CIDR.Addr()
		for range 1500 { // singles all over, so that there are many chunks
			_ = p.Take(Add(base, rnd.Uint64N(4096)))
		}
		for step := range 1500 {
			bits := 28 + rnd.IntN(2)
			switch rnd.IntN(4) {
			case 0:
				_ = p.Take(Add(base, rnd.Uint64N(4096)))
			case 1:
				p.ReleaseBlock(netip.PrefixFrom(Add(base, rnd.Uint64N(4096)), 29).Masked())
			case 2:
				p.Release(Add(base, rnd.Uint64N(4096)))
			case 3:
				want := scan(p, bits)
				got, err := p.TakePrefix(bits)
				if err != nil && want.IsValid() || err == nil && got != want {
					t.Fatalf("seed %d, step %d: /%d is %v, %v, want %v", seed, step, bits, got, err, want)
				}
			}
		}
	}
}

func scan(p *Pool, bits int) netip.Prefix {
	for b := netip.PrefixFrom(p.CIDR.Addr(), bits); p.CIDR.Contains(b.Addr()); b = netip.PrefixFrom(Last(b).Next(), bits) {
		free := true
		for a := b.Addr(); free && b.Contains(a); a = a.Next() {
			free = p.IsFree(a)
		}
		if free {
			return b
		}
	}
	return netip.Prefix{}
}
