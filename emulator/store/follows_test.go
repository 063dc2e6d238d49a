package store

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// door is a record whose life is open, shut, gone.
type door struct{ Shut bool }

var errDoor = errors.New("doors do not open again")

func (d *door) Follows(old *door) error {
	if old != nil && old.Shut && d != nil && !d.Shut || d == nil && old != nil && !old.Shut {
		return errDoor
	}
	return nil
}

func TestFollows(t *testing.T) {
	s, err := Open(t.Context(), NewMemory(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	const doors = Table[door]("doors")
	sc := awsid.Scope{Account: "1", Region: "r"}
	put := func(ds ...door) error {
		return s.Update(t.Context(), func(tx *Tx) error {
			for _, d := range ds {
				doors.Put(tx, sc, "front", &d)
			}
			return nil
		})
	}
	del := func() error {
		return s.Update(t.Context(), func(tx *Tx) error { doors.Delete(tx, sc, "front"); return nil })
	}
	for i, step := range []struct {
		do   func() error
		want error
		shut bool
	}{
		{func() error { return put(door{}) }, nil, false},
		{del, errDoor, false},
		{func() error { return put(door{Shut: true}, door{}) }, errDoor, false}, // a step within a transaction counts too
		{func() error { return put(door{Shut: true}) }, nil, true},
		{func() error { return put(door{}) }, errDoor, true},
	} {
		if err := step.do(); !errors.Is(err, step.want) {
			t.Errorf("step %d: %v, want %v", i, err, step.want)
		}
		if d := doors.Get(s, sc, "front"); d == nil || d.Shut != step.shut {
			t.Errorf("step %d left %+v", i, d)
		}
	}
	if err := del(); err != nil || doors.Get(s, sc, "front") != nil {
		t.Errorf("the last step: %v", err)
	}
}
