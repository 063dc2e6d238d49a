package store

import "context"

// KV is a revisioned key-value store: etcd in a running emulator, Memory in
// unit tests. One conformance suite (storetest) runs against both.
type KV interface {
	// Load returns all items and the revision at which it read them.
	Load(ctx context.Context) ([]Item, int64, error)
	// Watch delivers every change from revision from on, grouped by revision,
	// in order, until ctx ends (channel closed) or the watch breaks (a Batch
	// with Err, then channel closed). Where the changes are no longer to be had
	// (compaction), a Batch with Reset takes their place.
	Watch(ctx context.Context, from int64) (<-chan Batch, error)
	// Commit applies writes atomically if every guard holds, durably, before it
	// returns. rev is the revision that a watch delivers them with, or 0 if there
	// is nothing to deliver: a guard failed (ok is false), or no write changed
	// anything (deletions of what does not exist). No key may be written twice.
	Commit(ctx context.Context, guards []Guard, writes []Item) (rev int64, ok bool, err error)
}

// Item is a key with its value. A nil Value is a deletion.
type Item struct {
	Key      string // <table>/<account>/<region>/<id>
	Value    []byte
	Revision int64
}

// Batch is all changes of one revision.
type Batch struct {
	Revision int64
	Items    []Item
	// Reset tells that Items is everything there is at Revision: keys that it
	// does not hold are gone.
	Reset bool
	Err   error
}

// Guard is a condition on a transaction: Key (or, with Prefix, every key that
// starts with it) has not been modified since Revision; for a single key the
// modification revision must equal Revision, 0 meaning that it does not exist.
// A Prefix guard does not notice deletions.
type Guard struct {
	Key      string
	Prefix   bool
	Revision int64
}
