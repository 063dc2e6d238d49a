package plan

// Advice is a way out.
type Advice struct{}
