package policy

import "sync"

// cached is how many documents a Cache keeps: a role has some ten of at most 6 KiB.
const cached = 4096

// Cache keeps parsed documents by their text, so that a policy is parsed and compiled
// once and not for every request. Texts never change: there is nothing to be
// invalidated. The zero Cache is empty and ready.
type Cache struct {
	mu   sync.RWMutex
	docs map[string]*Document
}

// Parse is the function Parse with a memory. The document is shared: do not change it.
func (c *Cache) Parse(doc string) (*Document, error) {
	c.mu.RLock()
	d := c.docs[doc]
	c.mu.RUnlock()
	if d != nil {
		return d, nil
	}
	d, err := Parse(doc)
	if err != nil {
		return nil, err // not kept: whoever sends nonsense must not fill the memory
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.docs) >= cached || c.docs == nil {
		// Starting over is cheaper than keeping an order of use.
		c.docs = map[string]*Document{}
	}
	c.docs[doc] = d
	return d, nil
}
