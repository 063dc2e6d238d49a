package eks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// DeprecatedUses count who calls deprecated Kubernetes APIs of a cluster.
const DeprecatedUses = store.Table[DeprecatedUse]("eks-deprecated-uses") // id: ChildID(cluster, hash of API and client)

// usageDays is how long a request counts: insights speak of the last 30 days.
const usageDays = 30

// maxDeprecatedUses bounds a cluster's records: a client may put anything into its
// user agent.
const maxDeprecatedUses = 500

// DeprecatedUse is one client's use of one deprecated API.
type DeprecatedUse struct {
	Scope   awsid.Scope
	Cluster string
	// Group is empty for the core group; Version such as v1beta1.
	Group, Version, Resource string
	// RemovedRelease is the minor version that does not serve it any more, such as
	// 1.38, empty if none is named.
	RemovedRelease string
	UserAgent      string
	// Days counts requests by day, of the last usageDays.
	Days map[string]int32
	Last time.Time
}

// Recent is the number of requests of the last 30 days, seen from now.
func (u *DeprecatedUse) Recent(now time.Time) int32 {
	var n int32
	for day, count := range u.Days {
		if recentDay(day, now) {
			n += count
		}
	}
	return n
}

func recentDay(day string, now time.Time) bool {
	t, err := time.Parse(time.DateOnly, day)
	return err == nil && now.Sub(t) < usageDays*24*time.Hour
}

// RecordDeprecatedUse adds counted uses, whose Days are to be added to what is
// known. It drops days that do not count any more.
func RecordDeprecatedUse(ctx context.Context, st *store.Store, c *Cluster, now time.Time, uses []DeprecatedUse) error {
	name := *c.Resource.Name
	err := st.Update(ctx, func(tx *store.Tx) error {
		if Clusters.Get(tx, c.Scope, name) == nil {
			return nil
		}
		known := len(DeprecatedUses.ListPrefix(tx, c.Scope, ClusterPrefix(name)))
		for _, use := range uses {
			id := ChildID(name, use.key())
			u := DeprecatedUses.Edit(tx, c.Scope, id)
			if u == nil {
				if known >= maxDeprecatedUses {
					continue
				}
				known++
				u = &DeprecatedUse{
					Scope: c.Scope, Cluster: name, Group: use.Group, Version: use.Version, Resource: use.Resource,
					RemovedRelease: use.RemovedRelease, UserAgent: use.UserAgent, Days: map[string]int32{},
				}
			}
			u.add(use, now)
			DeprecatedUses.Put(tx, c.Scope, id, u)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("deprecated APIs of cluster %s: %w", name, err)
	}
	return nil
}

func (u *DeprecatedUse) add(more DeprecatedUse, now time.Time) {
	for day, n := range more.Days {
		u.Days[day] += n
	}
	for day := range u.Days {
		if !recentDay(day, now) {
			delete(u.Days, day)
		}
	}
	if more.Last.After(u.Last) {
		u.Last = more.Last
	}
}

func (u *DeprecatedUse) key() string {
	sum := sha256.Sum256([]byte(u.Group + "\x00" + u.Version + "\x00" + u.Resource + "\x00" + u.UserAgent))
	return hex.EncodeToString(sum[:16])
}
