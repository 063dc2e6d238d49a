package timing

import (
	"strings"
	"testing"
	"time"
)

func TestNew(t *testing.T) {
	for _, tc := range []struct {
		mode  string
		scale float64
		phase Phase
		want  time.Duration
		fails string
	}{
		{"", 0, ClusterCreating, 0, ""},
		{"fast", 0, ClusterUpdating, time.Second, ""},
		{"realistic", 0, ClusterCreating, 9 * time.Minute, ""},
		{"realistic", 1, ClusterCreating, 9 * time.Minute, ""},
		{"realistic", 60, ClusterCreating, 9 * time.Second, ""},
		{"realistic", 0.5, NatGatewayDeleting, 104 * time.Second, ""},
		{"realistic", 1000, ClusterUpdating, time.Second, ""},  // not below fast
		{"realistic", 1000, PatienceJoin, 5 * time.Minute, ""}, // nodes do not join faster
		{"slow", 0, "", 0, "fast or realistic"},
		{"fast", 2, "", 0, "no meaning"},
		{"realistic", -1, "", 0, "must be over 0"},
		{"realistic", 1e9, "", 0, "must be over 0"},
	} {
		got, err := New(tc.mode, tc.scale)
		switch {
		case tc.fails != "":
			if err == nil || !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("%s %v: %v, want an error with %q", tc.mode, tc.scale, err, tc.fails)
			}
		case err != nil:
			t.Errorf("%s %v: %v", tc.mode, tc.scale, err)
		case got.Of(tc.phase) != tc.want:
			t.Errorf("%s %v: %s lasts %s, want %s", tc.mode, tc.scale, tc.phase, got.Of(tc.phase), tc.want)
		}
	}
}

func TestLeft(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	real, _ := New(Realistic, 10) // a cluster takes 54 s
	for after, want := range map[time.Duration]time.Duration{0: 54 * time.Second, 50 * time.Second: 4 * time.Second, time.Hour: 0} {
		if got := real.Left(ClusterCreating, began, began.Add(after)); got != want {
			t.Errorf("after %s: %s left, want %s", after, got, want)
		}
	}
	if got := (Timing{}).Left(ClusterCreating, began, began); got != 0 {
		t.Errorf("fast: %s left", got)
	}
}

func TestTable(t *testing.T) {
	seen := map[Phase]bool{}
	for _, r := range Table() {
		if seen[r.Phase] || r.Phase == "" || r.Source == "" || r.Realistic < r.Fast || r.Realistic <= 0 {
			t.Errorf("bad row %+v", r)
		}
		seen[r.Phase] = true
	}
}
